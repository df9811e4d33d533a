"""`kzoo lr-find`."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from kzoo import console, job
from kzoo.cli._options import DataOptions, ImageSize, as_typed, parse_image_size, was_given
from kzoo.cli._output import Json, picture_file, print_json, print_table
from kzoo.errors import InvalidArgument
from kzoo.files import write_bytes
from kzoo.paths import command as command_line
from kzoo.train.config import TrainConfig


def command(
    model: str,
    dataset: str,
    /,
    *,
    steps: int = 100,
    out: str | None = None,
    overwrite: bool = False,
    config: Annotated[TrainConfig, Parameter(name="*", consume_multiple=True)] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    dropout: float | None = None,
    auxiliary_heads: bool = False,
    json: Json = False,
) -> None:
    """Find a learning rate for a training: try rates on its first steps, each a little higher, until the loss rises.

    Args:
        model: A name of `kzoo list`.
        dataset: As for kzoo train, whose other flags have their meaning here too.
        steps: Steps of the test, each with the next rate, from 1e-7 to 10.
        out: A PNG file for the loss by learning rate.
        overwrite: Replace the file that is there.
        channels: Channels of the images, 1 or 3 [default: the data's].
        dropout: Dropout rate before the classifier [default: the model's].
        auxiliary_heads: Train with the auxiliary classifiers that the model has (Inception v1).
    """
    if was_given("learning_rate"):
        raise InvalidArgument(
            f"lr-find looks for the learning rate. Received: --learning-rate {config.learning_rate:g}. Leave it out."
        )
    path = None if out is None else picture_file(out, overwrite)
    model_options = {"channels": channels, "dropout": dropout, "auxiliary_heads": auxiliary_heads}
    record = job.run_record(
        model, dataset, config=config, image_size=parse_image_size(image_size), **model_options, **asdict(data)
    )  # fmt: skip
    found = job.find_learning_rate(record, steps=steps)
    if path is not None:
        from kzoo.train.range_test import picture

        write_bytes(path, picture(found))
    flags = as_typed(config, data, image_size=image_size, **model_options)
    then = command_line("kzoo", "train", model, dataset, "--learning-rate", f"{found.suggestion:g}", *flags)
    if json:
        figures = {name: value for name, value in asdict(found).items() if name not in ("suggestion", "config")}
        chosen = {"optimizer": found.config.optimizer, "batch_size": found.config.batch_size}
        print_json({"learning_rate": found.suggestion, **chosen, **figures, "out": path and str(path), "next": then})
        return
    least = min(range(len(found.smoothed)), key=found.smoothed.__getitem__)
    rows = [
        ("suggestion", f"{found.suggestion:g}"),
        ("kzoo's default", f"{found.default:.3g}"),
        ("optimizer and batch size", f"{found.config.optimizer}, {found.config.batch_size}"),
        ("loss, smoothed", f"{found.smoothed[0]:.3f} at first, least {found.smoothed[least]:.3f}"),
        ("rate of the least loss", f"{found.rates[least]:.2g}"),
        ("rates tried", f"{found.rates[0]:.2g} to {found.rates[-1]:.2g}{', where it rose' * found.has_diverged}"),
    ]
    print_table(("range test", "value"), [*rows, *([("picture", path)] if path else [])])
    console.log(f"next: {then}")
