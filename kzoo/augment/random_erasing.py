"""A rectangle of each image erased at random."""

import functools
import math

from kzoo.arguments import number
from kzoo.augment.arguments import filling, number_or_pair, pair
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.backend import compiled, keras, tf

# Rectangles drawn for an image until one fits, as in torchvision, each by an area and a shape.
_ATTEMPTS = 10
# Whether; the rectangles; where.
_DRAWS = 1 + 2 * _ATTEMPTS + 2


@keras.saving.register_keras_serializable(package="kzoo")
class RandomErasing(ImageAugmentation):
    """Erase a rectangle of an image, now and then (Zhong et al., 2020).

    Area and shape of the rectangle are drawn until it fits into the image, at most 10 times, as torchvision does; then
    its place. Noise is a pure function of the image's seed, as all that is drawn.

    `keras.layers.RandomErasing` has the same `factor`. From its `scale` it draws two areas, one whose root is the
    height's share and one whose root is the width's; here it is the one area, and the shape has a `ratio`. Its noise is
    normal and clipped, so that half of it is 0, and its `fill_value` can be one for each channel.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float, 0 to 255; shape and
    dtype stay. Runs on the TensorFlow backend.

    Args:
        factor: A number or (low, high), 0 to 1: the probability with which an image is erased is drawn from this range,
            and a number stands for the range from 0 to it. So 1 erases every second image, and (1, 1) all.
        scale: A number or (low, high), 0 to 1, shares of the image's area; a number stands for the range from 0 to it.
        ratio: (low, high), above 0, of the rectangle's height to its width; its logarithm is drawn evenly.
        fill_value: What erased pixels become, 0 to 255 (rounded for uint8), or None for noise: each channel of each
            pixel any of 0 to 255.
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument is out of range.

    >>> import numpy as np
    >>> layer = RandomErasing(factor=(1.0, 1.0), scale=(0.25, 0.25), ratio=(1.0, 1.0), fill_value=0)
    >>> erased = layer(np.ones((1, 8, 8, 1), "uint8"), seeds=np.array([[3, 7]], "int32"))
    >>> int(np.sum(erased))  # all but 4 x 4 pixels
    48
    """

    config = ("factor", "scale", "ratio", "fill_value")

    def __init__(self, factor=1.0, scale=(0.02, 0.33), ratio=(0.3, 3.3), fill_value=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = number_or_pair("factor", factor, 0, 1)
        self.scale = number_or_pair("scale", scale, 0, 1)
        self.ratio = pair("ratio", ratio, 0, above=True)
        self.fill_value = None if fill_value is None else number("fill_value", fill_value, 0, 255)

    def augment(self, images, seeds):
        """Erase a rectangle of some of the images."""
        return tf.ensure_shape(_eraser(self.fill_value)(images, seeds, *self._boxes(images, seeds)), images.shape)

    def _boxes(self, images, seeds):
        """Top, left, height and width of what is erased of each image, (batch,) int32; of size 0 where nothing is."""
        height, width = (tf.cast(tf.shape(images)[i], tf.float32) for i in (1, 2))
        draws = uniform(seeds, _DRAWS)
        area = height * width * _between(draws[:, 1 : 1 + _ATTEMPTS], *_range(self.scale))
        # In float64: a vectorized float32 exponential differs in its last bit by where in the batch an image stands.
        shape = _between(draws[:, 1 + _ATTEMPTS : -2], math.log(self.ratio[0]), math.log(self.ratio[1]))
        shape = tf.cast(tf.exp(tf.cast(shape, tf.float64)), tf.float32)
        heights, widths = tf.round(tf.sqrt(area * shape)), tf.round(tf.sqrt(area / shape))
        fits = (heights < height) & (widths < width)
        first = tf.argmax(tf.cast(fits, tf.int32), axis=1)
        # A number below one that is itself drawn evenly from a range: as often as below the middle of the range.
        erased = tf.reduce_any(fits, axis=1) & (draws[:, 0] < sum(_range(self.factor)) / 2)
        box_height, box_width = (
            tf.where(erased, tf.gather(sizes, first, axis=1, batch_dims=1), 0.0) for sizes in (heights, widths)
        )
        top = tf.floor(draws[:, -2] * (height - box_height + 1.0))
        left = tf.floor(draws[:, -1] * (width - box_width + 1.0))
        return tuple(tf.cast(x, tf.int32) for x in (top, left, box_height, box_width))


@functools.cache
def _eraser(fill_value):
    """Make the function of images, seeds and boxes."""

    def erase(images, seeds, *box):
        top, left, box_height, box_width = (x[:, tf.newaxis] for x in box)
        y, x = tf.range(tf.shape(images)[1]), tf.range(tf.shape(images)[2])
        rows, columns = (y >= top) & (y < top + box_height), (x >= left) & (x < left + box_width)
        inside = rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]
        if fill_value is None:
            # Positions of the seed's stream that follow those of the box.
            noise = uniform(seeds, _DRAWS + tf.reduce_prod(tf.shape(images)[1:]))[:, _DRAWS:]
            value = tf.cast(tf.floor(tf.reshape(noise, tf.shape(images)) * 256.0), images.dtype)
        else:
            value = tf.cast(filling(fill_value, images.dtype), images.dtype)
        return tf.where(inside, value, images)

    return compiled(erase, jit_compile=True)


def _range(factor):
    """The factor as (low, high)."""
    return factor if isinstance(factor, tuple) else (0.0, factor)


def _between(draws, low, high):
    return low + draws * (high - low)
