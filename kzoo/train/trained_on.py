"""Which images a run was trained on, kept with it: a copy of one among those that it is scored on is noticed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from kzoo.data import Dataset
from kzoo.data.checks import check_copies
from kzoo.data.copies import MARK
from kzoo.errors import RunError, reason_of
from kzoo.files import write_bytes
from kzoo.train import runs
from kzoo.weights import safetensors_file

# A row of the file is an image; the places are their paths, ended by NUL.
_SHAPES = {"pixels": (MARK["pixels"].itemsize,), "look": MARK["look"].shape, "has_look": ()}


def keep(run_dir: Path, images: Dataset) -> None:
    """Write down the marks of a run's training images; of a public dataset, whose splits are published, nothing."""
    path = run_dir / runs.TRAINED_ON
    if path.exists() or (images.is_published):
        return
    places = [images.where(row).encode("utf-8", "surrogateescape") for row in range(len(images))]
    _write(path, places, np.ascontiguousarray(images.marks))


def keep_all(run_dir: Path, others: Sequence[Path]) -> None:
    """Write down what other runs were trained on, for an ensemble of them.

    Raises:
        RunError: The file of one is damaged.
    """
    found: dict[tuple[bytes, bytes], np.void] = {}
    for path in dict.fromkeys(other / runs.TRAINED_ON for other in others):
        if path.exists():
            places, marks = _checked(path)
            found.update(((place, mark.tobytes()), mark) for place, mark in zip(places, marks, strict=True))
    if found:
        _write(run_dir / runs.TRAINED_ON, [place for place, _ in found], np.array(list(found.values()), MARK))


def _write(path: Path, places: Sequence[bytes], marks: np.ndarray) -> None:
    tensors = {
        "places": np.frombuffer(b"".join(place + b"\0" for place in places), np.uint8),
        "pixels": np.ascontiguousarray(marks["pixels"]).view(np.uint8).reshape(len(marks), -1),
        "look": np.ascontiguousarray(marks["look"]),
        "has_look": marks["has_look"].astype(np.uint8),
    }
    write_bytes(path, safetensors.numpy.save(tensors))


def check(run_dir: Path, images: Dataset) -> None:
    """Raise DataError if a run was trained on images that it is to be scored on; warn of those that look so.

    Raises:
        DataError: It was.
        RunError: The run's file is damaged.
    """
    path = run_dir / runs.TRAINED_ON
    if not path.exists():
        return
    places, marks = _checked(path)
    name = "Test" if images.split == "test" else "Evaluation"
    advice = "Score the model on other images, or delete the copies from these."
    check_copies(name, images, marks, lambda row: places[row].decode("utf-8", "surrogateescape"), advice)


def _checked(path: Path) -> tuple[list[bytes], np.ndarray]:
    try:
        return _read(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"The run's {path.name} is damaged. Received: {str(path)!r}: {reason_of(error)}. Delete it to score "
            "without a look at copies."
        ) from error


def _read(path: Path) -> tuple[list[bytes], np.ndarray]:
    with safetensors_file.opened(path) as file:
        if set(file.keys()) != {"places", *_SHAPES}:
            raise ValueError("it holds other tensors")
        found = {name: file.get_tensor(name) for name in ("places", *_SHAPES)}
    *places, end = found.pop("places").tobytes().split(b"\0")
    if end or any(
        array.dtype != np.uint8 or array.shape != (len(places), *_SHAPES[name]) for name, array in found.items()
    ):
        raise ValueError("its tensors are not those of as many images")
    marks = np.zeros(len(places), MARK)
    marks["pixels"] = np.ascontiguousarray(found["pixels"]).view(MARK["pixels"]).reshape(-1)
    marks["look"], marks["has_look"] = found["look"], found["has_look"] != 0
    return places, marks
