"""What `kzoo train` and `kzoo finetune` share: flags to the record of a run, how a run is resumed, and its result."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from kzoo import console, job, paths, workers
from kzoo.cli._options import DataOptions, check_from_search, check_resume, given, parse_image_size
from kzoo.cli._output import percent, percents, print_json, print_table
from kzoo.errors import InvalidArgument, KzooError, TrainingInterrupted
from kzoo.train import runs
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.lifecycle import Result
from kzoo.train.record import ModelFile, RunRecord

EXAMPLES = {"train": "kzoo train mnist_net digits", "finetune": "kzoo finetune PHOTOS --fetch"}


def run(
    command: str,
    model: str | None,
    dataset: str | None,
    *,
    resume: str | None,
    run_dir: str | None,
    overwrite: bool,
    config: TrainConfig,
    **flags: Any,
) -> Result:
    """Do what the flags of "train" or "finetune" ask for: begin a run, or continue one."""
    if resume is not None:
        with _saying_how_to_resume(resume):
            return _resume(command, resume, model, config)
    record = record_of(command, model, dataset, config=config, **flags)
    run_dir = run_dir or _default_run_dir(record)
    # What an overwritten run is put back for could not be told from the new one.
    with nullcontext() if overwrite else _saying_how_to_resume(run_dir):
        return job.start(record, run_dir, overwrite=overwrite)


@contextmanager
def _saying_how_to_resume(run_dir: str) -> Iterator[None]:
    """Say after Ctrl-C what continues the run, if there is one."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            how = runs.read_record(run_dir).how_to_resume(run_dir)
        except KzooError:
            raise KeyboardInterrupt from None
        raise TrainingInterrupted(f"Interrupted. Continue with: {how}") from None


def print_result(result: Result, rows: Sequence[tuple], json: bool) -> None:
    """Print some rows about a run and what to do next, or as JSON all of its metrics; of several workers one does.

    Of an ensemble its own rows are printed.
    """
    if not workers.is_chief():
        return
    assert result.run_dir is not None  # noqa: S101 - for the type checker
    ensemble, metrics = runs.read_record(result.run_dir).ensemble, result.metrics
    if ensemble is not None:
        each = ", ".join(percent(one.accuracy) for one in ensemble.members)
        rows = [
            ("validation accuracy, members", each),
            ("validation accuracy, ensemble", judged(metrics)),
            ("training time", console.duration(metrics["training_seconds"])),
        ]
    if json:
        print_json({"run_dir": str(result.run_dir), "accuracy": validation_accuracy(result.metrics), **result.metrics})
        return
    print_table(("result", "value"), [("run directory", result.run_dir), *rows])
    for then in (("evaluate", result.run_dir), ("predict", result.run_dir, "IMAGE")):
        console.log(f"next: {paths.command('kzoo', *then)}")


def judged(metrics: dict) -> str:
    """The accuracy of metrics with what it says: its interval, and that the model was chosen on these images."""
    figures = metrics.get("validation")
    if figures is None:
        return "not known: no validation images"
    return (
        f"{percent(figures['accuracy'])} (95 % interval {percents(figures['interval'])}) of "
        f"{figures['images']:,} validation images, on which the model was chosen"
    )


def validation_accuracy(metrics: dict) -> float | None:
    """The accuracy that metrics have, if there were validation data."""
    return metrics.get("validation", {}).get("accuracy")


def record_of(
    command: str,
    model: str | None,
    dataset: str | None,
    *,
    from_search: str | None,
    all_data: bool,
    config: TrainConfig,
    data: DataOptions,
    transfer: TransferConfig | None = None,
    image_size: str | None,
    teacher: str | None = None,
    temperature: float = 1.0,
    members: int | None = None,
    **options: Any,
) -> RunRecord:
    if from_search is not None:
        from kzoo.search.searching import best_of

        check_from_search(model)
        changed = {} if transfer is None else given(transfer)
        record = best_of(from_search, {"seed": config.seed, **given(config)}, changed, all_data=all_data)
        if record.command != command:
            raise InvalidArgument(
                f"This is a search of kzoo {record.command}. Received: {from_search!r}. "
                f"Use kzoo {record.command} --from-search."
            )
        return job.with_others(record, teacher, temperature, members)
    if dataset is None or (model is None and transfer is None):
        raise InvalidArgument(f"kzoo {command} takes a MODEL and a DATASET, or --resume RUN. Try: {EXAMPLES[command]}")
    options |= {"all_data": all_data, "image_size": parse_image_size(image_size), **asdict(data)}
    options |= {"teacher": teacher, "temperature": temperature, "members": members}
    return job.run_record(model, dataset, config=config, transfer=transfer, **options)


def _resume(command: str, run_dir: str, model: str | None, config: TrainConfig) -> Result:
    check_resume(model, "strategy", "devices")
    runs.recover(paths.expand(run_dir))
    record = runs.read_record(run_dir)
    if not (record.fine_tuning.is_head or record.is_average):  # which job.resume refuses
        if record.command != command:
            is_kind = "This run fine-tunes" if command == "train" else "Not a run that fine-tunes"
            raise InvalidArgument(f"{is_kind}. Received: {run_dir!r}. Continue it with {record.how_to_resume(run_dir)}")
        if record.data.load is None:
            raise InvalidArgument(
                f"This run was not begun by the command line. Received: {run_dir!r}. "
                f"Continue it in Python: {record.how_to_resume(run_dir)}."
            )
    return job.resume(run_dir, **given(config))


def _default_run_dir(record: RunRecord) -> str:
    """A name for the run of a model on a dataset, with the time."""
    model, source = record.model, record.data.load
    assert model is not None and source is not None  # noqa: S101, PT018 - for the type checker
    name = Path(model.path).name if isinstance(model, ModelFile) else model.name.replace(":", "-")
    return run_dir_for(name, source.name)


def run_dir_for(model: str, dataset: str, kind: str = "") -> str:
    """A name for a folder of a run or search, with the time."""
    path = Path(dataset)
    name = path.name if path.is_absolute() or path.exists() else dataset.replace("/", "-").replace(":", "-")
    return f"runs/{kind}{model}-{name}-{datetime.now():%Y%m%d-%H%M%S}"
