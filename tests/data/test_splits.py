"""The split of each image is a function of its content alone."""

import hashlib

import numpy as np
import pytest

from kzoo.data.splits import TEST, TRAIN, VALIDATION, canonical_split, stratify
from kzoo.errors import InvalidArgument


def keys(count: int, start: int = 0) -> list[bytes]:
    return [hashlib.blake2b(b"%d" % i).digest() for i in range(start, start + count)]


@pytest.mark.parametrize(
    ("images", "expected"),
    [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (14, (12, 1, 1)), (15, (11, 2, 2)), (100, (80, 10, 10))],
)
def test_sizes_of_a_class(images, expected):
    parts = stratify(np.zeros(images, np.int32), keys(images))
    assert tuple(np.bincount(parts, minlength=3)) == expected


def test_independent_of_the_order_of_the_images():
    labels, hashes = np.arange(200, dtype=np.int32) % 3, keys(200)
    parts = stratify(labels, hashes)
    order = np.random.default_rng(0).permutation(200)
    shuffled = stratify(labels[order], [hashes[i] for i in order])
    np.testing.assert_array_equal(shuffled, parts[order])


def test_images_that_are_added_move_few_others():
    before = stratify(np.zeros(1000, np.int32), keys(1000))
    after = stratify(np.zeros(1010, np.int32), keys(1010))[:1000]
    assert (before != after).sum() <= 4


def test_equal_content_lands_in_one_split_even_under_two_labels():
    hashes = keys(40) * 2
    labels = np.repeat(np.arange(2, dtype=np.int32), 40)
    parts = stratify(labels, hashes)
    np.testing.assert_array_equal(parts[:40], parts[40:])
    assert set(parts.tolist()) == {TRAIN, VALIDATION, TEST}


def test_only_the_splits_asked_for_are_cut():
    parts = stratify(np.zeros(50, np.int32), keys(50), (VALIDATION,))
    assert np.bincount(parts, minlength=3).tolist() == [45, 5, 0]


def test_split_names():
    assert canonical_split("val") == "validation"
    assert canonical_split("all") == "all"
    with pytest.raises(InvalidArgument, match=r"Unknown split. Received: 'tset'. Did you mean 'test'\?"):
        canonical_split("tset")
