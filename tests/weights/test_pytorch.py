"""PyTorch's files: what PyTorch itself saved is read, what could run code or is damaged is refused."""

import builtins
import io
import os
import pickle
import zipfile

import files
import numpy as np
import pytest

from kzoo.errors import WeightsError
from kzoo.weights import _pickle, formats

BASE = np.arange(12, dtype="float32")
ODD = {
    "matrix": BASE.reshape(3, 4),
    "transposed": BASE.reshape(3, 4).T,
    "every_second": BASE[4:10:2],
    "one": BASE[5],
    "half": BASE[:3] / 8,
    "bfloat16": BASE[:3] / 8,
    "double": BASE[:3].astype("float64") / 8,
    "long": np.array(2**40),
    "bool": np.array([True, False]),
    "empty": np.empty((0, 3), "float32"),
}


def refusal(path):
    """The one line that says why a file is not read."""
    with pytest.raises(WeightsError) as caught:
        formats.read(path, "pytorch")
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


@pytest.mark.parametrize("container", ["zip", "stream"])
def test_whatever_pytorch_saves(container):
    found = formats.read(files.SAMPLES / f"odd_{container}.pth", "pytorch")
    assert list(found) == list(ODD)
    for name, array in ODD.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_the_writer_of_these_tests_writes_pytorchs_bytes(tmp_path):
    """Which makes its files as good as PyTorch's for the other tests."""
    tensors = formats.read(files.SAMPLES / "plain_stream.pth", "pytorch")
    tree = files.state_dict({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()})
    versions = [("", {"version": 1}), ("0", {"version": 1}), ("1", {"version": 2})]
    vars(tree)["_metadata"] = files.OrderedDict(versions)
    with zipfile.ZipFile(files.SAMPLES / "plain_zip.pth") as archive:
        expected = archive.read("plain_zip/data.pkl")
    assert files.pickled(tree)[0] == expected

    expected = (files.SAMPLES / "plain_stream.pth").read_bytes()
    content = io.BytesIO(expected)
    for _ in range(3):
        _pickle.load(content)
    _, storages = _pickle.load(content)
    keys = list(storages)  # addresses
    assert files.stream(tree, keys.__getitem__) == expected


@pytest.mark.parametrize("save", [files.save_zip, files.save_stream])
def test_round_trip_of_a_plain_dict(save, tmp_path):
    tensors = {"a": np.ones((2, 3), "float32"), "b": np.array(7)}
    save(tmp_path / "file", files.state_dict(tensors))
    found = formats.read(tmp_path / "file", "pytorch")
    assert {name: array.tolist() for name, array in found.items()} == {"a": [[1.0] * 3] * 2, "b": 7}


RAN = []


def mark():
    RAN.append("it ran")


# What each would do if it were unpickled; `mark` tells.
HOSTILE = {
    "os.system": files.Call(os.system, "echo it ran > ran"),
    "eval": files.Call(builtins.eval, "__import__('test_pytorch').mark()"),
    "exec": files.Call(builtins.exec, "import test_pytorch; test_pytorch.mark()"),
    "own function": files.Call(mark),
    "getattr": files.Call(builtins.getattr, [], "append"),
    "torch.load": files.Call(files.Name("torch", "load"), "other.pth"),
    "submodule": files.Call(files.Name("torch._utils", "_rebuild_tensor_v2.__globals__")),
    "numpy array": np.zeros(3),
    "numpy scalar": np.float64(3),
    "module": files.Call(files.Name("torch.nn.modules.linear", "Linear"), state={"a": 1}),
    "class": OSError,
    "set": {1, 2},
    "bytearray": bytearray(b"abc"),
    "complex": 1j,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("save", [files.save_zip, files.save_stream])
@pytest.mark.parametrize("place", ["top", "beside", "within", "storage", "shape"])
def test_hostile_pickles_are_refused_before_anything_runs(name, save, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RAN.clear()
    good = files.state_dict({"a": np.ones((2, 3), "float32")})
    storage = files.Storage(np.ones(6, "float32"))
    rebuilt = {
        "storage": (HOSTILE[name], 0, (6,), (1,), False, {}),
        "shape": (storage, 0, HOSTILE[name], (1,), False, {}),
    }
    tree = {
        "top": HOSTILE[name],
        "beside": {"arguments": HOSTILE[name], "state_dict": good},
        "within": {**good, "b": HOSTILE[name]},
        "storage": {"b": files.Rebuilt(rebuilt["storage"])},
        "shape": {"b": files.Rebuilt(rebuilt["shape"])},
    }[place]
    save(tmp_path / "file", tree)
    assert "nothing in it was run" in refusal(tmp_path / "file")
    assert RAN == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_hostile_pickles_are_hostile(tmp_path, monkeypatch):
    """Plain unpickling runs them."""
    monkeypatch.chdir(tmp_path)
    RAN.clear()
    data, _ = files.pickled(HOSTILE["own function"])
    pickle.loads(data)  # noqa: S301
    assert RAN == ["it ran"]
    data, _ = files.pickled(HOSTILE["os.system"])
    pickle.loads(data)  # noqa: S301
    assert (tmp_path / "ran").read_text() == "it ran\n"


OPCODES = {
    # proto 4: the name of a global from the stack, also by way of the memo
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.",
    "STACK_GLOBAL by memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93.",
    "INST": b"(S'echo'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nU\x04echoo.",
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x01a)}\x92.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "PERSID": b"Pos.system\n.",
    "BUILD of a list": b"\x80\x02]}b.",
    "BUILD of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    "BUILD with slots": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__code__K\x01s\x86b.",
    "REDUCE of a string": b"\x80\x02X\x02\x00\x00\x00os)R.",
    "REDUCE of a storage class": b"\x80\x02ctorch\nFloatStorage\nK\x01\x85R.",
    "REDUCE without a tuple": b"\x80\x02ccollections\nOrderedDict\n]R.",
    "a dotted global": b"\x80\x02ccollections\nOrderedDict.fromkeys\n)R.",
    "a global of two spaces": b"\x80\x02ctorch._utils _rebuild_tensor_v2\nx\n)R.",
    "DUP": b"\x80\x02]2.",
    "a memo that was not put": b"\x80\x02h\x07.",
    "APPEND to a tuple": b"\x80\x02)K\x01a.",
    "APPENDS without a mark": b"\x80\x02]e.",
    "SETITEM of a list": b"\x80\x02]K\x01K\x02s.",
    "SETITEMS of an odd number": b"\x80\x02}(K\x01u.",
    "a tuple as a key": b"\x80\x02}K\x01\x85K\x02s.",
    "a tuple of too few": b"\x80\x02K\x01\x87.",
    "a string beyond the end": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "no end": b"\x80\x02]",
    "nothing on the stack": b"\x80\x02.",
    "an unknown operation": b"\x80\x02\xff.",
    "a LONG4": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "text": b"I1\n.",
}


@pytest.mark.parametrize("name", OPCODES)
def test_operations_that_no_tensor_needs_are_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("weights/data.pkl", OPCODES[name])
    refusal(tmp_path / "file")
    with pytest.raises((ValueError, LookupError, TypeError)):
        _pickle.load(io.BytesIO(OPCODES[name]))


def test_small_pickles_that_would_take_forever(tmp_path):
    """A tuple of 2 ** 200 leaves, whose hash or text would never end; a memo of 2 ** 32 places."""
    doubled = b"\x80\x02)" + b"q\x00h\x00\x86" * 200
    with pytest.raises(ValueError, match="key is a tuple"):
        _pickle.load(io.BytesIO(b"\x80\x02}" + doubled[2:] + b"K\x01s."))
    prime = 2**61 - 1  # whose multiples all have the hash 0
    with pytest.raises(ValueError, match="key is a large number"):
        _pickle.load(io.BytesIO(pickle.dumps({prime * i: i for i in range(1, 9)}, protocol=2)))
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02}X\x01\x00\x00\x00a" + doubled[2:] + b"s.")
    assert "its entry 'a' is a tuple, not a tensor" in refusal(tmp_path / "file")
    assert _pickle.load(io.BytesIO(b"\x80\x02]r\xff\xff\xff\xff.")) == ([], {})
    with pytest.raises(ValueError, match="more than 500,000 operations"):
        _pickle.load(io.BytesIO(b"\x80\x02" + b"]" * 500_001 + b"."))


def describe(**changes):
    """A dict of one tensor of twelve elements, described in some other way."""
    storage = files.Storage(BASE)
    described = {"storage": storage, "offset": 0, "shape": (3, 4), "strides": (4, 1), **changes}
    return {"a": files.Rebuilt((*described.values(), False, {}))}


@pytest.mark.parametrize("save", [files.save_zip, files.save_stream])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": (3, 5)}, "does not lie within its storage of 12"),
        ({"shape": (4, 4)}, "does not lie within its storage of 12"),
        ({"offset": 1}, "does not lie within its storage of 12"),
        ({"strides": (4, 2)}, "does not lie within its storage of 12"),
        ({"shape": (10**12, 4), "strides": (0, 1)}, "4,000,000,000,000 elements does not lie within"),
        ({"shape": (2**62, 2**62), "strides": (0, 0)}, "does not lie within"),
        ({"shape": (2**63, 0), "strides": (0, 0)}, "impossible shape"),
        ({"shape": (10**30,), "strides": (1,)}, "impossible shape"),
        ({"shape": (-1, 4)}, "impossible shape"),
        ({"strides": (-4, 1)}, "impossible shape"),
        ({"offset": -1}, "impossible shape"),
        ({"offset": True}, "impossible shape"),
        ({"offset": 0.0}, "impossible shape"),
        ({"shape": (12.0, 1)}, "impossible shape"),
        ({"shape": (3, 4, 1)}, "impossible shape"),
        ({"shape": (1,) * 33, "strides": (1,) * 33}, "impossible shape"),
        ({"shape": [3, 4]}, "in an unknown way"),
        ({"storage": None}, "in an unknown way"),
        ({"storage": {}}, "in an unknown way"),
    ],
)
def test_impossible_tensors(changes, reason, save, tmp_path):
    save(tmp_path / "file", describe(**changes))
    assert reason in refusal(tmp_path / "file")


@pytest.mark.parametrize("save", [files.save_zip, files.save_stream])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", ["one", "all"])
def test_numbers_that_are_none(save, value, share, tmp_path):
    array = np.full((3, 4), value, "float32") if share == "all" else np.where(np.arange(3) == 1, value, 0)
    save(tmp_path / "file", files.state_dict({"a": np.ones(2, "float32"), "b": array.astype("float32")}))
    assert "its tensor 'b' has numbers that are NaN or infinite" in refusal(tmp_path / "file")


def test_many_views_of_one_storage(tmp_path):
    """Would become a thousand arrays of the size of the file, were they copied."""
    storage = files.Storage(np.ones(1000, "float32"))
    views = {f"a{i}": files.Rebuilt((storage, 0, (1000,), (1,), False, {})) for i in range(1000)}
    files.save_zip(tmp_path / "file", views)
    assert "its tensors have 1,000,000 elements, a file of" in refusal(tmp_path / "file")


@pytest.mark.parametrize("sample", ["plain_zip", "plain_stream", "odd_zip", "odd_stream"])
def test_truncated_anywhere(sample, tmp_path):
    content = (files.SAMPLES / f"{sample}.pth").read_bytes()
    path = tmp_path / "file"
    for length in range(0, len(content), 7 if len(content) > 1500 else 1):
        path.write_bytes(content[:length])
        refusal(path)
    path.write_bytes(content[:-1])
    refusal(path)
    if "stream" in sample:
        path.write_bytes(content + b"\0")
        assert "it goes on after its last storage" in refusal(path)


@pytest.mark.parametrize("sample", ["plain_zip", "plain_stream"])
def test_one_changed_byte_is_a_clear_line_or_another_number(sample, tmp_path):
    content = (files.SAMPLES / f"{sample}.pth").read_bytes()
    path = tmp_path / "file"
    refused = 0
    for position in range(0, len(content), 3):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            found = formats.read(path, "pytorch")
        except WeightsError:  # anything else fails the test
            refused += 1
            continue
        assert sum(array.size for array in found.values()) < 100
    assert refused > 100


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"../data.pkl": b"", "../../etc/passwd": b"x"}, "not the kind of zip archive"),
        ({"w/data.pkl": b"\x80\x02}.", "w/../../data/0": b"x"}, "not the kind of zip archive"),
        ({"w/data.pkl": b"\x80\x02}.", "/etc/passwd": b"x"}, "not the kind of zip archive"),
        ({"w/data.pkl": b"\x80\x02}.", "other/data.pkl": b"\x80\x02}."}, "not the kind of zip archive"),
        ({"w/data.pkl": b"\x80\x02}.", "w/byteorder": b"big"}, "not little-endian"),
        ({"w/data.pkl": b"\x80\x02}."}, "no dict of tensors"),
        ({"w/data.pkl": b"\x80\x02]."}, "no dict of tensors"),
        ({"w/data": b""}, "not the kind of zip archive"),
    ],
)
def test_other_zip_archives(entries, reason, tmp_path):
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert reason in refusal(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_zip_bombs(tmp_path):
    with zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        archive.writestr("w/data/0", bytes(10**8))
    assert "not the kind of zip archive" in refusal(tmp_path / "file")


def test_storages_that_are_missing_or_of_another_size(tmp_path):
    tree = files.state_dict({"a": BASE})
    data, _ = files.pickled(tree)
    for entries, reason in (
        ({}, "it lacks the storage '0'"),
        ({"w/data/0": BASE[:6].tobytes()}, "24 bytes for 12 elements"),
        ({"w/data/0": bytes(100)}, "100 bytes for 12 elements"),
    ):
        with zipfile.ZipFile(tmp_path / "file", "w") as archive:
            archive.writestr("w/data.pkl", data)
            for name, content in entries.items():
                archive.writestr(name, content)
        assert reason in refusal(tmp_path / "file")
    good = files.stream(tree)
    count = (12).to_bytes(8, "little")
    assert good.count(count) == 1
    for changed in (2**62, 13, 11, 0):
        (tmp_path / "file").write_bytes(good.replace(count, changed.to_bytes(8, "little")))
        assert "or that has another size" in refusal(tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [b"", b"P", b"PK\x03\x04", b"<!DOCTYPE html><html>", b"\x80\x02K\x01.", b"\0" * 1000, b"\x89HDF\r\n\x1a\n"],
)
def test_files_of_other_kinds(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    refusal(tmp_path / "file")
