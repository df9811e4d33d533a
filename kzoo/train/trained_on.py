"""Which images a run was trained on, kept with it: a copy of one among those that it is scored on is noticed."""

from pathlib import Path
from typing import Any

import numpy as np

from kzoo.data import Dataset
from kzoo.data.checks import check_copies
from kzoo.data.copies import MARK
from kzoo.errors import RunError
from kzoo.train import runs

_PIXELS, _LOOK = MARK["pixels"].itemsize, MARK["look"].itemsize


def keep(run_dir: Path, images: Dataset) -> None:
    """Write down the marks of a run's training images; of a public dataset, whose splits are published, nothing."""
    path = run_dir / runs.TRAINED_ON
    if path.exists() or (images.load_arguments is not None and images.public_name):
        return
    rows = [
        (images.where(row), mark["pixels"].tobytes().hex(), mark["look"].tobytes().hex() if mark["has_look"] else "")
        for row, mark in enumerate(images.marks)
    ]
    runs.write_json(path, {"images": rows})


def check(run_dir: Path, images: Dataset) -> None:
    """Raise DataError if a run was trained on images that it is to be scored on; warn of those that look so.

    Raises:
        DataError: It was.
        RunError: The run's file is damaged.
    """
    path = run_dir / runs.TRAINED_ON
    if not path.exists():
        return
    rows: Any = runs.read_json(path).get("images")
    try:
        marks = np.zeros(len(rows), MARK)
        for mark, (where, pixels, look) in zip(marks, rows, strict=True):
            found = bytes.fromhex(pixels), bytes.fromhex(look)
            if not isinstance(where, str) or (len(found[0]), len(found[1]) or _LOOK) != (_PIXELS, _LOOK):
                raise ValueError("an entry is no image's")
            mark["pixels"], mark["has_look"] = np.void(found[0]), bool(found[1])
            if found[1]:
                mark["look"] = np.frombuffer(found[1], np.uint8)
    except (TypeError, ValueError) as error:
        raise RunError(f"The run's {path.name} is damaged. Received: {str(path)!r}: {error}") from error
    name = "Test" if images.split == "test" else "Evaluation"
    advice = "Score the model on other images, or delete the copies from these."
    check_copies(name, images, marks, lambda row: rows[row][0], advice)
