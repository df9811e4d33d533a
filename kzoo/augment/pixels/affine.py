"""Images resampled along an affine map, each along its own, compiled by XLA.

TensorFlow's own operation (ImageProjectiveTransformV3) is slower, and its "wrap" does not interpolate between the last
pixel and the first. A pixel's channels are bytes of one word, so that a neighbour is one look-up, and for bytes all
arithmetic is in integers: the result is the same to the bit wherever an image stands in a batch, compiled or not.

The steps are compiled apart: in one program XLA computes the first anew for each look-up.
"""

import functools

from kzoo.augment.arguments import filling
from kzoo.backend import tf
from kzoo.errors import InvalidArgument

_FRACTION = 15  # bits of a coordinate's fraction
_ONE = 1 << _FRACTION
_FARTHEST = 1 << 29  # so that the sum of two coordinates fits in 32 bits
_LARGEST = _FARTHEST >> _FRACTION  # pixels of a side: 16,384
_NARROW = 2048  # pixels of a side, up to which no term of a coordinate is farther than that
_WEIGHT = 11  # bits of a neighbour's weight: a byte times two weights fits in 32 bits
_BYTES = 4  # of a word
_BUCKET = 64  # images of unknown size are compiled for multiples of it


def resample(images, matrices, fill_mode="constant", fill_value=0.0, interpolation="bilinear"):
    """Look up each pixel of the output at `matrix @ (x, y, 1)` of its image.

    Args:
        images: (batch, height, width, channels), uint8 or float; the output has the same dtype.
        matrices: (batch, 6) float: a, b, c, d, e, f of (x, y) -> (a x + b y + c, d x + e y + f), in pixels, the
            centre of the first pixel at (0, 0).
        fill_mode: What lies outside the image: "constant", "nearest", "reflect" or "wrap".
        fill_value: Of the pixels outside, for "constant".
        interpolation: "bilinear" or "nearest".

    Raises:
        InvalidArgument: The images are known to be higher or wider than 16,384 pixels.
    """
    images = tf.convert_to_tensor(images)
    check_size(images)
    batch, *static, channels = images.shape
    border, extent, drawn = (fill_mode, filling(fill_value, images.dtype)), static, static
    if None in static:
        extent = tf.unstack(tf.shape(images)[1:3])
        images = _bordered(images, *border)
        height, width = tf.unstack(tf.shape(images)[1:3])
        images = tf.pad(images, [[0, 0], [0, -height % _BUCKET], [0, -width % _BUCKET], [0, 0]])
        border, drawn = None, tf.unstack(tf.shape(images)[1:3])
    words = xla(planes)(images, border)
    lines = _lines(matrices, *drawn, is_wide=None not in static and max(static) > _NARROW)
    places, shares = xla(_places)(lines, tf.shape(words[0]), extent, fill_mode, interpolation)
    words = xla(_look_up)(words, places, interpolation)
    if interpolation == "bilinear":
        words = xla(_blend)(words, shares, channels)
    outputs = xla(pixels)(words, channels, images.dtype)
    if drawn is not static:
        outputs = outputs[:, : extent[0], : extent[1]]
    return tf.ensure_shape(outputs, [batch, *static, channels])


def check_size(images, largest=_LARGEST) -> None:
    """Raise InvalidArgument where images (batch, height, width, channels) are known to be too large to resample."""
    _, height, width, _ = images.shape
    if max(height or 0, width or 0) > largest:
        raise InvalidArgument(
            f"Images must be at most {largest} pixels high and wide. Received: height {height}, width {width}. "
            "Resize them first."
        )


@functools.cache
def xla(function):
    """The function, compiled by XLA: once for each shape of its tensors, and for each value of its other arguments."""
    graph = tf.function(function, jit_compile=True, autograph=False)
    # Each shape is traced once, as it should be: TensorFlow takes the fifth for a mistake.
    graph._omit_frequent_tracing_warning = True
    return graph


def _lines(matrices, height, width, is_wide):
    """The four terms of the coordinates, in units of 2 ** -15 pixels: x of each row, x of each column, and so for y.

    Float64 rounded to integers: what is left of a difference in the last bit of a cosine would be a rare accident. They
    are int32, and int64 if the images are wide: of those a term can lie far outside, where the sum of two does not.
    """
    a, b, c, d, e, f = tf.unstack(tf.cast(matrices, tf.float64)[:, :, tf.newaxis] * _ONE, axis=1)
    rows, columns = (tf.cast(tf.range(n), tf.float64) for n in (height, width))
    terms = (b * rows + c, a * columns, e * rows + f, d * columns)
    if is_wide:
        return [tf.cast(tf.round(t), tf.int64) for t in terms]
    return [tf.cast(tf.clip_by_value(tf.round(t), -_FARTHEST, _FARTHEST), tf.int32) for t in terms]


def planes(images, border):
    """The images (batch, height, width) as words that hold four bytes each; of others, a float32 plane a channel."""
    if border is not None:
        images = _bordered(images, *border)
    channels = tf.unstack(images, axis=-1)
    if images.dtype != tf.uint8 or len(channels) > _BYTES:
        return [tf.cast(channel, tf.float32) for channel in channels]
    return [_word([tf.cast(channel, tf.int32) for channel in channels])]


def _bordered(images, fill_mode, fill_value):
    """The images with one more pixel on each side."""
    for axis in (1, 2):
        first, last = (images[:, :1], images[:, -1:]) if axis == 1 else (images[:, :, :1], images[:, :, -1:])
        if fill_mode == "wrap":
            first, last = last, first
        elif fill_mode == "constant":
            first = last = tf.fill(tf.shape(first), tf.cast(fill_value, images.dtype))
        images = tf.concat([first, images, last], axis)
    return images


def _word(values):
    return functools.reduce(tf.bitwise.bitwise_or, [tf.bitwise.left_shift(v, 8 * i) for i, v in enumerate(values)])


def _byte(words, index):
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(words, 8 * index), 255)


def _places(lines, shape, extent, fill_mode, interpolation):
    """Of each pixel of the output the index, in a flat plane, of the pixel above left of it, and how far it lies on."""
    x_of_row, x_of_column, y_of_row, y_of_column = lines
    x = x_of_row[:, :, tf.newaxis] + x_of_column[:, tf.newaxis]
    y = y_of_row[:, :, tf.newaxis] + y_of_column[:, tf.newaxis]
    height, width = extent
    if x.dtype == tf.int64:
        x, y = _narrowed(x, width, fill_mode), _narrowed(y, height, fill_mode)
    if interpolation == "nearest":
        x, y = (tf.bitwise.left_shift(tf.bitwise.right_shift(p + _ONE // 2, _FRACTION), _FRACTION) for p in (x, y))
    x, y = _inside(x, width, fill_mode), _inside(y, height, fill_mode)
    start = tf.range(shape[0])[:, tf.newaxis, tf.newaxis] * shape[1]
    row, column = (tf.bitwise.right_shift(p, _FRACTION) + 1 for p in (y, x))  # 1 for the border
    share_x, share_y = (tf.bitwise.bitwise_and(p, _ONE - 1) for p in (x, y))
    return (start + row) * shape[2] + column, share_x + share_y * _ONE


def _narrowed(points, size, fill_mode):
    """The points as int32, where the continued image has the same values."""
    if fill_mode in ("reflect", "wrap"):
        points = tf.math.floormod(points, 2 * size * _ONE)
    return tf.cast(tf.clip_by_value(points, -2 * _FARTHEST, 2 * _FARTHEST), tf.int32)


def _inside(points, size, fill_mode):
    """The points where the image, continued by `fill_mode`, has the same values, at most a pixel outside of it."""
    if fill_mode == "reflect":
        turn = _modulo(points + _ONE // 2, 2 * size * _ONE)
        return tf.minimum(turn, 2 * size * _ONE - turn) - _ONE // 2
    if fill_mode == "wrap":
        return _modulo(points, size * _ONE)
    if fill_mode == "nearest":
        return tf.clip_by_value(points, 0, (size - 1) * _ONE)
    return tf.clip_by_value(points, -_ONE, size * _ONE)


def _modulo(points, period):
    """`points % period`, exactly: processors divide vectors of floats, but no vectors of integers."""
    turns = tf.floor(tf.cast(points, tf.float32) / tf.cast(period, tf.float32))
    rest = points - tf.cast(turns, tf.int32) * period  # the quotient, rounded, can be one off
    rest = tf.where(rest < 0, rest + period, rest)
    return tf.where(rest < period, rest, rest - period)


def _look_up(planes, places, interpolation):
    """Of each plane the pixel at each place; for "bilinear" it and those right of it, below it, and right below."""
    width = tf.shape(planes[0])[2]
    planes = [tf.reshape(plane, [-1]) for plane in planes]
    if interpolation == "nearest":
        return [tf.gather(plane, places) for plane in planes]
    # Beyond the last plane a neighbour has no share, and XLA takes the last pixel.
    return [[tf.gather(plane, places + offset) for offset in (0, 1, width, width + 1)] for plane in planes]


def _blend(found, shares, channels):
    """The four neighbours by their distance: of words each byte, rounded."""
    x, y = tf.bitwise.bitwise_and(shares, _ONE - 1), tf.bitwise.right_shift(shares, _FRACTION)
    if found[0][0].dtype == tf.float32:
        x, y = (tf.cast(p, tf.float32) / _ONE for p in (x, y))
        return [_between(_between(a, b, x), _between(c, d, x), y) for a, b, c, d in found]
    shift = _FRACTION - _WEIGHT
    x, y = (tf.bitwise.right_shift(p + (1 << shift) // 2, shift) for p in (x, y))
    one = 1 << _WEIGHT

    def blend(neighbours):
        a, b, c, d = neighbours
        above, below = a * one + (b - a) * x, c * one + (d - c) * x
        return tf.bitwise.right_shift(above * one + (below - above) * y + one * one // 2, 2 * _WEIGHT)

    return blend_words(found[0], channels, blend)


def blend_words(words, channels, blend):
    """One plane of words, each byte of which `blend` makes of that byte of all the `words`, int32."""
    return [_word([blend([_byte(word, index) for word in words]) for index in range(channels)])]


def _between(first, second, share):
    return first + (second - first) * share


def pixels(planes, channels, dtype):
    """Planes (batch, height, width) as images (batch, height, width, channels)."""
    if planes[0].dtype == tf.int32:
        return tf.bitcast(planes[0], tf.uint8)[..., :channels]
    images = tf.stack(planes, axis=-1)
    return tf.cast(tf.round(images) if dtype.is_integer else images, dtype)
