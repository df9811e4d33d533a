"""What `kzoo train` and `kzoo finetune` share: flags to the record of a run, and how a run is resumed."""

from datetime import datetime
from pathlib import Path
from typing import Any

from kzoo import job
from kzoo.cli import _model
from kzoo.cli._options import DataOptions, check_from_search, check_resume, given, parse_image_size
from kzoo.errors import InvalidArgument
from kzoo.train import runs
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.lifecycle import Result
from kzoo.train.record import ModelFile, RunRecord

EXAMPLES = {
    "train": "kzoo train mnist_net digits",
    "finetune": "kzoo finetune inception_v1 PHOTOS --weights imagenet",
}


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
    **options: Any,
) -> RunRecord:
    """The run that the flags of a command ask for.

    Args:
        command: "train" or "finetune".
        model: The flags of the command, from here on.
        dataset: Likewise.
        from_search: Likewise.
        all_data: Likewise.
        config: Likewise.
        data: Likewise.
        transfer: Likewise; None for "train".
        image_size: Likewise.
        **options: More of `kzoo.job.run_record`.

    Raises:
        InvalidArgument: Flags that do not fit together.
    """
    if from_search is not None:
        from kzoo.search.searching import best_of

        check_from_search(model)
        changed = {} if transfer is None else given(transfer)
        record = best_of(from_search, {"seed": config.seed, **given(config)}, changed, all_data=all_data)
        searched = command_of(record)
        if searched != command:
            raise InvalidArgument(
                f"This is a search of kzoo {searched}. Received: {from_search!r}. Use kzoo {searched} --from-search."
            )
        return record
    if model is None or dataset is None:
        raise InvalidArgument(f"kzoo {command} takes a MODEL and a DATASET, or --resume RUN. Try: {EXAMPLES[command]}")
    if transfer is not None:
        _model.check(model, options["weights"], options["like"])
    return job.run_record(
        model,
        dataset,
        config=config,
        transfer=transfer,
        all_data=all_data,
        image_size=parse_image_size(image_size),
        data_dir=data.data_dir,
        download=data.download,
        on_bad_image=data.on_bad_image,
        **options,
    )


def resume(command: str, run_dir: str, model: str | None, config: TrainConfig) -> Result:
    """Continue a run of a command to its end.

    Raises:
        InvalidArgument: Flags that cannot change, or a run of the other command or of Python.
    """
    check_resume(model, "strategy", "devices")
    record = runs.read_record(run_dir)
    if command_of(record) != command and not record.fine_tuning.is_head:
        is_kind = "This run fine-tunes" if command == "train" else "Not a run that fine-tunes"
        raise InvalidArgument(
            f"{is_kind}. Received: {run_dir!r}. Continue it with kzoo {command_of(record)} --resume {run_dir}"
        )
    if record.model is None and record.data.load is None and not record.fine_tuning.is_head:
        raise InvalidArgument(
            f"This run was not begun by the command line. Received: {run_dir!r}. "
            f"Continue it in Python: kzoo.train.resume({run_dir!r}, ...)."
        )
    return job.resume(run_dir, **given(config))


def command_of(record: RunRecord) -> str:
    """The command that trains such a run."""
    return "train" if record.transfer is None else "finetune"


def default_run_dir(record: RunRecord) -> str:
    """A name for the run of a model on a dataset, with the time."""
    model, source = record.model, record.data.load
    assert model is not None and source is not None  # noqa: S101, PT018 - for the type checker
    name = Path(model.path).name if isinstance(model, ModelFile) else model.name
    dataset = Path(source.name).name if Path(source.name).is_absolute() else source.name
    return f"runs/{name}-{dataset.replace('/', '-').replace(':', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
