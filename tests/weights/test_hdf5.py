"""Keras's HDF5 files: read by the names of layers; nothing outside of them is followed."""

import lzma
import os

import files
import h5py
import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.errors import WeightsError
from kzoo.weights import formats

KERNEL = np.arange(6, dtype="float32").reshape(2, 3)


def refusal(path, format="keras_h5"):  # noqa: A002
    with pytest.raises(WeightsError) as caught:
        formats.read(path, format)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


@pytest.fixture
def legacy(tmp_path):
    """Write a file of Keras's older kind: a layer "a" of the variables that are given, which `change` then alters."""

    def write(change=None, **variables):
        path = tmp_path / "file"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"a", b"pool"]
            file.create_group("pool").attrs["weight_names"] = np.array([])
            group = file.create_group("a")
            group.attrs["weight_names"] = [f"a/{name}:0".encode() for name in variables]
            for name, array in variables.items():
                group.create_dataset(f"a/{name}:0", data=array)
            if change:
                change(file)
        return path

    return write


@pytest.fixture(scope="module")
def net():
    """A small net with every kind of state."""
    keras.utils.set_random_seed(0)
    model = kzoo.create_model("mnist_net", dropout=0.5)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).random(weight.shape))
    return model


def test_a_model_saved_in_the_older_format(net, tmp_path):
    net.save(tmp_path / "model.h5")
    found = formats.read(tmp_path / "model.h5", "keras_h5")
    assert sorted(found) == sorted(w.path for w in net.weights)
    for weight in net.weights:
        np.testing.assert_array_equal(found[weight.path], weight.numpy(), strict=True)


def test_a_model_saved_in_todays_format(net, tmp_path):
    net.save_weights(tmp_path / "model.weights.h5")
    found = formats.read(tmp_path / "model.weights.h5", "keras_weights_h5")
    expected = {f"{layer.name}/{i}": w for layer in net.layers for i, w in enumerate(layer.weights)}
    others = [name for name in found if name not in expected]
    assert all(name.startswith("optimizer/") or "/seed_generator/" in name for name in others)
    assert len(others) > 20
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight.numpy(), strict=True)


def test_half_precision(tmp_path):
    layers = [keras.layers.Dense(2, dtype=dtype, name=dtype) for dtype in ("bfloat16", "float16")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.save_weights(tmp_path / "model.weights.h5")
    found = formats.read(tmp_path / "model.weights.h5", "keras_weights_h5")
    for layer in layers:
        kernel = np.asarray(layer.kernel).astype("float32")
        np.testing.assert_array_equal(found[f"{layer.name}/0"], kernel, strict=True)


def test_two_layers_that_changed_places(tmp_path):
    """Keras loads by class and order (its silent mistake), kzoo by name."""

    def build(first, second):
        return keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in (first, second))])

    one, other = build("a", "b"), build("b", "a")
    path = tmp_path / "model.weights.h5"
    one.save_weights(path)
    other.load_weights(path)
    np.testing.assert_array_equal(other.get_layer("b").kernel, one.get_layer("a").kernel)
    found = formats.read(path, "keras_weights_h5")
    for name in ("a", "b"):
        np.testing.assert_array_equal(found[f"{name}/0"], one.get_layer(name).kernel)


def test_names_and_order_are_the_files(legacy):
    path = legacy(kernel=KERNEL, bias=KERNEL[0], alpha=np.array([1], ">f4"))
    found = formats.read(path, "keras_h5")
    assert list(found) == ["a/kernel", "a/bias", "a/alpha"]
    np.testing.assert_array_equal(found["a/kernel"], KERNEL, strict=True)
    assert found["a/alpha"].dtype == np.dtype("=f4")


def replace(name, make):
    def change(file):
        del file[name]
        make(file)

    return change


def external_link(file):
    file["a/a/kernel:0"] = h5py.ExternalLink("other.h5", "/secret")


def virtual(file):
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (2, 3))
    file.create_virtual_dataset("a/a/kernel:0", layout)


def linked_group(file):
    file["a"] = h5py.ExternalLink("other.h5", "/")


def dataset(**options):
    return lambda file: file.create_dataset("a/a/kernel:0", **{"shape": (2, 3), "dtype": "f4", **options})


def early(file):
    del file.attrs["layer_names"]


def names(*values):
    def change(file):
        file["a"].attrs["weight_names"] = list(values)

    return change


def layer_names(value):
    def change(file):
        file.attrs["layer_names"] = value

    return change


def outside(file):
    group = file.create_group("top_level_model_weights")
    group.attrs["weight_names"] = [b"x"]


KERNEL_NAME = "a/a/kernel:0"
HOSTILE = {
    "external link": (replace(KERNEL_NAME, external_link), "is a link to somewhere else"),
    "external link to a group": (replace("a", linked_group), "is a link to somewhere else"),
    "soft link": (
        replace(KERNEL_NAME, lambda f: f.__setitem__(KERNEL_NAME, h5py.SoftLink("/b"))),
        "is a link to somewhere else",
    ),
    "soft link to a group": (replace("a/a", lambda f: f.__setitem__("a/a", h5py.SoftLink("/"))), "is a link"),
    "external data": (replace(KERNEL_NAME, dataset(external=[("secret", 0, 24)])), "in another file"),
    "virtual data": (replace(KERNEL_NAME, virtual), "in another file"),
    "compressed data": (replace(KERNEL_NAME, dataset(data=KERNEL, compression="gzip")), "is compressed"),
    "data in chunks": (replace(KERNEL_NAME, dataset(data=KERNEL, chunks=(1, 3))), "in parts"),
    "shape bomb": (replace(KERNEL_NAME, dataset(shape=(10**6, 10**6))), "does not hold the numbers"),
    "bomb of zeros": (replace(KERNEL_NAME, dataset(shape=(2**40,), chunks=(2**20,), compression="gzip")), "compressed"),
    "unwritten data": (replace(KERNEL_NAME, dataset(fillvalue=1.0)), "does not hold the numbers"),
    "no data space": (replace(KERNEL_NAME, dataset(data=h5py.Empty("f4"), shape=None)), "is no array of numbers"),
    "strings": (replace(KERNEL_NAME, dataset(shape=None, dtype=None, data=["a", "b"])), "is no array of numbers"),
    "references": (replace(KERNEL_NAME, dataset(shape=(1,), dtype=h5py.ref_dtype)), "is no array of numbers"),
    "complex numbers": (replace(KERNEL_NAME, dataset(dtype="c8", data=KERNEL.astype("c8"))), "is no array of numbers"),
    "a group": (replace(KERNEL_NAME, lambda f: f.create_group(KERNEL_NAME)), "is no array of numbers"),
    "NaN": (replace(KERNEL_NAME, dataset(data=KERNEL * np.nan)), "NaN or infinite"),
    "missing data": (replace(KERNEL_NAME, lambda f: None), "it lacks 'a/kernel:0'"),
    "missing layer": (replace("a", lambda f: None), "it lacks 'a'"),
    "a layer that is data": (replace("a", lambda f: f.create_dataset("a", data=KERNEL)), "it lacks weight_names"),
    "no names of layers": (early, "it has no layer_names"),
    "names of layers that are numbers": (layer_names([1, 2]), "are no list of names"),
    "names of layers in a table": (layer_names([["a", "pool"]]), "are no list of names"),
    "one name": (layer_names("a"), "are no list of names"),
    "a name that is not text": (layer_names([b"\xff"]), "codec"),
    "twice the same layer": (layer_names(["a", "a"]), "are no list of different names"),
    "twice the same variable": (names("a/kernel:0", "a/kernel:0"), "are no list of different names"),
    "two variables of one name": (names("a/kernel:0", "b/kernel:0"), "two of its tensors are called 'a/kernel'"),
    "an absolute path": (names("/a/a/kernel:0"), "it lacks"),
    "a path upwards": (names("a/./kernel:0"), "it lacks"),
    "variables outside of layers": (outside, "outside of layers"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(KERNEL.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = KERNEL
    change, reason = HOSTILE[name]
    assert reason in refusal(legacy(change, kernel=KERNEL))


@pytest.mark.parametrize("count", [2, 30])
def test_one_array_under_many_names(count, legacy):
    """Two of them are a pair that shares its weights, thirty a small file that takes a lot of memory."""

    def change(file):
        group, names = file["a"], [f"a/{i}" for i in range(count)]
        for name in names:
            group[name] = group["a/kernel:0"]
        group.attrs["weight_names"] = names

    path = legacy(change, kernel=np.ones((50, 50), "float32"), other=np.ones((100, 100), "float32"))
    if count == 2:
        assert [array.sum() for array in formats.read(path, "keras_h5").values()] == [2500, 2500]
    else:
        assert "its arrays together are larger than the file" in refusal(path)


def keras3(path, change):
    """Write a file of Keras 3's kind, which `change` then alters."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "a"
        group["0"] = KERNEL
        change(file)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f["layers"].__setitem__("self", f["layers"]), "has two names"),
        (lambda f: f["layers/dense"].__setitem__("up", f["/"]), "has two names"),
        (lambda f: f["layers"].__setitem__("other", h5py.ExternalLink("x", "/")), "is a link to somewhere else"),
        (lambda f: f["layers"].__setitem__("other", h5py.SoftLink("/layers/dense")), "is a link to somewhere else"),
        (lambda f: f.create_group("/".join("abcdefghijklmnopqrst")), "lie more than 16 deep"),
        (lambda f: f.create_group("layers/dense_1/vars").attrs.update(name=3), "does not say what its layer"),
        (lambda f: f.create_group("layers/dense_1/vars"), "does not say what its layer"),
        (lambda f: f["layers/dense/vars"].attrs.update(name="a/b"), "does not say what its layer"),
        (lambda f: f["layers/dense/vars"].create_dataset("1", (10**6, 10**6)), "does not hold the numbers"),
    ],
)
def test_hostile_files_of_keras_3(change, reason, tmp_path):
    assert reason in refusal(keras3(tmp_path / "file", change), "keras_weights_h5")


def test_two_layers_of_one_name(tmp_path):
    def change(file):
        group = file.create_group("layers/dense_1/vars")
        group.attrs["name"] = "a"
        group["0"] = KERNEL

    assert "two of its layers are called 'a'" in refusal(keras3(tmp_path / "file", change), "keras_weights_h5")


def test_each_format_refuses_the_other(legacy, tmp_path):
    assert "it is not of Keras 3's kind" in refusal(legacy(kernel=KERNEL), "keras_weights_h5")
    assert "it is not of Keras's older kind" in refusal(keras3(tmp_path / "new", lambda file: None))


def test_truncated(legacy, tmp_path):
    path = legacy(kernel=np.ones((100, 7), "float32"))
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refusal(path)
    os.truncate(path, len(content) - 1)
    refusal(path)


def test_other_files(tmp_path):
    for content in (b"", b"<!DOCTYPE html>", bytes(1000), (files.SAMPLES / "odd_zip.pth").read_bytes()):
        (tmp_path / "file").write_bytes(content)
        refusal(tmp_path / "file")
        refusal(tmp_path / "file", "keras_weights_h5")


def test_a_superblock_of_version_1(tmp_path):
    """HDF5 writes it where a file was given its own size of index nodes for chunks (H5Pset_istore_k, not in h5py)."""
    content = lzma.decompress((files.SAMPLES / "superblock_1.h5.xz").read_bytes())
    assert content[8] == 1
    (tmp_path / "whole").write_bytes(content)
    found = formats.read(tmp_path / "whole", "keras_h5")
    np.testing.assert_array_equal(found["conv/kernel"], np.ones((3, 3), "float32"), strict=True)
    (tmp_path / "cut").write_bytes(content[:-1])
    assert "it was cut off: it has 8,227 bytes of 8,228" in refusal(tmp_path / "cut")
