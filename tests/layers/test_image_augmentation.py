"""The draws of augmentation layers: uniform, independent, and the documented hash."""

import numpy as np
import pytest
import scipy.stats

from kzoo.layers.image_augmentation import uniform


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
