"""Images resampled along an affine map, each along its own."""

from kzoo.backend import tf


def resample(images, matrices, fill_mode="constant", fill_value=0.0, interpolation="bilinear", size=None):
    """Look up each pixel of the output at `matrix @ (x, y, 1)` of its image.

    Args:
        images: (batch, height, width, channels), uint8 or float; the output has the same dtype.
        matrices: (batch, 6) float32: a, b, c, d, e, f of (x, y) -> (a x + b y + c, d x + e y + f), in pixels, the
            centre of the first pixel at (0, 0).
        fill_mode: What lies outside the image: "constant", "nearest", "reflect" or "wrap".
        fill_value: Of the pixels outside, for "constant".
        interpolation: "bilinear" or "nearest".
        size: (height, width) of the output; by default that of the images.
    """
    height, width = size or (tf.shape(images)[1], tf.shape(images)[2])
    x = tf.cast(tf.range(width), tf.float32)
    y = tf.cast(tf.range(height), tf.float32)[:, tf.newaxis]
    a, b, c, d, e, f = (m[:, tf.newaxis, tf.newaxis] for m in tf.unstack(matrices, axis=1))
    u, v = a * x + b * y + c, d * x + e * y + f

    def pixels(u, v):
        (column, inside_x), (row, inside_y) = _index(u, tf.shape(images)[2]), _index(v, tf.shape(images)[1])
        found = tf.cast(tf.gather_nd(images, tf.stack([row, column], -1), batch_dims=1), tf.float32)
        return tf.where((inside_x & inside_y)[..., tf.newaxis], found, fill_value)

    def _index(position, size):
        position = tf.cast(position, tf.int32)
        inside = (position >= 0) & (position < size) if fill_mode == "constant" else tf.ones_like(position, tf.bool)
        if fill_mode == "reflect":
            position = tf.math.floormod(position, 2 * size)
            position = tf.minimum(position, 2 * size - 1 - position)
        if fill_mode == "wrap":
            position = tf.math.floormod(position, size)
        return tf.clip_by_value(position, 0, size - 1), inside

    if interpolation == "nearest":
        resampled = pixels(tf.floor(u + 0.5), tf.floor(v + 0.5))
    else:
        left, top = tf.floor(u), tf.floor(v)
        right, low = (u - left)[..., tf.newaxis], (v - top)[..., tf.newaxis]
        upper = (1 - right) * pixels(left, top) + right * pixels(left + 1, top)
        lower = (1 - right) * pixels(left, top + 1) + right * pixels(left + 1, top + 1)
        resampled = (1 - low) * upper + low * lower
    if images.dtype.is_integer:
        resampled = tf.round(resampled)
    static = images.shape[1:3] if size is None else size
    return tf.ensure_shape(tf.cast(resampled, images.dtype), [images.shape[0], *static, images.shape[3]])
