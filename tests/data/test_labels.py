"""Labels as people have them."""

import numpy as np
import pytest

from kzoo.data import Dataset
from kzoo.data.labels import class_indices
from kzoo.errors import DataError


def error_of(labels) -> str:
    with pytest.raises(DataError) as error:
        class_indices(labels)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "labels",
    [
        [[2], [0], [1]],  # as in keras.datasets.cifar10
        np.array([[[2]], [[0]], [[1]]], np.uint8),
        [2.0, 0.0, 1.0],
        np.array([[2], [0], [1]], np.float64),
    ],
)
def test_one_column_and_whole_numbers(labels):
    found = class_indices(labels)
    assert (found.tolist(), found.dtype) == ([2, 0, 1], np.int32)


def test_booleans_are_two_classes():
    assert class_indices(np.array([[True], [False]])).tolist() == [1, 0]


def test_argmax_is_advised_for_one_hot_rows_only():
    for one_hot in (np.eye(3), np.eye(3, dtype=bool), np.eye(2, dtype=int)[[0, 0, 1]]):
        assert "From one-hot labels take labels.argmax(axis=1)" in error_of(one_hot)
    for others in (np.ones((3, 3)), np.zeros((3, 2)), [[0.7, 0.3], [0.2, 0.8]], [[3, 1], [2, 2]], [[-1, 1], [1, -1]]):
        assert "argmax" not in error_of(others)


def test_several_labels_per_image():
    assert "not supported. Received: shape (3, 3), where image 1 has 2." in error_of([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert "where image 2 has 0." in error_of([[1, 0, 0], [1, 0, 0], [0, 0, 0]])
    assert "Soft labels, shares of the classes, are not supported" in error_of([[0.7, 0.3], [0.2, 0.8]])
    assert "several labels per image are not supported. Choose a column" in error_of([[3, 1], [2, 2]])
    assert "Several labels per image are not supported" in error_of([[0], [1, 2]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat", "dog"], "Received: 'cat' for image 0. Take class_names, labels = numpy.unique("),
        (np.array([b"cat", b"dog"]), "Received: b'cat' for image 0"),
        (["1", "2"], "Take labels = labels.astype(int)"),
        ([0.0, 0.5], "Received: 0.5 for image 1"),
        ([0.0, np.nan], "Received: nan for image 1"),
        ([0.0, np.inf], "count from 0. Received: inf"),
        ([None, 1], "Received: None for image 0"),
        ([1j, 0], "dtype complex128"),
        (np.array(3), "shape ()"),
    ],
)
def test_what_is_no_class_index(labels, message):
    assert message in error_of(labels)


def test_names_of_the_error_advised_for_strings_work():
    class_names, labels = np.unique(["dog", "cat", "dog"], return_inverse=True)
    data = Dataset.from_arrays(np.zeros((3, 4, 4)), labels, list(class_names))
    assert [data.class_names[label] for label in data.labels] == ["dog", "cat", "dog"]


def test_labels_that_count_from_one(capsys):
    pixels = np.zeros((3, 4, 4), np.uint8)
    Dataset.from_arrays(pixels, [1, 3, 2])
    assert "each from 1 to 3 is there: if they count from 1, subtract 1" in capsys.readouterr().err
    for others in ([0, 2, 1], [1, 1, 1], [3, 5, 4]):
        Dataset.from_arrays(pixels, others)
    assert not capsys.readouterr().err
    with pytest.raises(DataError, match=r"beyond the 3 class names. Received: 3. Labels count from 0: subtract 1"):
        Dataset.from_arrays(pixels, [1, 3, 2], ["a", "b", "c"])
