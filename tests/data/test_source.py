"""A new source is one class and one row of the table: load, train and batches then know it."""

import os
from dataclasses import dataclass

import numpy as np
import pytest

import kzoo
from kzoo.augment import recommended
from kzoo.data import load, loading
from kzoo.data.images import BadImage
from kzoo.data.source import Source
from kzoo.data.splits import stratify
from kzoo.errors import DataError
from kzoo.train import TrainConfig, fit

COUNT = 60


@dataclass(kw_only=True)
class Stripes(Source):
    """Lines across or down, at a place and of a brightness that differ by image."""

    @classmethod
    def matches(cls, name):
        return os.fspath(name).startswith("stripes")

    @classmethod
    def open(cls, name, splits, data_dir, download):
        labels = np.arange(COUNT, dtype=np.int32) % 2
        keys = [bytes([index]) for index in range(COUNT)]
        names = ("across", "down")
        return cls(
            name=name,
            class_names=names,
            labels=labels,
            splits=stratify(labels, keys),
            fingerprint="v1",
            size=(8, 8),
            channels=1,
        )

    def read(self, index):
        if self.name == "stripes/torn" and index == 5:
            raise BadImage("it is torn")
        image = np.zeros((8, 8, 1), np.uint8)
        image[index // 2 % 8] = 150 + index
        return image.swapaxes(0, 1) if self.labels[index] else image

    def where(self, index):
        return f"{self.name} #{index}"


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setattr(loading, "SOURCES", {"stripes": Stripes, **loading.SOURCES})


def test_load_knows_it_with_its_splits_sizes_and_where_images_come_from(tmp_path, monkeypatch):
    (tmp_path / "stripes").mkdir()
    monkeypatch.chdir(tmp_path)  # the first row that matches decides
    assert (loading.kind("stripes"), loading.kind("digits"), loading.kind("mnist")) == ("stripes", "digits", "tfds")
    train, validation = load("stripes"), load("stripes", "val")
    assert (len(train), len(validation), len(load("stripes", "all"))) == (48, 6, COUNT)
    assert (train.image_shape, train.class_names, train.dtype) == ((8, 8, 1), ("across", "down"), "uint8")
    assert (train.fingerprint, loading.fingerprint("stripes")) == ("v1", "v1")
    assert (train.public_name, recommended(train.public_name)) == ("stripes", "none")
    for row in range(len(train)):
        index = int(train.where(row).removeprefix("stripes #"))
        assert train.labels[row] == index % 2
        assert train.images[row].max() == 150 + index
    assert train.load_arguments is not None
    np.testing.assert_array_equal(load(**train.load_arguments).images, train.images)
    assert load("stripes", image_size=16, channels=3).image_shape == (16, 16, 3)


def test_batches_are_its_images_whether_they_are_in_memory_or_not(monkeypatch):
    kept = load("stripes")
    monkeypatch.setattr("kzoo.data.decoding.available_memory", lambda: 0)
    order = {"shuffle": True, "seed": 1, "epoch": 2, "start_batch": 1}
    pairs = list(zip(load("stripes").batches(7, **order), kept.batches(7, **order), strict=True))
    assert len(pairs) == 6
    for (images, labels), (expected_images, expected_labels) in pairs:
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_a_bad_image_of_it_is_named_or_left_out():
    with pytest.raises(DataError, match=r"Bad image. Received: 'stripes/torn #5': it is torn. "):
        load("stripes/torn", "all")
    data = load("stripes/torn", "all", on_bad_image="skip")
    assert (len(data), data.skipped) == (COUNT - 1, (("stripes/torn #5", "it is torn"),))


def test_a_model_is_trained_on_it():
    def build():
        return kzoo.create_model("mnist_net", input_shape=(8, 8, 1), classes=2)

    config = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01, precision="float32")
    history = fit(build, load("stripes"), load("stripes", "val"), config=config).history
    assert history["accuracy"][-1] > 0.9
