"""A picture of what augmentation makes of images."""

import io
from typing import Any

import numpy as np

from kzoo import arguments, augment
from kzoo.data import Dataset
from kzoo.data.order import sample_seeds
from kzoo.data.pipeline import augmented
from kzoo.data.sheets import BACKGROUND, TEXT, as_picture

_GAP, _TEXT_SIZE, _LINE = 6, 13, 18


def preview_grid(data: Dataset, policy: Any, *, count: int = 8, draws: int = 8, seed: int = 0) -> bytes:
    """Draw a grid: in each row an image, with its class beside it, and what the first epochs of training make of it.

    Args:
        data: Of its classes in turn, the first images are shown.
        policy: What `kzoo.augment.policy` takes.
        count: Rows.
        draws: Augmented images in a row: those of epochs 1, 2, ... of a run with this seed. Layers that mix images mix
            the rows of a column; the shares of the classes are then below each image.
        seed: Of the draws, as `TrainConfig.seed`.

    Returns:
        A PNG file.

    Raises:
        InvalidArgument: No such policy, or a number out of range.

    >>> from kzoo.data import load
    >>> preview_grid(load("digits", image_size=28), "digits", count=2, draws=3)[1:4]
    b'PNG'
    """
    for name, value in (("count", count), ("draws", draws)):
        arguments.integer(name, value, 1, valid="at least 1")
    made = augment.policy(policy)
    rows = one_of_each_class(data.labels)[:count]
    images, labels = data.reader.fetch(rows), data.labels[rows]
    columns = [(images, labels)]
    for epoch in range(draws):
        seeds = sample_seeds(seed, epoch, len(data))[rows]
        drawn, shares = augmented(made, images, labels, seeds)
        columns.append((np.asarray(drawn), np.asarray(shares)))
    heading = f"{data.name} {data.split}: {augment.title(policy)}, seed {seed}"
    return _png(heading, [data.class_names[label] for label in labels], columns, data.class_names)


def one_of_each_class(labels: np.ndarray) -> np.ndarray:
    """All positions, so ordered that the first are the first of each class, then the second of each.

    >>> one_of_each_class(np.array([1, 1, 0, 2, 0])).tolist()
    [2, 0, 3, 4, 1]
    """
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(labels), np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.lexsort((labels, turn))


def _png(heading: str, names: list[str], columns: list[tuple], class_names: tuple[str, ...]) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_TEXT_SIZE)
    cells = [[as_picture(image) for image in images] for images, _ in columns]
    width, height = cells[0][0].size
    captions = [_shares(labels, class_names) for _, labels in columns]
    lines = max((text.count("\n") + 1 for texts in captions for text in texts), default=0)
    row_height = height + _GAP + _LINE * lines
    margin = int(max(font.getlength(name) for name in names)) + 2 * _GAP
    top = 2 * _LINE + _GAP
    canvas = Image.new("RGB", (margin + len(columns) * (width + _GAP), top + len(names) * row_height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP // 2), heading, TEXT, font)
    for row, name in enumerate(names):
        draw.text((_GAP, top + row * row_height + height // 2), name, TEXT, font, anchor="lm")
    for column, images in enumerate(cells):
        left = margin + column * (width + _GAP)
        draw.text((left, _LINE + _GAP // 2), f"epoch {column}" if column else "original", TEXT, font)
        for row, image in enumerate(images):
            canvas.paste(image, (left, top + row * row_height))
            if captions[column]:
                draw.multiline_text((left, top + row * row_height + height + 1), captions[column][row], TEXT, font)
    picture = io.BytesIO()
    canvas.save(picture, "PNG")
    return picture.getvalue()


def _shares(labels: np.ndarray, class_names: tuple[str, ...]) -> list[str]:
    """Of soft labels a line for each class that has a share, the largest first; of others nothing."""
    if labels.ndim == 1:
        return []
    orders = [[label for label in np.argsort(-row, kind="stable") if row[label] >= 0.005] for row in labels]
    return [
        "\n".join(f"{row[label]:.2f} {class_names[label]}" for label in order)
        for row, order in zip(labels, orders, strict=True)
    ]
