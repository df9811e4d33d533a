"""The operations of TrivialAugment and RandAugment against Pillow's."""

import math
import platform

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf

from kzoo.augment.pixels.operations import PIXELWISE, transform

PILLOW = {
    "brightness": lambda image, change: PIL.ImageEnhance.Brightness(image).enhance(1 + change),
    "color": lambda image, change: PIL.ImageEnhance.Color(image).enhance(1 + change),
    "contrast": lambda image, change: PIL.ImageEnhance.Contrast(image).enhance(1 + change),
    "sharpness": lambda image, change: PIL.ImageEnhance.Sharpness(image).enhance(1 + change),
    "posterize": lambda image, bits: PIL.ImageOps.posterize(image, int(bits)),
    "solarize": lambda image, threshold: PIL.ImageOps.solarize(image, math.ceil(threshold)),  # bytes are whole
    "auto_contrast": lambda image, _: PIL.ImageOps.autocontrast(image),
    "equalize": lambda image, _: PIL.ImageOps.equalize(image),
}
# Compilers for other processors fuse the product and the sum in Pillow's blends, which moves a result by a level.
BLEND_ERROR = 0 if platform.machine() == "x86_64" else 1
ENHANCEMENTS = ("brightness", "color", "contrast", "sharpness")
CHANGES = [-0.99, -0.9, -0.462, -0.27, -1 / 3, 0.0, 0.03, 0.27, 0.462, 0.9, 0.99]


def pictures(height, width, channels, batch=11):
    """Noise, gradients, few levels, a narrow range, one level, one pixel that differs."""
    rng = np.random.default_rng(height)
    images = rng.integers(0, 256, (batch, height, width, channels)).astype("uint8")
    images[1] = np.linspace(0, 255, height * width).reshape(height, width, 1).astype("uint8")
    images[2] = rng.integers(90, 140, images[2].shape)
    images[3] = rng.choice([3, 7, 250], images[3].shape)
    images[4] = 77
    images[5] = 0
    images[6] = 255
    images[7] = 200
    images[7, -1, -1] = 10
    images[8, :, :, 0] = 128  # one channel of a single level
    images[9] = rng.binomial(255, 0.3, images[9].shape)
    return images


def applied(name, images, magnitudes, matrices=None, interpolation="nearest"):
    kinds = np.full(len(images), 1 if name == "move" else 2 + [f.__name__ for f in PIXELWISE].index(name), "int32")
    matrices = np.zeros((len(images), 6), "float32") if matrices is None else matrices
    magnitudes = np.broadcast_to(np.asarray(magnitudes, "float32"), len(images))
    operate = transform(images.shape[-1], tf.as_dtype(images.dtype), interpolation=interpolation)
    return operate(images, kinds, magnitudes, matrices).numpy()


def pillow(name, images, magnitudes):
    results = []
    for image, magnitude in zip(images, np.broadcast_to(np.asarray(magnitudes, "float32"), len(images)), strict=True):
        grey = image.shape[-1] == 1
        result = PILLOW[name](PIL.Image.fromarray(image[..., 0] if grey else image), magnitude)
        results.append(np.asarray(result).reshape(image.shape))
    return np.stack(results)


@pytest.mark.parametrize("shape", [(13, 17, 3), (40, 9, 1)])
@pytest.mark.parametrize("name", PILLOW)
def test_equals_pillow(name, shape):
    images = pictures(*shape)
    magnitudes = [0]
    if name in ENHANCEMENTS:
        magnitudes = CHANGES
    elif name == "posterize":
        magnitudes = range(2, 9)
    elif name == "solarize":
        magnitudes = [255, 246.5, 127.5, 8.5, 0]
    for magnitude in magnitudes:
        result = applied(name, images, magnitude)
        assert result.dtype == "uint8"
        reference = pillow(name, images, magnitude)
        np.testing.assert_allclose(result, reference, atol=BLEND_ERROR, rtol=0, err_msg=f"{name} {magnitude}")


@pytest.mark.parametrize("name", PILLOW)
def test_images_of_one_pixel_row_or_column(name):
    magnitude = {"posterize": 3, "solarize": 100}.get(name, 0.5)
    for shape in ((1, 1, 3), (1, 5, 1), (5, 2, 3)):
        images = pictures(*shape)[:7]
        np.testing.assert_allclose(
            applied(name, images, magnitude), pillow(name, images, magnitude), atol=BLEND_ERROR, rtol=0
        )


def test_auto_contrast_of_every_range_of_levels():
    ramp = np.arange(256, dtype="uint8").reshape(16, 16, 1)
    images = np.stack([np.clip(ramp, low, high) for low in range(0, 256, 5) for high in range(low, 256)])
    np.testing.assert_array_equal(applied("auto_contrast", images, 0), pillow("auto_contrast", images, 0))


@pytest.mark.parametrize("name", PILLOW)
def test_floats_are_what_bytes_are_truncated_from(name):
    images = pictures(13, 17, 3)
    magnitude = {"posterize": 3, "solarize": 100}.get(name, 0.462)
    result = applied(name, images.astype("float32"), magnitude)
    assert result.dtype == "float32"
    cut_off = result - applied(name, images, magnitude)
    assert cut_off.min() >= -1e-4  # what float32 leaves of 255 levels
    assert cut_off.max() <= 1
    if name in (*ENHANCEMENTS, "auto_contrast"):
        assert (result % 1 > 0).mean() > 0.1, "floats keep their fractions"
    else:
        np.testing.assert_array_equal(result % 1, 0)


def test_each_image_gets_its_own_operation():
    images = pictures(13, 17, 3)
    kinds = np.arange(10, dtype="int32")
    magnitudes = np.array([0, 0, 0.5, 0.5, -0.5, 0.9, 4, 99, 0, 0], "float32")
    left = np.tile(np.array([1, 0, 2, 0, 1, 0], "float32"), (10, 1))  # reads two pixels further right
    results = transform(3, tf.uint8)(images[:10], kinds, magnitudes, left).numpy()
    np.testing.assert_array_equal(results[0], images[0])
    np.testing.assert_array_equal(results[1][:, :-2], images[1][:, 2:])
    assert (results[1][:, -2:] == 0).all()
    for i, operation in enumerate(PIXELWISE, start=2):
        alone = applied(operation.__name__, images[i : i + 1], magnitudes[i])
        np.testing.assert_array_equal(results[i], alone[0])
