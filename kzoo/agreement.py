"""Whether classifiers say the same of the same images: their classes and their order, pixels and channels."""

from collections.abc import Sequence
from typing import NamedTuple

from kzoo import console
from kzoo.classifier import class_names_of, image_shape_of, pixel_range_of, scaling_of
from kzoo.data.pixels import Range, is_same, shown
from kzoo.errors import InvalidArgument
from kzoo.outputs import classes_of

# Of the ratio of two sides: 224x298 and 150x200 are of one shape.
ROUNDING = 0.01


class Meaning(NamedTuple):
    """What the outputs of a classifier mean, and its inputs."""

    label: str
    """What messages call it."""
    classes: int
    class_names: tuple[str, ...] | None
    pixel_range: Range | None
    """None where nobody can tell."""
    range_16_bit: tuple[int, int] | None
    channels: int


def meaning_of(model, label: str) -> Meaning:
    """What a classifier without auxiliary heads means."""
    range_16_bit = scaling_of(model).get("range_16_bit")
    pixels = pixel_range_of(model), range_16_bit, image_shape_of(model)[2]
    return Meaning(label, classes_of(model), class_names_of(model), *pixels)


def check_agree(meanings: Sequence[Meaning]) -> tuple[str, ...] | None:
    """Raise InvalidArgument unless all have the same classes, in one order, and take the same pixels.

    Of some that do not name their classes a line says so.

    Returns:
        The names of the classes; None where none has them.
    """
    named = next((one for one in meanings if one.class_names is not None), meanings[0])
    for one in meanings:
        _check_classes(named, one)
        _check_pixels(meanings[0], one)
        if named.class_names is not None and one.class_names is None:
            console.warn(f"{one.label!r} does not name its classes: they are taken to be in the same order")
    return named.class_names


def are_of_one_shape(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether images of some sizes (height, width) are of one shape, such as square, up to rounding."""
    ratios = [height / width for height, width in sizes]
    return max(ratios) / min(ratios) <= 1 + ROUNDING


def _check_classes(one: Meaning, other: Meaning) -> None:
    if one.classes != other.classes:
        raise InvalidArgument(
            f"The models must have the same classes. Received: {one.label!r} with {one.classes}, {other.label!r} with "
            f"{other.classes}."
        )
    if one.class_names is None or other.class_names is None or one.class_names == other.class_names:
        return
    pairs = enumerate(zip(one.class_names, other.class_names, strict=True))
    number, (mine, its) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    how = "the same in another order" if sorted(one.class_names) == sorted(other.class_names) else "others"
    raise InvalidArgument(
        f"The models must have the same classes in the same order. Received: class {number} is {mine!r} in "
        f"{one.label!r} and {its!r} in {other.label!r}. They are {how}: train both on one dataset."
    )


def _check_pixels(one: Meaning, other: Meaning) -> None:
    mine, its = one.pixel_range, other.pixel_range
    if mine is not None and its is not None and not is_same(mine, its):
        raise InvalidArgument(
            f"The models must take pixels of one range. Received: {one.label!r} takes {shown(mine)}, "
            f"{other.label!r} {shown(its)}. Train both on images prepared alike, best as 0 to 255."
        )
    if one.range_16_bit != other.range_16_bit:
        raise InvalidArgument(
            f"The models must read 16-bit images alike. Received: {one.label!r} with the range {one.range_16_bit}, "
            f"{other.label!r} with {other.range_16_bit}. Train both on the same images."
        )
    if one.channels != other.channels:
        raise InvalidArgument(
            f"The models must take images of as many channels. Received: {one.label!r} with {one.channels}, "
            f"{other.label!r} with {other.channels}. Train one again with --channels {one.channels}."
        )
