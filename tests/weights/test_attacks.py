"""Small weights files that ask for a lot of memory or time: each is refused, in a process that has little of both."""

import json
import os
import struct
import zipfile

import h5py
import numpy as np
import pytest

from kzoo.errors import WeightsError
from kzoo.weights import formats

MANY = 100_000


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def called(name):
    return b"c" + name.replace(" ", "\n").encode() + b"\nq\x02"


STORAGE = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + b"K\x01tQq\x05"
REBUILD = called("torch._utils _rebuild_tensor_v2")
CALLS = b"h\x02h\x03R" * MANY  # the same function with the same arguments, from the memo
PICKLES = {
    "a dict made of one list again and again": (
        b"]q\x00(" + text(b"k") + b"K\x01\x86q\x01" + b"h\x01" * MANY + b"e"
        b"" + called("collections OrderedDict") + b"h\x00\x85q\x03R" + CALLS
    ),
    "a tensor of many arguments": STORAGE + REBUILD + b"(h\x05K\x00)q\x06h\x06" + b"N" * MANY + b"tq\x03R" + CALLS,
    "a parameter of many arguments": (
        called("torch._utils _rebuild_parameter") + b"(" + STORAGE + b"N" * MANY + b"tq\x03R" + CALLS
    ),
    "a shape of many dimensions": (
        STORAGE + REBUILD + b"(h\x05K\x00(" + b"K\x01" * MANY + b"tq\x06h\x06tq\x03R" + CALLS
    ),
    "a storage of many views": STORAGE[:-4] + b"N" * MANY + b"tq\x05Q" + b"h\x05Q" * MANY,
    "a storage that is a list": b"](" + b"N" * MANY + b"eq\x05Q" + b"h\x05Q" * MANY,
    "views of one storage": (
        STORAGE + b"}(" + text(b"a") + REBUILD + b"(h\x05K\x00K\x01\x85q\x06h\x06tq\x03R"
        b"" + b"".join(text(b"%x" % i) + b"h\x02h\x03R" for i in range(MANY)) + b"u"
    ),
}


def pickle_of(name):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", b"\x80\x02" + PICKLES[name] + b".")
            archive.writestr("w/data/0", bytes(4))

    return write


def many_entries(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        for number in range(20_000):
            archive.writestr(f"w/data/{number}", b"")


def empty_tensors(path):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({str(number): entry for number in range(400_000)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def a_few_empty_tensors(path):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({str(number): entry for number in range(20_000)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def descriptors(content):
    """Where an HDF5 file has the lengths of its strings: each before the address of the heap, and a number there."""
    heap = struct.pack("<Q", content.find(b"GCOL"))
    at = content.find(heap)
    while at >= 0:
        yield at - 4
        at = content.find(heap, at + 1)


def one_string_of_many_names(path):
    count, long = 3_900, 2_000_000
    with h5py.File(path, "w") as file:
        names = np.array(["x" * long] + [f"y{number}" for number in range(count)], dtype=object)
        file.attrs.create("layer_names", names, dtype=h5py.string_dtype())
    content = bytearray(path.read_bytes())
    at = content.find(struct.pack("<I", long))
    content[at : at + 16 * (count + 1)] = bytes(content[at : at + 16]) * (count + 1)
    path.write_bytes(content)


def strings_that_claim(length, kind):
    def write(path):
        with h5py.File(path, "w") as file:
            if kind == "keras_h5":
                file.attrs["layer_names"] = ["layer"]
            else:
                file.create_group("layers/dense/vars").attrs["name"] = "layer"
                file["layers/dense/vars/0"] = np.zeros(3, "float32")
        content = bytearray(path.read_bytes())
        for at in descriptors(content):
            if content[at : at + 4] == struct.pack("<I", 5):
                content[at : at + 4] = struct.pack("<I", length)
        path.write_bytes(content)

    return write


def a_path_in_circles(path):
    with h5py.File(path, "w", libver="latest") as file:
        file["a"] = file["/"]
        file.attrs.create("layer_names", np.array([b"a/" * 20_000 + b"%d" % number for number in range(100)]))


def one_array_of_many_names(path):
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("a")
        group["x"] = np.zeros(0, "float32")
        file.attrs.create("layer_names", np.array([b"a"]))
        group.attrs.create("weight_names", np.array([b"%06d" % number for number in range(20_000)]))
        for number in range(20_000):
            group[f"{number:06d}"] = group["x"]


def many_links(path):
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = np.zeros(1, "float32")
        for number in range(50_000):
            file[f"layers/{number}"] = group["0"]


ATTACKS = {
    **{name: ("pytorch", pickle_of(name)) for name in PICKLES},
    "an archive of many entries": ("pytorch", many_entries),
    "a header of empty tensors": ("safetensors", empty_tensors),
    "a short header of empty tensors": ("safetensors", a_few_empty_tensors),
    "one long string for all names": ("keras_h5", one_string_of_many_names),
    "a list of names that claims 3 GB": ("keras_h5", strings_that_claim(3_000_000_000, "keras_h5")),
    "a name that claims 3 GB": ("keras_weights_h5", strings_that_claim(3_000_000_000, "keras_weights_h5")),
    "a name that claims 100 MB": ("keras_weights_h5", strings_that_claim(100_000_000, "keras_weights_h5")),
    "a path in circles": ("keras_h5", a_path_in_circles),
    "one array of many names": ("keras_h5", one_array_of_many_names),
    "a group of many links": ("keras_weights_h5", many_links),
}
READ = """
import json, resource, sys
from kzoo.errors import WeightsError
from kzoo.weights import formats

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**27, used + 3 * 2**27))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for format, path in json.loads(sys.argv[1]):
    try:
        formats.read(path, format)
    except WeightsError as error:
        assert not isinstance(error.__cause__, MemoryError), path
        print(error)
"""


def test_little_memory_and_time(fresh_python, tmp_path):
    """All together take less than a minute of the CPU, and none more than 0.4 GB."""
    paths = []
    for number, (format, write) in enumerate(ATTACKS.values()):  # noqa: A001
        write(tmp_path / f"{number}")
        assert (tmp_path / f"{number}").stat().st_size < 4e7
        paths.append((format, str(tmp_path / f"{number}")))
    refused = fresh_python(READ, json.dumps(paths)).stdout.splitlines()
    reasons = dict(zip(ATTACKS, refused, strict=True))
    for name, (_, path) in zip(ATTACKS, paths, strict=True):
        assert repr(path) in reasons[name]
    for name, reason in {
        "a dict made of one list again and again": "makes more of its lists than it has put into them",
        "a tensor of many arguments": "calls a function with 100,004 arguments",
        "a parameter of many arguments": "calls a function with 100,001 arguments",
        "a shape of many dimensions": "impossible shape",
        "a storage of many views": "describes a storage in an unknown way",
        "views of one storage": "more than 10,000 tensors",
        "an archive of many entries": "more than 10,000 entries",
        "a header of empty tensors": "no model's has more than",
        "a short header of empty tensors": "more than 10,000 tensors",
        "a path in circles": "lies more than 16 deep",
        "one array of many names": "more than 10,000 names",
        "a group of many links": "more than 40,000 entries",
    }.items():
        assert reason in reasons[name], name


@pytest.mark.parametrize("format", [*formats.READERS, None])
def test_a_pipe_is_no_weights_file(format, tmp_path):  # noqa: A002
    """Opening it would wait forever for a writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match=r"(it is no regular file|it is no folder)\. Received: '.*pipe'"):
        formats.read(tmp_path / "pipe", format) if format else formats.format_of(tmp_path / "pipe")


def test_entries_that_overlap(tmp_path):
    """Both names of the directory lead to the same place."""
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        archive.writestr("w/data/0", bytes(100))
        archive.writestr("w/data/1", bytes(100))
        first, second = archive.filelist[1:]
        second.header_offset = first.header_offset + 1
    with pytest.raises(WeightsError, match="overlap"):
        formats.read(tmp_path / "file", "pytorch")


def test_a_file_that_was_cut_off_says_so(tmp_path):
    with h5py.File(tmp_path / "file", "w") as file:
        file["a"] = np.zeros(1000, "float32")
    size = (tmp_path / "file").stat().st_size
    os.truncate(tmp_path / "file", 1000)
    with pytest.raises(WeightsError, match=f"it was cut off: it has 1,000 bytes of {size:,}"):
        formats.read(tmp_path / "file", "keras_weights_h5")
