"""`kzoo finetune`."""

from typing import Annotated

from cyclopts import Parameter

from kzoo import console
from kzoo.cli import _model, _runs
from kzoo.cli._options import DataOptions, ImageSize
from kzoo.cli._output import Json, percent
from kzoo.train.config import TrainConfig, TransferConfig


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
    )
    metrics, head = result.metrics, result.metrics["head"]
    rows = [
        ("validation accuracy, new head", percent(_runs.validation_accuracy(head))),
        ("validation accuracy, kept model", _runs.judged(metrics)),
        ("kept model", "the new head alone" if metrics["kept"] == "head" else f"epoch {metrics['best_epoch']}"),
        ("time in training steps", console.duration(head["training_seconds"] + metrics["training_seconds"])),
    ]
    _runs.print_result(result, rows, json)
