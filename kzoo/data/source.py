"""Source: labelled images before they are decoded. Each kind of dataset is a subclass, named in `loading.SOURCES`."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kzoo.data.images import Header


@dataclass(kw_only=True)
class Source(ABC):
    """A dataset whose classes, labels and splits are known, and whose images are still encoded."""

    # Whether the name says what the images are, as for a public dataset; a path does not.
    is_public: ClassVar[bool] = True

    name: str
    class_names: tuple[str, ...]
    # int32 [N], indices of the class names
    labels: np.ndarray
    # int8 [N]: TRAIN, VALIDATION or TEST
    splits: np.ndarray
    # A hash of images and labels, whatever their names and places.
    fingerprint: str
    # (height, width) and channels of all images, where the format states them; otherwise their headers tell.
    size: tuple[int, int] | None = None
    channels: int | None = None
    headers: Sequence[Header | None] | None = None
    # bool [N]: which images have 16 bits for each channel. None: none has.
    has_16_bits: np.ndarray | None = None
    # uint32 [N]: CRC-32C of each encoded image as it was first read, where images may change while they are used.
    checksums: np.ndarray | None = None
    # Why an image is bad, by its index, where that is known already.
    problems: Mapping[int, str] = field(default_factory=dict)
    # The split that the user gave each image. A bad image stops the loading of those splits that are cut from its own.
    declared: np.ndarray | None = None
    # What to do where a split is missing.
    missing_split_hint: str = ""

    @classmethod
    @abstractmethod
    def matches(cls, name: str | os.PathLike[str]) -> bool:
        """Whether a dataset's name means one of these."""

    @classmethod
    @abstractmethod
    def open(
        cls, name: str, splits: Sequence[str], data_dir: str | os.PathLike[str] | None, download: bool
    ) -> "Source":
        """Find the dataset; it may leave out images that none of the splits needs.

        Raises:
            DataError: There is no such dataset.
        """

    @classmethod
    def absolute(cls, name: str, data_dir: str | os.PathLike[str] | None) -> tuple[str, str | None]:
        """`name` and `data_dir` in a form that means the same from any folder; None where it is not used."""
        return name, None

    @abstractmethod
    def read(self, index: int) -> bytes | np.ndarray:
        """An encoded image, or pixels uint8 `[H, W, C]`. Raises BadImage."""

    @abstractmethod
    def where(self, index: int) -> str:
        """A path, or for example "mnist train #12"."""
