"""`kzoo export`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from kzoo.cli._model import Like, Weights, find, load
from kzoo.cli._options import ImageSize, parse_image_size
from kzoo.cli._output import Json, percent, print_json, print_line, print_table
from kzoo.errors import InvalidArgument
from kzoo.paths import expand
from kzoo.text import megabytes


def command(
    run: str,
    /,
    *,
    format: Literal["savedmodel", "openvino", "onnx", "litert"],  # noqa: A002 - the flag's name
    out: str,
    weights: Weights = None,
    like: Like = None,
    which: Literal["best", "last"] = "best",
    images: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    image_size: ImageSize = None,
    int8: bool = False,
    data: str | None = None,
    max_loss: float | None = None,
    overwrite: bool = False,
    json: Json = False,
) -> None:
    """Export a trained model to another engine, checked against Keras.

    Args:
        run: A run directory, a .keras file, or with --weights a name of `kzoo list`.
        format: What to export to. openvino and savedmodel are folders, onnx and litert files.
        out: Where to: a folder, or a file that ends in .onnx or .tflite.
        which: The run's best or last model.
        images: Photos to check on: files, folders, or quoted patterns [default: the run's validation images].
        int8: Quantize to int8, calibrated on training images; the accuracy lost is measured on validation images.
        data: For --int8, the dataset to take both from [default: the run's].
        max_loss: Points of accuracy that int8 may lose, such as 0.2; for openvino the layers that cost most are left in
            float until it does not lose more.
        overwrite: Replace what is there.
    """
    from kzoo.cli.predict import find_images
    from kzoo.deploy import formats

    size, chosen = parse_image_size(image_size), find(run, weights, like, which)
    formats.require(format, export=True, quantize=int8)
    path = formats.checked_path(out, format, overwrite)
    for flag, value in (("--data", data), ("--max-loss", max_loss)):
        if value is not None and not int8:
            raise InvalidArgument(f"{flag} is for --int8. Received: {flag} {value}, without --int8.")
    found = find_images(images) if images else None
    if found is None and data is None and (chosen is not None or not expand(run).is_dir()):
        raise InvalidArgument(
            f"An export is checked on real images. Received: {run!r}, which is no run, and no --images. Name photos: "
            "--images FOLDER."
        )
    from kzoo.deploy import exporting

    run_dir = None if chosen is not None else expand(run)
    splits = None
    if int8 and data is None:  # where loading fails, before TensorFlow is started
        splits = exporting.data_of_run(run_dir)
    elif found is None and data is None and run_dir is not None:
        found = exporting.validation_images(run_dir)
    model = load(run, chosen, which, "float32", size)
    if data is not None:
        splits = _splits_of(data, model, size)
    made = exporting.export(
        model,
        path,
        format,
        images=found,
        image_size=size,
        source=exporting.source_of(run) if chosen is None else exporting.source_of_weights(chosen),
        int8=int8,
        data=splits,
        max_loss=None if max_loss is None else max_loss / 100,
        overwrite=overwrite,
    )
    if json:
        print_json(made.as_json())
    else:
        _print(made)


def _splits_of(name: str, model, size):
    """The training and validation images of a dataset, as the model takes them."""
    from kzoo.classifier import loading_for
    from kzoo.data import load as load_data

    arguments = loading_for(model, size)
    return load_data(name, "train", **arguments), load_data(name, "validation", **arguments)


def _print(made) -> None:
    check, int8 = made.description.check, made.description.quantization
    rows = [
        ("format", f"{made.format}, checked in {check.engine}"),
        ("size", megabytes(made.bytes)),
        ("images checked", check.images),
        ("same first class as Keras", percent(check.agreement)),
        ("greatest difference of a probability", f"{check.max_difference:.2g}"),
        ("images/s, roughly", f"{made.images_per_second:,.1f} (Keras {made.keras_images_per_second:,.1f})"),
    ]
    if int8 is not None:
        low, high = (100 * end for end in int8.interval)
        rows += [
            ("accuracy in int8", f"{percent(int8.accuracy)} (Keras {percent(int8.float_accuracy)})"),
            (
                "points lost",
                f"{100 * int8.loss:.2f} (95 % interval {low:.2f} to {high:.2f}, {int8.images:,} validation images)",
            ),
        ]
        if int8.in_float:
            rows.append(("left in float", ", ".join(int8.in_float)))
    print_table(("export", "value"), rows, title=str(made.path))
    print_line(f"kzoo predict {made.path} PHOTOS")
