"""Turns that make the ratio of two speeds trustworthy."""

import functools

from kzoo.bench.turns import in_turn


def test_turns_are_taken_in_both_orders_after_a_warm_up():
    taken = []
    passes = [(name, functools.partial(taken.append, name)) for name in "ab"]
    speeds = in_turn(passes, 10, 3)
    assert "".join(taken) == "abbaabba"
    assert [len(found) for found in speeds] == [3, 3]
    assert all(speed > 0 for found in speeds for speed in found)
