"""`kzoo train`."""

from typing import Annotated

from cyclopts import Parameter

from kzoo import console, job
from kzoo.cli import _runs
from kzoo.cli._options import DataOptions, ImageSize
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.train.config import TrainConfig
from kzoo.train.lifecycle import Result


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
        result = _runs.resume("train", resume, model, config)
    else:
        record = _runs.record_of(
            "train",
            model,
            dataset,
            from_search=from_search,
            all_data=all_data,
            config=config,
            data=data,
            image_size=image_size,
            channels=channels,
            dropout=dropout,
            auxiliary_heads=auxiliary_heads,
        )
        result = job.start(record, run_dir or _runs.default_run_dir(record), overwrite=overwrite)
    _print(result, json)


def _print(result: Result, json: bool) -> None:
    metrics = result.metrics
    accuracy = metrics.get("validation", {}).get("accuracy")
    if json:
        print_json({"run_dir": str(result.run_dir), "accuracy": accuracy, **metrics})
        return
    rows = [
        ("run directory", result.run_dir),
        ("best epoch", f"{metrics['best_epoch']} of {metrics['epochs']}"),
        ("validation accuracy", percent(accuracy)),
        ("training time", console.duration(metrics["training_seconds"])),
    ]
    print_table(("result", "value"), rows)
