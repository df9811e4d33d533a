"""Images resampled along an affine map, each along its own, compiled by XLA.

TensorFlow's own operation (ImageProjectiveTransformV3) takes 1.3 ms of one core for 224x224x3, and its "wrap" does not
interpolate between the last pixel and the first; this takes 0.3 ms. A pixel's channels are bytes of one word, so that a
neighbour is one look-up, and for bytes all arithmetic is in integers: the result is the same to the bit wherever an
image stands in a batch, compiled or not.

The steps are compiled apart: in one program XLA computes the first anew for each look-up, at four times the cost.
"""

import functools

from kzoo.backend import tf

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")

_FRACTION = 15  # bits of a coordinate's fraction
_ONE = 1 << _FRACTION
_FARTHEST = 1 << 29  # so that the sum of two coordinates fits in 32 bits: 16,384 pixels from the image's corner
_WEIGHT = 11  # bits of a neighbour's weight: a byte times two weights fits in 32 bits
_BYTES = 4  # of a word
_BUCKET = 64  # images of unknown size are compiled for multiples of it


def resample(images, matrices, fill_mode="constant", fill_value=0.0, interpolation="bilinear", size=None):
    """Look up each pixel of the output at `matrix @ (x, y, 1)` of its image.

    Args:
        images: (batch, height, width, channels), uint8 or float; the output has the same dtype.
        matrices: (batch, 6) float: a, b, c, d, e, f of (x, y) -> (a x + b y + c, d x + e y + f), in pixels, the
            centre of the first pixel at (0, 0).
        fill_mode: What lies outside the image: "constant", "nearest", "reflect" or "wrap".
        fill_value: Of the pixels outside, for "constant".
        interpolation: "bilinear" or "nearest".
        size: (height, width) of the output; by default that of the images.
    """
    images = tf.convert_to_tensor(images)
    batch, *static, channels = images.shape
    extent = height, width = static
    target = size or static
    if None in static:
        extent = height, width = tf.unstack(tf.shape(images)[1:3])
        images = tf.pad(images, [[0, 0], [0, -height % _BUCKET], [0, -width % _BUCKET], [0, 0]])
    drawn = size or tf.unstack(tf.shape(images)[1:3])
    points = _compiled(_points)(_lines(matrices, *drawn), extent, fill_mode, interpolation)
    planes = _compiled(_look_up)(
        _compiled(_planes)(images), points, extent, fill_mode, float(fill_value), interpolation
    )
    if interpolation == "bilinear":
        planes = _compiled(_blend)(planes, points, channels)
    outputs = _compiled(_pixels)(planes, channels, images.dtype)
    if size is None:
        outputs = outputs[:, :height, :width]
    return tf.ensure_shape(outputs, [batch, *target, channels])


@functools.cache
def _compiled(function):
    compiled = tf.function(function, jit_compile=True, autograph=False)
    # Each shape of images is traced once, as it should be: TensorFlow takes the fifth for a mistake.
    compiled._omit_frequent_tracing_warning = True
    return compiled


def _lines(matrices, height, width):
    """The four terms of the coordinates, in units of 2 ** -15 pixels: x of each row, x of each column, and so for y.

    Float64 rounded to integers: what is left of a difference in the last bit of a cosine would be a rare accident.
    """
    a, b, c, d, e, f = tf.unstack(tf.cast(matrices, tf.float64)[:, :, tf.newaxis] * _ONE, axis=1)
    rows, columns = (tf.cast(tf.range(n), tf.float64) for n in (height, width))
    terms = (b * rows + c, a * columns, e * rows + f, d * columns)
    return [tf.cast(tf.clip_by_value(tf.round(t), -_FARTHEST, _FARTHEST), tf.int32) for t in terms]


def _planes(images):
    """The images (batch, height, width) as words that hold four bytes each; of others, a float32 plane a channel."""
    channels = tf.unstack(images, axis=-1)
    if images.dtype != tf.uint8 or len(channels) > _BYTES:
        return [tf.cast(channel, tf.float32) for channel in channels]
    return [_word([tf.cast(channel, tf.int32) for channel in channels])]


def _word(values):
    return functools.reduce(tf.bitwise.bitwise_or, [tf.bitwise.left_shift(v, 8 * i) for i, v in enumerate(values)])


def _byte(words, index):
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(words, 8 * index), 255)


def _points(lines, extent, fill_mode, interpolation):
    """(x, y) of each pixel of the output, where the continued image has the same values at most a pixel outside."""
    x_of_row, x_of_column, y_of_row, y_of_column = lines
    x = x_of_row[:, :, tf.newaxis] + x_of_column[:, tf.newaxis]
    y = y_of_row[:, :, tf.newaxis] + y_of_column[:, tf.newaxis]
    if interpolation == "nearest":
        x, y = (tf.bitwise.left_shift(tf.bitwise.right_shift(p + _ONE // 2, _FRACTION), _FRACTION) for p in (x, y))
    height, width = extent
    return _inside(x, width, fill_mode), _inside(y, height, fill_mode)


def _inside(points, size, fill_mode):
    if fill_mode == "reflect":
        turn = tf.math.floormod(points + _ONE // 2, 2 * size * _ONE)
        return tf.minimum(turn, 2 * size * _ONE - turn) - _ONE // 2
    if fill_mode == "wrap":
        return tf.math.floormod(points, size * _ONE)
    if fill_mode == "nearest":
        return tf.clip_by_value(points, 0, (size - 1) * _ONE)
    return tf.clip_by_value(points, -_ONE, size * _ONE)


def _look_up(planes, points, extent, fill_mode, fill_value, interpolation):
    """Of each plane the pixel at each point, or for "bilinear" the four above left, right, below left and right."""
    x, y = points
    count = 1 if interpolation == "nearest" else 2
    rows, columns = (_neighbours(p, n, fill_mode)[:count] for p, n in zip((y, x), extent, strict=True))
    shape = tf.shape(planes[0])
    start = tf.range(shape[0])[:, tf.newaxis, tf.newaxis] * (shape[1] * shape[2])
    fill = fill_value
    if planes[0].dtype == tf.int32:
        fill = int.from_bytes(bytes([round(fill_value)] * _BYTES), "little", signed=True)

    def look_up(plane, row, column):
        found = tf.gather(tf.reshape(plane, [-1]), start + row[0] * shape[2] + column[0])
        return tf.where(row[1] & column[1], found, fill) if fill_mode == "constant" else found

    found = [[look_up(plane, row, column) for row in rows for column in columns] for plane in planes]
    return [one for (one,) in found] if interpolation == "nearest" else found


def _neighbours(points, size, fill_mode):
    """The (index, whether it is inside) of the pixel at or before each point, and of the next."""
    first = tf.bitwise.right_shift(points, _FRACTION)
    second = first + 1
    if fill_mode == "wrap":
        second = tf.where(second < size, second, 0)
    return [(tf.clip_by_value(i, 0, size - 1), (i >= 0) & (i < size)) for i in (first, second)]


def _blend(found, points, channels):
    """The four neighbours by their distance: of words each byte, rounded."""
    x, y = (tf.bitwise.bitwise_and(p, _ONE - 1) for p in points)
    if found[0][0].dtype == tf.float32:
        x, y = (tf.cast(p, tf.float32) / _ONE for p in (x, y))
        return [_between(_between(a, b, x), _between(c, d, x), y) for a, b, c, d in found]
    shift = _FRACTION - _WEIGHT
    x, y = (tf.bitwise.right_shift(p + (1 << shift) // 2, shift) for p in (x, y))
    one, values = 1 << _WEIGHT, []
    for index in range(channels):
        a, b, c, d = (_byte(words, index) for words in found[0])
        above, below = a * one + (b - a) * x, c * one + (d - c) * x
        values.append(tf.bitwise.right_shift(above * one + (below - above) * y + one * one // 2, 2 * _WEIGHT))
    return [_word(values)]


def _between(first, second, share):
    return first + (second - first) * share


def _pixels(planes, channels, dtype):
    """Planes (batch, height, width) as images (batch, height, width, channels)."""
    if planes[0].dtype == tf.int32:
        return tf.bitcast(planes[0], tf.uint8)[..., :channels]
    images = tf.stack(planes, axis=-1)
    return tf.cast(tf.round(images) if dtype.is_integer else images, dtype)
