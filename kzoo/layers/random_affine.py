"""One random affine transformation per image: rotation, shift, zoom, shear and flip in a single resampling."""

import math

from kzoo.backend import keras, tf
from kzoo.layers.image_augmentation import ImageAugmentation, uniform
from kzoo.layers.resampling import resample

_DRAWS = 6  # rotation, shift down, shift right, zoom, shear, flip


@keras.saving.register_keras_serializable(package="kzoo")
class RandomAffine(ImageAugmentation):
    """Rotate, shift, zoom, shear and flip each image at random, with one interpolation for all of it.

    Images: (batch, height, width, channels), uint8 or float; the output has the same shape and dtype. The draws of an
    image are a pure function of its row of `seeds`, so they do not depend on the batch, the thread or the replica. The
    factors follow Keras's random layers. Runs on the TensorFlow backend.

    Args:
        rotation_factor: Angle drawn from plus or minus this share of a full turn.
        translation_factor: Shift drawn, per axis, from plus or minus this share of the height and width.
        zoom_factor: Scale drawn from 1 minus to 1 plus this, the same for both axes.
        shear_factor: Slant drawn from plus or minus this: the top and the bottom edge move apart by this share of the
            height.
        horizontal_flip: Whether to mirror every second image, on average.
        fill_mode: What lies outside the image: "constant" (zero), "nearest", "reflect" or "wrap".
        seed: Seed of the draws for a call without `seeds`.

    >>> import numpy as np
    >>> images = np.arange(16, dtype="uint8").reshape(1, 4, 4, 1)
    >>> unchanged = RandomAffine()(images, seeds=np.array([[3, 7]], "int32"))
    >>> bool(np.array_equal(unchanged, images))
    True
    """

    def __init__(
        self,
        rotation_factor=0.0,
        translation_factor=0.0,
        zoom_factor=0.0,
        shear_factor=0.0,
        horizontal_flip=False,
        fill_mode="constant",
        **kwargs,
    ):
        """Keep the factors."""
        super().__init__(**kwargs)
        self.rotation_factor = rotation_factor
        self.translation_factor = translation_factor
        self.zoom_factor = zoom_factor
        self.shear_factor = shear_factor
        self.horizontal_flip = horizontal_flip
        self.fill_mode = fill_mode

    def augment(self, images, seeds):
        """Transform each image."""
        matrices = self._matrices(uniform(seeds, _DRAWS), images.shape[1], images.shape[2])
        return resample(images, matrices, self.fill_mode)

    def _matrices(self, draws, height, width):
        """(batch, 6): where each output pixel comes from, about the centre of the image."""
        signed = 2.0 * draws - 1.0
        angle = signed[:, 0] * self.rotation_factor * 2.0 * math.pi
        down = signed[:, 1] * self.translation_factor * height
        right = signed[:, 2] * self.translation_factor * width
        scale = 1.0 + signed[:, 3] * self.zoom_factor
        mirror = tf.where(draws[:, 5] < 0.5, -1.0, 1.0) if self.horizontal_flip else tf.ones_like(scale)
        # In float64: a vectorized float32 cosine differs in its last bit by where in the batch an image stands.
        wide = tf.cast(angle, tf.float64)
        cos, sin = (tf.cast(f(wide), tf.float32) * scale for f in (tf.cos, tf.sin))
        x0, y0 = (width - 1) / 2, (height - 1) / 2
        shear = signed[:, 4] * self.shear_factor
        # (x, y) of the output -> mirror * rotation * shear * ((x, y) - centre) + centre + shift of the input
        a, b, c, d = cos * mirror, (cos * shear - sin) * mirror, sin, sin * shear + cos
        return tf.stack([a, b, x0 + right - a * x0 - b * y0, c, d, y0 + down - c * x0 - d * y0], axis=-1)

    def get_config(self):
        """The arguments."""
        names = (
            "rotation_factor",
            "translation_factor",
            "zoom_factor",
            "shear_factor",
            "horizontal_flip",
            "fill_mode",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
