"""What is done to images before they are scored: functions of arrays of pixels, 0 to 255."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kzoo.data.images import in_parallel

SEED = 20  # of the noise, the same for all models

DEVIATIONS = (4, 8, 16, 32, 64, 128)


def standard_noise(batch: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise for the images of a batch, float32: a function of the batch's number alone.

    All strengths of noise, and all models that take images of this size, get the same draws.

    >>> bool((standard_noise(3, (2, 4, 4, 1)) == standard_noise(3, (2, 4, 4, 1))).all())
    True
    """
    return np.random.default_rng((SEED, batch)).standard_normal(shape, np.float32)


def noisy(images: np.ndarray, noise: np.ndarray, deviation: float) -> np.ndarray:
    """Images with Gaussian noise of a standard deviation, independent by pixel and channel, clipped to 0 to 255.

    >>> noisy(np.array([0.0, 100.0, 250.0]), np.array([-1.0, 1.0, 1.0]), 8).tolist()
    [0.0, 108.0, 255.0]
    """
    return np.clip(images + noise * np.float32(deviation), 0, 255)


def blurred(images: np.ndarray, share: float) -> np.ndarray:
    """Images blurred by a Gaussian whose standard deviation is this share of the shorter side."""
    from scipy.ndimage import gaussian_filter

    deviation = share * min(images.shape[1:3])
    return gaussian_filter(images, (0, deviation, deviation, 0), mode="nearest")


def faded(images: np.ndarray, contrast: float) -> np.ndarray:
    """Images whose distance from their mean, by channel, is multiplied.

    >>> faded(np.array([0.0, 200.0]).reshape(1, 1, 2, 1), 0.25).ravel().tolist()
    [75.0, 125.0]
    """
    means = images.mean(axis=(1, 2), keepdims=True)
    return (images - means) * np.float32(contrast) + means


def compressed(images: np.ndarray, quality: float) -> np.ndarray:
    """RGB images saved as JPEG of a quality, and read again."""
    from PIL import Image

    def again(pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        return np.asarray(Image.open(file))

    return np.stack(list(in_parallel(again, list(np.rint(images).astype(np.uint8))))).astype(np.float32)


class Corruption(NamedTuple):
    """A common corruption of photos, after Hendrycks & Dietterich, 2019, with levels from weak to strong."""

    apply: Callable[[np.ndarray, float], np.ndarray]
    levels: tuple[float, ...]
    meaning: str
    """What a level says."""


CORRUPTIONS = {
    "blur": Corruption(blurred, (0.005, 0.01, 0.02, 0.04), "standard deviation, share of the shorter side"),
    "contrast": Corruption(faded, (0.5, 0.25, 0.1, 0.05), "factor"),
    "jpeg": Corruption(compressed, (50, 20, 10, 5), "quality"),
}
