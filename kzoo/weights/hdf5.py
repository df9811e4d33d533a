"""Keras's two kinds of HDF5 file, by the names of the layers in them.

Only links within the file are followed, each to a place of its own, and only plain rows of numbers are read: no
external, virtual, compressed (a filter may be code of a plug-in) or unwritten data.

The HDF5 library allocates whatever an attribute claims before it looks at it, and can crash or hang on a file that was
altered with intent. So it only says where the numbers are, in a process of its own with little memory and time; the
numbers are then read without it. What Keras reads itself, the entry of a `.keras` file, is looked through there first.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import ml_dtypes
import numpy as np
from h5py import h5d, h5l, h5o, h5t  # pyright: ignore[reportAttributeAccessIssue] - compiled

from kzoo import children
from kzoo.files import check_regular
from kzoo.weights import archive
from kzoo.weights.limits import MOST_TENSORS, Budget, check_count

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DEEPEST = 16  # groups within groups
MOST_LINKS = 4 * MOST_TENSORS  # Keras writes a tensor into at most three groups of its own
MOST_SECONDS = 10  # of the CPU; of ResNet-152 it is less than one
LONGEST_WAIT = 120  # seconds until the process is ended on a machine that has other work
SPARE_MEMORY = 2**26  # bytes
LONGEST_ATTRIBUTE = 1_000  # bytes; Keras has names of layers and dtypes there


class Place(NamedTuple):
    """Where the numbers of a tensor are: bytes of the file from `start`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Read `.h5` weights as keras.applications publishes them, or a whole model saved as `.h5`.

    Names are "layer/variable", the last part of the stored name without ":0", in the order of the file.
    """
    return _read(path, "legacy")


def read_keras3(path: Path) -> dict[str, np.ndarray]:
    """Read a `.weights.h5` file of Keras 3: names are "layer/0", "layer/1"... in the order of `layer.weights`.

    Keras itself loads such a file by the layers' classes and order and ignores the layers' names, which the file has
    too. They are what counts here. What a layer has within it, and what is not of a layer (the optimizer), has its
    path in the file added: "dropout/seed_generator/0", "optimizer/0".
    """
    return _read(path, "keras3")


def _read(path: Path, kind: str) -> dict[str, np.ndarray]:
    check_regular(path)
    size = path.stat().st_size
    _check_whole(path, size)
    budget = Budget(size)
    tensors = {}
    for place in find_places(path, kind):
        dtype, count = np.dtype(place.dtype), math.prod(place.shape)
        budget.spend(count * dtype.itemsize)
        array = np.fromfile(path, dtype, count, offset=place.start).reshape(place.shape)
        tensors[place.name] = array.astype(dtype.newbyteorder("="), copy=False)
    return tensors


def _check_whole(path: Path, size: int) -> None:
    """Refuse a file that was cut off, the commonest damage, without another process."""
    with open(path, "rb") as file:
        start = file.read(52)
    if not start.startswith(SIGNATURE):
        raise ValueError("it is no HDF5 file")
    # The superblock says where the file ends, after where it begins: see "Disk Format: Level 0A" of the HDF5 format.
    at = {b"\0": 40, b"\1": 44}.get(start[8:9], 28)
    expected = int.from_bytes(start[at : at + 8], "little")
    if size < max(expected, len(start)):
        raise ValueError(f"it was cut off: it has {size:,} bytes of {expected:,}")


def check_entry(path: Path, entry: str) -> None:
    """Refuse an HDF5 file within a zip archive unless Keras reads from it no more than it has.

    All arrays in it lie there as they are, and all attributes are short.
    """
    find_places(path, "plain", entry)


def find_places(path: Path, kind: str, entry: str = "") -> list[Place]:
    """Where the tensors of a file, or of an entry of a zip archive, are, as another process found out."""
    pipes: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    child: Any  # that its answer is bytes depends on the options
    with children.start(__name__, str(path.absolute()), kind, entry, **pipes) as child:
        try:
            answer: bytes = child.communicate(timeout=LONGEST_WAIT)[0]
        except subprocess.TimeoutExpired:
            raise ValueError("the HDF5 library does not come to an end with it") from None
        finally:
            child.kill()
    return places_in(answer, child.returncode)


def places_in(answer: bytes, status: int) -> list[Place]:
    """What the other process answered, and how it ended."""
    if status:
        raise ValueError(f"the HDF5 library crashed on it, or took too much memory or time ({status})")
    found = json.loads(answer)
    if "refused" in found:
        raise ValueError(found["refused"])
    return [Place(name, dtype, tuple(shape), start) for name, dtype, shape, start in found["places"]]


def main(path: str, kind: str, entry: str) -> None:
    """In the other process: print where the tensors are, or why the file is refused, as JSON."""
    try:
        with _content(Path(path), entry) as (content, size):
            _limit_resources(2 * size + SPARE_MEMORY)
            with h5py.File(content, "r") as file:
                answer = {"places": FINDERS[kind](file, Places(size))}
    except MemoryError:
        answer = {"refused": "it asks for more memory than its size explains"}
    except Exception as error:  # whatever a damaged or hostile file makes h5py raise
        answer = {"refused": str(error) or type(error).__name__}
    print(json.dumps(answer))


@contextmanager
def _content(path: Path, entry: str) -> Iterator[tuple[Any, int]]:
    """What h5py opens, and its size."""
    if not entry:
        yield path, path.stat().st_size
        return
    with archive.opened(path) as entries, archive.content_of(entries, entry) as content:
        yield content, entries.getinfo(entry).file_size


def _limit_resources(memory: int) -> None:
    """Let this process take so many more bytes, and some seconds."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):  # not Linux
        return
    for limit, value in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + memory),
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard < 0 else min(value, hard), hard))


def _find_legacy(file: h5py.File, places: "Places") -> list[Place]:
    root: Any = file
    if "layer_names" not in file.attrs and has(file, "model_weights"):
        root = places.child(file, "model_weights")
    if "layer_names" not in root.attrs:
        raise ValueError("it has no layer_names: it is not of Keras's older kind")
    for layer in places.names(root, "layer_names"):
        group = places.child(root, layer)
        for name in places.names(group, "weight_names"):
            key = f"{layer}/{name.split('/')[-1].removesuffix(':0')}"
            if key in places.found:
                raise ValueError(f"two of its tensors are called {key!r:.100}")
            places.add(key, places.child(group, name))
    outside = "top_level_model_weights"
    if has(root, outside) and places.names(places.child(root, outside), "weight_names"):
        raise ValueError("it has variables outside of layers")
    return list(places.found.values())


def _find_keras3(file: h5py.File, places: "Places") -> list[Place]:
    if not has(file, "layers"):
        raise ValueError("it has no layers: it is not of Keras 3's kind")
    for parts, group in places.groups(file):
        if parts[-1:] != ("vars",):
            continue
        owner = list(parts[:-1])
        if owner[:1] == ["layers"] and len(owner) > 1:
            owner = [places.layer_name(file, owner[1]), *owner[2:]]
        for index in sorted(group, key=lambda index: (len(index), index)):
            key = "/".join((*owner, index))
            if key in places.found:
                raise ValueError(f"two of its layers are called {owner[0]!r:.100}")
            places.add(key, places.child(group, index))
    return list(places.found.values())


def _find_nothing(file: h5py.File, places: "Places") -> list[Place]:
    """Look through a file that Keras is going to read."""
    for _, group in places.groups(file):
        places.check_attributes(group)
        for name in map(str, group):
            dataset = places.child(group, name)
            if not isinstance(dataset, h5py.Dataset):
                continue
            places.check_attributes(dataset)
            if dataset.size != 0:
                if dataset.dtype.kind not in "fiubV" or dataset.dtype.hasobject:
                    raise ValueError(f"its {name!r:.100} is no array of numbers")
                places.place(name, dataset)
    return []


FINDERS: dict[str, Callable[[h5py.File, "Places"], list[Place]]] = {
    "legacy": _find_legacy,
    "keras3": _find_keras3,
    "plain": _find_nothing,
}


def has(group: h5py.Group, name: str) -> bool:
    """Whether there is a link of this name. `in` would follow it, into another file if that is where it leads."""
    return group.id.links.exists(name.encode())


class Places:
    """Ways into one open file of `size` bytes that lead nowhere else, into no group twice; what was `found` there."""

    def __init__(self, size: int):
        self.size = size
        self.unread = Budget(size)
        self.found: dict[str, Place] = {}
        self.seen: set[int] = set()
        self.links = 0
        self.attributes = 0

    def child(self, group, name: str) -> Any:
        """What `name`, a path, leads to from `group`."""
        if name.count("/") >= DEEPEST:
            raise ValueError(f"its {name!r:.100} lies more than {DEEPEST} deep")
        for part in name.split("/"):
            if not isinstance(group, h5py.Group) or part in ("", ".") or not has(group, part):
                raise ValueError(f"it lacks {name!r:.100}")
            if group.id.links.get_info(part.encode()).type != h5l.TYPE_HARD:
                raise ValueError(f"its {name!r:.100} is a link to somewhere else")
            group = group[part]
        return group

    def names(self, group, attribute: str) -> list[str]:
        """A list of strings among the attributes of `group`."""
        if not isinstance(group, h5py.Group) or attribute not in group.attrs:
            raise ValueError(f"it lacks {attribute}")
        declared = group.attrs.get_id(attribute)
        if declared.shape == (0,):  # of which NumPy knows no type
            return []
        if len(declared.shape) != 1 or h5py.check_string_dtype(declared.dtype) is None:
            raise ValueError(f"its {attribute} are no list of names")
        check_count(declared.shape[0], "names")
        values: Any = group.attrs[attribute]
        names = [self._text(value) for value in values]
        if len(set(names)) != len(names):
            raise ValueError(f"its {attribute} are no list of different names")
        return names

    def name(self, owner, attribute: str) -> str | None:
        """A string among the attributes of `owner`, if it has one of this name."""
        if attribute not in owner.attrs:
            return None
        declared = owner.attrs.get_id(attribute)
        if declared.shape != () or h5py.check_string_dtype(declared.dtype) is None:
            return None
        return self._text(owner.attrs[attribute])

    def _text(self, value: str | bytes) -> str:
        self.unread.spend(len(value), "names")
        return value.decode() if isinstance(value, bytes) else value

    def groups(self, group, parts: tuple[str, ...] = ()):
        """Walk through all groups."""
        address = h5o.get_info(group.id).addr
        if address in self.seen:
            raise ValueError(f"its {'/'.join(parts)!r:.100} has two names")
        self.seen.add(address)
        self.links += len(group)
        check_count(self.links, "entries", MOST_LINKS)
        yield parts, group
        for name in group:
            child = self.child(group, name)
            if isinstance(child, h5py.Group):
                if len(parts) == DEEPEST:
                    raise ValueError(f"its groups lie more than {DEEPEST} deep")
                yield from self.groups(child, (*parts, name))

    def layer_name(self, file, entry: str) -> str:
        """The name of a layer, which Keras keeps beside its class and number."""
        group = self.child(file, f"layers/{entry}")
        name = self.name(self.child(group, "vars"), "name")
        if name is None or "/" in name:
            raise ValueError(f"it does not say what its layer {entry!r:.100} is called")
        return name

    def add(self, key: str, dataset) -> None:
        """Find a dataset whose numbers lie in the file as they are."""
        check_count(len(self.found) + 1)
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise ValueError(f"its {key!r:.100} is no array of numbers")
        dtype = dataset.dtype
        if dtype.str == "|V2" and self.name(dataset, "dtype") == "bfloat16":  # as Keras writes it
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif dtype.kind not in "fiub" or not dataset.id.get_type().equal(h5t.py_create(dtype, logical=True)):
            raise ValueError(f"its {key!r:.100} is no array of numbers")
        name = dtype.name if dtype.name == "bfloat16" else dtype.str
        self.found[key] = Place(key, name, dataset.shape, self.place(key, dataset))

    def place(self, key: str, dataset: h5py.Dataset) -> int:
        """Where the numbers of a dataset begin in the file."""
        plain = dataset.id.get_create_plist().get_layout() == h5d.CONTIGUOUS
        if not plain or dataset.external or dataset.is_virtual:
            raise ValueError(f"its {key!r:.100} is compressed, in parts, or in another file")
        start, size = dataset.id.get_offset(), math.prod(dataset.shape) * dataset.dtype.itemsize
        if start is None or dataset.id.get_storage_size() != size or start + size > self.size:
            raise ValueError(f"it does not hold the numbers of its {key!r:.100}")
        self.unread.spend(size)
        return start

    def check_attributes(self, owner) -> None:
        """Refuse attributes that are no short strings or single numbers."""
        self.attributes += len(owner.attrs)
        check_count(self.attributes, "attributes", MOST_LINKS)
        for name in owner.attrs:
            declared = owner.attrs.get_id(name)
            is_string = h5py.check_string_dtype(declared.dtype) is not None
            if declared.shape != () or not (is_string or declared.dtype.kind in "fiub"):
                raise ValueError(f"its attribute {name!r:.100} is neither text nor a number")
            if declared.dtype.itemsize > LONGEST_ATTRIBUTE or (
                is_string and len(self._text(owner.attrs[name])) > LONGEST_ATTRIBUTE
            ):
                raise ValueError(f"its attribute {name!r:.100} has more than {LONGEST_ATTRIBUTE:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
