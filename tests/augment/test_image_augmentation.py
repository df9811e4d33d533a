"""The draws of augmentation layers: uniform, independent, and the documented hash."""

import numpy as np
import pytest
import scipy.stats

from kzoo import layers
from kzoo.augment.image_augmentation import ImageAugmentation, uniform


def lowbias32(x):
    """Wellons's hash, in Python's integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    return x ^ x >> 16


def test_uniform_is_the_documented_hash():
    rows = [[0, 0], [1, 2], [-5, 2**31 - 1]]
    expected = []
    for first, second in rows:
        state = lowbias32(lowbias32(first & 0xFFFFFFFF) ^ (second & 0xFFFFFFFF))
        draws = [lowbias32(lowbias32((state + i * 0x9E3779B9) & 0xFFFFFFFF)) for i in range(1, 7)]
        expected.append([(bits >> 8) * 2.0**-24 for bits in draws])
    np.testing.assert_array_equal(uniform(np.array(rows, "int32"), 6), np.array(expected, "float32"))


@pytest.mark.parametrize("varied", [0, 1])
def test_uniform_looks_uniform_and_independent_for_consecutive_seeds(varied):
    count = 20_000
    rows = np.zeros((count, 2), "int32")
    rows[:, varied] = np.arange(count)
    draws = np.asarray(uniform(rows, 6), "float64")
    assert draws.min() >= 0
    assert draws.max() < 1
    for column in draws.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    # Correlations of independent draws have a standard deviation of count ** -0.5; 5 of them leave room for 60 pairs.
    neighbours = np.hstack([draws[:-1], draws[1:]])
    correlations = np.corrcoef(neighbours.T)[np.triu_indices(12, 1)]
    assert np.abs(correlations).max() < 5 * count**-0.5


def rows(seed, calls=1, batch=64):
    """The seeds that a layer draws for its images, (calls, batch, 2)."""
    layer = ImageAugmentation(seed=seed)
    return np.stack([layer._seeds(np.zeros((batch, 1, 1, 1))) for _ in range(calls)])


def test_the_class_to_derive_from_is_exported():
    assert layers.ImageAugmentation is ImageAugmentation
    assert "ImageAugmentation" in layers.__all__


def test_draws_of_a_layer_are_a_function_of_seed_call_and_row():
    first = rows(1, calls=3)
    assert first.dtype == "int32"
    np.testing.assert_array_equal(rows(1, calls=3), first)
    np.testing.assert_array_equal(rows(1, calls=3, batch=5), first[:, :5])


def test_consecutive_seeds_calls_and_rows_share_no_draws():
    count = 32 * 4 * 64
    seeds = np.concatenate([rows(seed, calls=4) for seed in range(32)]).reshape(count, 2)
    draws = np.asarray(uniform(seeds, 2))
    # That two of 8192 states of 32 bits agree has a chance of 1 in 128; the seeds are fixed.
    assert len(np.unique(seeds, axis=0)) == count
    assert len(np.unique(draws, axis=0)) == count
    assert scipy.stats.kstest(draws[:, 0].astype("float64"), "uniform").pvalue > 1e-4
    # Of a seed and the next, of a call and the next, of a row and the next: 5 standard deviations.
    grid = draws[:, 0].astype("float64").reshape(32, 4, 64)
    for axis in range(3):
        here, after = np.delete(grid, -1, axis).ravel(), np.delete(grid, 0, axis).ravel()
        assert abs(np.corrcoef(here, after)[0, 1]) < 5 / np.sqrt(len(here))


def test_an_image_of_one_seed_is_not_its_neighbour_of_the_next():
    images = np.tile(np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1)).astype("uint8"), (16, 1, 1, 1))
    one, two = (np.asarray(layers.RandomAffine(0.2, seed=seed)(images, training=True)) for seed in (1, 2))
    equal = [np.array_equal(a, b) for a in one for b in two]
    assert not any(equal)
