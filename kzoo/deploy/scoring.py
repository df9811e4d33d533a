"""What `kzoo.predict` and `kzoo.train.evaluate` do, for an exported model: the same results, without TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kzoo import console
from kzoo.arguments import integer
from kzoo.data import Dataset, match_labels
from kzoo.data.images import Scaling
from kzoo.data.loading import checked_size
from kzoo.data.photos import FILE_CHANNELS, Prediction, decoded, ranked, with_range_of_files
from kzoo.deploy.description import Description
from kzoo.deploy.engines import BATCH_SIZE, Exported
from kzoo.errors import DataError, InvalidArgument
from kzoo.text import dimensions
from kzoo.train.figures import figures_of, outcomes_of, together
from kzoo.weights.labels import aliases

# The least probability that a loss is computed from: engines give float32, where smaller ones lose their digits.
LEAST = float(np.finfo(np.float32).tiny)


def ranker(
    exported: Exported, files: Sequence[Any], top: int, image_size: int | tuple[int, int] | None
) -> Callable[[int, int], list[list[Prediction]]]:
    """A function that classifies some of the image files, from a number on up to another.

    Raises:
        InvalidArgument: `top` below 1, or a size that the model does not take.
    """
    integer("top", top, 1)
    shape, scaling = _form(exported, image_size)
    if None in shape:
        raise InvalidArgument(
            "The model takes images of any size. Received: no size. Pass image_size (command line: --image-size)."
        )
    scaling = with_range_of_files(scaling, list(files))
    names = exported.description.class_names

    def rank(first: int, end: int) -> list[list[Prediction]]:
        found = []
        for start in range(first, end, BATCH_SIZE):
            batch = np.stack([decoded(file, shape, scaling) for file in files[start : min(start + BATCH_SIZE, end)]])
            found += [ranked(row, names, top) for row in exported.probabilities(batch)]
        return found

    return rank


def loading_for(exported: Exported, image_size: int | tuple[int, int] | None) -> dict[str, Any]:
    """The arguments of `kzoo.data.load` for images as an exported model takes them."""
    (height, width, channels), scaling = _form(exported, image_size)
    size = None if None in (height, width) else (height, width)
    return {**scaling._asdict(), "channels": channels, "image_size": size}


def evaluate(exported: Exported, data: Dataset) -> dict[str, Any]:
    """Score an exported model on labelled images: what `kzoo.train.evaluate` gives.

    The loss is computed from probabilities, since a file gives no logits: one below 1.2e-38 counts as that.

    Raises:
        DataError: A label that the model does not know.
    """
    data, names, parts = with_labels_of(data, exported.description), exported.description.class_names, []
    with console.progress("evaluating", len(data)) as advance:
        for start in range(0, len(data), BATCH_SIZE):
            rows = np.arange(start, min(start + BATCH_SIZE, len(data)))
            probabilities = exported.probabilities(data.reader.fetch(rows))
            parts.append(outcomes_of(data.labels[rows], np.log(np.maximum(probabilities, LEAST))))
            advance(len(rows))
    shown = names or (data.class_names if data.has_class_names else None) or exported.description.labels
    return figures_of(together(parts), shown, data.where)


def with_labels_of(data: Dataset, described: Description) -> Dataset:
    """Labelled images with their labels in the order of a model's classes, matched by name where both have names.

    Raises:
        DataError: A label that the model does not know.
    """
    names = described.class_names
    if names is not None and data.has_class_names:
        return match_labels(data, names, aliases(names))
    if (known := len(data.class_names)) > described.classes:
        raise DataError(
            f"The model has {described.classes} classes. Received: data of {known}. Name data of its classes."
        )
    return data


def _form(
    exported: Exported, image_size: int | tuple[int, int] | None
) -> tuple[tuple[int | None, int | None, int], Scaling]:
    """The shape that image files are brought to, and how; whole images for a size that is asked for."""
    described = exported.description
    height, width, channels = described.input_shape
    if channels not in FILE_CHANNELS:
        raise InvalidArgument(f"Image files have 1 or 3 channels. Received: a model of {channels}.")
    size = checked_size(image_size)
    if size is None:
        return described.input_shape, described.scaling
    if any(side not in (None, asked) for side, asked in zip((height, width), size, strict=True)):
        raise InvalidArgument(f"The model takes images of {height}x{width}. Received: image_size={dimensions(size)}.")
    return (*size, channels), described.scaling._replace(crop_fraction=1.0)
