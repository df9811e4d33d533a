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
    resampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.pad(matrices, [[0, 0], [0, 2]]),
        output_shape=tf.stack([height, width]),
        fill_value=fill_value,
        interpolation=interpolation.upper(),
        fill_mode=fill_mode.upper(),
    )
    if images.dtype.is_integer:
        resampled = tf.round(resampled)
    static = images.shape[1:3] if size is None else size
    return tf.ensure_shape(tf.cast(resampled, images.dtype), [images.shape[0], *static, images.shape[3]])
