"""`kzoo finetune`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kzoo import console
from kzoo.cli import _model, _runs
from kzoo.cli._config import ConfigFile
from kzoo.cli._options import DataOptions, ImageSize, Members
from kzoo.cli._output import Json, percent
from kzoo.data.loading import fingerprint, public_name
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.models.registry import check_name, is_name
from kzoo.paths import command as command_line
from kzoo.paths import expand, is_model
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.transfer.loading import DEFAULT_MODEL, default_weights
from kzoo.weights import store
from kzoo.weights.locations import on_disk
from kzoo.weights.record import Record
from kzoo.weights.records.applications import is_application
from kzoo.weights.registry import get_record, is_tag, list_weights


def command(
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    weights: _model.Weights = None,
    like: _model.Like = None,
    fetch: bool = False,
    resume: str | None = None,
    from_search: str | None = None,
    config_file: ConfigFile = None,
    all_data: bool = False,
    run_dir: str | None = None,
    overwrite: bool = False,
    transfer: Annotated[TransferConfig, Parameter(name="*")] = TransferConfig(),  # noqa: B008 - frozen
    config: Annotated[TrainConfig, Parameter(name="*", consume_multiple=True)] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    dropout: float | None = None,
    members: Members = None,
    json: Json = False,
) -> None:
    """Fine-tune a pretrained model on a dataset, or resume such a run.

    Args:
        model: A name of `kzoo list`; keras:NAME for one of keras.applications, such as keras:ConvNeXtTiny; or a run or
            model file of your own [default: keras:EfficientNetV2B0].
        dataset: As for kzoo train. It may stand alone.
        fetch: Download the pretrained weights, if they are not on this machine.
        resume: A run directory to continue to its end, with the configuration it has; --strategy and --devices may
            be others.
        from_search: A search directory: fine-tune as its best trial did, with the seed and whatever other flags say.
        all_data: Train on the validation images too; the model of the last epoch is then the best.
        run_dir: Folder for everything the run writes [default: runs/MODEL-DATASET-TIME].
        overwrite: Delete the run that is in run_dir.
        channels: Channels of the images, 1 or 3 [default: the model's].
        dropout: Dropout rate before the classifier, of a model of kzoo list [default: 0].
    """
    if from_search is not None and fetch:
        raise InvalidArgument("--from-search has weights that are here. Received: --fetch as well.")
    if resume is None and from_search is None:
        model, dataset = _model_and_dataset(model, dataset, data)
        _bring_weights(model, weights, dataset, fetch=fetch)
    result = _runs.run(
        "finetune",
        model,
        dataset,
        weights=weights,
        like=like,
        resume=resume,
        from_search=from_search,
        all_data=all_data,
        run_dir=run_dir,
        overwrite=overwrite,
        transfer=transfer,
        config=config,
        data=data,
        image_size=image_size,
        channels=channels,
        dropout=dropout,
        members=members,
    )
    metrics, head = result.metrics, result.metrics.get("head")
    if head is None:  # an ensemble
        _runs.print_result(result, [], json)
        return
    rows = [
        ("validation accuracy, new head", percent(_runs.validation_accuracy(head))),
        ("validation accuracy, kept model", _runs.judged(metrics)),
        ("kept model", "the new head alone" if metrics["kept"] == "head" else f"epoch {metrics['best_epoch']}"),
        ("time in training steps", console.duration(head["training_seconds"] + metrics["training_seconds"])),
    ]
    _runs.print_result(result, rows, json)


def _model_and_dataset(first: str | None, second: str | None, data: DataOptions) -> tuple[str | None, str]:
    """What the two arguments are: one alone is the dataset."""
    if first is None:
        raise InvalidArgument(
            f"kzoo finetune takes a folder of images, or --resume RUN. Try: {_runs.EXAMPLES['finetune']}"
        )
    if is_application(first):
        check_name(first)
    if second is not None:
        if _is_model(second) and not _is_model(first) and not expand(second).is_dir():
            raise InvalidArgument(
                f"The model comes first. Received: {first!r} {second!r}. Try: "
                f"{command_line('kzoo', 'finetune', second, first)}"
            )
        return first, second
    if is_name(first) and expand(first).exists():
        raise InvalidArgument(
            f"This is the name of a model and of a folder. Received: {first!r} alone. For the folder: "
            f"{command_line('kzoo', 'finetune', Path(first).absolute())}. For the model name the images too: "
            f"{command_line('kzoo', 'finetune', first)} PHOTOS"
        )
    if _is_model(first):
        raise InvalidArgument(
            f"This is a model: name the images too. Received: {first!r} alone. Try: "
            f"{command_line('kzoo', 'finetune', first)} PHOTOS"
        )
    if public_name(first) and not data.download:
        fingerprint(first, data.data_dir)  # before weights are asked for that nobody will need
    return None, first


def _is_model(name: str) -> bool:
    """Whether a name or path means a model."""
    return is_name(name) or is_model(expand(name))


def _bring_weights(model: str | None, weights: str | None, dataset: str, *, fetch: bool) -> None:
    """Download the weights that are meant, if that was asked for; without it say how, where they are missing."""
    model = model or DEFAULT_MODEL
    if not is_name(model) or (weights is None and Path(model).exists()):
        record = None
    elif weights is None:
        record = default_weights(model)
    else:
        record = get_record(model, weights) if is_tag(model, weights) else None
    if record is None:
        if fetch:
            raise InvalidArgument(
                f"--fetch is for weights that have a tag. Received: --fetch with {weights or model!r}."
            )
    elif fetch:
        store.fetch(record)
    elif not next(on_disk(record), None):
        named = () if model == DEFAULT_MODEL and weights is None else (model,)
        chosen = () if weights is None else ("--weights", weights)
        raise WeightsError(
            f"The weights are not on this machine. Received: {record.tag!r} for {record.model}. Download them: "
            f"{command_line('kzoo', 'finetune', *named, dataset, *chosen, '--fetch')}, or "
            f"{command_line('kzoo', 'weights', 'fetch', record.model, record.tag)}.{_others_here(record, dataset)}"
        )


def _others_here(missing: Record, dataset: str) -> str:
    """The command for the best ImageNet weights that are on this machine, as a sentence."""
    records = (one for one in (*list_weights(), *list_weights("keras:*")) if one.labels == "imagenet")
    found = [one for one in records if one != missing and next(on_disk(one), None)]
    if not found:
        return ""
    best = max(found, key=lambda one: one.accuracy.top1 if one.accuracy else 0)
    is_default = default_weights(best.model) == best
    tag = () if is_default else ("--weights", best.tag)
    return f" With weights that are here: {command_line('kzoo', 'finetune', best.model, dataset, *tag)}"
