"""A rectangle of each image erased at random."""

import functools
import math

from kzoo.backend import compiled, keras, tf
from kzoo.errors import InvalidArgument
from kzoo.layers.arguments import is_number, is_pair
from kzoo.layers.image_augmentation import ImageAugmentation, uniform

# Rectangles drawn for an image until one fits, as in torchvision, each by an area and a shape.
_ATTEMPTS = 10
# Whether; the rectangles; where.
_DRAWS = 1 + 2 * _ATTEMPTS + 2


@keras.saving.register_keras_serializable(package="kzoo")
class RandomErasing(ImageAugmentation):
    """Erase a rectangle of an image, now and then (Zhong et al., 2020).

    Area and shape of the rectangle are drawn until it fits into the image, at most 10 times, as torchvision does; then
    its place. Noise is a pure function of the image's seed, as all that is drawn.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float, 0 to 255; shape and
    dtype stay. Runs on the TensorFlow backend.

    Args:
        probability: How often an image is erased, 0 to 1.
        scale: The smallest and the largest share of the image that is erased.
        ratio: The lowest and the highest height of the rectangle by its width; its logarithm is drawn evenly.
        fill_value: What erased pixels become, or None for noise: each channel of each pixel any of 0 to 255.
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument is out of range.

    >>> import numpy as np
    >>> layer = RandomErasing(probability=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), fill_value=0)
    >>> erased = layer(np.ones((1, 8, 8, 1), "uint8"), seeds=np.array([[3, 7]], "int32"))
    >>> int(np.sum(erased))  # all but 4 x 4 pixels
    48
    """

    def __init__(self, probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), fill_value=None, **kwargs):
        """Keep the arguments."""
        super().__init__(**kwargs)
        if not is_number(probability) or not 0.0 <= probability <= 1.0:
            raise InvalidArgument(f"probability must be a number, 0 to 1. Received: {probability!r}.")
        for name, pair, highest in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if not is_pair(pair) or not 0.0 < pair[0] <= pair[1] <= highest or math.isinf(pair[1]):
                valid = "above 0, at most 1" if name == "scale" else "above 0"
                raise InvalidArgument(f"{name} must be two numbers, low and high, {valid}. Received: {pair!r}.")
        if fill_value is not None and not (is_number(fill_value) and 0 <= fill_value <= 255):
            raise InvalidArgument(f"fill_value must be a number, 0 to 255, or None. Received: {fill_value!r}.")
        self.probability = probability
        self.scale = scale
        self.ratio = ratio
        self.fill_value = fill_value

    def augment(self, images, seeds):
        """Erase a rectangle of some of the images."""
        return tf.ensure_shape(_eraser(self.fill_value)(images, seeds, *self._boxes(images, seeds)), images.shape)

    def _boxes(self, images, seeds):
        """Top, left, height and width of what is erased of each image, (batch,) int32; of size 0 where nothing is."""
        height, width = (tf.cast(tf.shape(images)[i], tf.float32) for i in (1, 2))
        draws = uniform(seeds, _DRAWS)
        area = height * width * _between(draws[:, 1 : 1 + _ATTEMPTS], *self.scale)
        # In float64: a vectorized float32 exponential differs in its last bit by where in the batch an image stands.
        shape = _between(draws[:, 1 + _ATTEMPTS : -2], math.log(self.ratio[0]), math.log(self.ratio[1]))
        shape = tf.cast(tf.exp(tf.cast(shape, tf.float64)), tf.float32)
        heights, widths = tf.round(tf.sqrt(area * shape)), tf.round(tf.sqrt(area / shape))
        fits = (heights < height) & (widths < width)
        first = tf.argmax(tf.cast(fits, tf.int32), axis=1)
        erased = tf.reduce_any(fits, axis=1) & (draws[:, 0] < self.probability)
        box_height, box_width = (
            tf.where(erased, tf.gather(sizes, first, axis=1, batch_dims=1), 0.0) for sizes in (heights, widths)
        )
        top = tf.floor(draws[:, -2] * (height - box_height + 1.0))
        left = tf.floor(draws[:, -1] * (width - box_width + 1.0))
        return tuple(tf.cast(x, tf.int32) for x in (top, left, box_height, box_width))

    def get_config(self):
        """The arguments."""
        names = ("probability", "scale", "ratio", "fill_value")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


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
            filling = tf.cast(tf.floor(tf.reshape(noise, tf.shape(images)) * 256.0), images.dtype)
        else:
            filling = tf.cast(fill_value, images.dtype)
        return tf.where(inside, filling, images)

    return compiled(erase, jit_compile=True)


def _between(draws, low, high):
    return low + draws * (high - low)
