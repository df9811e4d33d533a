"""PyTorch's two containers: the zip archive of torch.save since 1.6, and the stream of pickles before it.

A zip archive holds `NAME/data.pkl` and each storage as `NAME/data/KEY`, uncompressed. The stream holds a magic number,
a version, the machine's sizes, the pickle, the keys of the storages in order, then for each its number of elements
(int64) and the elements.
"""

import io
import math
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.files import check_regular
from kzoo.weights import _pickle, archive
from kzoo.weights.limits import check_count

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
PROTOCOL_VERSION = 1001
FEW = 100  # operations of the pickles before the one of the tensors
# What may lie around the tensors' names: the entry of a training script's dict, and the wrappers of torch.compile and
# of several GPUs (torch.nn.DataParallel).
ENTRIES = ("state_dict", "model")
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint: a dict of tensors, or a dict that has one as its entry "state_dict" or "model".

    Where every name begins with "module." or "_orig_mod.", that is left out. Arrays may share memory, and may be views
    of the file.
    """
    check_regular(path)
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if content[:4] == b"PK\x03\x04":
        tree, storages = _read_zip(path)
    else:
        tree, storages = _read_stream(content)
    tensors = _state_dict(tree)
    check_count(len(tensors))
    claimed = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if claimed > len(content):  # each may be a view of all; in a real file an element has two bytes and one tensor
        raise ValueError(f"its tensors have {claimed:,} elements, a file of {len(content):,} bytes less")
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _state_dict(tree: Any) -> dict[str, _pickle.TensorView]:
    entries = tree
    if isinstance(tree, dict):
        entries = next((tree[entry] for entry in ENTRIES if isinstance(tree.get(entry), dict)), tree)
    if not isinstance(entries, dict) or not entries:
        raise ValueError("it holds no dict of tensors")
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, _pickle.TensorView):
            raise ValueError(f"its entry {name!r:.100} is a {type(value).__name__.lower()}, not a tensor")
    return entries


def _array(tensor: _pickle.TensorView, storages: dict[str, Any]) -> np.ndarray:
    storage = tensor.storage
    if storage.key not in storages:
        raise ValueError(f"it lacks the storage {storage.key!r:.100}")
    content = storages[storage.key]
    if len(content) != storage.count * np.dtype(storage.dtype).itemsize:
        raise ValueError(f"its storage {storage.key!r:.100} has {len(content):,} bytes for {storage.count:,} elements")
    flat = np.frombuffer(content, storage.dtype)
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _read_zip(path: Path) -> tuple[Any, dict[str, bytes]]:
    with archive.opened(path) as entries:
        names = entries.namelist()
        root = next((name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if root is None or any(not _is_inside(name, root) for name in names):
            raise ValueError("it is not the kind of zip archive that torch.save writes")
        if f"{root}/byteorder" in names and entries.read(f"{root}/byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")
        tree, _ = _pickle.load(io.BytesIO(entries.read(f"{root}/data.pkl")))
        prefix = f"{root}/data/"
        return tree, {name.removeprefix(prefix): entries.read(name) for name in names if name.startswith(prefix)}


def _is_inside(name: str, root: str) -> bool:
    """Whether an entry lies in the archive's one folder."""
    return name.startswith(f"{root}/") and "/" not in root and ".." not in name.split("/")


def _read_stream(content: mmap.mmap) -> tuple[Any, dict[str, Any]]:
    try:
        magic_number, _ = _pickle.load(content, FEW)
    except (ValueError, LookupError):
        magic_number = None
    if magic_number != MAGIC_NUMBER:
        raise ValueError("it begins like neither of PyTorch's two formats")
    if _pickle.load(content, FEW)[0] != PROTOCOL_VERSION:
        raise ValueError("it has an unknown version of PyTorch's older format")
    machine, _ = _pickle.load(content, FEW)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    tree, found = _pickle.load(content)
    keys, _ = _pickle.load(content)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(found):
        raise ValueError("its list of storages is not that of its tensors")
    storages = {}
    for key in keys:
        count, size = int.from_bytes(content.read(8), "little"), np.dtype(found[key].dtype).itemsize
        start = content.tell()
        if count != found[key].count or start + count * size > len(content):
            raise ValueError(f"it ends before its storage {key!r:.100}, or that has another size")
        storages[key] = memoryview(content)[start : start + count * size]
        content.seek(count * size, os.SEEK_CUR)
    if content.tell() != len(content):
        raise ValueError("it goes on after its last storage")
    return tree, storages
