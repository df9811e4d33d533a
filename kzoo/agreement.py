"""Whether classifiers say the same of the same images: their classes and their order, pixels and channels."""

from collections.abc import Sequence

from kzoo.classifier import class_names_of, image_shape_of, metadata, pixel_range_of
from kzoo.data.pixels import is_same, shown
from kzoo.errors import InvalidArgument
from kzoo.outputs import classes_of


def check_agree(models: Sequence, labels: Sequence[str]) -> tuple[str, ...] | None:
    """Raise InvalidArgument unless all classifiers have the same classes, in one order, and take the same pixels.

    Args:
        models: Classifiers without auxiliary heads.
        labels: What a message calls each.

    Returns:
        The names of the classes; None where no model knows them.
    """
    names = [class_names_of(model) for model in models]
    known = next((number for number, found in enumerate(names) if found is not None), 0)
    for number in range(len(models)):
        _check_classes(*((labels[i], classes_of(models[i]), names[i]) for i in (known, number)))
        _check_pixels(*((labels[i], models[i]) for i in (0, number)))
    return names[known]


def _check_classes(one: tuple, other: tuple) -> None:
    """Two models, each with its label, the number of its classes, and their names or None."""
    (label, count, names), (other_label, other_count, other_names) = one, other
    if count != other_count:
        raise InvalidArgument(
            f"The models must have the same classes. Received: {label!r} with {count}, {other_label!r} with "
            f"{other_count}."
        )
    if other_names is None or names == other_names:
        return
    number = next(i for i in range(count) if names[i] != other_names[i])
    advice = "They are the same in another order" if sorted(names) == sorted(other_names) else "They are others"
    raise InvalidArgument(
        f"The models must have the same classes in the same order. Received: class {number} is {names[number]!r} in "
        f"{label!r} and {other_names[number]!r} in {other_label!r}. {advice}: train both on one dataset."
    )


def _check_pixels(one: tuple, other: tuple) -> None:
    """Two models, each with its label."""
    (label, model), (other_label, other_model) = one, other
    ranges = [pixel_range_of(found) for found in (model, other_model)]
    if not is_same(*ranges):
        raise InvalidArgument(
            f"The models must take pixels of one range. Received: {label!r} takes {shown(ranges[0])}, {other_label!r} "
            f"{shown(ranges[1])}. Train both on images prepared alike, best as 0 to 255."
        )
    of_16_bit = [metadata(found).get("range_16_bit") for found in (model, other_model)]
    if of_16_bit[0] != of_16_bit[1]:
        raise InvalidArgument(
            f"The models must read 16-bit images alike. Received: {label!r} with the range {of_16_bit[0]}, "
            f"{other_label!r} with {of_16_bit[1]}. Train both on the same images."
        )
    channels = [image_shape_of(found)[2] for found in (model, other_model)]
    if channels[0] != channels[1]:
        raise InvalidArgument(
            f"The models must take images of as many channels. Received: {label!r} with {channels[0]}, "
            f"{other_label!r} with {channels[1]}. Train one again with --channels {channels[0]}."
        )
