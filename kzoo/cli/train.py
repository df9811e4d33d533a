"""`kzoo train`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kzoo import console
from kzoo.cli._options import DataOptions, ImageSize, check_from_search, check_resume, parse_image_size
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.cli._search import from_search as best_of_search
from kzoo.errors import InvalidArgument
from kzoo.hardware import probe
from kzoo.models.registry import check_name, defaults
from kzoo.text import by
from kzoo.train import runs
from kzoo.train.config import TrainConfig
from kzoo.train.precision import resolve


def command(
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    resume: str | None = None,
    from_search: str | None = None,
    all_data: bool = False,
    run_dir: str | None = None,
    overwrite: bool = False,
    config: Annotated[TrainConfig, Parameter(name="*", consume_multiple=True)] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    dropout: float | None = None,
    auxiliary_heads: bool = False,
    json: Json = False,
) -> None:
    """Train a model on a dataset, or resume a run.

    Args:
        model: A name of `kzoo list`.
        dataset: digits, a TFDS name such as mnist, a folder (root/label/* or root/{train,val,test}/label/*), or a CSV
            file with the columns path,label.
        resume: A run directory to continue to its end, with the configuration it has; --strategy and --devices may
            be others.
        from_search: A search directory: train as its best trial was, with the seed and whatever other flags say.
        all_data: Train on the validation images too; the model of the last epoch is then the best.
        run_dir: Folder for everything the run writes [default: runs/MODEL-DATASET-TIME].
        overwrite: Delete the run that is in run_dir.
        channels: Channels of the images, 1 or 3 [default: the data's].
        dropout: Dropout rate before the classifier [default: the model's].
        auxiliary_heads: Train with the auxiliary classifiers that the model has (Inception v1); they are not saved.
    """
    if resume is not None:
        check_resume(model, "strategy", "devices")
        directory = Path(resume).expanduser()
        metrics = _resume(directory, config)
    else:
        if from_search is not None:
            check_from_search(model)
            config, record = best_of_search(from_search, "train", all_data, config)
        elif model is None or dataset is None:
            raise InvalidArgument(
                "kzoo train takes a MODEL and a DATASET, or --resume RUN. Try: kzoo train mnist_net digits"
            )
        else:
            check_name(model)
            arguments = {"dropout": dropout, "auxiliary_heads": auxiliary_heads}
            record = _record(model, arguments, dataset, config, data, parse_image_size(image_size), channels)
            if all_data:
                record["data"]["all_data"] = True
        resolved, reasons = resolve(config, probe())
        name, load = record["model"]["name"], record["data"]["load"]
        directory = Path(run_dir or default_run_dir(name, dataset or Path(load["name"]).name)).expanduser()
        with runs.new(directory, resolved, overwrite=overwrite, **record):
            console.log(f"run directory {directory}")
            for reason in reasons:
                console.log(reason)
            metrics = _run(directory)
    if json:
        print_json({"run_dir": str(directory), "accuracy": metrics.get("validation", {}).get("accuracy"), **metrics})
    else:
        print_result(directory, metrics)


def _record(model, arguments, dataset, config, data, size, channels) -> dict:
    """What config.json says besides the training configuration."""
    from kzoo.data.loading import absolute

    return {
        "requested": {"precision": config.precision, "strategy": config.strategy},
        "model": {"name": model, "arguments": arguments},
        "data": {
            "load": {
                **absolute(dataset, data.data_dir),
                "image_size": list(size or defaults(model)[0][:2]),
                "channels": channels,
                "download": data.download,
                "on_bad_image": data.on_bad_image,
            }
        },
    }


def default_run_dir(model: str, dataset: str) -> str:
    """A name for the run of a model on a dataset, with the time."""
    name = dataset.replace("/", "-").replace(":", "-") if not Path(dataset).exists() else Path(dataset).resolve().name
    return f"runs/{model}-{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _resume(directory: Path, config: TrainConfig) -> dict:
    """Continue a run, or say that there is nothing to continue; returns its metrics."""
    from kzoo.train import checkpoint, loop

    record = runs.read_config(directory)
    if checkpoint.finished_state(directory / runs.CHECKPOINT) is not None:
        return runs.read_json(directory / runs.METRICS)
    if "transfer" in record:
        raise InvalidArgument(
            f"This run fine-tunes. Received: {str(directory)!r}. Continue it with kzoo finetune --resume {directory}"
        )
    if not record.get("model"):
        raise InvalidArgument(
            f"This run was not begun by the command line. Received: {str(directory)!r}. "
            f"Continue it in Python: kzoo.train.resume({str(directory)!r})."
        )
    with runs.lock(directory):
        loop.move(directory, None if config.strategy == "auto" else config.strategy, config.devices)
        return _run(directory)


def _run(directory: Path) -> dict:
    """Load the data of a run, build its model and train it to the end; returns its metrics."""
    from kzoo.data.loading import load_splits

    record = runs.read_config(directory)
    # Bad data is found before TensorFlow is started (but for TFDS, which is read by it).
    train_data, *validation = load_splits(runs.splits_of(record), **record["data"]["load"])
    console.log(
        f"{len(train_data):,} training and {sum(map(len, validation)):,} validation images of "
        f"{by(train_data.image_shape)}, {len(train_data.class_names)} classes"
    )

    from kzoo import create_model
    from kzoo.train.loop import run

    def build():
        return create_model(
            record["model"]["name"],
            input_shape=train_data.image_shape,
            classes=len(train_data.class_names),
            **record["model"]["arguments"],
        )

    return run(directory, build, train_data, validation[0] if validation else None).metrics


def print_result(directory: Path, metrics: dict) -> None:
    """Show what came of a run."""
    validation = metrics.get("validation", {})
    rows = [
        ("run directory", directory),
        ("best epoch", f"{metrics['best_epoch']} of {metrics['epochs']}"),
        ("validation accuracy", percent(validation.get("accuracy"))),
        ("training time", console.duration(metrics["training_seconds"])),
    ]
    print_table(("result", "value"), rows)
