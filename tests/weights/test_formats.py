"""Reading weights: the library's formats, raw files, and what all formats have in common."""

import json
import struct

import files
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from kzoo.errors import InvalidArgument, WeightsError
from kzoo.weights import formats

TENSORS = {"a": np.arange(6, dtype="float32").reshape(2, 3), "n": np.array(3)}


def refusal(path, format):  # noqa: A002
    with pytest.raises(WeightsError) as caught:
        formats.read(path, format)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


def test_safetensors(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "file")
    found = formats.read(str(tmp_path / "file"), "safetensors")
    assert sorted(found) == ["a", "n"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, TENSORS[name], strict=True)


def test_half_precision_becomes_float32_and_nothing_else_changes(tmp_path):
    numbers = np.array([0.5, -1.25, 3e4], "float32")
    tensors = {"half": numbers.astype("float16"), "brain": numbers.astype(ml_dtypes.bfloat16)}
    tensors |= {"double": numbers.astype("float64"), "bytes": np.arange(3, dtype="uint8")}
    safetensors.numpy.save_file(tensors, tmp_path / "file")
    found = formats.read(tmp_path / "file", "safetensors")
    assert {name: array.dtype.name for name, array in found.items()} == {
        "half": "float32",
        "brain": "float32",
        "double": "float64",
        "bytes": "uint8",
    }
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array.astype(found[name].dtype))


def header(**entries):
    """The content of a safetensors file of 24 bytes of numbers."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(24)


def entry(dtype="F32", shape=(6,), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "content",
    [
        header(a=entry(shape=[7])),
        header(a=entry(shape=[10**12])),
        header(a=entry(shape=[2**63, 2])),
        header(a=entry(shape=[-6])),
        header(a=entry(offsets=[0, 28], shape=[7])),
        header(a=entry(offsets=[0, 2**60], shape=[2**58])),
        header(a=entry(offsets=[4, 24], shape=[5])),
        header(a=entry(offsets=[0, 20], shape=[5])),
        header(a=entry(offsets=[24, 0])),
        header(a=entry(), b=entry()),
        header(a=entry(dtype="F33")),
        header(a=entry(dtype="F64")),
        header(a={"dtype": "F32"}),
        header(),
        struct.pack("<Q", 2**63) + bytes(24),
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        b"<!DOCTYPE html><html>not found</html>",
        b"",
        b"12345",
    ],
)
def test_safetensors_that_lie(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    refusal(tmp_path / "file", "safetensors")
    (tmp_path / "file").write_bytes(header(a=entry()))
    assert formats.read(tmp_path / "file", "safetensors")["a"].tolist() == [0.0] * 6


def test_truncated_safetensors(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for length in range(len(content)):
        (tmp_path / "file").write_bytes(content[:length])
        refusal(tmp_path / "file", "safetensors")
    (tmp_path / "file").write_bytes(content + b"\0")
    refusal(tmp_path / "file", "safetensors")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(dtype, value, tmp_path):
    safetensors.numpy.save_file({**TENSORS, "b": np.array([1, value, 2]).astype(dtype)}, tmp_path / "file")
    assert "its tensor 'b' has numbers that are NaN or infinite" in refusal(tmp_path / "file", "safetensors")


def test_raw(tmp_path):
    (tmp_path / "conv1").mkdir()
    np.array([1.5, -2], "<f4").tofile(tmp_path / "conv1" / "7x7_s2_bias.bin")
    (tmp_path / "LICENSE").write_text("not numbers")
    found = formats.read(tmp_path, "raw")
    assert {name: (array.dtype.str, array.tolist()) for name, array in found.items()} == {
        "conv1/7x7_s2_bias": ("<f4", [1.5, -2.0])
    }


@pytest.mark.parametrize("content", [b"", b"123", b"<html>not found</html>", np.array([np.nan], "<f4").tobytes()])
def test_raw_files_that_are_not_numbers(content, tmp_path):
    (tmp_path / "good.bin").write_bytes(bytes(8))
    (tmp_path / "x.bin").write_bytes(content)
    assert "'x'" in refusal(tmp_path, "raw")


def test_raw_is_a_folder_with_files(tmp_path):
    assert "it holds no tensors" in refusal(tmp_path, "raw")
    (tmp_path / "x.bin").write_bytes(bytes(8))
    assert "it is no folder" in refusal(tmp_path / "x.bin", "raw")
    (tmp_path / "folder.bin").mkdir()
    assert "'folder'" in refusal(tmp_path, "raw")


@pytest.mark.parametrize("format", ["safetensors", "pytorch", "keras_h5", "keras_weights_h5"])
def test_folders_and_missing_files(format, tmp_path):  # noqa: A002
    refusal(tmp_path, format)
    with pytest.raises(WeightsError, match=r"^No such weights file. Received: '.*/none'.$"):
        formats.read(tmp_path / "none", format)


def test_unknown_format(tmp_path):
    with pytest.raises(InvalidArgument, match=r"Unknown format of weights. Received: 'torch'\..*Valid: keras_h5, "):
        formats.read(tmp_path, "torch")


def test_the_whole_line(tmp_path):
    (tmp_path / "file").write_bytes(files.pickle.dumps(print, protocol=2))
    assert refusal(tmp_path / "file", "pytorch") == (
        "Cannot read the weights as 'pytorch': it begins like neither of PyTorch's two formats. Received: "
        f"'{tmp_path / 'file'}'. Fetch them anew, from a source you trust. "
        "Of a model of your own, save its state_dict()."
    )


def test_a_message_has_no_control_characters(tmp_path):
    files.save_zip(tmp_path / "file", {"a": 1, "\x1b[31m\n\u202e": 2})
    message = refusal(tmp_path / "file", "pytorch")
    assert message.isprintable()
    data = b"\x80\x02c\x1b[31mos\nsystem\n."
    with files.zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("w/data.pkl", data)
    assert r"names \x1b[31mos.system" in refusal(tmp_path / "file", "pytorch")


def test_memory_stays_near_the_size_of_the_file(fresh_python, tmp_path):
    """Of files that claim a gigabyte, refused by a process that may take half of one more than it has."""
    lies = {
        "safetensors": header(a=entry(shape=[2**28], offsets=[0, 2**30])),
        "pytorch": b"\x80\x02X\xff\xff\xff\x3f",
    }
    code = """
import resource, sys
from kzoo.errors import WeightsError
from kzoo.weights import formats
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
try:
    formats.read(sys.argv[1], sys.argv[2])
except WeightsError as error:
    assert not isinstance(error.__cause__, MemoryError), error.__cause__
    print("refused")
"""
    for format, content in lies.items():  # noqa: A001
        (tmp_path / "file").write_bytes(content)
        assert fresh_python(code, tmp_path / "file", format).stdout == "refused\n"
