"""The 1,797 handwritten digits that come with scikit-learn: 8x8, ten classes, no download."""

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from kzoo.data.source import Source
from kzoo.data.splits import stratify


@dataclass(kw_only=True)
class Digits(Source):
    """The digits as uint8 `[1797, 8, 8, 1]`: their values 0 to 16 become 0 to 255."""

    pixels: np.ndarray

    @classmethod
    def matches(cls, name: str | os.PathLike[str]) -> bool:
        """Whether it is "digits"."""
        return os.fspath(name) == "digits"

    @classmethod
    def open(cls, name, splits, data_dir, download) -> "Digits":
        """Read them from scikit-learn."""
        from sklearn.datasets import load_digits

        values, target = load_digits(return_X_y=True)
        pixels = np.rint(np.asarray(values) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = np.asarray(target, np.int32)
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
        fingerprint = hashlib.blake2b(b"digits" + pixels.tobytes() + labels.astype("<i4").tobytes(), digest_size=16)
        return cls(
            name="digits",
            class_names=tuple("0123456789"),
            labels=labels,
            splits=stratify(labels, keys),
            fingerprint=fingerprint.hexdigest(),
            size=(8, 8),
            channels=1,
            pixels=pixels,
        )

    def read(self, index: int) -> np.ndarray:
        """Pixels, uint8 `[8, 8, 1]`."""
        return self.pixels[index]

    def where(self, index: int) -> str:
        """For example "digits #12"."""
        return f"{self.name} #{index}"
