# pyright: reportAttributeAccessIssue=false, reportAssignmentType=false
"""Write weights files as PyTorch and Keras do, without PyTorch, from what make_listings.py listed."""

import io
import json
import lzma
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import h5py
import safetensors.numpy

LISTINGS = json.loads(lzma.decompress(Path(__file__).with_name("listings.json.xz").read_bytes()))
SAMPLES = Path(__file__).with_name("samples")
STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}


class Name:
    """A global of a pickle, which need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Storage:
    """The elements of an array, in a pickle a persistent id."""

    def __init__(self, array):
        self.array = array


class Rebuilt:
    """A tensor as PyTorch pickles it: a call of a function."""

    def __init__(self, arguments):
        self.arguments = arguments

    def __reduce__(self):
        return REBUILD, self.arguments


class Call:
    """What is pickled as a call of any function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


# PyTorch's pickles refer to each of them many times, to the first one by its place.
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
STORAGE_CLASSES = {dtype: Name("torch", name) for dtype, name in STORAGES.items()}


class Pickler(pickle._Pickler):  # the one in Python, whose parts can be replaced
    """As torch.save's: protocol 2, storages by persistent ids. `storages` then has them by key."""

    def __init__(self, file, key, view, protocol=2):
        super().__init__(file, protocol=protocol)
        self.key, self.view, self.storages = key, view, {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        key = next((k for k, array in self.storages.items() if array is obj.array), None)
        key = self.key(len(self.storages)) if key is None else key
        self.storages[key] = obj.array
        storage_class = STORAGE_CLASSES[obj.array.dtype.name]
        return ("storage", storage_class, key, "cpu", obj.array.size, *([None] if self.view else []))

    def save_name(self, obj):
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, Name: save_name}  # noqa: RUF012

    def save_reduce(self, func, args, state=None, *rest, obj=None, **named):
        if not isinstance(func, Name):
            return super().save_reduce(func, args, state, *rest, obj=obj, **named)
        self.save(func)
        self.save(args)
        self.write(pickle.REDUCE)
        if obj is not None:
            self.memoize(obj)
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)
        return None


def pickled(tree, key=str, view=False, protocol=2):
    """The pickle of a tree of containers and `Rebuilt`, and its storages by key."""
    file = io.BytesIO()
    pickler = Pickler(file, key, view, protocol)
    pickler.dump(tree)
    return file.getvalue(), pickler.storages


def state_dict(tensors):
    """A tree for `pickled`; each array, in C order, is a storage of its own."""
    tree = OrderedDict()
    for name, array in tensors.items():
        strides = tuple(stride // array.itemsize for stride in array.strides)
        tree[name] = Rebuilt((Storage(array), 0, array.shape, strides, False, OrderedDict()))
    return tree


def save_zip(path, tree, root="weights"):
    """As torch.save since 1.6."""
    data, storages = pickled(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", data)
        archive.writestr(f"{root}/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"{root}/data/{key}", array.tobytes())
        archive.writestr(f"{root}/version", "3\n")


def save_stream(path, tree):
    """As torch.save before 1.6."""
    path.write_bytes(stream(tree))


def stream(tree, key=lambda number: str(94020243121552 + number)):
    """The content of such a file."""
    data, storages = pickled(tree, key, view=True)
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    keys = sorted(storages)
    content = [pickle._dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, sizes)]
    content += [data, pickle._dumps(keys, protocol=2)]
    for k in keys:
        content += [storages[k].size.to_bytes(8, "little"), storages[k].tobytes()]
    return b"".join(content)


def save(path, name, value, rename: Callable[[str], str] = str):
    """Write the file of listing `name`, its arrays from `value(tensor's name, shape, dtype)`.

    `rename` changes what variables are called in Keras's older files.
    """
    source, _, container = name.split()
    listing = LISTINGS[name]
    if container == "keras_h5":
        return _save_legacy(path, listing, value, rename)
    if container == "keras_weights_h5":
        return _save_keras3(path, listing, value)
    tensors = {tensor: value(tensor, tuple(shape), dtype) for tensor, shape, dtype in listing}
    if container == "safetensors":
        safetensors.numpy.save_file(tensors, path)
    elif container == "raw":
        for file, array in tensors.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            array.tofile(path / file)
    elif source == "akamaster":
        save_stream(path, {"best_prec1": 90.0, "state_dict": state_dict(tensors)})
    else:
        save_zip(path, state_dict(tensors))
    return None


def _save_legacy(path, listing, value, rename):
    """With the attributes at the root, as keras.applications publishes its files."""
    layers = {}
    for (layer, name), shape, dtype in listing:
        layers.setdefault(layer, [])
        if name:
            layers[layer].append((rename(name), value(name, tuple(shape), dtype)))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [rename(layer).encode() for layer in layers]
        for layer, variables in layers.items():
            group = file.create_group(rename(layer))
            group.attrs["weight_names"] = [name.encode() for name, _ in variables]
            for name, array in variables:
                group.create_dataset(name, data=array)


def _save_keras3(path, listing, value):
    names = {group: name for group, shape, name in listing if shape is None}
    with h5py.File(path, "w") as file:
        for group, name in names.items():
            file.create_group(group).attrs["name"] = name
        for item, shape, dtype in listing:
            if shape is not None:
                group, _, index = item.rpartition("/")
                file.create_dataset(item, data=value(f"{names[group]}/{index}", tuple(shape), dtype))
