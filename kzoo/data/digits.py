"""The 1,797 handwritten digits that come with scikit-learn: 8x8, ten classes, no download."""

import hashlib

import numpy as np

from kzoo.data.catalog import Catalog
from kzoo.data.splits import stratify


class PixelSource:
    """Images that are in memory."""

    def __init__(self, name: str, pixels: np.ndarray) -> None:
        self.name = name
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> np.ndarray:
        """Pixels, uint8 `[H, W, C]`."""
        return self.pixels[index]

    def where(self, index: int) -> str:
        """For example "digits #12"."""
        return f"{self.name} #{index}"


def catalog() -> Catalog:
    """The digits as uint8 `[1797, 8, 8, 1]`: their values 0 to 16 become 0 to 255."""
    from sklearn.datasets import load_digits

    values, target = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(values) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = np.asarray(target, np.int32)
    keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
    fingerprint = hashlib.blake2b(b"digits" + pixels.tobytes() + labels.astype("<i4").tobytes(), digest_size=16)
    return Catalog(
        name="digits",
        class_names=tuple("0123456789"),
        source=PixelSource("digits", pixels),
        labels=labels,
        parts=stratify(labels, keys),
        fingerprint=fingerprint.hexdigest(),
        size=(8, 8),
        channels=1,
    )
