"""Plain data to dataclasses: what is read, and the one line on what is not."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from kzoo.errors import InvalidArgument
from kzoo.plain import EntryError, number_fields, read


@dataclass(frozen=True)
class Named:
    name: str
    rate: float | None = None


@dataclass(frozen=True)
class File:
    path: str


@dataclass(frozen=True)
class Whole:
    count: int
    is_on: bool
    rate: float
    choice: Literal["a", "b"]
    size: tuple[int, int] | None
    names: tuple[str, ...]
    sums: list[float]
    rows: list[dict[str, int | float]]
    anything: Sequence[str | Any]
    model: Named | File | None
    left_open: int = field(default=3)

    def __post_init__(self):
        if self.count < 0:
            raise InvalidArgument(f"count must be at least 0. Received: {self.count}.")


GOOD = {
    "count": 2, "is_on": True, "rate": 1, "choice": "b", "size": [3, 4], "names": ["x"], "sums": [1, 0.5],
    "rows": [{"epoch": 1, "loss": 0.5}], "anything": ["y", {"z": 1}], "model": {"path": "p"}, "left_open": 4,
}  # fmt: skip


def test_what_is_read():
    found = read(Whole, GOOD)
    assert found == Whole(
        2, True, 1.0, "b", (3, 4), ("x",), [1.0, 0.5], [{"epoch": 1, "loss": 0.5}], ("y", {"z": 1}), File("p"), 4
    )
    # An integer stays one where it may be, and becomes a float where only that may be.
    assert type(found.rows[0]["epoch"]) is int
    assert (type(found.rate), type(found.sums[0])) == (float, float)
    assert read(Whole, asdict(found)) == found
    assert read(Whole, {**GOOD, "size": None, "model": {"name": "n", "rate": None}}).model == Named("n")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"count": "2"}, "it.count = '2'. Expected: a whole number."),
        ({"count": 2.0}, "it.count = 2.0. Expected: a whole number."),
        ({"count": True}, "it.count = True. Expected: a whole number."),
        ({"count": -1}, "it: count must be at least 0. Received: -1."),
        ({"is_on": 1}, "it.is_on = 1. Expected: true or false."),
        ({"rate": False}, "it.rate = False. Expected: a number."),
        ({"rate": 10**400}, f"it.rate = 1{'0' * 99}.... Expected: a number."),
        ({"choice": "c"}, "it.choice = 'c'. Expected: one of a, b."),
        ({"size": [3]}, "it.size = [3]. Expected: a list of 2."),
        ({"size": 3}, "it.size = 3. Expected: a list of 2 or null."),
        ({"size": [3, "4"]}, "it.size[1] = '4'. Expected: a whole number."),
        ({"names": "x"}, "it.names = 'x'. Expected: a list."),
        ({"sums": [None]}, "it.sums[0] = None. Expected: a number."),
        ({"rows": [{"epoch": "1"}]}, "it.rows[0].epoch = '1'. Expected: a whole number or a number."),
        ({"rows": [[]]}, "it.rows[0] = []. Expected: an object."),
        ({"model": 5}, "it.model = 5. Expected: an object with name, rate or an object with path or null."),
        ({"model": {"name": "n"}}, "no it.model.rate. Expected: a number or null."),
        ({"model": {"path": 1}}, "it.model.path = 1. Expected: text."),
        ({"model": {"path": "p", "more": 1}}, "it.model.more = 1. Expected: no entries other than path."),
    ],
)
def test_what_is_refused(change, line):
    with pytest.raises(EntryError) as caught:
        read(Whole, {**GOOD, **change}, "it")
    assert str(caught.value) == line


@pytest.mark.parametrize("name", GOOD)
def test_every_entry_must_be_there(name):
    """Also one with a default: a file is written whole."""
    with pytest.raises(EntryError, match=f"^no {name}. Expected: "):
        read(Whole, {key: value for key, value in GOOD.items() if key != name})


def test_no_object():
    with pytest.raises(EntryError, match=r"^the whole = \[\]. Expected: an object with name, rate.$"):
        read(Named, [])


def test_numbers():
    assert number_fields(Whole) == {"count": int, "rate": float, "left_open": int}
    assert number_fields(Named) == {"rate": float}
