"""`.keras` files: whole, with class names, readable by plain Keras, and harmless."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.classifier import class_names_of
from kzoo.errors import InvalidArgument, RunError
from kzoo.saving import load_model, save_model


@pytest.fixture(scope="module")
def model():
    return kzoo.create_model("mnist_net", input_shape=(8, 8, 1), classes=3)


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "net.keras"
    save_model(model, path, ["ant", "bee", "wäsp"])
    return path


def rewrite(path, target, changes, **options):
    """Copy a `.keras` file; the JSON of some entries is changed, or an entry is left out or added."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", **options) as archive:
        content = {name: source.read(name) for name in source.namelist()}
        for name, change in changes.items():
            if callable(change):
                content[name] = json.dumps(change(json.loads(content[name])))
            elif change is None:
                del content[name]
            else:
                content[name] = change
        for name, value in content.items():
            archive.writestr(name, value)


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_class_names_survive_saving_twice(saved, model, tmp_path):
    loaded = load_model(saved)
    assert class_names_of(loaded) == ("ant", "bee", "wäsp")
    assert same_weights(loaded, model)
    save_model(loaded, tmp_path / "again.keras")
    assert class_names_of(load_model(tmp_path / "again.keras")) == ("ant", "bee", "wäsp")


def test_a_model_without_class_names_has_none(tmp_path, model):
    save_model(model, tmp_path / "net.keras")
    assert class_names_of(load_model(tmp_path / "net.keras")) is None
    assert class_names_of(model) is None


def test_plain_keras_reads_our_file(saved, model):
    assert same_weights(keras.saving.load_model(saved), model)
    assert class_names_of(keras.saving.load_model(saved)) is None


def test_we_read_plain_keras_files(tmp_path):
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plain.save(tmp_path / "plain.keras")
    assert same_weights(load_model(tmp_path / "plain.keras"), plain)


@pytest.mark.parametrize("size", [0, 100, 0.5, -1])
def test_a_truncated_file_is_one_line(saved, size):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * size) if isinstance(size, float) else size])
    with pytest.raises(RunError) as caught:
        load_model(saved)
    assert str(caught.value).startswith(f"Cannot load the model file. Received: {str(saved)!r}: ")
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 0xFF
    saved.write_bytes(content)
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(saved)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(tmp_path / "x.keras")


def test_a_lambda_layer_is_refused_without_running_it(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "evil.keras"
    name = str(mark)
    layer = keras.layers.Lambda(lambda x: Path(name).touch() or x, output_shape=(4,))
    evil = keras.Sequential([keras.Input((4,)), layer])
    evil(np.zeros((1, 4)))
    assert mark.exists(), "the layer would run"
    evil.save(path)
    mark.unlink()
    with pytest.raises(RunError, match="Lambda"):
        load_model(path)
    assert not mark.exists()


def test_an_unwritable_save_keeps_the_old_file(saved):
    before = saved.read_bytes()
    unsavable = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    unsavable.get_config = lambda: {"x": object()}
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Keras makes of it
        save_model(unsavable, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("absent.keras", None, "No such model file or run directory. Received: {!r}."),
        ("net.h5", "file", "A model file must be a .keras file. Received: {!r}."),
        ("folder", "folder", "Not a run directory: it has no config.json. Received: {!r}."),
    ],
)
def test_what_is_no_model(tmp_path, name, make, message):
    path = tmp_path / name
    if make == "file":
        path.write_bytes(b"x")
    elif make == "folder":
        path.mkdir()
    with pytest.raises(InvalidArgument) as caught:
        load_model(path)
    assert str(caught.value) == message.format(str(path))


def test_which_is_checked(tmp_path):
    with pytest.raises(InvalidArgument, match=r"which must be 'best' or 'last'. Received: 'first'."):
        load_model(tmp_path, "first")


def test_a_run_without_a_model_yet(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match="This run has no best model yet"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"class_names": "0123456789"},
        {"class_names": ["one", "two"]},
        {"crop_fraction": 0},
        {"crop_fraction": "x"},
        {"interpolation": "nearest"},
        [1],
    ],
)
def test_metadata_that_cannot_be_right(content, tmp_path):
    path = tmp_path / "net.keras"
    save_model(kzoo.create_model("mnist_net"), tmp_path / "good.keras")
    rewrite(tmp_path / "good.keras", path, {"metadata.json": lambda known: {**known, "kzoo": content}})
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(path)
