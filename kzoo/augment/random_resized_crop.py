"""A box of each image, of random size and shape, resized to one size (Szegedy et al., 2015, section 6)."""

import math

from kzoo.arguments import integer, number
from kzoo.augment.arguments import INTERPOLATIONS, one_of, pair
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.augment.pixels.boxes import resize_boxes
from kzoo.backend import keras, tf

_TRIES = 10  # as in torchvision


@keras.saving.register_keras_serializable(package="kzoo")
class RandomResizedCrop(ImageAugmentation):
    """Resize a box drawn for each image to one size; outside of training, a box in its centre.

    Images: (batch, any height, any width, channels) or one image, uint8 or float. Output: (batch, height, width,
    channels), the same dtype. The box is drawn as torchvision does: its share of the image's area evenly from `scale`,
    its width over its height from `ratio`, evenly in the logarithm, its place evenly; after ten boxes that do not fit
    the largest in the centre is taken. It is resized once, antialiased where it shrinks.

    Outside of training it is the largest box of the output's shape in the centre, `crop_fraction` of its sides: with
    the default and an output of 224, resizing the shorter side to 256 and cropping the centre.

    Runs on the TensorFlow backend. Images of unknown height or width are resized one by one, which XLA cannot compile.

    Args:
        height: Of the output.
        width: Of the output.
        scale: (low, high), shares of the image's area, above 0 and at most 1.
        ratio: (low, high), of width to height, above 0.
        interpolation: "bilinear" or "nearest".
        crop_fraction: Of the centre box, outside of training; above 0 and at most 1.
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument that is none of these.

    >>> import numpy as np
    >>> images = np.zeros((2, 30, 20, 3), "uint8")
    >>> RandomResizedCrop(8, 8)(images, seeds=np.array([[1, 2], [3, 4]], "int32")).shape
    TensorShape([2, 8, 8, 3])
    """

    config = ("height", "width", "scale", "ratio", "interpolation", "crop_fraction")

    def __init__(
        self,
        height,
        width,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolation="bilinear",
        crop_fraction=0.875,
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.height = integer("height", height, 1)
        self.width = integer("width", width, 1)
        self.scale = pair("scale", scale, 0, 1, above=True)
        self.ratio = pair("ratio", ratio, 0, above=True)
        self.interpolation = one_of("interpolation", interpolation, INTERPOLATIONS)
        self.crop_fraction = number("crop_fraction", crop_fraction, 0, 1, above=True)

    def augment(self, images, seeds):
        """Resize a box of each image."""
        return self._resize(images, self.boxes(seeds, *tf.unstack(tf.shape(images)[1:3])))

    def infer(self, images):
        """Resize the centre."""
        height, width = (tf.cast(n, tf.float64) for n in tf.unstack(tf.shape(images)[1:3]))
        tall = tf.minimum(height, width * self.height / self.width) * self.crop_fraction
        box = _centred(height, width, tall, tall * self.width / self.height)
        return self._resize(images, tf.tile(tf.cast(box, tf.int32)[tf.newaxis], [tf.shape(images)[0], 1]))

    def boxes(self, seeds, height, width):
        """(batch, 4) int32: top, left, height and width of each image's box in an image of `height` x `width`."""
        height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
        draws = tf.reshape(tf.cast(uniform(seeds, 4 * _TRIES), tf.float64), [-1, _TRIES, 4])
        (smallest, largest), (slim, wide) = self.scale, self.ratio
        area = height * width * (smallest + (largest - smallest) * draws[..., 0])
        ratio = tf.exp(math.log(slim) + (math.log(wide) - math.log(slim)) * draws[..., 1])
        tall, broad = tf.round(tf.sqrt(area / ratio)), tf.round(tf.sqrt(area * ratio))
        fits = (tall > 0) & (tall <= height) & (broad > 0) & (broad <= width)
        top = tf.floor(draws[..., 2] * (height - tall + 1))
        left = tf.floor(draws[..., 3] * (width - broad + 1))
        first = tf.argmax(fits, axis=1)
        drawn = tf.gather(tf.stack([top, left, tall, broad], axis=-1), first, batch_dims=1)
        largest = _centred(height, width, tf.minimum(height, width / slim), tf.minimum(width, height * wide))
        return tf.cast(tf.where(tf.reduce_any(fits, axis=1, keepdims=True), drawn, largest), tf.int32)

    def compute_output_shape(self, input_shape):
        """The input's shape with the output's height and width."""
        return (*input_shape[:-3], self.height, self.width, input_shape[-1])

    def _resize(self, images, boxes):
        return resize_boxes(images, boxes, (self.height, self.width), self.interpolation)


def _centred(height, width, tall, broad):
    """(4,) float64: a box of at least one pixel in the centre, in whole pixels."""
    tall, broad = tf.maximum(tf.round(tall), 1.0), tf.maximum(tf.round(broad), 1.0)
    return tf.stack([(height - tall) // 2, (width - broad) // 2, tall, broad])
