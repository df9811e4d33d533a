"""`kzoo list` and `kzoo info`."""

from kzoo import augment, console
from kzoo.cli._inspection import print_dataset
from kzoo.cli._options import ImageSize, parse_image_size
from kzoo.cli._output import Json, print_json, print_line, print_table
from kzoo.data.loading import public_name
from kzoo.data.tfds_records import is_prepared
from kzoo.errors import InvalidArgument, unknown
from kzoo.models.registry import CARDS, defaults, is_name, list_models
from kzoo.paths import RUN, SAVED_MODEL, SEARCH, expand, find_model
from kzoo.text import dimensions, markdown_table


def list_command(pattern: str = "*", /, *, json: Json = False) -> None:
    """List the models of the zoo.

    Args:
        pattern: A shell pattern for their names, such as "resnet*".
    """
    names = list_models(pattern)
    if not names:
        raise unknown("model pattern", pattern, list_models())
    models = [{"name": name, "input_shape": defaults(name)[0], "classes": defaults(name)[1]} for name in names]
    if json:
        print_json({"models": models})
        return
    print_table(
        ("model", "input", "classes"),
        [(m["name"], dimensions(m["input_shape"]), m["classes"]) for m in models],
    )


def info_command(
    model: str,
    /,
    *,
    image_size: ImageSize = None,
    channels: int | None = None,
    classes: int | None = None,
    layers: bool = False,
    markdown: bool = False,
    out: str | None = None,
    overwrite: bool = False,
    data_dir: str | None = None,
    json: Json = False,
) -> None:
    """Show what a model or a dataset is.

    Args:
        model: A name of `kzoo list`, a run directory or a .keras file; or a dataset: a folder, a CSV file, digits, or a
            TFDS name. What is both is the model; write ./NAME for the folder.
        channels: Channels of the images of a model.
        classes: Number of classes of a model.
        layers: Show each layer of a model too.
        markdown: Print a model's tables as Markdown.
        out: A PNG file for a contact sheet of the dataset: some images of each class.
        overwrite: Replace the file that is there.
        data_dir: Folder of the TFDS datasets [default: $TFDS_DATA_DIR, else ~/tensorflow_datasets].
    """
    is_model = model in CARDS
    if is_model and expand(model).exists():
        console.log(f"{model!r} is a model and a path here: this is the model; for the path write ./{model}")
    if not is_model and _is_dataset(model, data_dir):
        if image_size or channels or classes or layers or markdown:
            raise InvalidArgument(
                f"A dataset is shown without flags of models. Received: {model!r} and one of --image-size, --channels, "
                "--classes, --layers, --markdown."
            )
        print_dataset(model, data_dir, out, overwrite, json)
        return
    if out is not None or data_dir is not None:
        raise InvalidArgument(f"--out and --data-dir are for datasets. Received: {model!r}, which is none.")
    asked = parse_image_size(image_size)
    described, shape = _find(model)
    if asked or channels is not None:
        shape = (*(asked or shape[:2]), shape[2] if channels is None else channels)
    from kzoo import describe

    found = describe(described, shape, classes=classes)
    if json:
        print_json(found.to_dict())
        return
    tables = [found.table()]
    if layers:
        tables.append(found.layer_table())
    print_line(found.summary())
    for titles, *rows in tables:
        if markdown:
            for line in ("", *markdown_table([titles, *rows]).splitlines()):
                print_line(line)
        else:
            print_table(titles, rows)


def _is_dataset(name: str, data_dir: str | None) -> bool:
    """Whether a dataset is meant: a name that is on this machine or known, a CSV file, a folder that is no run."""
    if public_name(name):
        return augment.base_name(name) in augment.RECOMMENDED or is_prepared(name, data_dir)
    path = expand(name)
    if path.is_dir():
        return not any((path / name).exists() for name in (RUN, SEARCH, SAVED_MODEL))
    return path.suffix.lower() == ".csv" and path.is_file()


def _find(model: str):
    """What to describe, a name or a loaded model, and the shape of its input."""
    if is_name(model):
        return model, defaults(model)[0]
    if not expand(model).exists():
        hint = "Or pass a run, a folder of images, a CSV file, or a TFDS dataset that is on this machine."
        raise unknown("model, run or dataset", model, [*CARDS, *augment.RECOMMENDED], hint)
    find_model(model)  # before TensorFlow is started
    from kzoo.saving import load_model

    loaded = load_model(model)
    return loaded, loaded.input_shape[1:]
