"""`predict`: from images to labels and probabilities."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kzoo.arguments import integer
from kzoo.backend import keras
from kzoo.classifier import (
    class_names_of,
    image_shape_of,
    pixel_range_of,
    scaling_of,
    scaling_to,
    without_auxiliary_heads,
)
from kzoo.data import images as decoding
from kzoo.data.loading import check_input, checked_size
from kzoo.data.photos import FILE_CHANNELS, Prediction, decoded, ranked, with_range_of_files
from kzoo.data.pixels import (
    KNOWN,
    RAW,
    SAMPLE,
    SIGNED,
    UNIT,
    Range,
    common,
    is_same,
    pixel_range,
    scale,
    shown,
    unscale,
)
from kzoo.errors import DataError, InvalidArgument
from kzoo.outputs import as_probabilities, check_classifier
from kzoo.paths import expand
from kzoo.text import dimensions
from kzoo.views import AS_IT_IS, announce, view, views_of

BATCH_SIZE = 32


def predict(
    model, images: Any, top: int = 5, *, image_size: int | tuple[int, int] | None = None, tta: bool = False
) -> list[list[Prediction]]:
    """Classify images.

    Args:
        model: A `keras.Model` with an output of shape (batch, classes), probabilities or logits, or (batch, 1) for two
            classes.
        images: An array of shape (N, height, width, channels) in the model's size, values 0 to 255; or a sequence of
            items that are each a path to an image file or an array (height, width, channels) of any size. They are
            scaled to cover the model's input and cropped at the centre (with pretrained weights as their record says).
            For a model that was trained on pixels of 0 to 1, or -1 to 1, those of 0 to 255 are brought to that.
        image_size: Size that whole images are brought to: n or (height, width). A model that takes any size needs it.
        top: How many classes to give for each image, the likeliest first; all, if the model has fewer.
        tta: Test-time augmentation, as for `kzoo.train.evaluate`.

    Returns:
        For each image its `top` predictions.

    Raises:
        InvalidArgument: `top` below 1, or images of a shape the model does not take.
        DataError: An image that cannot be read, with its path, or that holds NaN.

    >>> import kzoo
    >>> image = kzoo.data.load("digits", "test", image_size=28).images[0]
    >>> [ranked] = kzoo.predict(kzoo.create_model("mnist_net"), [image], top=3)
    >>> len(ranked), ranked[0].probability >= ranked[1].probability
    (3, True)
    """
    if isinstance(images, str | os.PathLike):
        images = [images]
    rank = ranker(model, images, top, image_size, views_of(model) if tta else AS_IT_IS)
    return rank(0, len(images))


def ranker(
    model, images: Any, top: int, image_size: int | tuple[int, int] | None, views: tuple[str, ...] = AS_IT_IS
) -> Callable[[int, int], list[list[Prediction]]]:
    """A function that classifies some of the images, from a number on up to another; the arguments are `predict`'s.

    Of several `views`, of `kzoo.views`, the mean is taken. What holds for all of the images, such as the range of their
    pixels, is found, and said, once.
    """
    integer("top", top, 1)
    names, scaling = class_names_of(model), decoding.Scaling(**scaling_of(model))
    model = without_auxiliary_heads(model)
    check_classifier(model)
    if len(views) > 1:
        announce(views)
    shape, scaling = _shape_of(model, image_size, scaling)
    prepare = _preparation(model, images, shape, scaling)

    def rank(first: int, end: int) -> list[list[Prediction]]:
        found = []
        for start in range(first, end, BATCH_SIZE):
            batch = prepare(images[start : min(start + BATCH_SIZE, end)], start)
            rows = np.mean([probabilities(model, view(batch, name)) for name in views], axis=0)
            found += [ranked(row, names, top) for row in rows]
        return found

    return rank


def probabilities(model, batch: np.ndarray) -> np.ndarray:
    """The model's probabilities, (N, classes) float32, whether it gives probabilities or logits."""
    return as_probabilities(model, keras.ops.convert_to_numpy(model(batch, training=False)))


def _shape_of(
    model, image_size: int | tuple[int, int] | None, scaling: decoding.Scaling
) -> tuple[tuple[int | None, ...], decoding.Scaling]:
    """The shape (height, width, channels) that images are brought to, and how; whole images for a size asked for."""
    shape = image_shape_of(model)
    check_input(shape)
    size = checked_size(image_size)
    if size is None:
        return shape, scaling
    if any(side not in (None, asked) for side, asked in zip(shape[:2], size, strict=True)):
        raise InvalidArgument(
            f"The model takes images of {dimensions(shape[:2])}. Received: image_size={dimensions(size)}."
        )
    return (*size, shape[2]), scaling._replace(crop_fraction=1.0)


def _preparation(
    model, images: Any, shape: tuple[int | None, ...], scaling: decoding.Scaling
) -> Callable[[Any, int], np.ndarray]:
    """How some of the images, from a number on, become an array (N, height, width, channels) as the model takes it."""

    def pixels_of(items, start):
        return _in_8_bits(_pixels(items, start), scaling)

    if _is_array(images) and np.ndim(images) > 0:
        given = pixel_range(pixels_of(images[:SAMPLE], 0))
        to_model = scaling_to(model, given, "images") or _as_they_are
        return lambda items, start: to_model(_in_shape(pixels_of(items, start), shape))
    if not isinstance(images, Sequence):
        raise InvalidArgument(
            "images must be an array (N, height, width, channels), or a list of paths and arrays. "
            f"Received: {'a single number' if _is_array(images) else type(images).__name__}."
        )
    of_files, of_arrays, given = _as_they_are, _as_they_are, None
    files = [expand(item) for item in images if _is_path(item)]
    if files:
        image_shape_of(model, of_files=True)
        scaling = with_range_of_files(scaling, files)
        of_files = scaling_to(model, RAW, "image files") or _as_they_are
    arrays = [pixels_of([item], i)[0] for i, item in enumerate(images[:SAMPLE]) if not _is_path(item)]
    if arrays:
        given = _range_of_list(arrays)
        of_arrays = scaling_to(model, given, "images") or _as_they_are
        given = given and common(given, pixel_range_of(model))

    def prepare_one(item, number):
        if _is_path(item):
            return of_files(decoded(item, shape, scaling))
        return of_arrays(_resized(pixels_of([item], number)[0], shape, scaling, given))

    def prepare(items, start):
        if None in shape:
            raise InvalidArgument(
                "The model takes images of any size. Received: no size. Pass image_size (command line: --image-size), "
                "or an array (N, height, width, channels)."
            )
        return np.stack([prepare_one(item, start + i) for i, item in enumerate(items)])

    return prepare


def _range_of_list(arrays: list[np.ndarray]) -> Range | None:
    """The range of pixels of all arrays of a list: found among those of one kind of numbers, and the same for all."""
    kinds: dict[str, list[np.ndarray]] = {}
    for array in arrays:
        kinds.setdefault("integers" if array.dtype.kind in "iu" else "floats", []).append(array)
    found = {kind: pixel_range(some) for kind, some in kinds.items()}
    whole, real = found.get("integers"), found.get("floats")
    if whole is not None and real is not None and not is_same(whole, real):
        raise InvalidArgument(
            f"The images of a list must have pixels of one range. Received: integers of {shown(whole)} and floats of "
            f"{shown(real)}. Prepare all alike, best as 0 to 255."
        )
    return common(real, whole) or whole


def _is_array(images: Any) -> bool:
    return hasattr(images, "__array__") and hasattr(images, "shape")


def _is_path(item: Any) -> bool:
    return isinstance(item, str | os.PathLike)


def _as_they_are(images: np.ndarray) -> np.ndarray:
    return images


def _pixels(images: Any, start: int) -> np.ndarray:
    """Images as an array of finite numbers; `start` is the number of the first."""
    try:
        pixels = np.asarray(images)
    except ValueError:
        raise InvalidArgument(
            f"An image must be an array (height, width, channels). Received: rows of several lengths, image {start}."
        ) from None
    if pixels.dtype.name == "bfloat16":
        pixels = pixels.astype(np.float32)
    if pixels.dtype.kind not in "buif":
        raise InvalidArgument(f"Pixels must be numbers. Received: dtype {pixels.dtype} in image {start}.")
    if not np.isfinite(pixels).all():
        number = start + int(np.argmin(np.isfinite(pixels.reshape(len(pixels), -1)).all(axis=1)))
        raise DataError(f"An image holds NaN or infinity. Received: image {number}, counted from 0. Repair it.")
    return pixels


def _in_8_bits(pixels: np.ndarray, scaling: decoding.Scaling) -> np.ndarray:
    """uint16 pixels by the range that the model was trained on, if it was on 16-bit images; others as they are."""
    if pixels.dtype == np.uint16 and scaling.range_16_bit is not None:
        return decoding.to_8_bit(pixels, scaling.range_16_bit)
    return pixels


def _in_shape(pixels: np.ndarray, shape: tuple) -> np.ndarray:
    """Check that images (N, ...) are of the model's shape."""
    if pixels.ndim == 4 and all(want in (None, got) for want, got in zip(shape, pixels.shape[1:], strict=True)):
        return pixels
    height, width, channels = shape
    can_resize = pixels.ndim == 4 and channels in FILE_CHANNELS and pixels.shape[-1] in FILE_CHANNELS
    raise InvalidArgument(
        f"The model takes an array (N, {height}, {width}, {channels}). Received: shape {pixels.shape}. "
        + ("Pass a list of images to have them resized." if can_resize else "Bring the images to that shape.")
    )


def _resized(pixels: np.ndarray, shape: tuple, scaling: decoding.Scaling, given: Range | None) -> np.ndarray:
    """An array in the model's size; that has it already, or is resized in a range that holds its pixels.

    `given` is the range of the images, or one that it may be.
    """
    height, width, channels = shape
    if pixels.shape == shape and (scaling.crop_fraction == 1 or channels not in FILE_CHANNELS):
        return pixels
    if channels not in FILE_CHANNELS:
        raise InvalidArgument(f"The model takes images of shape {shape}. Received: shape {pixels.shape}.")
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.shape[2:] not in ((), (1,), (3,)):
        alpha = " Leave the fourth channel out: image[..., :3]." if pixels.shape[2:] == (4,) else ""
        raise InvalidArgument(
            "An image must be an array (height, width), or (height, width, channels) of 1 or 3 channels. "
            f"Received: shape {pixels.shape}.{alpha}"
        )
    if given not in (None, *KNOWN):
        raise InvalidArgument(
            f"Only images of 0 to 255 are resized. Received: values {shown(given)}, shape {pixels.shape}. Pass images "
            f"of the model's shape {shape}."
        )
    source = given or _narrowest(pixels)
    whole = np.clip(np.rint(unscale(pixels, source)), 0, 255).astype(np.uint8)
    resized = decoding.decode(whole, (height, width), channels, scaling)
    return resized if source == RAW else scale(resized, source)


def _narrowest(pixels: np.ndarray) -> Range:
    """The narrowest known range that pixels lie in; resized in it they stay of whatever range they are."""
    low, high = pixels.min(), pixels.max()
    return next((known for known in (UNIT, SIGNED) if known[0] <= low and high <= known[1]), RAW)
