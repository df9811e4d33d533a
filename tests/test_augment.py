"""Augmentation policies by name."""

import numpy as np
import pytest

from kzoo import augment
from kzoo.errors import InvalidArgument


def seeds(count):
    return np.array([[i, 7 * i - 3] for i in range(count)], "int32")


def test_policies_move_images_by_their_own_seed():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), "uint8")
    assert augment.policy("none") is None
    for name in ("digits", "photos"):
        move = augment.policy(name)
        assert move is not None
        together = np.asarray(move(pixels, seeds(4)))
        assert together.dtype == "uint8"
        assert not np.array_equal(together, pixels)
        np.testing.assert_array_equal(np.asarray(move(pixels[2:], seeds(4)[2:])), together[2:])


def test_digits_are_never_mirrored():
    # A step edge stays dark on the left and bright on the right.
    edge = np.zeros((100, 28, 28, 1), "uint8")
    edge[:, :, 14:] = 200
    move = augment.policy("digits")
    assert move is not None
    moved = np.asarray(move(edge, seeds(100)), "float64")
    middle = moved[:, 10:18]
    assert (middle[:, :, 5:9].mean((1, 2, 3)) < middle[:, :, 19:23].mean((1, 2, 3)) - 150).all()


def test_unknown_policy():
    with pytest.raises(InvalidArgument) as caught:
        augment.policy("digit")
    assert str(caught.value) == (
        "Unknown augmentation policy. Received: 'digit'. Did you mean 'digits'? Valid: digits, none, photos."
    )
