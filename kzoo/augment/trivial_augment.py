"""TrivialAugment: one operation an image, of a magnitude at random."""

from kzoo.augment.image_augmentation import uniform
from kzoo.augment.random_operation import BINS, OPERATIONS, RandomOperation, magnitudes
from kzoo.backend import keras, tf


@keras.saving.register_keras_serializable(package="kzoo")
class TrivialAugment(RandomOperation):
    """Do to each image one operation, drawn from 14, with a magnitude drawn from 31 (Müller and Hutter, 2021).

    The augmentation space is the paper's "wide" one, as in torchvision's TrivialAugmentWide: identity, shear by up to
    0.99, translation by up to 32 pixels, rotation by up to 135 degrees, brightness, colour, contrast and sharpness by
    0.01 to 1.99, posterization to 2 bits, solarization, auto-contrast and equalization. Each is Pillow's: of uint8
    images to the bit, but for what moves pixels.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float, 0 to 255; shape and
    dtype stay. With other than 3 channels, colour does nothing and contrast takes the mean of all channels. Runs on the
    TensorFlow backend.

    Args:
        interpolation: Of shears, translations and rotations: "nearest", as in the paper, or "bilinear".
        fill_mode: What lies outside the image: "constant", "nearest", "reflect" or "wrap".
        fill_value: Of the pixels outside, 0 to 255, for "constant".
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument is out of range.

    >>> import numpy as np
    >>> layer = TrivialAugment()
    >>> layer(np.zeros((2, 8, 8, 3), "uint8"), seeds=np.array([[0, 1], [0, 2]], "int32")).shape
    TensorShape([2, 8, 8, 3])
    """

    space = magnitudes(shear=0.99, rotation=135.0, enhancement=0.99, posterization=6)

    def translation(self, steps, size):
        """Up to 32 pixels, whatever the size."""
        return steps * 32 // (BINS - 1)

    def choices(self, seeds):
        """One operation, of a step and a sign."""
        draws = uniform(seeds, 3)
        operations, steps = (tf.cast(draws[:, i] * n, tf.int32) for i, n in enumerate((len(OPERATIONS), BINS)))
        return [(operations, steps, draws[:, 2] < 0.5)]
