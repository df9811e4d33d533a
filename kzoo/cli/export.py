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
        overwrite: Replace what is there.
    """
    from kzoo.cli.predict import find_images
    from kzoo.deploy import formats

    size, chosen = parse_image_size(image_size), find(run, weights, like, which)
    formats.require(format, export=True)
    path = formats.checked_path(out, format, overwrite)
    found = find_images(images) if images else None
    if found is None and (chosen is not None or not expand(run).is_dir()):
        raise InvalidArgument(
            f"An export is checked on real images. Received: {run!r}, which is no run, and no --images. Name photos: "
            "--images FOLDER."
        )
    from kzoo.deploy import exporting

    # Where loading fails, before TensorFlow is started.
    checked_on = exporting.validation_images(expand(run)) if found is None else found
    model = load(run, chosen, which, "float32", size)
    source = exporting.source_of(run) if chosen is None else exporting.source_of_weights(chosen)
    made = exporting.export(model, path, format, images=checked_on, image_size=size, source=source, overwrite=overwrite)
    if json:
        print_json(made.as_json())
    else:
        _print(made)


def _print(made) -> None:
    check = made.description.check
    rows = [
        ("format", f"{made.format}, checked in {check.engine}"),
        ("size", megabytes(made.bytes)),
        ("images checked", check.images),
        ("same first class as Keras", percent(check.agreement)),
        ("greatest difference of a probability", f"{check.max_difference:.2g}"),
        ("images/s, roughly", f"{made.images_per_second:,.1f} (Keras {made.keras_images_per_second:,.1f})"),
    ]
    print_table(("export", "value"), rows, title=str(made.path))
    print_line(f"kzoo predict {made.path} PHOTOS")
