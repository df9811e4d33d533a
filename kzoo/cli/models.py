"""`kzoo list` and `kzoo info`."""

from kzoo import augment
from kzoo.cli._options import ImageSize, parse_image_size
from kzoo.cli._output import Json, print_json, print_line, print_table
from kzoo.data.loading import public_name
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
    json: Json = False,
) -> None:
    """Show what a model is: parameters, multiply-adds, depth, and what each stage sees; or how a dataset is augmented.

    Args:
        model: A name of `kzoo list`, a run directory or a .keras file; or a dataset: its augmentation policy is shown.
        channels: Channels of the images.
        classes: Number of classes.
        layers: Show each layer too.
        markdown: Print Markdown.
    """
    if model not in CARDS and _is_dataset(model):
        if image_size or channels or classes or layers or markdown:
            raise InvalidArgument(f"Of a dataset only the augmentation policy is shown. Received: {model!r} and flags.")
        _print_policy(model, json)
        return
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


def _is_dataset(name: str) -> bool:
    """Whether a dataset is meant: a name that a policy is recommended for, a CSV file, a folder that is no run."""
    if public_name(name):
        return augment.base_name(name) in augment.RECOMMENDED
    path = expand(name)
    if path.is_dir():
        return not any((path / name).exists() for name in (RUN, SEARCH, SAVED_MODEL))
    return path.suffix.lower() == ".csv" and path.is_file()


def _print_policy(dataset: str, json: bool) -> None:
    policy = augment.recommended(public_name(dataset))
    layers = [{"class_name": name, "arguments": arguments} for name, arguments in augment.POLICIES[policy]]
    if json:
        print_json({"dataset": dataset, "augment": policy, "layers": layers})
        return
    print_line(f"{dataset}: augmentation {policy}, unless --augment says otherwise")
    rows = [
        (layer["class_name"], argument, value) for layer in layers for argument, value in layer["arguments"].items()
    ]
    print_table(("layer", "argument", "value"), rows)


def _find(model: str):
    """What to describe, a name or a loaded model, and the shape of its input."""
    if is_name(model):
        return model, defaults(model)[0]
    if not expand(model).exists():
        hint = "Every other dataset is trained without augmentation."
        raise unknown("model, run or dataset with an augmentation policy", model, [*CARDS, *augment.RECOMMENDED], hint)
    find_model(model)  # before TensorFlow is started
    from kzoo.saving import load_model

    loaded = load_model(model)
    return loaded, loaded.input_shape[1:]
