"""What a dataset's name stands for, and how fast a wrong one is refused."""

import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from kzoo.backend import keras
from kzoo.data import load
from kzoo.data.loading import check_input
from kzoo.errors import DataError, InvalidArgument
from kzoo.prediction import predict

LAZY = """
import sys
import kzoo.data
heavy = {"tensorflow", "keras", "sklearn", "PIL", "tensorflow_datasets"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
for name in ("mnits", "./mnits", "group/mnits:1.0.0"):
    try:
        kzoo.data.load(name, data_dir=sys.argv[1])
    except kzoo.errors.DataError as error:
        assert name in str(error)
    else:
        raise AssertionError(name)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_import_and_absent_datasets_load_no_heavy_library(tmp_path):
    result = subprocess.run([sys.executable, "-c", LAZY, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_absent_dataset_says_what_to_do_at_once(tmp_path, monkeypatch):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text("{}")
    (tmp_path / "halfway" / "1.0.0").mkdir(parents=True)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(DataError) as error:
        load("mnits")
    assert time.perf_counter() - start < 0.5
    text = str(error.value)
    assert f"prepared in {str(tmp_path)!r}. Received: 'mnits'. Did you mean 'mnist'? Prepared: digits, mnist." in text
    assert "To download it from TFDS add --download (download=True)" in text
    with pytest.raises(DataError, match="No such dataset"):
        load("halfway")  # a download that was cut off


@pytest.mark.parametrize(
    "name", ["./none", "/no/such/folder", "~/no/such", "~nobody_here/x", "data.csv", "a/b/c", "a b"]
)
def test_missing_path(name):
    with pytest.raises(DataError, match=r"No such folder or CSV file|Cannot look at") as error:
        load(name)
    assert repr(name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_must_be_csv(tmp_path):
    (tmp_path / "data.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"must be a .csv file"):
        load(tmp_path / "data.zip")


@pytest.mark.parametrize("size", [0, -1, (8,), (8, 0), (8, 8, 1), "28", 2.5, True])
def test_wrong_image_size(size):
    with pytest.raises(InvalidArgument, match="image_size must be"):
        load("digits", image_size=size)


def test_numpy_integers_are_sizes():
    size: Any = np.int64(10)
    assert load("digits", "test", size).image_shape == (10, 10, 1)


@pytest.mark.parametrize("channels", [0, 2, 4, "3", True])
def test_wrong_channels(channels):
    with pytest.raises(InvalidArgument, match="channels must be 1, 3 or None"):
        load("digits", channels=channels)


@pytest.mark.parametrize("name", ["", 3, None])
def test_wrong_name(name):
    with pytest.raises(InvalidArgument, match="named by a string or a path"):
        load(name)


def test_wrong_split():
    with pytest.raises(InvalidArgument, match=r"Unknown split. Received: 'eval'"):
        load("digits", "eval")


def test_training_and_validation_images_together():
    """Each of them once, in order, and none of the test images."""
    both = load("digits", "train+validation", image_size=8)
    train, validation = load("digits", "train", image_size=8), load("digits", "val", image_size=8)
    assert (both.split, len(both), both.fingerprint) == ("train+validation", 1618, train.fingerprint)
    np.testing.assert_array_equal(both.images, np.concatenate([train.images, validation.images]))
    np.testing.assert_array_equal(both.labels, np.concatenate([train.labels, validation.labels]))
    assert both.where(1438) == train.where(1438)
    assert both.where(1439) == validation.where(0)
    mixed = np.array([1617, 0, 1439, 5])
    np.testing.assert_array_equal(both.reader.fetch(mixed), both.images[mixed])


def test_a_model_of_larger_images_than_there_are():
    """That is the model's fault: the first image would be enlarged to gigabytes."""
    check_input((9_000, 9_000, 3))
    check_input((None, 30_000, 3))
    with pytest.raises(InvalidArgument, match=r"89,478,485 pixels at most. Received: one that takes .* 30000x30000\."):
        check_input((30_000, 30_000, 3))
    model = keras.Sequential([keras.Input((30_000, 30_000, 3)), keras.layers.GlobalAveragePooling2D()])
    model.add(keras.layers.Softmax())
    with pytest.raises(InvalidArgument, match="30000x30000"):
        predict(model, [np.zeros((8, 8, 3), "uint8")])
