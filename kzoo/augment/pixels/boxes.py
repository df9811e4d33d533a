"""A box of each image resized to one size, each image its own box, with antialiasing; compiled by XLA.

As Pillow and torchvision do it: first cut out, then filtered by a triangle as wide as the box shrinks, the width, then
the height, rounded to bytes after each. For bytes all arithmetic is in integers, so that an image's result is the same
to the bit wherever it stands in a batch.
"""

import math

from kzoo.augment.pixels.affine import blend_words, pixels, planes, xla
from kzoo.backend import tf

_WEIGHT = 14  # bits of a pixel's weight


def resize_boxes(images, boxes, size, interpolation="bilinear"):
    """Resize a box of each image.

    Args:
        images: (batch, height, width, channels), uint8 or float; the output has the same dtype. Of images whose height
            or width is not known while the pipeline is built each is resized on its own, by TensorFlow, whose bytes
            can differ by one.
        boxes: (batch, 4) int32: top, left, height, width, inside the image.
        size: (height, width) of the output.
        interpolation: "bilinear" or "nearest".
    """
    batch, *extent, channels = images.shape
    if None in extent:
        outputs = tf.map_fn(
            lambda pair: _resize_one(pair[0], pair[1], size, interpolation),
            (images, boxes),
            fn_output_signature=images.dtype,
        )
        return tf.ensure_shape(outputs, [batch, *size, channels])
    found = xla(planes)(images, None)
    for axis in (1, 0):
        taps = 1 if interpolation == "nearest" else math.ceil(2 * max(1.0, extent[axis] / size[axis]))
        index, weights = _taps(boxes[:, axis], boxes[:, 2 + axis], size[axis], taps)
        found = xla(_look_up)(found, index, axis)
        found = xla(_weigh)(found, weights, axis, channels)
    return tf.ensure_shape(xla(pixels)(found, channels, images.dtype), [batch, *size, channels])


def _resize_one(image, box, size, interpolation):
    top, left, height, width = tf.unstack(box)
    part = image[top : top + height, left : left + width]
    resized = tf.image.resize(part, size, interpolation, antialias=True)
    return tf.cast(tf.round(resized) if image.dtype.is_integer else resized, image.dtype)


def _taps(start, length, count, taps):
    """Of each of `count` output pixels the `taps` input pixels that it is made of, and their weights.

    Returns int32 (batch, count, taps): indices, and weights whose sum is exactly 2 ** 14.
    """
    start, length = start[:, tf.newaxis, tf.newaxis], length[:, tf.newaxis, tf.newaxis]
    scale = tf.cast(length, tf.float64) / count
    centre = (tf.cast(tf.range(count), tf.float64) + 0.5)[:, tf.newaxis] * scale
    reach = tf.maximum(scale, 1.0)
    if taps == 1:  # the pixel that holds the centre, in integers: it often lies on the edge of two
        first = (2 * tf.range(count)[:, tf.newaxis] + 1) * length // (2 * count)
    else:
        first = tf.cast(tf.floor(centre - reach + 0.5), tf.int32)
    place = first + tf.range(taps)
    distance = tf.abs(tf.cast(place, tf.float64) + 0.5 - centre) / reach
    weights = tf.where((place >= 0) & (place < length), tf.maximum(1.0 - distance, 0.0), 0.0)
    shares = tf.cumsum(weights, axis=-1) / tf.reduce_sum(weights, axis=-1, keepdims=True)
    steps = tf.cast(tf.round(shares * (1 << _WEIGHT)), tf.int32)
    weights = steps - tf.pad(steps[..., :-1], [[0, 0], [0, 0], [1, 0]])
    return start + tf.clip_by_value(place, 0, length - 1), weights


def _look_up(planes, index, axis):
    """Of each plane (batch, height, width) its rows (axis 0) or columns (axis 1), once for each tap."""
    batch, height, width = tf.unstack(tf.shape(planes[0]))
    start = tf.range(batch)[:, tf.newaxis, tf.newaxis] * height

    def look_up(plane, taps):
        if axis == 0:
            places = (start + taps[:, :, tf.newaxis]) * width + tf.range(width)
        else:
            places = (start + tf.range(height)[:, tf.newaxis]) * width + taps[:, tf.newaxis]
        return tf.gather(tf.reshape(plane, [-1]), places)

    return [[look_up(plane, taps) for taps in tf.unstack(index, axis=-1)] for plane in planes]


def _weigh(found, weights, axis, channels):
    """The weighted sum of each plane's taps."""
    shares = [w[:, :, tf.newaxis] if axis == 0 else w[:, tf.newaxis] for w in tf.unstack(weights, axis=-1)]
    if found[0][0].dtype == tf.float32:
        shares = [tf.cast(w, tf.float32) / (1 << _WEIGHT) for w in shares]
        return [sum(t * w for t, w in zip(taps, shares, strict=True)) for taps in found]
    half = 1 << (_WEIGHT - 1)
    return blend_words(
        found[0],
        channels,
        lambda taps: tf.bitwise.right_shift(sum(t * w for t, w in zip(taps, shares, strict=True)) + half, _WEIGHT),
    )
