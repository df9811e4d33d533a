"""What augmentation layers ask of their arguments and of what they are called with: one line where it is refused.

The checks return what the layer keeps: Python's own numbers, which every file format of a config can hold, and tuples.
"""

import math
import numbers

from kzoo.errors import InvalidArgument, unknown

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")


def is_number(value) -> bool:
    """Whether `value` is a real number, NumPy's scalars among them: no bool, no array."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_pair(value) -> bool:
    """Whether `value` is two numbers."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))


def integer(name, value, lowest, highest=math.inf) -> int:
    """`value`, an integer from `lowest` to `highest`.

    Raises:
        InvalidArgument: It is none. So do all functions here.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not lowest <= value <= highest:
        raise _refused(name, "an integer", value, lowest, highest)
    return int(value)


def number(name, value, lowest, highest=math.inf, above=False):
    """`value`, a finite number from `lowest` to `highest`, or `above` the lowest."""
    if not is_number(value) or not _is_within(value, lowest, highest, above):
        raise _refused(name, "a number", value, lowest, highest, above)
    return _plain(value)


def pair(name, value, lowest, highest=math.inf, above=False):
    """`value`, a pair (low, high) of such numbers."""
    if not is_pair(value) or not _is_range(value, lowest, highest, above):
        raise _refused(name, "a pair (low, high)", value, lowest, highest, above)
    return _plain(value[0]), _plain(value[1])


def number_or_pair(name, value, lowest, highest=math.inf, above=False):
    """`value`, such a number or such a pair."""
    if is_number(value) and _is_within(value, lowest, highest, above):
        return _plain(value)
    if not is_pair(value) or not _is_range(value, lowest, highest, above):
        raise _refused(name, "a number or a pair (low, high)", value, lowest, highest, above)
    return _plain(value[0]), _plain(value[1])


def one_of(name, value, valid):
    """`value`, one of the `valid` names."""
    if value not in valid:
        raise unknown(name, value, valid)
    return value


def filling(fill_value, dtype):
    """What pixels of that dtype are filled with: rounded for integers, which a cast would truncate."""
    return round(fill_value) if dtype.is_integer else float(fill_value)


def channels_of(images) -> int:
    """The number of channels of images (..., channels), known even in a pipeline."""
    if images.shape[-1] is None:
        raise InvalidArgument(
            f"The number of channels of the images must be known. Received: images of shape {images.shape}. "
            "Set it: `images.set_shape((None, None, None, 3))`."
        )
    return images.shape[-1]


def check_seeds(seeds, images) -> None:
    """Raise InvalidArgument unless there is a row of two seeds for each image, as far as the shapes are known."""
    wanted = (2,) if images.shape.rank == 3 else (images.shape[0], 2)
    if not seeds.shape.is_compatible_with(wanted):
        shape = "(batch, 2)" if wanted[0] is None else str(wanted)
        raise InvalidArgument(
            f"seeds must have the shape {shape}, two integers for each image. Received: {tuple(seeds.shape)}."
        )


def _is_range(values, lowest, highest, above):
    return values[0] <= values[1] and all(_is_within(value, lowest, highest, above) for value in values)


def _is_within(value, lowest, highest, above):
    return (value > lowest if above else value >= lowest) and value <= highest and math.isfinite(value)


def _plain(value):
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _refused(name, kind, value, lowest, highest, above=False):
    if math.isinf(highest):
        valid = f"above {lowest}" if above else f"at least {lowest}"
    else:
        valid = f"above {lowest} and at most {highest}" if above else f"{lowest} to {highest}"
    return InvalidArgument(f"{name} must be {kind}, {valid}. Received: {value!r}.")
