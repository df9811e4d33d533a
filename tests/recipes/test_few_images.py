"""The few images are of every class; the table says what was found."""

import numpy as np

import few_images as recipe
from kzoo.data import Dataset
from reporting import few_of_each_class, take


def few(data, images, seed):
    return take(data, few_of_each_class(data, images, seed))


def test_the_few_are_so_many_of_each_class_by_the_seed():
    images = np.arange(60, dtype="uint8").reshape(60, 1, 1, 1)
    data = Dataset.from_arrays(images, np.arange(60) % 3, ["a", "b", "c"])
    train = few(data, 4, 1)
    assert np.bincount(train.labels).tolist() == [4, 4, 4]
    assert len(np.unique(train.images)) == 12
    np.testing.assert_array_equal(train.images[:, 0, 0, 0] % 3, train.labels)
    assert few(data, 4, 1).fingerprint == train.fingerprint != few(data, 4, 2).fingerprint


def test_the_table_shows_means_and_ranges():
    found = {(5, "from scratch"): [0.5, 0.6, 0.7], (5, "fine-tuned"): [0.7, 0.75, 0.8]}
    assert recipe.table(found).splitlines() == [
        "| images of each class | from scratch | fine-tuned |",
        "|---|---|---|",
        "| 5 | 60.0 (50.0 to 70.0) | 75.0 (70.0 to 80.0) |",
    ]
