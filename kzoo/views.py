"""Test-time augmentation: some views of an image, fixed ones, over which a model's probabilities are averaged.

A model that was trained on mirror images too gets each image as it is and mirrored, as ResNet's and VGG's results were
computed. Any other gets it as it is and moved by about 4 % in four directions, which changes no character. Of a model
that does not say how it was trained, colour images of at least 64x64 pixels are taken for photos, and mirrored.
"""

from typing import Any

from kzoo import console
from kzoo.augment import PHOTO_SIZE
from kzoo.backend import keras
from kzoo.classifier import image_shape_of, metadata

AS_IT_IS = ("as it is",)
MIRRORED = (*AS_IT_IS, "mirrored")
MOVED = (*AS_IT_IS, "left", "right", "up", "down")
# The side of an image in pixels for which it is moved by one.
_SIDE = 28
# The axis along which an image is moved, and whether towards its start.
_DIRECTIONS = {"left": (2, True), "right": (2, False), "up": (1, True), "down": (1, False)}


def views_of(model) -> tuple[str, ...]:
    """The names of the views of each image that suit a model.

    >>> import kzoo
    >>> views_of(kzoo.create_model("mnist_net")), views_of(kzoo.create_model("resnet18"))
    (('as it is', 'left', 'right', 'up', 'down'), ('as it is', 'mirrored'))
    """
    mirrored = metadata(model).get("mirrored")
    if mirrored is None:
        height, width, channels = image_shape_of(model)
        mirrored = channels == 3 and min(height or PHOTO_SIZE, width or PHOTO_SIZE) >= PHOTO_SIZE
    return MIRRORED if mirrored else MOVED


def announce(views: tuple[str, ...]) -> None:
    """Say which views there are, and what they cost."""
    console.log(
        f"test-time augmentation: the mean over {len(views)} views of each image ({', '.join(views)}), "
        f"{len(views)} times the work"
    )


def view(images, name: str) -> Any:
    """A view of images (batch, height, width, channels), of the same shape and type.

    What a moved image leaves free shows its edge.

    >>> import numpy as np
    >>> row = np.arange(3).reshape(1, 1, 3, 1)
    >>> [np.ravel(view(row, name)).tolist() for name in ("as it is", "mirrored", "left", "right")]
    [[0, 1, 2], [2, 1, 0], [1, 2, 2], [0, 0, 1]]
    """
    if name == "as it is":
        return images
    if name == "mirrored":
        return keras.ops.flip(images, axis=2)
    axis, to_start = _DIRECTIONS[name]
    by = max(1, round((images.shape[axis] or _SIDE) / _SIDE))
    rows = slice(None)
    first, last, after, before = (
        (rows,) * axis + (part,) for part in (slice(0, 1), slice(-1, None), slice(by, None), slice(None, -by))
    )
    edge = keras.ops.repeat(images[last if to_start else first], by, axis=axis)
    parts = [images[after], edge] if to_start else [edge, images[before]]
    return keras.ops.concatenate(parts, axis=axis)
