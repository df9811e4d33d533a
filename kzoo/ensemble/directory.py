"""Ensembles as run directories: what config.json says of the members, and the model of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kzoo.arguments import is_number
from kzoo.backend import weights_digest
from kzoo.classifier import class_names_of, scaling_of
from kzoo.ensemble.averaging import average_of
from kzoo.errors import InvalidArgument, RunError
from kzoo.files import atomic_folder, write_json
from kzoo.paths import expand
from kzoo.saving import load_model, save_model
from kzoo.train import checkpoint, runs, trained_on
from kzoo.train.checkpoint import State
from kzoo.train.evaluation import evaluate
from kzoo.train.record import DataRecord, EnsembleRecord, Member, RunRecord, SplitRecord, origin


def save(members: Sequence[Any], out: str | Path) -> Path:
    """Write the average of several classifiers as a run directory, which is there as a whole or not at all.

    Its `best.keras` is the model that `average` makes. `kzoo evaluate` scores it on the data that its members were
    trained on, if that is the same for all of them that are runs.

    Args:
        members: Each a run directory, of which the best model is taken, or a `.keras` file; or a `keras.Model`.
        out: A new or empty folder.

    Returns:
        The folder.

    Raises:
        InvalidArgument: Members that do not fit together, as for `average`; or no such run or file.
        RunError: A file that is damaged, or a folder that cannot be written.

    >>> import kzoo, tempfile
    >>> models = [kzoo.create_model("mnist_net") for _ in range(2)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kzoo.load_model(save(models, f"{folder}/both")).name
    'ensemble'
    """
    return save_named(
        [(one if isinstance(one, str | Path) else f"model {i}", one) for i, one in enumerate(members)], out
    )


def save_named(members: Sequence[tuple[str | Path, Any]], out: str | Path) -> Path:
    """`save` of members that are called by the first of each pair."""
    folder = expand(out).resolve()
    try:
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise RunError(f"Cannot write the ensemble. Received: {str(out)!r}: {error}.") from error
    if not is_free:
        raise InvalidArgument(f"An ensemble is written to a new or empty folder. Received: {str(out)!r}. Name another.")
    found = [_find(str(label), member) for label, member in members]
    try:
        with atomic_folder(folder) as temporary:
            write(temporary, RunRecord(ensemble=EnsembleRecord()), found)
    except OSError as error:
        raise RunError(f"Cannot write the ensemble. Received: {str(out)!r}: {error}.") from error
    return folder


@dataclass(frozen=True)
class Candidate:
    """A model that may be a member, and where it is from."""

    label: str
    """What messages call it."""
    source: str
    model: Any
    run_dir: Path | None = None
    """None where it is no run's."""


def _find(label: str, member: Any) -> Candidate:
    if not isinstance(member, str | Path):
        return Candidate(label, label, member)
    path = expand(member)
    return Candidate(label, str(path.resolve()), load_model(path), path if path.is_dir() else None)


def write(folder: Path, record: RunRecord, candidates: Sequence[Candidate], validation_data: Any = None) -> None:
    """Write the ensemble of some models into a folder, with its figures on validation data, if there are any."""
    model, kept = average_of([one.model for one in candidates], [one.label for one in candidates])
    candidates = [candidates[i] for i in kept]
    run_dirs = [one.run_dir for one in candidates if one.run_dir is not None]
    members = tuple(map(_describe, candidates))
    save_model(model, folder / runs.BEST)
    trained_on.keep_all(folder, run_dirs)
    phases = [phase for found in map(_metrics_of, run_dirs) for phase in (found, found.get("head", {}))]
    seconds = [phase.get("training_seconds", 0.0) for phase in phases]
    metrics: dict[str, Any] = {"epochs": 0, "best_epoch": 0, "training_seconds": round(sum(seconds), 3)}
    if validation_data is not None:
        metrics["validation"] = evaluate(model, validation_data)
    write_json(folder / runs.METRICS, metrics)
    assert record.ensemble is not None  # noqa: S101 - for the type checker
    data = _common_data([runs.read_record(run_dir).data for run_dir in run_dirs], model)
    data = replace(data, load=record.data.load or data.load)
    ensemble = replace(record.ensemble, members=members)
    runs.write_record(folder, replace(record, data=data, ensemble=ensemble, origin=record.origin or origin()))
    checkpoint.save(folder / runs.CHECKPOINT, [], State(finished=True))  # last: with it the run is finished


def _describe(candidate: Candidate) -> Member:
    found = Member(candidate.source, candidate.model.name, weights_digest(candidate.model))
    if candidate.run_dir is None:
        return found
    record, metrics = runs.read_record(candidate.run_dir), _metrics_of(candidate.run_dir)
    for split in ("validation", "test"):
        scores = metrics.get(split)
        if isinstance(scores, dict) and is_number(scores.get("accuracy")):
            found = replace(found, accuracy=float(scores["accuracy"]), split=split)
    commit = None if record.origin is None else record.origin.commit
    return replace(found, seed=None if record.ensemble else record.train.seed, commit=commit)


def _metrics_of(run_dir: Path) -> dict:
    path = run_dir / runs.METRICS
    return runs.read_metrics(run_dir) if path.exists() else {}


def _common_data(found: Sequence[DataRecord], model: Any) -> DataRecord:
    """The data that all were trained on, as images are loaded for `model`; else only the names of its classes."""
    nothing = DataRecord(class_names=class_names_of(model))
    if not found or len(set(map(_identity, found))) > 1 or found[0].train is None:
        return nothing
    first, size = found[0], model.input_shape[1:3]
    own: Any = {**scaling_of(model), **({} if None in size else {"image_size": tuple(size)})}

    def for_model(split: SplitRecord | None) -> SplitRecord | None:
        if split is None:
            return None
        shape = split.image_shape if None in size else (*size, *split.image_shape[2:])
        return replace(split, load=split.load and replace(split.load, **own), image_shape=shape)

    return replace(
        first,
        load=first.load and replace(first.load, **own),
        train=for_model(first.train),
        validation=for_model(first.validation),
        class_names=class_names_of(model),
    )


def _identity(data: DataRecord) -> tuple:
    splits = [(one.split, one.fingerprint, one.images) for one in (data.train, data.validation) if one is not None]
    return data.all_data, *splits
