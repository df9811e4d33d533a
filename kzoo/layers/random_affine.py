"""One random affine transformation per image: rotation, shift, zoom, shear and flip in a single resampling."""

import math

from kzoo.backend import keras, tf

_DRAWS = 6  # rotation, shift down, shift right, zoom, shear, flip


@keras.saving.register_keras_serializable(package="kzoo")
class RandomAffine(keras.layers.Layer):
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
        seed=None,
        **kwargs,
    ):
        """Keep the factors."""
        super().__init__(**{"dtype": "float32", **kwargs})
        self.rotation_factor = rotation_factor
        self.translation_factor = translation_factor
        self.zoom_factor = zoom_factor
        self.shear_factor = shear_factor
        self.horizontal_flip = horizontal_flip
        self.fill_mode = fill_mode
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # Pixels keep their dtype: a cast to the compute dtype would turn uint8 into floats.
        self.autocast = False

    def call(self, images, seeds=None, training=True):
        """Transform `images`; `seeds` is (batch, 2) int32, a stateless seed for each."""
        if not training:
            return images
        images = tf.convert_to_tensor(images)
        if seeds is None:
            rows = tf.range(tf.shape(images)[0])
            first, second = tf.unstack(tf.cast(self.seed_generator.next(), tf.int32))
            seeds = tf.stack([rows + first, tf.fill(tf.shape(rows), second)], axis=-1)
        height, width = images.shape[1], images.shape[2]
        matrices = self._matrices(uniform(seeds, _DRAWS), height, width)
        resampled = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(images, tf.float32),
            transforms=matrices,
            output_shape=[height, width],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode=self.fill_mode.upper(),
        )
        if images.dtype.is_integer:
            resampled = tf.round(resampled)
        return tf.ensure_shape(tf.cast(resampled, images.dtype), images.shape)

    def _matrices(self, draws, height, width):
        """(batch, 8): where each output pixel comes from, about the centre of the image."""
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
        zeros = tf.zeros_like(scale)
        shear = signed[:, 4] * self.shear_factor
        # (x, y) of the output -> mirror * rotation * shear * ((x, y) - centre) + centre + shift of the input
        a, b, c, d = cos * mirror, (cos * shear - sin) * mirror, sin, sin * shear + cos
        return tf.stack(
            [a, b, x0 + right - a * x0 - b * y0, c, d, y0 + down - c * x0 - d * y0, zeros, zeros],
            axis=-1,
        )

    def get_config(self):
        """The arguments."""
        names = (
            "rotation_factor",
            "translation_factor",
            "zoom_factor",
            "shear_factor",
            "horizontal_flip",
            "fill_mode",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def uniform(seeds, count):
    """Numbers in [0, 1), each a pure function of a seed and a position: (batch, 2) int32 -> (batch, count) float32.

    TensorFlow's stateless generators take one seed for a whole tensor, so that an image's draws would depend on its
    batch. This hashes each (seed, position) with Wellons's lowbias32 finalizer, in uint32 arithmetic.
    """
    seeds = tf.cast(seeds, tf.uint32)
    state = _hash(tf.bitwise.bitwise_xor(_hash(seeds[:, :1]), seeds[:, 1:]))
    positions = tf.cast(tf.range(1, count + 1), tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)
    bits = _hash(_hash(state + positions[tf.newaxis]))
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def _hash(x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
