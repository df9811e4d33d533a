"""Brightness, contrast, saturation and hue of each image at random, in one pass over its pixels."""

import functools

from kzoo.augment.arguments import around, channels_of, number_or_pair
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.backend import compiled, keras, tf

# Of red, green and blue in grey (ITU-R 601-2), as Pillow and torchvision have it.
_LUMA = (0.299, 0.587, 0.114)


@keras.saving.register_keras_serializable(package="kzoo")
class RandomColorJitter(ImageAugmentation):
    """Change brightness, contrast, saturation and hue of each image, in this order, by factors of its own.

    The factors are torchvision's. Brightness scales the image, contrast its distance from its mean grey, saturation its
    distance from itself in grey, and hue turns the colours of the HSV cone. All of it is computed in float32; the
    result is clipped to 0 to 255 and, for uint8, rounded, once, at the end.

    `keras.layers.RandomColorJitter` has the same arguments, but adds its brightness, takes contrast by channel, and has
    a saturation that does nothing at 0.5; torchvision's ColorJitter draws the order as well.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float, 0 to 255; shape and
    dtype stay. With other than 3 channels, saturation and hue do nothing, and contrast takes the mean of all channels.
    Runs on the TensorFlow backend.

    Args:
        brightness_factor: A number f, for factors from max(0, 1 - f) to 1 + f, or the lowest and the highest factor.
        contrast_factor: The same.
        saturation_factor: The same; 0 makes an image grey.
        hue_factor: A number f, for turns from -f to f of the whole circle, or the lowest and the highest, -0.5 to 0.5.
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: A factor is out of range.

    >>> import numpy as np
    >>> half = RandomColorJitter(brightness_factor=(0.5, 0.5))
    >>> half(np.full((1, 2, 2, 1), 100, "uint8"), seeds=np.array([[3, 7]], "int32"))[0, 0, 0].numpy().tolist()
    [50]
    """

    config = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")

    def __init__(self, brightness_factor=0.0, contrast_factor=0.0, saturation_factor=0.0, hue_factor=0.0, **kwargs):
        super().__init__(**kwargs)
        self.brightness_factor = number_or_pair("brightness_factor", brightness_factor, 0)
        self.contrast_factor = number_or_pair("contrast_factor", contrast_factor, 0)
        self.saturation_factor = number_or_pair("saturation_factor", saturation_factor, 0)
        self.hue_factor = number_or_pair("hue_factor", hue_factor, -0.5, 0.5)
        scales = (self.brightness_factor, self.contrast_factor, self.saturation_factor)
        self._ranges = [*(around(1.0, factor, lowest=0.0) for factor in scales), around(0.0, self.hue_factor)]

    def augment(self, images, seeds):
        """Change each image by its own factors."""
        channels = channels_of(images)
        draws = uniform(seeds, 4)
        factors = [
            None if low == high == nothing else (low + draws[:, i] * (high - low))[:, tf.newaxis, tf.newaxis]
            for i, ((low, high), nothing) in enumerate(zip(self._ranges, (1.0, 1.0, 1.0, 0.0), strict=True))
        ]
        if channels != 3:
            factors[2:] = None, None
        present = tuple(factor is not None for factor in factors)
        jitter = _jitter(channels, images.dtype, present)
        return tf.ensure_shape(jitter(images, *(factor for factor in factors if factor is not None)), images.shape)


@functools.cache
def _jitter(channels, dtype, present):
    """Make the function of images and those factors that are present: one trace for all sizes."""

    def jitter(images, *factors):
        left = iter(factors)
        return _jittered(images, *(next(left) if here else None for here in present))

    factors = [tf.TensorSpec((None, 1, 1), tf.float32)] * sum(present)
    signature = [tf.TensorSpec((None, None, None, channels), dtype), *factors]
    return compiled(jitter, input_signature=signature, jit_compile=True)


def _jittered(images, brightness, contrast, saturation, hue):
    """Images by factors that are (batch, 1, 1), or None to leave something out."""
    batch, height, width, channels = tf.unstack(tf.shape(images))
    # Channel by channel, which is faster than red, green and blue side by side: each step runs over a whole plane.
    planes = tf.transpose(tf.reshape(images, (batch, height * width, channels)), (0, 2, 1))
    changed = tf.cast(planes, tf.float32)
    if brightness is not None:
        changed *= brightness
    if contrast is not None:
        mean = _mean_grey(planes)
        if brightness is not None:
            mean *= brightness
        changed = mean + contrast * (changed - mean)
    if saturation is not None:
        grey = _grey(changed)
        changed = grey + saturation * (changed - grey)
    if hue is not None:
        changed = _hue_turned(changed, 6.0 * hue)
    changed = tf.clip_by_value(changed, 0.0, 255.0)
    changed = tf.cast(tf.round(changed) if images.dtype.is_integer else changed, images.dtype)
    return tf.reshape(tf.transpose(changed, (0, 2, 1)), tf.shape(images))


def _grey(planes):
    """(batch, channels, n) to (batch, 1, n)."""
    if planes.shape[1] != 3:
        return tf.reduce_mean(planes, 1, keepdims=True)
    red, green, blue = tf.split(planes, 3, 1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _mean_grey(planes):
    """(batch, 1, 1). A sum of integers, in whatever order, is exact; one of float64 all but exact."""
    wide = tf.cast(planes, tf.int64 if planes.dtype.is_integer else tf.float64)
    total = tf.cast(tf.reduce_sum(wide, -1, keepdims=True), tf.float64)
    return _grey(tf.cast(total / tf.cast(tf.shape(planes)[-1], tf.float64), tf.float32))


def _hue_turned(planes, sixths):
    """Planes with their hue turned by so many sixths of the circle: each is a function of hue, high and low."""
    red, green, blue = planes[:, 0], planes[:, 1], planes[:, 2]
    high, low = tf.maximum(red, tf.maximum(green, blue)), tf.minimum(red, tf.minimum(green, blue))
    chroma = high - low
    divisor = tf.where(chroma > 0.0, chroma, 1.0)
    of_green, of_blue = 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor
    hue = tf.where(high == red, (green - blue) / divisor, tf.where(high == green, of_green, of_blue)) + sixths[:, 0]

    def channel(shift):
        position = hue + shift
        position -= 6.0 * tf.floor(position / 6.0)
        return high - chroma * tf.clip_by_value(tf.minimum(position, 4.0 - position), 0.0, 1.0)

    return tf.stack([channel(5.0), channel(3.0), channel(1.0)], 1)
