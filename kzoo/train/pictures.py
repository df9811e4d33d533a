"""An evaluation as files to look at: the confusion matrix as a picture and a table, the mistakes as pictures."""

import csv
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import console
from kzoo.data import Dataset
from kzoo.data.sheets import Cell, sheet
from kzoo.errors import RunError
from kzoo.files import write_bytes
from kzoo.plotting import import_matplotlib, new_figure, png
from kzoo.text import printable

MATRIX, TABLE = "confusion_matrix.png", "confusion_matrix.csv"
MISTAKES, MISTAKES_TABLE = "mistakes.png", "mistakes.csv"

# In a picture of more classes nobody reads the names.
MOST_CLASSES = 40
_LONGEST_NAME = 24
_COLUMNS = 6


def save(folder: Path, figures: dict[str, Any], data: Dataset | None) -> list[Path]:
    """Write an evaluation into a folder that exists, over the files that an earlier one has left there.

    Args:
        folder: The folder.
        figures: What `kzoo.train.evaluate` gives.
        data: The images that were scored, values 0 to 255; None where they are not at hand.

    Returns:
        The files: `confusion_matrix.png` and `.csv`, except of more than 1,000 classes; `mistakes.png` and `.csv`, if
        there are mistakes and their images are at hand.

    Raises:
        RunError: They cannot be written.
    """
    content: dict[str, bytes] = {}
    if "confusion_matrix" in figures:
        matrix = np.array(figures["confusion_matrix"])
        content[MATRIX] = confusion_picture(matrix, figures["classes"])
        content[TABLE] = confusion_table(matrix, figures["classes"])
    else:
        console.warn(f"no confusion matrix: there are {len(figures['classes']):,} classes")
    if figures["mistakes"] and data is not None:
        content[MISTAKES] = mistakes_sheet(figures, data)
        content[MISTAKES_TABLE] = mistakes_table(figures)
    try:
        for name in (MATRIX, TABLE, MISTAKES, MISTAKES_TABLE):
            (folder / name).unlink(missing_ok=True)  # of another evaluation
        for name, one in content.items():
            write_bytes(folder / name, one)
    except OSError as error:
        raise RunError(f"Cannot write the evaluation. Received: {str(folder)!r}: {error.strerror}.") from error
    return [folder / name for name in content]


def confusion_table(matrix: np.ndarray, class_names: Sequence[str]) -> bytes:
    r"""The matrix as CSV in UTF-8: a row for each true class, a column for each predicted one.

    >>> print(confusion_table(np.array([[2, 1], [0, 3]]), ["ants", "bees"]).decode(), end="")
    true \ predicted,ants,bees
    ants,2,1
    bees,0,3
    """
    names = [_cell(name) for name in class_names]
    rows = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
    return _csv([["true \\ predicted", *names], *rows])


def mistakes_table(figures: dict[str, Any]) -> bytes:
    """The most confident mistakes as CSV in UTF-8.

    >>> one = {"true": "ants", "predicted": "bees", "probability": 0.75, "where": "photos/ants/1.jpg"}
    >>> print(mistakes_table({"mistakes": [one]}).decode(), end="")
    true,predicted,probability,image
    ants,bees,0.7500,photos/ants/1.jpg
    """
    rows = [
        [_cell(one["true"]), _cell(one["predicted"]), f"{one['probability']:.4f}", _cell(one["where"])]
        for one in figures["mistakes"]
    ]
    return _csv([["true", "predicted", "probability", "image"], *rows])


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cell(name: str) -> str:
    """A name as a cell: a spreadsheet would take one that begins so for a formula, and compute it."""
    name = printable(name)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def confusion_picture(matrix: np.ndarray, class_names: Sequence[str]) -> bytes:
    """The matrix as a PNG: numbers of images, shaded by their share of the true class.

    Of many classes it has those with the most mistakes.
    """
    matplotlib = import_matplotlib()

    total, count = len(matrix), int(matrix.sum())
    title = (
        f"{count:,} images, {100 * np.trace(matrix) / max(count, 1):.1f} % right; shaded by the share of the true class"
    )
    shown = np.arange(total)
    if total > MOST_CLASSES:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        shown = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
        title = f"{title}\nthe {MOST_CLASSES} of {total:,} classes with the most mistakes"
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    matrix, shares = matrix[np.ix_(shown, shown)], shares[np.ix_(shown, shown)]
    names = [_label(class_names[index]) for index in shown.tolist()]
    side = max(3.0, 0.42 * len(names)) + 1.6
    # Names are text, not formulas of TeX; letters that the font lacks are boxes, and no warning.
    with matplotlib.rc_context({"text.usetex": False, "text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = new_figure(figsize=(side + 1.2, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 5 else 0)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=9)
        for (row, column), number in np.ndenumerate(matrix):
            if number:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{number:,}", ha="center", va="center", color=color, fontsize=8)
        return png(figure, dpi=100)


def _label(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def mistakes_sheet(figures: dict[str, Any], data: Dataset) -> bytes:
    """The most confident mistakes as a PNG: image, true class, predicted class with its probability, and where it is.

    A path is shown from the dataset's folder on.
    """
    mistakes = figures["mistakes"]
    count = round(figures["images"] * (1 - figures["accuracy"]))
    images = data.reader.fetch(np.array([one["row"] for one in mistakes]))
    start = os.path.join(os.path.abspath(os.path.expanduser(data.name)), "")  # noqa: PTH100, PTH111, PTH118
    cells = [
        Cell(
            image,
            (
                f"true: {one['true']}",
                f"predicted: {one['predicted']}",
                f"{100 * one['probability']:.2f} % sure",
                os.path.abspath(one["where"]).removeprefix(start)  # noqa: PTH100
                if os.path.exists(one["where"])  # noqa: PTH110 - else "mnist test #12"
                else one["where"],
            ),
        )
        for image, one in zip(images, mistakes, strict=True)
    ]
    heading = f"{len(cells)} most confident of {count:,} mistakes among {figures['images']:,} images"
    return sheet(heading, cells, _COLUMNS)
