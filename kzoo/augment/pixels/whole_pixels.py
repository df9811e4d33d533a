"""Images flipped and cropped, each its own way: pixels that move and do not change."""

from kzoo.augment.arguments import filling
from kzoo.augment.pixels.affine import xla
from kzoo.backend import tf


def flip(images, chosen, axis):
    """Reverse the rows (axis 1) or the columns (axis 2) of the images that are `chosen`, (batch,) bool."""
    return _compiled_for(images, _flip)(images, chosen, axis)


def crop(images, offsets, size, fill_mode="constant", fill_value=0.0):
    """Cut out of each image the (height, width) that begins at its (down, right) of `offsets`, (batch, 2) int32.

    What lies outside the image is filled, as by `resample`. No pixel is changed.
    """
    return _compiled_for(images, _crop)(images, offsets, size, fill_mode, filling(fill_value, images.dtype))


def _flip(images, chosen, axis):
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.reverse(images, [axis]), images)


def _crop(images, offsets, size, fill_mode, fill_value):
    batch, height, width, _ = tf.unstack(tf.shape(images))
    places = [offsets[:, axis, tf.newaxis] + tf.range(size[axis]) for axis in (0, 1)]
    rows, columns = (_continued(p, n, fill_mode) for p, n in zip(places, (height, width), strict=True))
    start = tf.range(batch)[:, tf.newaxis, tf.newaxis] * height
    index = (start + rows[:, :, tf.newaxis]) * width + columns[:, tf.newaxis]
    found = tf.gather(tf.reshape(images, [-1, images.shape[-1]]), index)
    if fill_mode == "constant":
        is_row, is_column = (p == inside for p, inside in zip(places, (rows, columns), strict=True))
        is_pixel = is_row[:, :, tf.newaxis] & is_column[:, tf.newaxis]
        found = tf.where(is_pixel[..., tf.newaxis], found, tf.cast(fill_value, images.dtype))
    return found


def _continued(index, size, fill_mode):
    """The index of the pixel that the continued image has at `index`; for "constant" the nearest."""
    if fill_mode == "reflect":
        index = tf.math.floormod(index, 2 * size)
        index = tf.minimum(index, 2 * size - 1 - index)
    elif fill_mode == "wrap":
        index = tf.math.floormod(index, size)
    return tf.clip_by_value(index, 0, size - 1)


def _compiled_for(images, function):
    """The function, compiled if the images' height and width are known: not anew for each image of a folder."""
    return function if None in images.shape[1:] else xla(function)
