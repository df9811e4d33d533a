"""What TrivialAugment and RandAugment share: their operations and how a choice of one becomes pixels."""

import math

import numpy as np

from kzoo.arguments import number
from kzoo.augment.arguments import FILL_MODES, INTERPOLATIONS, channels_of, one_of
from kzoo.augment.image_augmentation import ImageAugmentation
from kzoo.augment.pixels.affine import check_size
from kzoo.augment.pixels.operations import transform
from kzoo.backend import tf

BINS = 31

# Pixels of a side: twice as far from its corner coordinates are cut off where the size is unknown.
_LARGEST = 8192

OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)

# Of each operation, what `transform` calls it: all that move pixels are one resampling.
_KINDS = np.array([0, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9], "int32")
_SIGNED = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0], bool)


def magnitudes(shear: float, rotation: float, enhancement: float, posterization: int) -> np.ndarray:
    """Each operation's magnitude at each of 31 steps: float32 (14, 31), of translations the step itself.

    Args:
        shear: The largest slant: columns a row, or rows a column.
        rotation: The largest angle, in degrees.
        enhancement: The largest change of brightness, colour, contrast and sharpness.
        posterization: How many of the 8 bits are lost at most.
    """
    steps = np.arange(BINS)
    share = steps / (BINS - 1)
    enhance = enhancement * share
    rows = dict.fromkeys(OPERATIONS, 0.0 * share)
    rows |= {"ShearX": shear * share, "ShearY": shear * share, "TranslateX": steps, "TranslateY": steps}
    rows |= {"Rotate": rotation * share, "Brightness": enhance, "Color": enhance, "Contrast": enhance}
    rows |= {"Sharpness": enhance, "Posterize": 8 - np.round(posterization * share), "Solarize": 255.0 * (1.0 - share)}
    return np.stack([rows[name] for name in OPERATIONS]).astype("float32")


class RandomOperation(ImageAugmentation):
    """A layer that does operations, chosen at random, to each image.

    Args:
        interpolation: Of shears, translations and rotations: "nearest" or "bilinear".
        fill_mode: What lies outside the image: "constant", "nearest", "reflect" or "wrap".
        fill_value: Of the pixels outside, for "constant".
        seed: Seed of the draws for a call without `seeds`.
    """

    # float32 (14, 31): the magnitudes of its `OPERATIONS`.
    space: np.ndarray

    config = ("interpolation", "fill_mode", "fill_value")

    def __init__(self, interpolation="nearest", fill_mode="constant", fill_value=0.0, **kwargs):
        super().__init__(**kwargs)
        self.interpolation = one_of("interpolation", interpolation, INTERPOLATIONS)
        self.fill_mode = one_of("fill_mode", fill_mode, FILL_MODES)
        self.fill_value = number("fill_value", fill_value, 0, 255)

    def choices(self, seeds):
        """What to do to each image, one after the other: (operation, step, whether negative), each (batch,)."""
        raise NotImplementedError

    def translation(self, steps, size):
        """How many pixels `steps` of 30 are, int32, along an axis of `size` pixels."""
        raise NotImplementedError

    def augment(self, images, seeds):
        """Do to each image the operations of its choice."""
        check_size(images, _LARGEST)  # here, since the compiled function sees images of any size
        for choice in self.choices(seeds):
            images = self.operate(images, *choice)
        return images

    def operate(self, images, operations, steps, negative):
        """Do to each image one operation: indices into `OPERATIONS`, steps of magnitude and signs, each (batch,)."""
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        magnitude = tf.gather_nd(self.space, tf.stack([operations, steps], -1))
        right, down = (tf.cast(self.translation(steps, size), tf.float32) for size in (width, height))
        magnitude = tf.where(operations == OPERATIONS.index("TranslateX"), right, magnitude)
        magnitude = tf.where(operations == OPERATIONS.index("TranslateY"), down, magnitude)
        magnitude = tf.where(negative & tf.gather(_SIGNED, operations), -magnitude, magnitude)
        matrices = _matrices(operations, magnitude, tf.cast(height, tf.float32), tf.cast(width, tf.float32))
        operate = transform(channels_of(images), images.dtype, self.fill_mode, self.fill_value, self.interpolation)
        changed = operate(images, tf.gather(_KINDS, operations), magnitude, matrices)
        return tf.ensure_shape(changed, images.shape)


def _matrices(operations, magnitude, height, width):
    """(batch, 6): where each output pixel comes from; of operations that move none it means nothing.

    Shears leave the corner of the first pixel where it is, as Pillow's `(1, shear, 0, 0, 1, 0)` does; rotations are
    counter-clockwise about the centre of the image.
    """
    shear_x, shear_y, right, down, degrees = (
        tf.where(operations == OPERATIONS.index(name), magnitude, 0.0)
        for name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    )
    # In float64: a vectorized float32 cosine differs in its last bit by where in the batch an image stands.
    angle = tf.cast(degrees, tf.float64) * (math.pi / 180.0)
    cos, sin = (tf.cast(f(angle), tf.float32) for f in (tf.cos, tf.sin))
    x0, y0 = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    c = x0 - cos * x0 + sin * y0 + 0.5 * shear_x - right
    f = y0 - sin * x0 - cos * y0 + 0.5 * shear_y - down
    return tf.stack([cos, shear_x - sin, c, shear_y + sin, cos, f], -1)
