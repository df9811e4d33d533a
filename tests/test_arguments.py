"""Checks of numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest

from kzoo.arguments import integer, is_integer, is_number, number
from kzoo.errors import InvalidArgument

NO_NUMBERS = [True, np.bool_(True), "1", None, [1], np.ones(1), 1j]


def test_what_is_a_number():
    assert all(is_integer(value) and is_number(value) for value in (0, -1, 10**400, np.int64(1), np.uint8(1)))
    assert all(is_number(value) and not is_integer(value) for value in (0.5, 1.0, np.float32(1), math.nan, math.inf))
    assert not any(is_integer(value) or is_number(value) for value in NO_NUMBERS)


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(InvalidArgument, match=r"^n must be a whole number of at least -5\. Received: .*\.$"):
        integer("n", value, -5)
    with pytest.raises(InvalidArgument, match=r"^x must be a number of at least -5\. Received: .*\.$"):
        number("x", value, -5)


@pytest.mark.parametrize(
    ("value", "expected", "kind"),
    [(np.int64(3), 3, int), (np.float32(0.5), 0.5, float), (Fraction(1, 2), 0.5, float), (1.0, 1.0, float)],
)
def test_a_number_is_returned_as_pythons_own(value, expected, kind):
    kept = number("x", value, 0)
    assert kept == expected
    assert type(kept) is kind


def test_an_integer_is_returned_as_pythons_own():
    assert type(integer("n", np.uint8(3), 3, 3)) is int
    assert integer("n", np.uint8(3), 3, 3) == 3
    assert integer("n", 10**400, 1) == number("x", 10**400, 1) == 10**400  # beyond the largest float


@pytest.mark.parametrize(
    ("options", "inside", "outside", "text"),
    [
        ({}, [0, 5], [-1], "of at least 0"),
        ({"highest": 2}, [0, 2], [-1, 3], "from 0 to 2"),
    ],
)
def test_ranges_of_integers(options, inside, outside, text):
    assert [integer("n", value, 0, **options) for value in inside] == inside
    for value in [*outside, 0.5, 1.0]:
        with pytest.raises(InvalidArgument) as caught:
            integer("n", value, 0, **options)
        assert str(caught.value) == f"n must be a whole number {text}. Received: {value}."


@pytest.mark.parametrize(
    ("options", "inside", "outside", "text"),
    [
        ({}, [0, 9.5], [-0.1], "of at least 0"),
        ({"above": True}, [1e-300, 9.5], [0, -1], "above 0"),
        ({"highest": 1}, [0, 0.5, 1], [-0.1, 1.1], "from 0 to 1"),
        ({"highest": 1, "above": True}, [0.5, 1], [0, 1.1], "above 0 and at most 1"),
        ({"highest": 1, "below": True}, [0, 0.5], [-0.1, 1], "from 0 up to, not including, 1"),
        ({"highest": 1, "above": True, "below": True}, [0.5], [0, 1], "between 0 and 1"),
    ],
)
def test_ranges_of_numbers(options, inside, outside, text):
    assert [number("x", value, 0, **options) for value in inside] == inside
    for value in outside:
        with pytest.raises(InvalidArgument) as caught:
            number("x", value, 0, **options)
        assert str(caught.value) == f"x must be a number {text}. Received: {value}."


def test_a_message_can_say_what_is_valid_in_words_of_its_own():
    with pytest.raises(InvalidArgument, match=r"^dropout must be a rate below 1\. Received: 1\.$"):
        number("dropout", 1, 0, 1, below=True, valid="a rate below 1")
    with pytest.raises(InvalidArgument, match=r"^n must be an integer, at least 1\. Received: 'x'\.$"):
        integer("n", "x", 1, valid="an integer, at least 1")
