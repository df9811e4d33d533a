"""Image files as a model takes them, one by one: what `predict` does with them."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kzoo import console
from kzoo.data import encoded, images
from kzoo.data.decoding import range_of_16_bit_images
from kzoo.errors import DataError
from kzoo.paths import expand

# Of images that are decoded and resized.
FILE_CHANNELS = (1, 3)


class Prediction(NamedTuple):
    """One class that an image may show."""

    index: int
    """Position in the model's output."""
    label: str
    """Name of the class; the index as text where the model knows no names."""
    probability: float


def ranked(probabilities: np.ndarray, names: tuple[str, ...] | None, top: int) -> list[Prediction]:
    """The likeliest classes of one image, of probabilities [classes].

    >>> [one.label for one in ranked(np.array([0.1, 0.6, 0.3]), ("ant", "bee", "cat"), 2)]
    ['bee', 'cat']
    """
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [Prediction(int(i), names[i] if names else str(i), float(probabilities[i])) for i in best]


def with_range_of_files(scaling: images.Scaling, files: list[Path]) -> images.Scaling:
    """With the range of 16-bit files, as `kzoo.data.load` finds it, where the model has none."""
    if scaling.range_16_bit is not None:
        return scaling
    files = list(filter(encoded.is_16_bit_file, files))  # the others are read once, to be decoded
    found = range_of_16_bit_images(encoded.read_file, files, "16-bit images")
    if found is not None:
        console.log(
            f"16-bit image files: the values {found[0]:,} to {found[1]:,} become 0 to 255 (the range is that of these "
            "files)"
        )
    return scaling._replace(range_16_bit=found)


def decoded(item: Any, shape: tuple, scaling: images.Scaling) -> np.ndarray:
    """An image file as uint8 of shape (height, width, channels).

    Raises:
        DataError: It cannot be read; with its path.
    """
    height, width, channels = shape
    path = expand(item)
    if not os.path.lexists(path):
        raise DataError(f"No such image file. Received: {str(path)!r}. Check the path.")
    try:
        with images.no_warnings():
            return images.decode(encoded.read_file(path), (height, width), channels, scaling)
    except encoded.BadImage as error:
        raise DataError(f"Bad image. Received: {str(path)!r}: {error}. Repair or leave it out.") from None
