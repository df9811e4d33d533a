"""`kzoo list` and `kzoo info`."""

from pathlib import Path

from kzoo.cli._options import ImageSize, parse_image_size
from kzoo.cli._output import Json, print_json, print_table
from kzoo.errors import unknown
from kzoo.models.registry import BUILDERS, defaults, list_models
from kzoo.text import by, markdown_table


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
        [(m["name"], by(m["input_shape"]), m["classes"]) for m in models],
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
    json: Json = False,
) -> None:
    """Show what a model is: parameters, multiply-adds, depth, and what each stage sees.

    Args:
        model: A name of `kzoo list`, a run directory or a .keras file.
        channels: Channels of the images.
        classes: Number of classes.
        layers: Show each layer too.
        markdown: Print Markdown.
    """
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
    print(found.summary())
    for titles, *rows in tables:
        if markdown:
            print(f"\n{markdown_table([titles, *rows])}")
        else:
            print_table(titles, rows)


def _find(model: str):
    """What to describe, a name or a loaded model, and the shape of its input."""
    if model in BUILDERS or not Path(model).expanduser().exists():
        return model, defaults(model)[0]
    from kzoo.saving import load_model

    loaded = load_model(model)
    return loaded, loaded.input_shape[1:]
