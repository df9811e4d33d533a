"""What is stored with a classifier, and its heads.

In training it may have auxiliary heads: its output is a dict then, of "predictions" and any other names.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kzoo import console
from kzoo.backend import keras
from kzoo.data.loading import check_input
from kzoo.data.photos import FILE_CHANNELS
from kzoo.data.pixels import RAW, UNIT, Range, can_scale, is_same, scale, shown
from kzoo.errors import InvalidArgument

PREDICTIONS = "predictions"


def metadata(model) -> dict:
    """Return what is stored with a classifier besides its layers.

    They are its `class_names`, how images are scaled for it, the range of pixel values that it was trained on, and
    whether some of those images were `mirrored`.

    It is saved with the model by `kzoo.saving` and carried over to copies by kzoo's own functions.
    """
    return dict(getattr(model, "_kzoo_metadata", {}))


def set_metadata(
    model,
    *,
    class_names=None,
    crop_fraction: float = 1.0,
    interpolation: str | None = None,
    pixel_range: Range | None = None,
    range_16_bit: Sequence[int] | None = None,
    mirrored: bool | None = None,
):
    """Store the class names of `model`, how images are scaled for it, and whether it was trained on mirror images too.

    Returns:
        The model.

    The defaults of `kzoo.data.load` are not stored.
    """
    known = {
        "class_names": None if class_names is None else list(class_names),
        "crop_fraction": None if crop_fraction == 1 else crop_fraction,
        "interpolation": interpolation,
        "range_16_bit": None if range_16_bit is None else tuple(range_16_bit),
        "pixel_range": None if pixel_range is None else tuple(pixel_range),
        "mirrored": mirrored,
    }
    model._kzoo_metadata = {name: value for name, value in known.items() if value is not None}
    return model


def set_rates(model, rates: tuple[float | None, float | None]):
    """Store what trains a model from scratch: learning rate and epochs of warm-up of its card; returns the model.

    A new model alone has them: they are not saved with it.
    """
    model._kzoo_rates = rates
    return model


def rates_of(model) -> tuple[float | None, float | None]:
    """The learning rate and the epochs of warm-up that train a model from scratch, where they are known."""
    return getattr(model, "_kzoo_rates", (None, None))


def class_names_of(model) -> tuple[str, ...] | None:
    """The names of a model's classes, in the order of its outputs, or None."""
    names = metadata(model).get("class_names")
    return None if names is None else tuple(names)


def scaling_of(model) -> dict:
    """How images are scaled for a model, as arguments of `kzoo.data.load`; what is missing has its default there."""
    known = metadata(model)
    return {name: known[name] for name in ("crop_fraction", "interpolation", "range_16_bit") if name in known}


def pixel_range_of(model) -> Range:
    """The range of pixel values that a model takes: that which it was trained on, or 0 to 255 where it does not say."""
    return metadata(model).get("pixel_range", RAW)


def knows_pixel_range(model) -> bool:
    """Whether a model says which range of pixel values it was trained on: kzoo has trained it."""
    return "pixel_range" in metadata(model)


def scaling_to(model, given: Range | None, what: str) -> Callable[[Any], Any] | None:
    """How pixels of a range are brought to the one that a model was trained on, and a line that says so.

    Args:
        model: A classifier.
        given: The range of the images; None where nobody can tell.
        what: "images" of the line.

    Returns:
        A function of images, NumPy arrays or tensors of float32; None where they stay as they are. Where that is
        wrong, or may be for a model of which kzoo does not know the range, a warning says so.
    """
    trained_on = pixel_range_of(model)
    if given is None or is_same(given, trained_on):
        return None
    if can_scale(given, trained_on):
        console.log(f"{what} of 0 to 255 are scaled to {shown(trained_on)}, which the model was trained on")
        return lambda images: scale(images, trained_on)
    if not knows_pixel_range(model):
        console.warn(
            f"the {what} hold values {shown(given)}; kzoo takes images as {shown(trained_on)}. If this model was "
            "trained on such values, ignore this"
        )
        return None
    console.warn(
        f"the {what} hold values {shown(given)}, but the model was trained on {shown(trained_on)}: expect wrong "
        "answers. Pass pixels as in training" + (", not divided by 255." if given == UNIT else ".")
    )
    return None


def image_shape_of(model, *, of_files: bool = False) -> tuple[Any, Any, Any]:
    """The shape (height, width, channels) of the images that a model takes.

    Raises:
        InvalidArgument: It takes something else; with `of_files` also channels that image files do not have.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        taken = shape[1:] if isinstance(shape, tuple) else shape
        raise InvalidArgument(
            f"The model must take images (height, width, channels). Received: {model.name!r}, which takes {taken}."
        )
    if of_files and shape[3] not in FILE_CHANNELS:
        raise InvalidArgument(
            f"Image files have 1 or 3 channels. Received: a model of {shape[3]}. Pass arrays of shape {shape[1:]}."
        )
    return shape[1:]


def loading_for(model, size: int | tuple[int, int] | None) -> dict:
    """The arguments of `kzoo.data.load` for images as a model takes them; of a size that is asked for, whole.

    `image_size` is None for a model of any size, unless one is asked for.

    Raises:
        InvalidArgument: The model takes no images, or such as no file has.
    """
    height, width, channels = image_shape_of(model, of_files=True)
    check_input((height, width))
    arguments = {**scaling_of(model), "channels": channels}
    if size is not None:
        return {**arguments, "image_size": size, "crop_fraction": 1.0}
    return {**arguments, "image_size": None if None in (height, width) else (height, width)}


def auxiliary_heads(model) -> tuple[str, ...]:
    """The names of a model's outputs besides "predictions", in a fixed order; empty for an ordinary classifier."""
    output = getattr(model, "output", None)  # a model that is not Functional may have none
    if not isinstance(output, dict) or PREDICTIONS not in output:
        return ()
    if "val" in output:
        raise InvalidArgument("An auxiliary head cannot be called 'val': val_loss is the validation loss. Rename it.")
    return tuple(sorted(name for name in output if name != PREDICTIONS))


def head(model, name: str):
    """The model that ends in one of the outputs of `model`, with the same weights."""
    return set_metadata(keras.Model(model.input, model.output[name], name=model.name), **metadata(model))


def without_auxiliary_heads(model):
    """The classifier alone, with the same weights: `model` itself where its output is no dict of heads."""
    auxiliary_heads(model)  # their names are checked
    output = getattr(model, "output", None)
    return head(model, PREDICTIONS) if isinstance(output, dict) and PREDICTIONS in output else model
