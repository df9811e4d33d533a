"""Which images a run was trained on: a copy among those to score is noticed, a damaged file is one line."""

import json

import numpy as np
import pytest

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


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"images": 3},
        {"images": [["a", "00", ""]]},
        {"images": [["a", "zz" * 16, ""]]},
        {"images": [[1, "00" * 16, ""]]},
    ],
)
def test_a_damaged_file(tmp_path, content):
    (tmp_path / runs.TRAINED_ON).write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"training_images\.json is damaged"):
        trained_on.check(tmp_path, dataset(IMAGES, "new"))
