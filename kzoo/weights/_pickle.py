"""A PyTorch pickle as plain data. Nothing in it is imported, called or built: it only says where its tensors are.

The standard library reads the pickle's operations one by one (`pickletools`); those that a dict of tensors needs are
carried out here on plain containers, and any other is refused. A global is looked up in a table of names.

Time and memory stay in proportion to the operations, which are counted, since each may take a hundred bytes of memory
for one of the file. An operation that only moves what others have put on the stack is paid for by them. One that reads
a container, which the memo can give again for two bytes, reads no more than the few values that a call of PyTorch's
has, or its length is counted. Dict keys may only be strings and whole numbers: hashing nested tuples can take forever,
and of very large numbers many can have the same hash.
"""

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import ml_dtypes  # noqa: F401 - teaches NumPy the word "bfloat16"

from kzoo.weights.limits import check_count

MOST_OPERATIONS = 500_000  # ResNet-152 with its optimizer's state takes 0.1 million
MOST_ARGUMENTS = 8  # of a function, or parts of a persistent id; PyTorch's have at most 7
MOST_DIMENSIONS = 32
LARGEST_KEY = 2**60

DTYPES = {  # the element type of each class of storage, as NumPy calls it
    "torch FloatStorage": "float32",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch DoubleStorage": "float64",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch ShortStorage": "int16",
    "torch CharStorage": "int8",
    "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool",
}
LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Global:
    """The name of a class or function, never the thing itself."""

    name: str


@dataclass(frozen=True)
class Storage:
    """`count` elements in a row, which the file keeps under `key`."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorView:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load(file, most_operations: int = MOST_OPERATIONS) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle: None, bools, numbers, strings, lists, tuples, dicts, `Storage` and `TensorView`.

    Returns what it holds, and every storage it speaks of by key.

    Args:
        file: A binary file whose `read(n)` never takes more memory than the file has bytes: `io.BytesIO`, `mmap`. It
            stands behind the pickle afterwards.
        most_operations: More are refused.

    Raises:
        ValueError: It asks for anything else, or is damaged. So may do KeyError, IndexError and TypeError.

    >>> import io, pickle
    >>> load(io.BytesIO(pickle.dumps({"epoch": 3, "best": [0.5]}, protocol=2)))
    ({'epoch': 3, 'best': [0.5]}, {})
    >>> load(io.BytesIO(pickle.dumps(print, protocol=2)))
    Traceback (most recent call last):
    ...
    ValueError: its pickle names __builtin__.print, which no tensor needs; nothing in it was run
    """
    stack, marks, memo, storages = [], [], {}, {}
    calls = pairs = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        operation = opcode.name
        if count == most_operations:
            raise ValueError(f"its pickle has more than {most_operations:,} operations")
        if operation in LITERALS:
            stack.append(argument)
        elif operation in CONSTANTS:
            stack.append(CONSTANTS[operation])
        elif operation in CONTAINERS:
            stack.append(CONTAINERS[operation]())
        elif operation in TUPLES:
            stack.append(_cut(stack, len(stack) - TUPLES[operation]))
        elif operation in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif operation in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif operation == "MARK":
            marks.append(len(stack))
        elif operation == "TUPLE":
            stack.append(_cut(stack, marks.pop()))
        elif operation == "GLOBAL":
            stack.append(_global(argument))
        elif operation == "BINPERSID":
            storage = _storage(stack.pop())
            if storages.setdefault(storage.key, storage) != storage:
                raise ValueError("its pickle describes a storage in two ways")
            stack.append(storage)
        elif operation == "REDUCE":
            function, arguments = _cut(stack, len(stack) - 2)
            _check_call(function, arguments)
            calls += function.name in TENSORS
            check_count(calls)
            pairs += sum(len(one) for one in arguments if type(one) is list)
            if pairs > count:  # each was put into its list by an operation, and is read once
                raise ValueError("its pickle makes more of its lists than it has put into them")
            stack.append(FUNCTIONS[function.name](*arguments))
        elif operation not in ("PROTO", "STOP"):
            _combine(operation, stack, marks)
    return stack.pop(), storages


def _combine(operation: str, stack: list, marks: list) -> None:
    """Carry out an operation that joins what is on top of the stack."""
    if operation in ("APPEND", "APPENDS", "SETITEM", "SETITEMS"):
        many, width = operation.endswith("S"), 1 if operation.startswith("A") else 2
        items = _cut(stack, marks.pop() if many else len(stack) - width)
        _extend(stack[-1], items, width)
    elif operation == "BUILD":
        # Sets attributes. An OrderedDict's (`_metadata`: the versions of modules) say nothing here.
        mapping, _ = _cut(stack, len(stack) - 2)
        if type(mapping) is not dict:
            raise ValueError("its pickle sets attributes; nothing in it was run")
        stack.append(mapping)
    else:
        raise ValueError(f"its pickle asks for {operation}, which no tensor needs; nothing in it was run")


def _cut(stack, start):
    """Take what lies above `start` off the stack."""
    if start < 0:
        raise ValueError("its pickle is damaged: it takes more than it has")
    items = tuple(stack[start:])
    del stack[start:]
    return items


def _extend(container, items, width):
    if width == 1 and type(container) is list:
        container.extend(items)
    elif width == 2 and type(container) is dict and len(items) % 2 == 0:
        _set(container, zip(items[::2], items[1::2], strict=True))
    else:
        raise ValueError(f"its pickle is damaged: it adds to a {type(container).__name__}")


def _set(mapping, pairs):
    for key, value in pairs:
        if type(key) not in (str, int):
            raise ValueError(f"its pickle has a dict whose key is a {type(key).__name__}")
        if type(key) is int and abs(key) > LARGEST_KEY:
            raise ValueError("its pickle has a dict whose key is a large number")
        mapping[key] = value


def _global(name):
    if name not in DTYPES and name not in FUNCTIONS:
        shown = name.replace(" ", ".")
        raise ValueError(f"its pickle names {shown[:100]}, which no tensor needs; nothing in it was run")
    return Global(name)


def _check_call(function, arguments):
    if type(function) is not Global or function.name not in FUNCTIONS or type(arguments) is not tuple:
        raise ValueError("its pickle calls what is no function; nothing in it was run")
    if len(arguments) > MOST_ARGUMENTS:
        raise ValueError(f"its pickle calls a function with {len(arguments):,} arguments; nothing in it was run")


def _storage(identity):
    """What a persistent id stands for: ("storage", class, key, device, number of elements[, view])."""
    if type(identity) is not tuple or not 5 <= len(identity) <= MOST_ARGUMENTS:
        raise ValueError("its pickle describes a storage in an unknown way")
    kind, storage_class, key, _, count, *view = identity
    known = kind == "storage" and type(storage_class) is Global and storage_class.name in DTYPES
    if not known or type(key) is not str or not _are_counts((count,)) or any(v is not None for v in view):
        raise ValueError("its pickle describes a storage in an unknown way")
    return Storage(DTYPES[storage_class.name], key, count)


def _tensor(storage, offset, shape, strides, *_):
    """What torch._utils._rebuild_tensor(_v2) makes; gradients, hooks and metadata that follow say nothing here."""
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("its pickle describes a tensor in an unknown way")
    possible = len(shape) == len(strides) <= MOST_DIMENSIONS  # before they are read
    if not possible or not _are_counts((offset, *shape, *strides)):
        raise ValueError("its pickle describes a tensor of an impossible shape")
    size = math.prod(shape)
    end = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1 if size else offset
    if end > storage.count or size > storage.count:
        raise ValueError(f"a tensor of {size:,} elements does not lie within its storage of {storage.count:,}")
    return TensorView(storage, offset, shape, strides)


def _are_counts(numbers):
    return all(type(n) is int and 0 <= n < 2**63 for n in numbers)


def _parameter(tensor, *_):
    """What torch._utils._rebuild_parameter makes."""
    if type(tensor) is not TensorView:
        raise ValueError("its pickle describes a parameter in an unknown way")
    return tensor


def _ordered_dict(pairs=None):
    """An OrderedDict: empty, or, from Python 2, of a list of pairs."""
    mapping = {}
    if pairs is not None:
        if type(pairs) is not list:
            raise ValueError(f"its pickle makes a dict of a {type(pairs).__name__}")
        _set(mapping, pairs)
    return mapping


TENSORS = {"torch._utils _rebuild_tensor": _tensor, "torch._utils _rebuild_tensor_v2": _tensor}
FUNCTIONS = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_parameter": _parameter,
    **TENSORS,
}
