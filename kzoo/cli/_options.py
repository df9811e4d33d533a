"""Flags that several commands share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from kzoo.errors import InvalidArgument

_arguments: list[str] = []


def note(arguments: Sequence[str]) -> None:
    """Remember the arguments of the command that is run."""
    _arguments[:] = arguments


def was_given(name: str) -> bool:
    """Whether a flag was given, be it with its default, which the parser does not tell."""
    return any(argument.partition("=")[0].replace("_", "-") == f"--{name.replace('_', '-')}" for argument in _arguments)


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
