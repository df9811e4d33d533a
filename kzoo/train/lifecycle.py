"""What every run has around its training: its folder, its lock, the choice of devices, and its result.

Needs no TensorFlow before there is something to train.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from kzoo import console, onednn, plain, workers
from kzoo.errors import DataError, InvalidArgument, RunError, TrainingDiverged, TrainingInterrupted
from kzoo.hardware import probe
from kzoo.paths import expand
from kzoo.train import checkpoint, runs
from kzoo.train.checkpoint import State
from kzoo.train.config import Strategy
from kzoo.train.precision import resolve
from kzoo.train.record import RunRecord, versions
from kzoo.workers import Workers

# What a run that goes on may be asked for otherwise: it does not change the result. Only the strategy and the devices
# are taken over.
MAY_DIFFER = (
    *("train.strategy", "train.devices", "train.checkpoint_seconds", "train.steps_per_execution"),
    *("data.load.download", "data.load.data_dir"),
)


@dataclass(frozen=True)
class Result:
    """What training gives back."""

    history: dict[str, list[float]]
    """A list per quantity, with a value per epoch, as in Keras."""
    metrics: dict
    """The content of metrics.json."""
    run_dir: Path | None
    _load_model: Callable[[], Any] = field(repr=False, compare=False)
    was_interrupted: bool = field(default=False, repr=False, compare=False)
    """Whether Ctrl-C or SIGTERM came in the last epoch: the run is over, what is to follow it is not."""

    @property
    def model(self) -> Any:
        """The best model by validation accuracy (the last one, without validation data): a float32 `keras.Model`.

        That of a run which was finished before is loaded when it is first asked for.
        """
        return self._load_model()


def begin(
    record: RunRecord,
    run_dir: str | Path | None,
    train: Callable[[Path], Result],
    *,
    check_data: Callable[[Path], None] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Result:
    """Begin a run, or with `resume` go on with the one that is there; without `run_dir` nothing is kept.

    `train` trains what config.json in a folder says, from where it stands. `check_data` raises for data that was given
    in Python and is not that of a finished run.
    """
    if resume and (overwrite or run_dir is None):
        raise InvalidArgument(
            f"resume=True goes on with the run in run_dir. Received: run_dir={run_dir!r}, overwrite={overwrite!r}. "
            "Name a folder, and leave overwrite out."
        )
    others = _meet(record.requested.strategy, record)
    if others is not None and not others.is_chief:
        return _assist(others, train)
    train = _leading(others, train)
    if resume and run_dir is not None:
        run_dir = expand(run_dir)
        runs.recover(run_dir)
        if (run_dir / runs.CONFIG).exists():
            recorded = runs.read_record(run_dir)
            _check_same(run_dir, record, recorded)
            state = checkpoint.read_state(run_dir / runs.CHECKPOINT)
            if check_data is not None and state is not None and state.finished:
                check_data(run_dir)
            asked, began = record.requested, recorded.requested
            if (asked.strategy, asked.devices) == (began.strategy, began.devices):
                return _go_on(run_dir, train, others)
            return _go_on(run_dir, train, others, asked.strategy, asked.devices)
    needed = [path for path in (record.teacher and record.teacher.path, getattr(record.model, "path", None)) if path]
    if overwrite and run_dir is not None:
        folder = expand(run_dir).resolve()
        if any(Path(path).is_relative_to(folder) for path in needed):
            raise InvalidArgument(
                f"A run cannot overwrite a model that it needs. Received: {str(run_dir)!r}. Name another folder."
            )
    config, reasons = resolve(record.train, probe())
    record = replace(record, train=config, keep=run_dir is not None)
    where = tempfile.TemporaryDirectory(prefix="kzoo-") if run_dir is None else nullcontext(run_dir)
    with where as folder, runs.new(folder, record, overwrite=overwrite) as folder:
        for reason in (*reasons, *onednn.advice()):
            console.log(reason)
        result = train(folder)
        _ = result.model  # while it is there
    return replace(result, run_dir=None if run_dir is None else folder)


def go_on(
    run_dir: Path, train: Callable[[Path], Result], strategy: Strategy | None = None, devices: str | None = None
) -> Result:
    """Continue a run to its end; one that is finished is not trained again."""
    others = _meet(strategy or runs.read_record(run_dir).requested.strategy)
    if others is not None and not others.is_chief:
        return _assist(others, train)
    return _go_on(run_dir, _leading(others, train), others, strategy, devices)


def _go_on(
    run_dir: Path,
    train: Callable[[Path], Result],
    others: Workers | None,
    strategy: Strategy | None = None,
    devices: str | None = None,
) -> Result:
    state = checkpoint.finished_state(run_dir / runs.CHECKPOINT)
    if state is not None:
        if others is not None:
            others.exchange("the run", {"run_dir": str(run_dir.resolve()), "record": None, "has_begun": True})
            others.is_training = False
        return result_of(run_dir, state)
    record = runs.read_record(run_dir)
    onednn.prepare(record.origin.onednn if record.origin else None)
    had_workers = record.train.strategy == "multiworker"
    if strategy is None and devices is None and had_workers is not (others is not None):
        strategy, devices = record.requested.strategy, record.requested.devices
    with runs.lock(run_dir):
        changes = _change_devices(run_dir, strategy, devices)
        try:
            result = train(run_dir)
        except DataError:
            for folder, (before, after) in changes.items():
                if runs.read_record(folder) == after:  # the data is missing: nothing was done
                    runs.write_record(folder, before)
            raise
        _ = result.model  # before another run can take the folder
        return result


def _meet(strategy: str, record: RunRecord | None = None) -> Workers | None:
    """Meet the other workers, if the strategy takes several, and see that all are about to do the same.

    Raises:
        RunError: They differ in versions or in configuration.
    """
    others = workers.join(strategy)
    if others is None:
        return None
    others.is_training = True
    facts = {name: str(versions()[name]) for name in ("kzoo", "keras", "tensorflow", "numpy")}
    if record is not None:
        facts |= {name: repr(value) for name, value in _entries(record) if name not in MAY_DIFFER}
        facts["train.precision"] = resolve(record.train, probe())[0].precision
    check_alike(others, "the configuration", facts)
    return others


def check_alike(others: Workers, what: str, facts: dict[str, Any]) -> None:
    """Compare facts of all workers; all must ask at the same place.

    Raises:
        RunError: One differs from the chief's, on all workers.
    """
    chief, *rest = others.exchange(what, facts)
    for index, theirs in enumerate(rest, 1):
        for name in [*chief, *theirs]:
            if chief.get(name) != theirs.get(name):
                raise RunError(
                    f"The workers differ in {what}. Received: {name} = {chief.get(name)} on {others.cluster.name(0)}, "
                    f"{theirs.get(name)} on {others.cluster.name(index)}. Give all the same."
                )


def _leading(others: Workers | None, train: Callable[[Path], Result]) -> Callable[[Path], Result]:
    """`train` as the chief does it: the others take up the run when its folder is ready."""
    if others is None:
        return train

    def lead(run_dir: Path) -> Result:
        record, has_begun = runs.read_record(run_dir), runs.has_checkpoint(run_dir)
        others.exchange(
            "the run", {"run_dir": str(run_dir.resolve()), "record": asdict(record), "has_begun": has_begun}
        )
        others.exchange("a copy of the run", None)
        return _together(others, train, run_dir)

    return lead


def _assist(others: Workers, train: Callable[[Path], Result]) -> Result:
    """Train as the chief does, in a folder that nobody needs: the chief alone writes the run directory."""
    told = others.exchange("the run", None)[0]
    run_dir = Path(told["run_dir"])
    if told["record"] is None:  # it is finished
        others.is_training = False
        state = checkpoint.read_state(run_dir / runs.CHECKPOINT)
        return result_of(run_dir, state or State(finished=True))
    record = plain.read(RunRecord, told["record"])
    onednn.prepare(record.origin.onednn if record.origin else None)
    with tempfile.TemporaryDirectory(prefix="kzoo-") as folder:
        if told["has_begun"]:
            runs.copy(run_dir, Path(folder))
        else:
            runs.write_record(Path(folder), record)
        others.exchange("a copy of the run", None)
        result = _together(others, train, Path(folder))
        _ = result.model  # while it is there
    return replace(result, run_dir=run_dir if record.keep else None)


def _together(others: Workers, train: Callable[[Path], Result], run_dir: Path) -> Result:
    """Train on several workers, of which none leaves before all have ended."""
    try:
        with workers.explained():
            result = train(run_dir)
    except (TrainingInterrupted, TrainingDiverged) as error:  # on all of them
        message = others.exchange("the end", str(error))[0]
        others.is_training = False
        raise type(error)(message) from None
    except BaseException as error:  # else they wait for this one, as long as its process lives
        others.leave(str(error) or type(error).__name__)
        raise
    others.exchange("the end", None)
    others.is_training = False
    return result


def result_of(run_dir: Path, state: State) -> Result:
    """What a finished run has in its directory."""
    folder = run_dir.resolve()  # the model may be asked for in another working directory

    @functools.cache
    def load() -> Any:
        from kzoo.saving import load_model

        return load_model(folder, "best")

    history = {key: [row[key] for row in state.history] for key in (state.history or [{}])[0]}
    return Result(history, runs.read_metrics(run_dir), run_dir, load)


def _change_devices(
    run_dir: Path, strategy: Strategy | None, devices: str | None
) -> dict[Path, tuple[RunRecord, RunRecord]]:
    """Write down the strategy and devices that the run goes on with; returns what was and what is in each folder."""
    changes = {}
    if strategy is None and devices is None:
        return changes
    changed: Any = {"strategy": strategy or "auto", "devices": devices}
    for folder in (run_dir, run_dir / runs.HEAD):
        if not (folder / runs.CONFIG).exists():  # no run that fine-tunes, or one that has no head yet
            continue
        record = runs.read_record(folder)
        config, reasons = resolve(replace(record.train, **changed), probe())
        for reason in reasons if folder == run_dir else ():
            console.log(reason)
        after = replace(record, train=config, requested=replace(record.requested, **changed))
        changes[folder] = record, runs.write_record(folder, after)
    return changes


def _check_same(run_dir: Path, asked: RunRecord, recorded: RunRecord) -> None:
    """Refuse to go on with a run that was begun with another configuration."""
    one, other = dict(_entries(asked)), dict(_entries(recorded))
    for entry in [*one, *other]:
        if entry in MAY_DIFFER or one.get(entry) == other.get(entry):
            continue
        raise RunError(
            f"The run in {str(run_dir)!r} was begun with another configuration. Received: {entry} = "
            f"{one.get(entry)!r}, recorded: {other.get(entry)!r}. Ask for the same, or name another folder."
        )


def _entries(record: RunRecord) -> Iterator[tuple[str, Any]]:
    """What a run was asked to be, by entry: ("train.epochs", 30)."""
    data = {"data.load": record.data.load, "data.all_data": record.data.all_data}
    parts = {"model": record.model, **data, "train": record.requested, "transfer": record.transfer}
    parts["teacher"] = record.teacher and replace(record.teacher, digest=None)  # found when the run has begun
    parts["members"] = record.ensemble and record.ensemble.trains
    for name, part in {**parts, "fine_tuning.kept": record.fine_tuning.kept}.items():
        if is_dataclass(part):
            yield from ((f"{name}.{field.name}", getattr(part, field.name)) for field in fields(part))
        else:
            yield name, part
