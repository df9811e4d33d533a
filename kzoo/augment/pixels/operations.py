"""The operations that TrivialAugment and RandAugment choose from, each on one image, as Pillow defines them.

Images are float32 (height, width, channels), 0 to 255. Pillow truncates results to whole grey levels: `transform` does
that for uint8 images, and for floats leaves it out. What an image is blended with is in whole levels for both.
"""

import functools

from kzoo.augment.pixels.affine import resample
from kzoo.backend import compiled, tf

# Of red, green and blue in grey, in 65536ths (ITU-R 601-2), as Pillow has it. Sums over bytes are exact in float32.
_LUMA = (19595.0, 38470.0, 7471.0)


def brightness(image, change):
    """Scale by 1 + `change`."""
    return image * (1.0 + change)


def color(image, change):
    """Scale the distance from the image in grey by 1 + `change`; an image without colours stays."""
    return _blend(_grey(image), image, change)


def contrast(image, change):
    """Scale the distance from the mean grey by 1 + `change`."""
    grey = tf.cast(_grey(image), tf.int64)
    mean = tf.reduce_sum(grey) / tf.size(grey, tf.int64)  # a sum of integers, in whatever order, is exact
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), image, change)


def sharpness(image, change):
    """Scale the distance from the smoothed image by 1 + `change`; pixels at the edges stay."""
    return _blend(_smooth(image), image, change)


def posterize(image, bits):
    """Keep the `bits` highest of 8 bits."""
    step = tf.cast(tf.bitwise.left_shift(1, 8 - tf.cast(bits, tf.int32)), tf.float32)
    return tf.floor(image / step) * step


def solarize(image, threshold):
    """Invert what is not below `threshold`."""
    return tf.where(image < threshold, image, 255.0 - image)


def auto_contrast(image, _=None):
    """Stretch each channel to 0 to 255; one that has a single value stays."""
    image = tf.cast(image, tf.float64)  # as Pillow's arithmetic: truncation shows the last bit
    low, high = tf.reduce_min(image, (0, 1)), tf.reduce_max(image, (0, 1))
    scale = tf.where(high > low, 255.0 / (high - low), 1.0)
    offset = tf.where(high > low, -low * scale, 0.0)
    return _sum(image * scale, offset)


def equalize(image, _=None):
    """Map the grey levels of each channel so that all are about as frequent. Floats are rounded to levels first."""
    channels = image.shape[-1]
    levels = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.int32)
    cells = levels * channels + tf.range(channels)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(cells), cells, 256 * channels)
    counts = tf.reshape(counts, (256, channels))
    highest = tf.reduce_sum(tf.cast(levels == tf.reduce_max(levels, (0, 1)), tf.int32), (0, 1))
    step = (tf.reduce_sum(counts, 0) - highest) // 255
    spread = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(spread, 255), tf.range(256)[:, tf.newaxis])
    return tf.gather(tf.reshape(tf.cast(table, tf.float32), (-1,)), cells)


# What `transform` can do to the pixels of an image where they are, in the order of its `kinds` from 2 on.
PIXELWISE = (brightness, color, contrast, sharpness, posterize, solarize, auto_contrast, equalize)


@functools.cache
def transform(channels, dtype, fill_mode="constant", fill_value=0.0, interpolation="nearest"):
    """Make the function that does one operation to each image of a batch, and computes no other.

    It takes images (batch, height, width, channels) of that dtype, uint8 or float, kinds (batch,) int32, magnitudes
    (batch,) float32 and matrices (batch, 6) float32; it returns images of the same shape and dtype. Kind 0 changes
    nothing, 1 resamples along the matrix, the others are those of `PIXELWISE`.
    """

    def one(row):
        image, kind, magnitude, matrix = row
        moved = functools.partial(resample, image[tf.newaxis], matrix[tf.newaxis], fill_mode, fill_value, interpolation)
        branches = [lambda: image, lambda: moved()[0]]
        branches += [functools.partial(_in_place, operation, image, magnitude) for operation in PIXELWISE]
        return tf.switch_case(kind, branches)

    def each(images, kinds, magnitudes, matrices):
        signature = tf.TensorSpec((None, None, channels), dtype)
        return tf.map_fn(one, (images, kinds, magnitudes, matrices), fn_output_signature=signature)

    # One trace for all sizes; XLA compiles it anew for each shape.
    batch = tf.TensorSpec((None, None, None, channels), dtype), tf.TensorSpec((None,), tf.int32)
    draws = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None, 6), tf.float32)
    return compiled(each, input_signature=[*batch, *draws], jit_compile=True)


def _in_place(operation, image, magnitude):
    # To an integer type, a cast truncates.
    return tf.cast(tf.clip_by_value(operation(tf.cast(image, tf.float32), magnitude), 0.0, 255.0), image.dtype)


def _blend(degenerate, image, change):
    return _sum((1.0 + change) * (image - degenerate), degenerate)


def _sum(product, term):
    # The maximum, of no effect, keeps XLA from fusing the two, which would round once where Pillow rounds twice.
    return tf.maximum(product, -1e6) + term


def _grey(image):
    if image.shape[-1] != 3:
        return tf.floor(image)
    return tf.floor((tf.reduce_sum(image * _LUMA, -1, keepdims=True) + 32768.0) / 65536.0)


def _smooth(image):
    """Pillow's SMOOTH: each pixel counts 5 times, its 8 neighbours once."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]])
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    y, x = tf.range(height)[:, tf.newaxis, tf.newaxis], tf.range(width)[:, tf.newaxis]
    inside = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
    return tf.where(inside, tf.floor((total + 4.0 * image) / 13.0 + 0.5), image)
