"""Checks of numbers that a user gives: each returns the value as Python's own number, or raises one line.

NumPy's scalars are numbers. A bool is none, nor is NaN, nor infinity.
"""

import math
import numbers

from kzoo.errors import InvalidArgument


def is_integer(value) -> bool:
    """Whether `value` is an integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value) -> bool:
    """Whether `value` is a real number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_within(value, lowest, highest=math.inf, *, above=False, below=False) -> bool:
    """Whether a number is finite and in the range: `above` leaves out `lowest`, `below` leaves out `highest`."""
    # NaN fails every comparison.
    return (
        (value > lowest if above else value >= lowest)
        and (value < highest if below else value <= highest)
        and -math.inf < value < math.inf
    )


def plain(value) -> int | float:
    """A number as Python's own int or float, which JSON can hold."""
    return int(value) if is_integer(value) else float(value)


def integer(name: str, value, lowest, highest=math.inf, *, valid: str | None = None) -> int:
    """Return `value`, an integer from `lowest` to `highest`; `valid` replaces the message's words for that.

    Raises:
        InvalidArgument: `value` is not such an integer.

    >>> integer("epochs", 0, 1)
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: epochs must be a whole number of at least 1. Received: 0.
    """
    if not is_integer(value) or not is_within(value, lowest, highest):
        raise refused(name, valid or f"a whole number {in_words(lowest, highest)}", value)
    return int(value)


def number(
    name: str, value, lowest, highest=math.inf, *, above=False, below=False, valid: str | None = None
) -> int | float:
    """Return `value`, a number in a range as for `is_within`; `valid` replaces the message's words for that.

    Raises:
        InvalidArgument: `value` is not such a number.

    >>> number("momentum", 1.0, 0, 1, below=True)
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: momentum must be a number from 0 up to, not including, 1. Received: 1.0.
    """
    if not is_number(value) or not is_within(value, lowest, highest, above=above, below=below):
        raise refused(name, valid or f"a number {in_words(lowest, highest, above, below)}", value)
    return plain(value)


def rate(name: str, value) -> float:
    """Return `value`, a rate of dropout."""
    return number(name, value, 0, 1, below=True, valid="a rate from 0 up to, not including, 1")


def refused(name: str, valid: str, value) -> InvalidArgument:
    """Make the error for an argument that is not what it must be.

    >>> refused("top", "a whole number of at least 1", "x").args[0]
    "top must be a whole number of at least 1. Received: 'x'."
    """
    return InvalidArgument(f"{name} must be {valid}. Received: {value!r}.")


def in_words(lowest, highest, above=False, below=False) -> str:
    """Say which range `is_within` means, as it follows "a number".

    >>> in_words(0, 1), in_words(0, 1, above=True)
    ('from 0 to 1', 'above 0 and at most 1')
    """
    if highest == math.inf:
        return f"above {lowest}" if above else f"of at least {lowest}"
    if above:
        return f"between {lowest} and {highest}" if below else f"above {lowest} and at most {highest}"
    return f"from {lowest} up to, not including, {highest}" if below else f"from {lowest} to {highest}"
