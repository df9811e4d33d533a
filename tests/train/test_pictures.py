"""What `kzoo evaluate --save` writes."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from kzoo.data import Dataset
from kzoo.errors import RunError
from kzoo.train import pictures
from kzoo.train.figures import figures_of, outcomes_of

HOSTILE = ["ants", "<b>", "$\\frac{1}{0}$", "\u202egnp", "שלום", "\x1b[31mred", "x" * 200, "=1+1", "犬", "\udcff"]


def evaluated(names, count=60, wrong=7):
    """Figures and images of which so many are mistakes; a mistake's image has the colour of its row."""
    labels = np.arange(count) % len(names)
    logits = np.eye(len(names))[np.where(np.arange(count) < wrong, (labels + 1) % len(names), labels)] * 9
    logits[:, 0] -= np.arange(count) / 100
    images = np.zeros((count, 84, 84, 3), np.uint8)
    images[:, :, :, 0] = np.arange(count)[:, None, None]
    data = Dataset.from_arrays(images, labels, names)
    return figures_of(outcomes_of(labels, logits), names, data.where), data


@pytest.mark.parametrize("names", [["ants", "bees"], HOSTILE], ids=["plain", "hostile"])
def test_what_is_saved(names, tmp_path):
    """Names from outside raise no warning, are no formula of TeX or of a spreadsheet, and are printable."""
    figures, data = evaluated(names)
    files = pictures.save(tmp_path, figures, data)
    assert [path.name for path in files] == [
        "confusion_matrix.png",
        "confusion_matrix.csv",
        "mistakes.png",
        "mistakes.csv",
    ]
    text = files[1].read_text("utf-8")
    header, *rows = csv.reader(text.splitlines())
    assert [list(map(int, row[1:])) for row in rows] == figures["confusion_matrix"]
    assert all(line.isprintable() for line in text.splitlines())
    assert not any(cell.startswith("=") for cell in header)
    with Image.open(files[2]) as sheet:
        colours = {colour for _, colour in sheet.getcolors(1 << 24) or ()}
    assert {(row, 0, 0) for row in range(7)} <= colours
    assert (7, 0, 0) not in colours


def test_what_an_earlier_evaluation_has_left_is_replaced(tmp_path):
    pictures.save(tmp_path, *evaluated(["ants", "bees"]))
    (tmp_path / "notes.txt").write_text("mine")
    pictures.save(tmp_path, *evaluated(["ants", "bees"], wrong=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrix.csv", "confusion_matrix.png", "notes.txt",
    ]  # fmt: skip


def test_of_very_many_classes_there_is_no_matrix(tmp_path):
    figures, data = evaluated([f"class {i}" for i in range(1001)])
    assert [path.name for path in pictures.save(tmp_path, figures, data)] == ["mistakes.png", "mistakes.csv"]


def test_of_many_classes_those_with_mistakes_are_shown():
    """The picture of 300 classes is as large as that of 40."""
    sizes = []
    for classes in (40, 300):
        names = [f"{i:03d}" for i in range(classes)]
        picture = pictures.confusion_picture(np.eye(classes, dtype=int), names)
        sizes.append(Image.open(io.BytesIO(picture)).size)
    assert sizes[0] == sizes[1]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    """It was one when the evaluation began."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write the evaluation"):
        pictures.save(tmp_path / "file", *evaluated(["ants", "bees"]))
