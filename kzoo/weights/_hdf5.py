"""Keras's two kinds of HDF5 file, by the names of the layers in them.

Only links within the file are followed, each to a place of its own, and only plain rows of numbers are read: no
external, virtual, compressed (a filter may be code of a plug-in) or unwritten data.
"""

import math
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
from h5py import h5d, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue] - compiled

DEEPEST = 16  # groups within groups


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Read `.h5` weights as keras.applications publishes them, or a whole model saved as `.h5`.

    Names are "layer/variable", the last part of the stored name without ":0", in the order of the file.
    """
    with h5py.File(path, "r") as file:
        reader = _Reader(path.stat().st_size)
        root: Any = file
        if "layer_names" not in file.attrs and has(file, "model_weights"):
            root = reader.child(file, "model_weights")
        if "layer_names" not in root.attrs:
            raise ValueError("it has no layer_names: it is not of Keras's older kind")
        tensors = {}
        for layer in reader.names(root, "layer_names"):
            group = reader.child(root, layer)
            for name in reader.names(group, "weight_names"):
                key = f"{layer}/{name.split('/')[-1].removesuffix(':0')}"
                if key in tensors:
                    raise ValueError(f"two of its tensors are called {key!r:.100}")
                tensors[key] = reader.array(reader.child(group, name), key)
        outside = "top_level_model_weights"
        if has(root, outside) and reader.names(reader.child(root, outside), "weight_names"):
            raise ValueError("it has variables outside of layers")
        return tensors


def read_keras3(path: Path) -> dict[str, np.ndarray]:
    """Read a `.weights.h5` file of Keras 3: names are "layer/0", "layer/1"... in the order of `layer.weights`.

    Keras itself loads such a file by the layers' classes and order and ignores the layers' names, which the file has
    too. They are what counts here. What a layer has within it, and what is not of a layer (the optimizer), has its
    path in the file added: "dropout/seed_generator/0", "optimizer/0".
    """
    with h5py.File(path, "r") as file:
        reader = _Reader(path.stat().st_size)
        if not has(file, "layers"):
            raise ValueError("it has no layers: it is not of Keras 3's kind")
        tensors = {}
        for parts, group in reader.groups(file):
            if parts[-1:] != ("vars",):
                continue
            owner = list(parts[:-1])
            if owner[:1] == ["layers"] and len(owner) > 1:
                owner = [reader.layer_name(file, owner[1]), *owner[2:]]
            for index in sorted(group, key=lambda index: (len(index), index)):
                key = "/".join((*owner, index))
                if key in tensors:
                    raise ValueError(f"two of its layers are called {owner[0]!r:.100}")
                tensors[key] = reader.array(reader.child(group, index), key)
        return tensors


def has(group: h5py.Group, name: str) -> bool:
    """Whether there is a link of this name. `in` would follow it, into another file if that is where it leads."""
    return group.id.links.exists(name.encode())


class _Reader:
    """Ways into one open file of `size` bytes that lead nowhere else, and into no group twice."""

    def __init__(self, size: int):
        self.size = self.unread = size
        self.seen: set[int] = set()

    def child(self, group, name: str) -> Any:
        """What `name`, a path, leads to from `group`."""
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
        if len(declared.shape) != 1 or declared.shape[0] * declared.dtype.itemsize > self.size:
            raise ValueError(f"its {attribute} are no list of names")
        values: Any = group.attrs[attribute]
        names = [value.decode() if isinstance(value, bytes) else value for value in values]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ValueError(f"its {attribute} are no list of different names")
        return names

    def groups(self, group, parts: tuple[str, ...] = ()):
        """Walk through all groups."""
        address = h5o.get_info(group.id).addr
        if address in self.seen:
            raise ValueError(f"its {'/'.join(parts)!r:.100} has two names")
        self.seen.add(address)
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
        name = self.child(group, "vars").attrs.get("name")
        if not isinstance(name, str) or "/" in name:
            raise ValueError(f"it does not say what its layer {entry!r:.100} is called")
        return name

    def array(self, dataset, name: str) -> np.ndarray:
        """The numbers of a dataset that lies in the file as they are."""
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise ValueError(f"its {name!r:.100} is no array of numbers")
        dtype = dataset.dtype.newbyteorder("=")
        if dtype.str == "|V2" and dataset.attrs.get("dtype") == "bfloat16":  # as Keras writes it
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif dtype.kind not in "fiub":
            raise ValueError(f"its {name!r:.100} is no array of numbers")
        plain = dataset.id.get_create_plist().get_layout() == h5d.CONTIGUOUS
        if not plain or dataset.external or dataset.is_virtual:
            raise ValueError(f"its {name!r:.100} is compressed, in parts, or in another file")
        start, size = dataset.id.get_offset(), math.prod(dataset.shape) * dataset.dtype.itemsize
        if start is None or dataset.id.get_storage_size() != size or start + size > self.size:
            raise ValueError(f"it does not hold the numbers of its {name!r:.100}")
        self.unread -= size
        if self.unread < 0:
            raise ValueError("its arrays together are larger than the file")
        array = np.asarray(dataset[()])
        return array.view(dtype) if array.dtype.kind == "V" else array.astype(dtype, copy=False)
