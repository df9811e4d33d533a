"""`kzoo finetune`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kzoo import console
from kzoo.cli import _model
from kzoo.cli._options import DataOptions, ImageSize, check_from_search, check_resume, parse_image_size
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.cli._search import from_search as best_of_search
from kzoo.cli.train import default_run_dir
from kzoo.errors import InvalidArgument
from kzoo.text import by
from kzoo.train import checkpoint, runs
from kzoo.train.config import TrainConfig
from kzoo.transfer.config import TransferConfig, to_dict
from kzoo.transfer.loading import images_for, portable


def command(
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    weights: _model.Weights = None,
    like: _model.Like = None,
    resume: str | None = None,
    from_search: str | None = None,
    all_data: bool = False,
    run_dir: str | None = None,
    overwrite: bool = False,
    transfer: Annotated[TransferConfig, Parameter(name="*")] = TransferConfig(),  # noqa: B008 - frozen
    config: Annotated[TrainConfig, Parameter(name="*", consume_multiple=True)] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    dropout: float | None = None,
    json: Json = False,
) -> None:
    """Fine-tune a pretrained model on a dataset, or resume such a run.

    A new classifier is trained with the rest frozen, then the upper stages with it. Flags without "head" are of the
    second phase; batch size, augmentation, seed and devices are of both.

    Args:
        model: A name of `kzoo list`, with --weights; or a run or model file of your own.
        dataset: As for kzoo train.
        resume: A run directory to continue to its end, with the configuration it has; --strategy and --devices may
            be others.
        from_search: A search directory: fine-tune as its best trial did, with the seed and whatever other flags say.
        all_data: Train on the validation images too; the model of the last epoch is then the best.
        run_dir: Folder for everything the run writes [default: runs/MODEL-DATASET-TIME].
        overwrite: Delete the run that is in run_dir.
        channels: Channels of the images, 1 or 3 [default: the model's].
        dropout: Dropout rate before the classifier [default: the model's].
    """
    if resume is not None:
        check_resume(model, "strategy", "devices")
        directory = Path(resume).expanduser()
        metrics = _resume(directory, config)
    else:
        if from_search is not None:
            check_from_search(model)
            config, record = best_of_search(from_search, "finetune", all_data, config, transfer)
        elif model is None or dataset is None:
            raise InvalidArgument(
                "kzoo finetune takes a MODEL and a DATASET, or --resume RUN. Try: kzoo finetune inception_v1 PHOTOS "
                "--weights imagenet"
            )
        else:
            chosen = _model.find(model, weights, like)  # before anything else is looked at
            record = {
                "requested": {"precision": config.precision, "strategy": config.strategy},
                "model": _source(model, weights, like, dropout),
                "data": {"load": _load_arguments(model, chosen, dataset, data, parse_image_size(image_size), channels)},
                "transfer": to_dict(transfer),
            }
            if all_data:
                record["data"]["all_data"] = True
        name, load = Path(record["model"].get("name") or model or "").name, record["data"]["load"]
        directory = Path(run_dir or default_run_dir(name, dataset or Path(load["name"]).name)).expanduser()
        metrics = _begin(directory, config, overwrite, record)
    if json:
        print_json({"run_dir": str(directory), "accuracy": metrics.get("validation", {}).get("accuracy"), **metrics})
    else:
        _print_result(directory, metrics)


def _source(model: str, weights: str | None, like: str | None, dropout: float | None) -> dict:
    """What config.json says of the pretrained model: enough to make it again, from any folder."""
    if weights is None:
        if dropout is not None:
            raise InvalidArgument("--dropout is for a model of kzoo list. Received: it, with a model file.")
        return {"path": str(Path(model).expanduser().resolve())}
    return {"name": model, "weights": portable(model, weights), "like": like, "arguments": {"dropout": dropout}}


def _load_arguments(model: str, chosen, dataset: str, data: DataOptions, size, channels: int | None) -> dict:
    """What config.json says of the data: how to load it."""
    from kzoo.data.loading import absolute

    how = _images_for_file(model, size) if chosen is None else images_for(model, chosen, size)
    return {
        **absolute(dataset, data.data_dir),
        **how,
        "image_size": list(how["image_size"]),
        "channels": channels or how["channels"],
        "download": data.download,
        "on_bad_image": data.on_bad_image,
    }


def _images_for_file(path: str, size: tuple[int, int] | None) -> dict:
    """The arguments of `kzoo.data.load` for a model file or a run."""
    from kzoo import load_model
    from kzoo.classifier import scaling_of

    model = load_model(path)
    *own, channels = model.input_shape[1:]
    if size is None and None in own:
        raise InvalidArgument(f"The model takes images of any size. Received: {path!r}. Add --image-size.")
    how = {"image_size": size or tuple(own), "channels": channels, **scaling_of(model)}
    return how if size is None else {**how, "crop_fraction": 1.0}


def _begin(directory: Path, config: TrainConfig, overwrite: bool, record: dict) -> dict:
    from kzoo.hardware import probe
    from kzoo.train.precision import resolve

    resolved, reasons = resolve(config, probe())
    with runs.new(directory, resolved, overwrite=overwrite, **record):
        console.log(f"run directory {directory}")
        for reason in reasons:
            console.log(reason)
        return _run(directory)


def _resume(directory: Path, config: TrainConfig) -> dict:
    """Continue a run, or say that there is nothing to continue; returns its metrics."""
    from kzoo.train import loop

    record = runs.read_config(directory)
    if "transfer" not in record:
        raise InvalidArgument(f"Not a run that fine-tunes. Received: {str(directory)!r}. Use kzoo train --resume.")
    if checkpoint.finished_state(directory / runs.CHECKPOINT) is not None:
        return runs.read_json(directory / runs.METRICS)
    if not record.get("model"):
        raise InvalidArgument(
            f"This run was not begun by the command line. Received: {str(directory)!r}. "
            f"Continue it in Python: kzoo.transfer.resume({str(directory)!r}, ...)."
        )
    with runs.lock(directory):
        loop.move(directory, None if config.strategy == "auto" else config.strategy, config.devices)
        return _run(directory)


def _run(directory: Path) -> dict:
    """Load the data of a run and train it to the end; returns its metrics."""
    from kzoo.data.loading import load_splits

    record = runs.read_config(directory)
    train_data, *validation = load_splits(runs.splits_of(record), **record["data"]["load"])
    console.log(
        f"{len(train_data):,} training and {sum(map(len, validation)):,} validation images of "
        f"{by(train_data.image_shape)}, {len(train_data.class_names)} classes"
    )

    from kzoo import load_model
    from kzoo.transfer import finetuning
    from kzoo.weights.resolve import resolve

    source = record["model"]

    def make(shape):  # called in the first phase: the second needs the pretrained weights no more
        if "path" in source:
            return finetuning.copied(load_model(source["path"]))(shape)
        chosen = resolve(source["name"], source["weights"], source["like"])
        return finetuning.pretrained(chosen, **source["arguments"])(shape)

    return finetuning.run(directory, make, train_data, validation[0] if validation else None).metrics


def _print_result(directory: Path, metrics: dict) -> None:
    head = metrics["head"]
    best = "the new head alone" if metrics["kept"] == "head" else f"epoch {metrics['best_epoch']}"
    rows = [
        ("run directory", directory),
        ("validation accuracy, new head", percent(head.get("validation", {}).get("accuracy"))),
        ("validation accuracy, kept model", percent(metrics.get("validation", {}).get("accuracy"))),
        ("kept model", best),
        ("time in training steps", console.duration(head["training_seconds"] + metrics["training_seconds"])),
    ]
    print_table(("result", "value"), rows)
