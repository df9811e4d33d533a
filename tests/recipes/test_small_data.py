"""The few images are of every class, the same without and with augmentation; the page says what was found."""

from dataclasses import replace

import numpy as np

import reporting
import small_data as recipe
from kzoo.data import Dataset


def test_the_few_are_so_many_of_each_class_by_the_seed():
    images = np.arange(60, dtype="uint8").reshape(60, 1, 1, 1)
    data = Dataset.from_arrays(images, np.arange(60) % 3, ["a", "b", "c"])
    experiment = replace(recipe.EXPERIMENTS[0], images=4, copies=5)
    train = recipe.small(data, experiment, 1)
    assert np.bincount(train.labels).tolist() == [20, 20, 20]
    values, counts = np.unique(train.images, return_counts=True)
    assert (len(values), set(counts.tolist())) == (12, {5})
    np.testing.assert_array_equal(train.images[:, 0, 0, 0] % 3, train.labels)
    assert (
        recipe.small(data, experiment, 1).fingerprint
        == train.fingerprint
        != recipe.small(data, experiment, 2).fingerprint
    )
    everything = recipe.small(data, replace(experiment, images=None, copies=1), 1)
    np.testing.assert_array_equal(everything.images, images)


def test_the_page_shows_means_and_ranges():
    found = {}
    for experiment in recipe.EXPERIMENTS:
        found |= {(experiment.title, "none"): [0.5, 0.6, 0.7], (experiment.title, experiment.policy): [0.7, 0.75, 0.8]}
    page = reporting.page("small_data", {"accuracies": recipe.table(found)})
    row = "| MNIST, 10 images a class | mnist_net | 60.0 (50.0 to 70.0) | 75.0 (70.0 to 80.0) (digits) | +15.0 |"
    assert row in page
    assert page.count("+15.0") == len(recipe.EXPERIMENTS)
