"""RandAugment: several operations an image, all of one magnitude."""

from kzoo.arguments import integer
from kzoo.augment.image_augmentation import uniform
from kzoo.augment.random_operation import BINS, OPERATIONS, RandomOperation, magnitudes
from kzoo.backend import keras, tf


@keras.saving.register_keras_serializable(package="kzoo")
class RandAugment(RandomOperation):
    """Do to each image `num_ops` operations, each drawn from 14, of one magnitude (Cubuk et al., 2020).

    The operations and magnitudes are those of torchvision's RandAugment: identity, shear by up to 0.3, translation by
    up to 150/331 of the size, rotation by up to 30 degrees, brightness, colour, contrast and sharpness by 0.1 to 1.9,
    posterization to 4 bits, solarization, auto-contrast and equalization. Each is Pillow's: of uint8 images to the bit,
    but for what moves pixels.

    `keras.layers.RandAugment` is another thing: it draws the operations once for a whole batch, computes all of them to
    keep one, has no identity, takes the magnitude as a share (`factor`), draws each one's anew below it, shears and
    translates along both axes at once, and turns images by up to that share of a full turn.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float, 0 to 255; shape and
    dtype stay. With other than 3 channels, colour does nothing and contrast takes the mean of all channels. Runs on the
    TensorFlow backend.

    Args:
        num_ops: How many operations an image gets, one after the other; the same can come twice.
        magnitude: Of all operations, 0 to 30.
        interpolation: Of shears, translations and rotations: "nearest", as in the paper, or "bilinear".
        fill_mode: What lies outside the image: "constant", "nearest", "reflect" or "wrap".
        fill_value: Of the pixels outside, 0 to 255, for "constant".
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument is out of range.

    >>> import numpy as np
    >>> layer = RandAugment(num_ops=1, magnitude=5)
    >>> layer(np.zeros((2, 8, 8, 3), "uint8"), seeds=np.array([[0, 1], [0, 2]], "int32")).shape
    TensorShape([2, 8, 8, 3])
    """

    space = magnitudes(shear=0.3, rotation=30.0, enhancement=0.9, posterization=4)

    config = (*RandomOperation.config, "num_ops", "magnitude")

    def __init__(self, num_ops=2, magnitude=9, **kwargs):
        super().__init__(**kwargs)
        self.num_ops = integer("num_ops", num_ops, 1, 100)
        self.magnitude = integer("magnitude", magnitude, 0, BINS - 1)

    def translation(self, steps, size):
        """Up to 150/331 of the size, in whole pixels."""
        return steps * 150 * size // (331 * (BINS - 1))

    def choices(self, seeds):
        """`num_ops` operations, of one step, and their signs."""
        draws = uniform(seeds, 2 * self.num_ops)
        operations = tf.cast(draws[:, : self.num_ops] * len(OPERATIONS), tf.int32)
        steps = tf.fill(tf.shape(seeds)[:1], self.magnitude)
        return [(operations[:, i], steps, draws[:, self.num_ops + i] < 0.5) for i in range(self.num_ops)]
