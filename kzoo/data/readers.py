"""Readers: where a Dataset's images come from, by their rows."""

from collections.abc import Callable
from typing import Protocol

import numpy as np


class Reader(Protocol):
    """What a Dataset reads its images with.

    Attributes:
        image_shape: (height, width, channels).
        dtype: "uint8" or "float32"; of features also "bfloat16" or "float16".
    """

    image_shape: tuple[int, int, int]
    dtype: str

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """The images of some rows, `[rows, *image_shape]`."""
        ...

    def where(self, row: int, /) -> str:
        """Where an image comes from, for messages: a path, or for example "mnist train #12"."""
        ...


class ArrayReader:
    """Images in memory: an array `[N, ...]`."""

    def __init__(self, images: np.ndarray, where: Callable[[int], str]) -> None:
        self.images = read_only(images)
        self.where = where
        self.image_shape, self.dtype = images.shape[1:], str(images.dtype)

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """The images of some rows."""
        return self.images[rows]


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written through: what a Dataset hands out stays what was loaded."""
    array = array.view()
    array.setflags(write=False)
    return array
