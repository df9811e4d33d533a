"""`predict`: from images to labels and probabilities."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kzoo.arguments import integer
from kzoo.backend import keras
from kzoo.classifier import class_names_of, ends_in_softmax, output_layer, scaling_of, without_auxiliary_heads
from kzoo.data import images as decoding
from kzoo.data.loading import checked_size
from kzoo.errors import DataError, InvalidArgument
from kzoo.files import read_regular
from kzoo.paths import expand
from kzoo.text import dimensions

BATCH_SIZE = 32


class Prediction(NamedTuple):
    """One class that an image may show."""

    index: int
    """Position in the model's output."""
    label: str
    """Name of the class; the index as text where the model knows no names."""
    probability: float


def predict(
    model, images: Any, top: int = 5, *, image_size: int | tuple[int, int] | None = None
) -> list[list[Prediction]]:
    """Classify images.

    Args:
        model: A `keras.Model` with an output of shape (batch, classes), probabilities or logits.
        images: An array of shape (N, height, width, channels) in the model's size, values 0 to 255; or a sequence of
            items that are each a path to an image file or an array (height, width, channels) of any size. They are
            scaled to cover the model's input and cropped at the centre (with pretrained weights as their record says).
        image_size: Size that whole images are brought to: n or (height, width). A model that takes any size needs it.
        top: How many classes to give for each image, the likeliest first; all, if the model has fewer.

    Returns:
        For each image its `top` predictions.

    Raises:
        InvalidArgument: `top` below 1, or images of a shape the model does not take.
        DataError: An image that cannot be read, with its path.

    >>> import kzoo
    >>> image = kzoo.data.load("digits", "test", image_size=28).images[0]
    >>> [ranked] = kzoo.predict(kzoo.create_model("mnist_net"), [image], top=3)
    >>> len(ranked), ranked[0].probability >= ranked[1].probability
    (3, True)
    """
    integer("top", top, 1)
    if isinstance(images, str | os.PathLike):
        images = [images]
    names, scaling = class_names_of(model), decoding.Scaling(**scaling_of(model))
    model = without_auxiliary_heads(model)
    *own, channels = model.input_shape[1:]
    size = checked_size(image_size)
    if size is None:
        size = own
    elif any(side not in (None, asked) for side, asked in zip(own, size, strict=True)):
        raise InvalidArgument(f"The model takes images of {dimensions(own)}. Received: image_size={dimensions(size)}.")
    else:
        scaling = scaling._replace(crop_fraction=1.0)
    ranked = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = _prepare(images[start : start + BATCH_SIZE], (*size, channels), scaling)
        for row in probabilities(model, batch):
            best = np.argsort(-row, kind="stable")[:top]
            ranked.append([Prediction(int(i), names[i] if names else str(i), float(row[i])) for i in best])
    return ranked


def probabilities(model, batch: np.ndarray) -> np.ndarray:
    """The model's probabilities, (N, classes) float32, whether it ends in softmax or in logits."""
    outputs = np.asarray(keras.ops.convert_to_numpy(model(batch, training=False)), np.float32)
    if ends_in_softmax(output_layer(model)):
        return outputs
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _prepare(items: Any, input_shape: Sequence[int], scaling: decoding.Scaling) -> np.ndarray:
    """Bring arrays and files to one array (N, height, width, channels)."""
    height, width, channels = input_shape
    if isinstance(items, np.ndarray):
        if items.ndim != 4 or any(
            want not in (None, got) for want, got in zip(input_shape, items.shape[1:], strict=True)
        ):
            raise InvalidArgument(
                f"The model takes an array (N, {height}, {width}, {channels}). Received: shape {items.shape}. "
                "Pass a list of images to have them resized."
            )
        return items
    if height is None or width is None:
        raise InvalidArgument(
            "The model takes images of any size. Received: no size. Pass image_size (command line: --image-size), or "
            "an array (N, height, width, channels)."
        )
    return np.stack([_prepare_one(item, (height, width), channels, scaling) for item in items])


def _prepare_one(item: Any, size: tuple[int, int], channels: int, scaling: decoding.Scaling) -> np.ndarray:
    if not isinstance(item, str | os.PathLike):
        pixels = np.asarray(item)
        if pixels.shape == (*size, channels) and (scaling.crop_fraction == 1 or channels not in (1, 3)):
            return pixels
        if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)):
            raise InvalidArgument(
                f"An image must be an array (height, width, channels). Received: shape {pixels.shape}."
            )
        return decoding.decode(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), size, channels, scaling)
    path = expand(item)
    try:
        with decoding.no_warnings():
            return decoding.decode(read_regular(path), size, channels, scaling)
    except FileNotFoundError:
        raise DataError(f"No such image file. Received: {str(path)!r}. Check the path.") from None
    except (OSError, decoding.BadImage) as error:
        raise DataError(f"Bad image. Received: {str(path)!r}: {error}. Repair or leave it out.") from None
