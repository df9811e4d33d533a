"""Labels as people have them, brought to one class index per image."""

from typing import Any

import numpy as np

from kzoo.errors import DataError

# A label beyond this is no class index but, say, an identifier.
MOST_CLASSES = 1_000_000


def class_indices(labels: Any, to_indices: str = "labels.argmax(axis=1)") -> np.ndarray:
    """Labels as int32 `[N]`.

    Args:
        labels: `[N]` or `[N, 1]`, integers, booleans, or floats that are whole numbers.
        to_indices: What makes such labels of one-hot ones, for the message.

    Raises:
        DataError: They are not one class index per image.

    >>> class_indices([[2.0], [0.0]]), class_indices([True, False])
    (array([2, 0], dtype=int32), array([1, 0], dtype=int32))
    """
    try:
        labels = np.asarray(labels)
    except ValueError:
        raise DataError(
            "labels must be one class index per image. Received: a list whose items differ in length. Several labels "
            "per image are not supported: give each image one."
        ) from None
    if labels.ndim > 1 and labels.size == len(labels):
        labels = labels.reshape(-1)
    kind = labels.dtype.kind
    if kind in "OSU" and labels.size:
        first = labels.flat[0].item() if isinstance(labels.flat[0], np.generic) else labels.flat[0]
        is_number = isinstance(first, str | bytes) and first.strip().isdigit()
        advice = (
            "labels = labels.astype(int)"
            if is_number
            else "class_names, labels = numpy.unique(labels, return_inverse=True)"
        )
        raise DataError(f"labels must be class indices. Received: {first!r} for image 0. Take {advice}.")
    if labels.ndim == 2 and kind in "biuf" and labels.size:
        raise _several_columns(labels, to_indices)
    if labels.ndim != 1 or len(labels) == 0 or kind not in "biuf":
        raise DataError(
            f"labels must be integers [N], and not empty. Received: shape {labels.shape}, dtype {labels.dtype}."
        )
    if kind == "f" and not (whole := labels == np.rint(labels)).all():  # NaN is not whole; infinity is out of range
        index = int(whole.argmin())
        raise DataError(
            f"labels must be class indices, whole numbers. Received: {labels[index]:g} for image {index}. Give each "
            "class a number that counts from 0."
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"labels must be class indices that count from 0. Received: {wrong.item()}.")
    return np.ascontiguousarray(labels, dtype=np.int32)


def count_from_one(labels: np.ndarray) -> bool:
    """Whether class indices look as if they counted from 1: each from 1 to the largest is there, and 0 is not.

    >>> count_from_one(np.array([1, 3, 2])), count_from_one(np.array([1, 3]))
    (True, False)
    """
    return bool(labels.min() == 1 and labels.max() > 1 and len(np.unique(labels)) == labels.max())


def _several_columns(labels: np.ndarray, to_indices: str) -> DataError:
    """The error of labels `[N, columns]`."""
    shape = f"Received: shape {labels.shape}"
    if ((labels == 0) | (labels == 1)).all():
        ones = labels.astype(np.int64).sum(axis=1)
        if (ones == 1).all():
            return DataError(f"labels must be integers [N]. {shape}, one-hot. From one-hot labels take {to_indices}.")
        index = int((ones != 1).argmax())
        return DataError(
            f"Several labels per image, or none, are not supported. {shape}, where image {index} has {ones[index]}. "
            "Give each image one class index, or train a classifier for each column: labels[:, 0]."
        )
    if labels.dtype.kind == "f" and (labels >= 0).all() and np.allclose(labels.sum(axis=1), 1, atol=1e-3):
        return DataError(
            f"Soft labels, shares of the classes, are not supported. {shape}, first {labels[0].round(3).tolist()[:8]}. "
            "Give each image one class index; label_smoothing, MixUp and CutMix of kzoo.train make soft ones of it."
        )
    return DataError(
        f"labels must be one class index per image, [N] or [N, 1]. {shape}; several labels per image are not "
        "supported. Choose a column, such as labels[:, 0]."
    )
