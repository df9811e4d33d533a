"""`kzoo train`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kzoo import console
from kzoo.cli._options import DataOptions, ImageSize, parse_image_size
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.errors import InvalidArgument, KzooError
from kzoo.hardware import probe
from kzoo.models.registry import check_name, defaults
from kzoo.train import runs
from kzoo.train.config import TrainConfig
from kzoo.train.precision import resolve


def command(
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    resume: str | None = None,
    run_dir: str | None = None,
    overwrite: bool = False,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    dropout: float | None = None,
    json: Json = False,
) -> None:
    """Train a model on a dataset, or resume a run.

    Args:
        model: A name of `kzoo list`.
        dataset: digits, a TFDS name such as mnist, a folder (root/label/* or root/{train,val,test}/label/*), or a CSV
            file with the columns path,label.
        resume: A run directory to continue to its end, with the configuration it has.
        run_dir: Folder for everything the run writes [default: runs/MODEL-DATASET-TIME].
        overwrite: Delete the run that is in run_dir.
        channels: Channels of the images, 1 or 3 [default: the data's].
        dropout: Dropout rate before the classifier [default: the model's].
    """
    if resume is not None:
        others = [model, dataset, run_dir, image_size, channels, dropout]
        if any(value is not None for value in others) or overwrite or config != TrainConfig() or data != DataOptions():
            raise InvalidArgument(
                "--resume takes the run directory alone: a run keeps the configuration it began with."
            )
        directory = Path(resume).expanduser()
        runs.read_config(directory)
    elif model is None or dataset is None:
        raise InvalidArgument(
            "kzoo train takes a MODEL and a DATASET, or --resume RUN. Try: kzoo train mnist_net digits"
        )
    else:
        directory = _create(model, dataset, run_dir, overwrite, config, data, image_size, channels, dropout)
    result = _run(directory, is_new=resume is None)
    if json:
        validation = result.metrics.get("validation", {})
        print_json({"run_dir": str(directory), "accuracy": validation.get("accuracy"), **result.metrics})
    else:
        _print_result(directory, result.metrics)


def _create(model, dataset, run_dir, overwrite, config, data, image_size, channels, dropout) -> Path:
    """Check what can be checked without TensorFlow, and put config.json in place."""
    check_name(model)
    config, reasons = resolve(config, probe())
    size = parse_image_size(image_size) or defaults(model)[0][:2]
    if run_dir is None:
        name = Path(dataset).expanduser().resolve().name if Path(dataset).exists() else dataset.replace("/", "-")
        run_dir = f"runs/{model}-{name}-{datetime.now():%Y%m%d-%H%M%S}"
    source = Path(dataset).expanduser()
    load = {
        "name": str(source.resolve()) if source.exists() else dataset,
        "image_size": list(size),
        "channels": channels,
        "data_dir": data.data_dir,
        "download": data.download,
        "on_bad_image": data.on_bad_image,
    }
    directory = runs.create(
        run_dir,
        config,
        overwrite=overwrite,
        model={"name": model, "arguments": {"dropout": dropout}},
        data={"load": load},
    )
    console.log(f"run directory {directory}")
    for reason in reasons:
        console.log(reason)
    return directory


def _run(directory: Path, is_new: bool):
    """Load the data, then build and train; a new run whose data cannot be used leaves nothing behind."""
    from kzoo import data

    record = runs.read_config(directory)
    if "load" not in (record.get("data") or {}) or not record.get("model"):
        raise InvalidArgument(
            f"This run was not begun by the command line. Received: {str(directory)!r}. Continue it in Python: "
            "kzoo.train.resume(run_dir, train_data=..., validation_data=...)."
        )
    load, spec = record["data"]["load"], record["model"]
    try:
        train_data = data.load(**load, split="train")
        validation_data = data.load(**load, split="validation")

        from kzoo import create_model
        from kzoo.train.loop import run
    except (KzooError, KeyboardInterrupt):
        if is_new:
            runs.discard(directory)
        raise
    console.log(
        f"{len(train_data):,} training and {len(validation_data):,} validation images of "
        f"{'x'.join(map(str, train_data.image_shape))}, {len(train_data.class_names)} classes"
    )

    def build():
        return create_model(
            spec["name"],
            input_shape=train_data.image_shape,
            classes=len(train_data.class_names),
            **spec["arguments"],
        )

    try:
        return run(directory, build, train_data, validation_data)
    except InvalidArgument:
        if is_new and not (directory / runs.CHECKPOINT).exists():
            runs.discard(directory)
        raise


def _print_result(directory: Path, metrics: dict) -> None:
    validation = metrics.get("validation", {})
    rows = [
        ("run directory", directory),
        ("best epoch", f"{metrics['best_epoch']} of {metrics['epochs']}"),
        ("validation accuracy", percent(validation.get("accuracy"))),
        ("training time", console.duration(metrics["training_seconds"])),
    ]
    print_table(("result", "value"), rows)
