"""Plain data, as JSON has it, to dataclasses by their type hints, strictly: the first wrong entry is named in one line.

A field may be a bool, int, float, str, None, Literal, list, tuple, dict, another dataclass, a union of these, or Any.
"""

import difflib
import functools
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from kzoo.errors import InvalidArgument

Kind = TypeVar("Kind")
# Longer values are cut in messages.
LONGEST_VALUE = 100


class EntryError(ValueError):
    """Plain data that is not of the expected form. Its text names the entry, the value and what was expected."""


def read(kind: type[Kind], value: Any, where: str = "", *, others: bool = False) -> Kind:
    """Make a dataclass of plain data. Every field must be there, whatever its default.

    Args:
        kind: The dataclass.
        value: What `dataclasses.asdict` gave, or the same through JSON.
        where: The entry that `value` is, for the message.
        others: Whether there may be other entries, which are left alone.

    Raises:
        EntryError: An entry is missing, unknown, of another type, or refused by the dataclass.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     height: int
    ...     factor: float | None
    >>> read(Size, {"height": 3, "factor": 2})
    Size(height=3, factor=2.0)
    >>> read(Size, {"height": "3", "factor": 2}, "size")
    Traceback (most recent call last):
    kzoo.plain.EntryError: size.height = '3'. Expected: a whole number.
    """
    if not isinstance(value, dict):
        raise _wrong(where, value, kind)
    hints = _hints(kind)
    for name in hints:
        if name not in value:
            raise EntryError(f"no {_join(where, name)}. Expected: {_expected(hints[name])}.")
    for name in value:
        if name not in hints and not others:
            close = "".join(f" Did you mean {one!r}?" for one in difflib.get_close_matches(str(name), hints, n=1))
            entry, names = f"{_join(where, name)} = {shown(value[name])}.", ", ".join(hints)
            raise EntryError(f"{entry}{close} Expected: no entries other than {names}.")
    arguments = {name: _read(hint, value[name], _join(where, name)) for name, hint in hints.items()}
    try:
        return kind(**arguments)
    except InvalidArgument as error:
        raise EntryError(f"{where or 'the whole'}: {error}") from None


def number_fields(kind: type) -> dict[str, type[int] | type[float]]:
    """The fields of a dataclass that are numbers: float where they may be fractions, else int.

    >>> from kzoo.train import TrainConfig
    >>> {name: number_fields(TrainConfig)[name] for name in ("epochs", "learning_rate")}
    {'epochs': <class 'int'>, 'learning_rate': <class 'float'>}
    """
    options = {name: get_args(hint) if _is_union(hint) else (hint,) for name, hint in _hints(kind).items()}
    return {name: float if float in kinds else int for name, kinds in options.items() if {int, float} & set(kinds)}


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, options = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if _is_union(hint):
        return _read_union(options, value, where)
    if is_dataclass(hint):
        return read(hint, value, where)  # pyright: ignore[reportArgumentType] - a class, no instance
    if origin is Literal:
        if any(value == one and type(value) is type(one) for one in options):
            return value
    elif origin in (tuple, list, Sequence):
        if isinstance(value, list | tuple):
            return _read_items(origin, options, value, where)
    elif origin is dict:
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return {name: _read(options[1], one, _join(where, name)) for name, one in value.items()}
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1023:
            return float(value)
        if isinstance(value, float):  # NaN and infinity
            return value
    elif type(value) is hint:
        return value
    raise _wrong(where, value, hint)


def _read_items(origin: Any, options: tuple, value: Sequence, where: str) -> Any:
    if origin is tuple and Ellipsis not in options:
        if len(value) != len(options):
            raise _wrong(where, value, tuple[options])  # pyright: ignore[reportInvalidTypeArguments]
        hints: Sequence = options
    else:
        hints = [options[0]] * len(value)
    items = [_read(hint, one, f"{where}[{i}]") for i, (hint, one) in enumerate(zip(hints, value, strict=True))]
    return items if origin is list else tuple(items)


def _read_union(options: tuple, value: Any, where: str) -> Any:
    nested = [one for one in options if is_dataclass(one)]
    if nested and isinstance(value, dict):  # the one that it is most like, whose message then says what is wrong
        return _read(max(nested, key=lambda one: len(_hints(one).keys() & value.keys())), value, where)
    lists = [one for one in options if get_origin(one) in (tuple, list, Sequence)]
    if lists and isinstance(value, list | tuple):
        return _read(lists[0], value, where)
    for option in options:
        try:
            return _read(option, value, where)
        except EntryError:
            continue
    raise _wrong(where, value, Union[options])  # noqa: UP007 - of a tuple


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _join(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _wrong(where: str, value: Any, hint: Any) -> EntryError:
    return EntryError(f"{where or 'the whole'} = {shown(value)}. Expected: {_expected(hint)}.")


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _expected(hint: Any) -> str:
    """What a type is called in JSON."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
    origin, options = get_origin(hint), get_args(hint)
    if _is_union(hint):
        return " or ".join(dict.fromkeys(map(_expected, options)))
    if origin is Literal:
        return "one of " + ", ".join(map(str, options))
    if origin is tuple and Ellipsis not in options:
        return f"a list of {len(options)}"
    if origin in (tuple, list, Sequence):
        return "a list"
    if is_dataclass(hint):
        return "an object with " + ", ".join(_hints(hint))  # pyright: ignore[reportArgumentType]
    return names.get(hint, "an object")
