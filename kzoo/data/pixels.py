"""The range of pixel values, found out from some images: 0 to 255, as kzoo's models take them, or another.

Only what is sure is said. Black images have the same values in several ranges, and an almost black image of 0 to 255
looks like one of 0 to 1, so that there is a third answer: nobody can tell.
"""

from collections.abc import Sequence

import numpy as np

Range = tuple[float, float]

RAW: Range = (0.0, 255.0)
UNIT: Range = (0.0, 1.0)
SIGNED: Range = (-1.0, 1.0)

# Images that are looked at to find out the range of many.
SAMPLE = 64
KNOWN = (RAW, UNIT, SIGNED)

# Resizing by bicubic interpolation and changes of brightness overshoot a range; of centred pixels half are negative.
_OVERSHOOT, _MOST_NEGATIVE = 0.3, 0.05
# Rounding of float32 pixels that are compared with whole steps of 1/255, and of those at the ends of a range.
_STEP_TOLERANCE, _END_TOLERANCE = 1e-3, 1e-3
# A float image of 0 to 255 with a maximum below this is dark to the eye: it may be anything.
_DARK = 16.0
# The share of ones among zeros and ones, and the images, from which on they are drawings and not black images' noise.
_LEAST_ONES, _SEVERAL = 0.01, 16


def pixel_range(images: Sequence[np.ndarray] | np.ndarray) -> Range | None:
    """The range of pixel values of which some images are.

    Args:
        images: Arrays of finite numbers, each of any shape. Bytes are taken for 0 to 255, whatever they are.

    Returns:
        `RAW`, `UNIT` or `SIGNED`; where the values are surely of none of these, their minimum and maximum; None where
        nobody can tell.

    >>> [pixel_range(np.array([pixels])) for pixels in ([0, 10, 255], [0, 0.3, 0.9], [-2.1, 2])]
    [(0.0, 255.0), (0.0, 1.0), (-2.1, 2.0)]
    >>> pixel_range(np.zeros((1, 4))), pixel_range(np.array([[0.0, 0.4, 3.0]]))
    (None, None)
    """
    if sum(image.size for image in images) == 0:
        return None
    pixels = np.concatenate([np.ravel(image) for image in images])
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind == "b":
        return UNIT
    values, is_integer = pixels.astype(np.float32, copy=False), pixels.dtype.kind in "iu"
    if low < -_END_TOLERANCE:
        return _of_negative(values, low, high)
    if high > 255 * (1 + _OVERSHOOT):
        return low, high
    if high > 1 + _END_TOLERANCE:
        return RAW if is_integer or high >= _DARK else None
    if is_integer:
        return RAW if pixels.dtype == np.uint8 else None
    if np.isin(values, (0, 1)).all():
        # Drawings, unless there are too few images or too few ones among them, as in the noise of black images.
        return UNIT if len(images) >= _SEVERAL and np.mean(values) >= _LEAST_ONES else None
    return UNIT if high >= 0.5 or _is_in_steps(values * 255) else None


def is_grey(images: np.ndarray) -> bool:
    """Whether images have no colour: `[N, H, W, C]` of one channel, or of three that are equal.

    >>> is_grey(np.full((2, 4, 4, 3), 7)), is_grey(np.arange(12).reshape(1, 2, 2, 3))
    (True, False)
    """
    return images.shape[-1] in (1, 3) and bool((images == images[..., :1]).all())


def is_same(one: Range | None, other: Range | None) -> bool:
    """Whether two ranges may be the same: one of no known kind may be one whose brightness was changed.

    >>> is_same((-48, 207), RAW), is_same((-2.1, 2.6), UNIT), is_same((-2.1, 2.6), (-1.8, 2.2))
    (True, False, True)
    """
    if one is None or other is None:
        return True
    if (one in KNOWN) == (other in KNOWN):
        return one == other or one not in KNOWN
    found, (low, high) = (other, one) if one in KNOWN else (one, other)
    tolerance = _OVERSHOOT * (high - low)
    return abs(found[0] - low) <= tolerance and abs(found[1] - high) <= tolerance


def are_different(one: Range | None, other: Range | None) -> bool:
    """Whether two ranges are surely not the same: both are of a known kind."""
    return one in KNOWN and other in KNOWN and one != other


def common(one: Range | None, other: Range | None) -> Range | None:
    """The first of two ranges, or the second where that is of a known kind and the first may be the same."""
    return other if one not in KNOWN and other in KNOWN and is_same(one, other) else one


def can_scale(source: Range | None, target: Range) -> bool:
    """Whether it is sure how pixels of one range are brought to another."""
    return source == RAW and target in (UNIT, SIGNED)


def scale(images, target: Range):
    """Pixels of 0 to 255, of NumPy or any float tensor, brought to another range."""
    low, high = target
    return images * np.float32((high - low) / 255) + np.float32(low)


def unscale(images: np.ndarray, source: Range) -> np.ndarray:
    """Pixels of a known range brought to 0 to 255."""
    low, high = source
    return (images - low) * (255 / (high - low))


def shown(values: Range) -> str:
    """A range as text.

    >>> shown(RAW), shown((-2.117904, 2.64))
    ('0 to 255', '-2.12 to 2.64')
    """
    return f"{values[0]:.3g} to {values[1]:.3g}"


def _of_negative(values: np.ndarray, low: float, high: float) -> Range | None:
    few = float(np.mean(values < 0)) < _MOST_NEGATIVE
    for top in (255.0, 1.0):
        # A mean that is taken off lowers the top: beyond it there may be more negative values.
        if (few or high >= top) and low >= -_OVERSHOOT * top and 0.5 * top <= high <= (1 + _OVERSHOOT) * top:
            return RAW if top == 255 else UNIT
    if low >= -1 - _END_TOLERANCE and high <= 1 + _END_TOLERANCE:
        reaches_both_ends = low <= -0.95 and high >= 0.95
        return SIGNED if reaches_both_ends or _is_in_steps((values + 1) * 127.5) else None
    return low, high


def _is_in_steps(values: np.ndarray) -> bool:
    """Whether values are whole numbers, and more than one of them besides the smallest."""
    whole = np.rint(values)
    return bool(np.abs(values - whole).max() < _STEP_TOLERANCE) and len(np.unique(whole)) > 2
