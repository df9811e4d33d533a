"""The digits: exact sizes, values and splits."""

import numpy as np
from sklearn.datasets import load_digits

from kzoo.data import load


def test_split_sizes_are_fixed():
    sizes = {split: len(load("digits", split)) for split in ("train", "validation", "test", "all")}
    assert sizes == {"train": 1439, "validation": 179, "test": 179, "all": 1797}


def test_splits_are_disjoint_and_stratified():
    parts = [load("digits", split) for split in ("train", "validation", "test")]
    places = [data.where(i) for data in parts for i in range(len(data))]
    assert len(set(places)) == 1797
    for data in parts:
        counts = np.bincount(data.labels) / len(data)
        assert np.abs(counts - 0.1).max() < 0.01
    assert len({data.fingerprint for data in parts}) == 1
    assert parts[2].where(0) == "digits #" + parts[2].where(0).split("#")[1]


def test_values_0_to_16_become_0_to_255():
    data = load("digits", "all")
    values, target = load_digits(return_X_y=True)
    np.testing.assert_array_equal(data.images.reshape(1797, 64), np.round(np.asarray(values) * 255 / 16))
    np.testing.assert_array_equal(data.labels, target)
    assert data.images.dtype == np.uint8
    assert data.class_names == tuple("0123456789")


def test_size_and_channels():
    data = load("digits", "test", 28, channels=3)
    assert data.image_shape == (28, 28, 3)
    assert data.images.max() == 255
    np.testing.assert_array_equal(data.images[..., 0], data.images[..., 2])
    assert load("digits", "val", (10, 12)).image_shape == (10, 12, 1)
