"""The picture shows the images that training would see, each beside its class."""

import io

import numpy as np
import pytest
from PIL import Image

from kzoo import augment
from kzoo.augment.preview import _shares, preview_grid
from kzoo.data import Dataset
from kzoo.data.order import sample_seeds
from kzoo.errors import InvalidArgument
from kzoo.layers import MixUp

CELL, GAP = 84, 6  # 28 pixels three times as large, and what is between two images


def dataset(channels=3, count=9, side=28):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, side, side, channels), "uint8")
    return Dataset.from_arrays(images, [2, 2, 0, 1, 1, 0, 2, 1, 0][:count], ["ant", "bee", "cat"])


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def cell(picture, row, from_right):
    """The pixels of a cell, by its row and its column from the right, at the size that the image has."""
    rows, top = (picture.shape[0] - 42) // (CELL + GAP), 42
    assert row < rows
    left = picture.shape[1] - (from_right + 1) * (CELL + GAP)
    whole = picture[top + row * (CELL + GAP) :, left:][:CELL, :CELL]
    assert (whole == np.repeat(np.repeat(whole[::3, ::3], 3, 0), 3, 1)).all()
    return whole[::3, ::3]


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_are_the_images_of_the_epochs(channels):
    data = dataset(channels)
    picture = opened(preview_grid(data, ["digits", "photos"], count=4, draws=3, seed=7))
    policy = augment.policy(["digits", "photos"])
    assert policy is not None
    shown = [2, 3, 0, 5]  # the first ant, bee and cat, then the second ant
    for row, index in enumerate(shown):
        image = np.broadcast_to(data.images[index], (28, 28, 3))
        np.testing.assert_array_equal(cell(picture, row, 3), image)
        for epoch in range(3):
            seeds = sample_seeds(7, epoch, len(data))[index : index + 1]
            drawn = np.asarray(policy(data.images[index : index + 1], seeds))[0]
            np.testing.assert_array_equal(cell(picture, row, 2 - epoch), np.broadcast_to(drawn, (28, 28, 3)))


def test_training_sees_what_is_drawn():
    data = dataset()
    picture = opened(preview_grid(data, "photos", count=1, draws=2, seed=7))
    batches = data.batches(4, shuffle=True, seed=7, epoch=1, augment=augment.policy("photos"))
    seen = np.concatenate([images for images, _ in batches.as_numpy_iterator()])
    assert any(np.array_equal(image, cell(picture, 0, 0)) for image in seen)


def test_names_and_headings_are_there():
    """Beside and above the cells there is text: pixels that are not background, other ones for other names."""
    one = opened(preview_grid(dataset(), "none", count=3, draws=1))
    margin = one.shape[1] - 2 * (CELL + GAP)
    rows = [one[42 + row * (CELL + GAP) :, :margin][:CELL] for row in range(3)]
    assert all(len(np.unique(row.reshape(-1, 3), axis=0)) > 1 for row in rows)
    assert not np.array_equal(rows[0], rows[1])
    assert len(np.unique(one[:42].reshape(-1, 3), axis=0)) > 1


def test_shares_of_mixed_images_are_below_them():
    assert _shares(np.array([0, 1]), ("ant", "bee")) == []
    shares = np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    assert _shares(shares, ("ant", "bee", "cat")) == ["0.75 bee\n0.25 ant", "1.00 ant"]
    mixed = opened(preview_grid(dataset(), MixUp(classes=3, alpha=1.0), count=3, draws=2))
    below = mixed[42 + CELL : 42 + CELL + 36, -2 * (CELL + GAP) :]
    assert len(np.unique(below.reshape(-1, 3), axis=0)) > 1
    plain = opened(preview_grid(dataset(), "none", count=3, draws=2))
    assert (mixed.shape[0] - plain.shape[0]) % (3 * 18) == 0
    assert mixed.shape[0] > plain.shape[0]


def test_large_images_are_reduced_and_more_rows_than_images_are_no_error():
    wide = Dataset.from_arrays(np.zeros((2, 100, 400, 3), "uint8"), [0, 1])
    picture = opened(preview_grid(wide, "none", count=8, draws=1))
    assert picture.shape[0] == 42 + 2 * (40 + GAP)


def test_numbers_out_of_range():
    for arguments in ({"count": 0}, {"draws": 0}):
        with pytest.raises(InvalidArgument, match=r"must be at least 1. Received: 0."):
            preview_grid(dataset(), "none", **arguments)
