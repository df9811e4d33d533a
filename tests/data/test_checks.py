"""What can be wrong with the data."""

from dataclasses import replace

import numpy as np
import pytest

from kzoo.data import Dataset
from kzoo.data.checks import check, warn_of_imbalance
from kzoo.errors import DataError


def dataset(images, labels=None, name="arrays"):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    return Dataset.from_arrays(images, labels, ["cat", "dog"], name)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), "uint8")


def test_overlap_is_by_content_and_names_the_first():
    train, validation = dataset(images(50), name="train"), dataset(images(40, 1), name="val")
    check(train, validation)
    mixed = np.concatenate([images(40, 1), images(50)[[9, 3, 9]]])
    with pytest.raises(DataError) as caught:
        check(train, dataset(mixed, name="val"))
    assert str(caught.value).startswith(
        "Validation images are training images too, by content. Received: 3 of 43, first val #40 = train #9, val #41 = "
        "train #3, val #42 = train #9. Delete one of each pair."
    )
    nearly = images(50)[[9]]
    nearly[0, 0, 0, 0] ^= 1
    check(train, dataset(nearly))


def test_a_copy_within_one_of_them_is_no_overlap():
    twice = np.concatenate([images(5), images(5)])
    check(dataset(twice), dataset(images(5, 1)))


@pytest.mark.parametrize(
    ("counts", "class_weight", "line"),
    [
        ((30, 10), "none", "the classes are imbalanced: 10 training images of 'dog', 30 of 'cat'; rare classes will be "
         "missed. Add images of them, or weight the classes: --class-weight balanced"),
        ((30, 11), "none", None),
        ((30, 1), "balanced", None),
        ((30, 0), "balanced", "0 training images of 'dog', 30 of 'cat'; rare classes will be missed. Add images"),
    ],
)  # fmt: skip
def test_imbalance(counts, class_weight, line, capsys):
    labels = np.repeat([0, 1], counts)
    warn_of_imbalance(dataset(images(len(labels)), labels), class_weight)
    printed = capsys.readouterr().err
    assert (line in printed) if line else not printed
    assert ("--class-weight" in printed) == (line is not None and counts[1] > 0)


def test_a_photo_saved_again_is_a_warning(capsys):
    rough = np.random.default_rng(0).integers(0, 256, (10, 7, 7, 3), "uint8")
    photos = rough.repeat(12, axis=1).repeat(12, axis=2)
    again = np.clip(photos[[8, 3]].astype(int) + np.random.default_rng(1).integers(-6, 7, (2, 84, 84, 3)), 0, 255)
    check(dataset(photos[:8], name="train"), dataset(again.astype("uint8"), name="val"))
    assert "1 of 2 validation images look like training images saved again, first val #1 = train #3; look at" in (
        capsys.readouterr().err
    )


def test_copies_in_a_public_dataset_are_a_warning(capsys):
    public = replace(dataset(images(5), name="mnist"), load_arguments={"name": "mnist"})
    check(public, public)
    assert "5 of 5 validation images are training images too, first mnist #0 = mnist #0" in capsys.readouterr().err


def test_the_same_arrays_as_validation_data_are_a_warning(capsys):
    data = dataset(images(6), np.arange(6) % 2)
    check(data, data)
    assert "the validation images are the training images" in capsys.readouterr().err


def test_images_of_one_colour_are_no_copies():
    black = np.zeros((1, 4, 4, 3), np.uint8)
    one, other = (dataset(np.concatenate([images(4, seed), black]), np.arange(5) % 2) for seed in (1, 2))
    check(one, other)
