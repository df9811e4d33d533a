"""What augmentation layers ask of their arguments and of what they are called with: one line where it is refused.

The checks return what the layer keeps: Python's own numbers, which every file format of a config can hold, and tuples.
"""

import math

from kzoo.arguments import in_words, is_number, is_within, plain, refused
from kzoo.errors import InvalidArgument, unknown

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")


def pair(name, value, lowest, highest=math.inf, above=False, valid="a pair (low, high)"):
    """`value`, a pair (low, high) of numbers from `lowest` to `highest`, or `above` the lowest.

    Raises:
        InvalidArgument: It is none. So do all functions here.
    """
    if is_pair(value) and value[0] <= value[1] and all(is_within(n, lowest, highest, above=above) for n in value):
        return plain(value[0]), plain(value[1])
    raise refused(name, f"{valid} {in_words(lowest, highest, above)}", value)


def number_or_pair(name, value, lowest, highest=math.inf, above=False):
    """`value`, such a number or such a pair."""
    if is_number(value) and is_within(value, lowest, highest, above=above):
        return plain(value)
    return pair(name, value, lowest, highest, above, valid="a number or a pair (low, high)")


def is_pair(value) -> bool:
    """Whether `value` is two numbers."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))


def around(centre, factor, lowest=-math.inf):
    """The range (low, high) that a factor stands for: a number is the distance from its centre."""
    return factor if isinstance(factor, tuple) else (max(lowest, centre - abs(factor)), centre + abs(factor))


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
