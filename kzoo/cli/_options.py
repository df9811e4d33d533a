"""Flags that several commands share."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from cyclopts import App, ArgumentCollection, Parameter

from kzoo.errors import InvalidArgument
from kzoo.train.record import DataSource, ZooModel

# Flags of the command that is run, which the parser has found: a default that was given is one too.
_given: list[str] = []


def note_given(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Remember which flags were given; the parser calls it (`App.config`) when it has read the command line."""
    _given[:] = [argument.name for argument in arguments if argument.tokens and argument.name.startswith("--")]


def was_given(name: str) -> bool:
    """Whether a flag was given."""
    return _flag(name) in _given


def given(config: Any) -> dict[str, Any]:
    """The values of a configuration that flags say."""
    return {field.name: getattr(config, field.name) for field in fields(config) if was_given(field.name)}


def as_typed(*configs: Any, **others: Any) -> list[str]:
    """The flags that were given, of some configurations and other values, as words of another command."""
    words = []
    values = {name: value for config in configs for name, value in given(config).items()}
    values |= {name: value for name, value in others.items() if was_given(name)}
    for name, value in values.items():
        several = value if isinstance(value, tuple | list) else [value]
        words += [_flag(name), *(str(one) for one in several if one is not True)]
    return words


def check_resume(model: str | None, *may_change: str) -> None:
    """Raise InvalidArgument if --resume was given with a model, or with flags that cannot change in what is resumed."""
    valid = [_flag(name) for name in ("resume", "json", *may_change)]
    others = [flag for flag in _given if flag not in valid]
    if model is not None or others:
        raise InvalidArgument(
            f"--resume takes the directory, and {' and '.join(valid[2:])} where that changes: the rest stays as it "
            f"was begun. Received: {model or others[0]} as well."
        )


def check_from_search(model: str | None) -> None:
    """Raise InvalidArgument if --from-search was given with a model or data, which the search has."""
    its_own = [_flag(field.name) for kind in (ZooModel, DataSource) for field in fields(kind)]
    others = [flag for flag in _given if flag in its_own]
    if model is not None or others:
        raise InvalidArgument(f"--from-search has its own model and data. Received: {model or others[0]} as well.")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to find and read a dataset."""

    data_dir: str | None = None
    """Folder of the TFDS datasets [default: $TFDS_DATA_DIR, else ~/tensorflow_datasets]."""
    download: bool = False
    """Download a TFDS dataset that is not there."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """What to do at an image that cannot be read."""


ImageSize = Annotated[
    str | None,
    Parameter(help='Size of the images, "224" or "HEIGHTxWIDTH" [default: the model\'s].'),
]


Members = Annotated[
    int | None,
    Parameter(
        help="Train so many models, with seeds from --seed on, in the folders member-0 and on of the run, and average "
        "them: the run is their ensemble."
    ),
]

Tta = Annotated[
    bool,
    Parameter(
        help="Test-time augmentation: average over views of each image, mirrored or moved as suits how the model was "
        "trained. It takes 2 or 5 times as long."
    ),
]


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Read an image size.

    >>> parse_image_size("32"), parse_image_size("24x32")
    ((32, 32), (24, 32))
    """
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and (width or height).isdigit() and int(height) and int(width or height)):
        raise InvalidArgument(f'--image-size must be like "224" or "224x320" (height x width). Received: {text!r}.')
    return int(height), int(width or height)
