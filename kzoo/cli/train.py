"""`kzoo train`."""

from typing import Annotated

from cyclopts import Parameter

from kzoo import console
from kzoo.cli import _runs
from kzoo.cli._config import ConfigFile
from kzoo.cli._options import DataOptions, ImageSize, Members
from kzoo.cli._output import Json
from kzoo.train.config import TrainConfig


def command(
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    resume: str | None = None,
    from_search: str | None = None,
    config_file: ConfigFile = None,
    all_data: bool = False,
    run_dir: str | None = None,
    overwrite: bool = False,
    config: Annotated[TrainConfig, Parameter(name="*", consume_multiple=True)] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    dropout: float | None = None,
    auxiliary_heads: bool = False,
    members: Members = None,
    teacher: str | None = None,
    temperature: float = 1.0,
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
        teacher: Distillation: a run, an ensemble or a .keras file with the same classes, whose probabilities for the
            augmented images take the place of the labels in the loss.
        temperature: What the logits of teacher and model are divided by for that.
    """
    result = _runs.run(
        "train",
        model,
        dataset,
        resume=resume,
        from_search=from_search,
        all_data=all_data,
        run_dir=run_dir,
        overwrite=overwrite,
        config=config,
        data=data,
        image_size=image_size,
        channels=channels,
        dropout=dropout,
        auxiliary_heads=auxiliary_heads,
        members=members,
        teacher=teacher,
        temperature=temperature,
    )
    metrics = result.metrics
    rows = [
        ("best epoch", f"{metrics['best_epoch']} of {metrics['epochs']}"),
        ("validation accuracy", _runs.judged(metrics)),
        ("training time", console.duration(metrics["training_seconds"])),
    ]
    _runs.print_result(result, rows, json)
