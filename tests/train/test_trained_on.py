"""Which images a run was trained on: a copy among those to score is noticed, a damaged file is one line."""

import numpy as np
import pytest
import safetensors.numpy

from kzoo.data import Dataset
from kzoo.errors import DataError, RunError
from kzoo.train import runs, trained_on

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), "uint8")


def dataset(images, name):
    return Dataset.from_arrays(images, np.arange(len(images)) % 2, name=name)


def test_a_copy_of_a_training_image_is_not_scored(tmp_path):
    trained_on.check(tmp_path, dataset(IMAGES, "old"))  # a run that kept nothing
    trained_on.keep(tmp_path, dataset(IMAGES[:4], "old"))
    trained_on.check(tmp_path, dataset(IMAGES[4:], "new"))
    with pytest.raises(DataError, match=r"Received: 1 of 3, first new #0 = old #3. Score the model on other images"):
        trained_on.check(tmp_path, dataset(IMAGES[3:], "new"))


def of(places, pixels=(2, 16), look=(2, 256), has_look=(2,), dtype: type = np.uint8):
    shapes = {"pixels": pixels, "look": look, "has_look": has_look}
    tensors = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
    return {"places": np.frombuffer(places, np.uint8), **tensors}


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"places": np.zeros(3, np.uint8)},
        of(b"a\0b"),
        of(b"a\0b\0c\0"),
        of(b"a\0b\0", pixels=(2, 15)),
        of(b"a\0b\0", look=(3, 256)),
        of(b"a\0b\0", has_look=(2, 1)),
        of(b"a\0b\0", dtype=np.float32),
    ],
)
def test_a_damaged_file(tmp_path, tensors):
    safetensors.numpy.save_file(tensors, tmp_path / runs.TRAINED_ON)
    with pytest.raises(RunError, match=r"training_images\.safetensors is damaged"):
        trained_on.check(tmp_path, dataset(IMAGES, "new"))


def test_a_file_that_was_cut_off(tmp_path):
    trained_on.keep(tmp_path, dataset(IMAGES, "old"))
    path = tmp_path / runs.TRAINED_ON
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"training_images\.safetensors is damaged"):
        trained_on.check(tmp_path, dataset(IMAGES, "new"))
