"""One random affine transformation per image: rotation, shift, zoom, shear and flips in a single resampling."""

import math

from kzoo.arguments import number
from kzoo.augment.arguments import FILL_MODES, INTERPOLATIONS, around, number_or_pair, one_of
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.augment.pixels.affine import resample
from kzoo.augment.pixels.whole_pixels import flip
from kzoo.backend import keras, tf

_DRAWS = 8  # rotation, shift down, shift right, zoom, shear, its sign, mirrored, upside down
_LOWEST = {"rotation_factor": -1, "translation_factor": -1, "zoom_factor": -1, "shear_factor": 0}  # as Keras has them


@keras.saving.register_keras_serializable(package="kzoo")
class RandomAffine(ImageAugmentation):
    """Rotate, shift, zoom, shear and flip each image at random, with one interpolation for all of it.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float; the output has the
    same shape and dtype. The factors are those of Keras's RandomRotation, RandomTranslation, RandomZoom and
    RandomShear: a number stands for the range from minus to plus it, and each range is drawn from evenly. An image is
    sheared, then rotated, zoomed, shifted and flipped. Without any factor flipped images are exact to the bit. Runs on
    the TensorFlow backend; it is compiled by XLA, once for each shape of a batch.

    Args:
        rotation_factor: A number or (low, high), shares of a full turn from -1 to 1; positive is counter-clockwise.
        translation_factor: A number or (low, high), shares of the height and the width from -1 to 1, drawn for each of
            the two; positive is down and right.
        zoom_factor: A number or (low, high), above -1 and at most 1, the same for height and width: positive zooms
            out, to an image that is smaller by 1 / (1 + zoom), negative zooms in.
        shear_factor: A number or (low, high), 0 to 1, to either side: the top and the bottom edge move apart by this
            share of the height, about the centre.
        horizontal_flip: Whether to mirror every second image, on average.
        vertical_flip: Whether to turn every second image upside down, on average.
        fill_mode: What lies outside the image: "reflect" (d c b a | a b c d | d c b a), "constant", "nearest" or
            "wrap".
        fill_value: The value outside for "constant".
        interpolation: "bilinear" or "nearest".
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: A factor, fill mode, fill value or interpolation that is none of these.

    >>> import numpy as np
    >>> image = np.array([[[1], [2], [3]]], "uint8")
    >>> turn = RandomAffine(rotation_factor=(0.5, 0.5))
    >>> np.asarray(turn(image, seeds=np.array([3, 7], "int32"))).ravel().tolist()
    [3, 2, 1]
    """

    config = (*_LOWEST, "horizontal_flip", "vertical_flip", "fill_mode", "fill_value", "interpolation")

    def __init__(
        self,
        rotation_factor=0.0,
        translation_factor=0.0,
        zoom_factor=0.0,
        shear_factor=0.0,
        horizontal_flip=False,
        vertical_flip=False,
        fill_mode="reflect",
        fill_value=0.0,
        interpolation="bilinear",
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.rotation_factor = _factor("rotation_factor", rotation_factor)
        self.translation_factor = _factor("translation_factor", translation_factor)
        self.zoom_factor = _factor("zoom_factor", zoom_factor)
        self.shear_factor = _factor("shear_factor", shear_factor)
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.fill_mode = one_of("fill_mode", fill_mode, FILL_MODES)
        self.fill_value = number("fill_value", fill_value, 0, 255)
        self.interpolation = one_of("interpolation", interpolation, INTERPOLATIONS)
        self._ranges = {name: around(0, getattr(self, name)) for name in _LOWEST}

    def augment(self, images, seeds):
        """Transform each image."""
        draws = tf.cast(uniform(seeds, _DRAWS), tf.float64)
        mirrored, upended = draws[:, 6] < 0.5, draws[:, 7] < 0.5
        if any(map(any, self._ranges.values())):
            matrices = self._matrices(draws, mirrored, upended, *tf.unstack(tf.shape(images)[1:3]))
            return resample(images, matrices, self.fill_mode, self.fill_value, self.interpolation)
        for wanted, chosen, axis in ((self.horizontal_flip, mirrored, 2), (self.vertical_flip, upended, 1)):
            if wanted:
                images = flip(images, chosen, axis)
        return images

    def _matrices(self, draws, mirrored, upended, height, width):
        """(batch, 6) float64: where each output pixel comes from, about the centre of the image."""
        height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)

        def drawn(name, draw):
            low, high = self._ranges[name]
            return low + (high - low) * draws[:, draw]

        angle = 2.0 * math.pi * drawn("rotation_factor", 0)
        down = height * drawn("translation_factor", 1)
        right = width * drawn("translation_factor", 2)
        scale = 1.0 + drawn("zoom_factor", 3)
        shear = drawn("shear_factor", 4)
        shear = tf.where(draws[:, 5] < 0.5, -shear, shear)
        across = tf.where(mirrored, -scale, scale) if self.horizontal_flip else scale
        along = tf.where(upended, -scale, scale) if self.vertical_flip else scale
        cos, sin = tf.cos(angle), tf.sin(angle)
        # (x, y) of the output, from the centre and less the shift -> flip * zoom * rotation * shear of it, in the input
        a, b, c, d = across * cos, across * (cos * shear - sin), along * sin, along * (sin * shear + cos)
        x0, y0 = (width - 1) / 2, (height - 1) / 2
        x1, y1 = x0 + right, y0 + down
        return tf.stack([a, b, x0 - a * x1 - b * y1, c, d, y0 - c * x1 - d * y1], axis=-1)


def _factor(name, value):
    return number_or_pair(name, value, _LOWEST[name], 1, above=name == "zoom_factor")
