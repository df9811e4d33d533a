"""TFDS datasets: MNIST where it is prepared, and small ones made here, against what tfds itself reads."""

import json
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

from kzoo.data import decoding, load
from kzoo.data.readers import ArrayReader
from kzoo.errors import DataError

NAMES = ["ant", "bee", "wasp"]


def make(folder: Path, sizes: dict[str, int], file_format: str = "tfrecord", shape=(6, 5, 3), labels=None) -> dict:
    """Write a TFDS dataset with tfds itself and return its images per split."""
    tfds = pytest.importorskip("tensorflow_datasets")
    if file_format == "array_record":
        pytest.importorskip("array_record")
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=shape), "label": tfds.features.ClassLabel(names=NAMES)}
    )
    images = {
        split: np.random.default_rng(index).integers(0, 256, (size, 6, 5, 3), np.uint8)
        for index, (split, size) in enumerate(sizes.items())
    }
    records = {
        split: [(i, {"image": image, "label": labels[i] if labels else i % 3}) for i, image in enumerate(images[split])]
        for split in sizes
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="insects",
        version="1.2.0",
        features=features,
        split_datasets=records,
        data_dir=folder,
        file_format=file_format,
        disable_shuffling=True,
    )
    assert builder.info.splits
    return images


def masked_crc(data: bytes) -> bytes:
    """The checksum that TensorFlow itself writes after a record."""
    tf = pytest.importorskip("tensorflow")
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            writer.write(data)
        return Path(file.name).read_bytes()[-4:]


def places(data) -> set[str]:
    return {data.where(index) for index in range(len(data))}


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_images_and_labels_are_those_that_tfds_stored(tmp_path, file_format):
    images = make(tmp_path, {"train": 60, "test": 9}, file_format)
    data = load("insects", "test", data_dir=tmp_path)
    np.testing.assert_array_equal(data.images, images["test"])
    assert data.labels.tolist() == [i % 3 for i in range(9)]
    assert data.class_names == tuple(NAMES)
    assert data.where(4) == "insects test #4"
    parts = {split: load("insects", split, data_dir=tmp_path) for split in ("train", "validation", "all")}
    assert [len(part) for part in parts.values()] == [54, 6, 69]
    for part in parts.values():
        for index, image in enumerate(part.images):
            _, split, number = part.where(index).split()
            np.testing.assert_array_equal(image, images[split][int(number[1:])])
    assert not places(parts["train"]) & places(parts["validation"])
    assert np.bincount(parts["validation"].labels).tolist() == [2, 2, 2]
    assert {part.fingerprint for part in parts.values()} == {data.fingerprint}


def test_streamed_equals_in_memory(tmp_path, monkeypatch):
    make(tmp_path, {"train": 40})
    in_memory = load("insects", data_dir=tmp_path, image_size=8)
    monkeypatch.setattr(decoding, "available_memory", lambda: 1000)
    streamed = load("insects", data_dir=tmp_path, image_size=8)
    assert not isinstance(streamed.reader, ArrayReader)
    for (images, labels), (expected_images, expected_labels) in zip(
        streamed.batches(8, shuffle=True, seed=1), in_memory.batches(8, shuffle=True, seed=1), strict=True
    ):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_a_validation_split_of_tfds_is_validation(tmp_path):
    make(tmp_path, {"train": 30, "validation": 12})
    assert len(load("insects", "train", data_dir=tmp_path)) == 30
    assert places(load("insects", "val", data_dir=tmp_path)) == {f"insects validation #{i}" for i in range(12)}
    with pytest.raises(DataError, match=r"no test split. Received: 'insects'. Valid: train, validation, all"):
        load("insects", "test", data_dir=tmp_path)


def test_only_train_is_split_80_10_10(tmp_path):
    make(tmp_path, {"train": 60})
    parts = [load("insects", split, data_dir=tmp_path) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [48, 6, 6]
    assert len(set.union(*map(places, parts))) == 60


def test_only_test_has_no_train(tmp_path):
    make(tmp_path, {"test": 6})
    assert len(load("insects", "test", data_dir=tmp_path)) == 6
    with pytest.raises(DataError, match=r"no train split. Received: 'insects'. Valid: test, all"):
        load("insects", data_dir=tmp_path)


def test_images_of_unstated_size(tmp_path):
    make(tmp_path, {"train": 6}, shape=(None, None, 3))
    assert load("insects", "all", data_dir=tmp_path).image_shape == (6, 5, 3)


def test_images_without_labels(tmp_path):
    make(tmp_path, {"train": 3}, labels=[0, -1, 1])
    with pytest.raises(DataError, match=r"without a valid label. Received: -1 at 'insects train #1'"):
        load("insects", data_dir=tmp_path)


def test_highest_version_is_taken(tmp_path):
    make(tmp_path, {"train": 6, "test": 3})
    for version in ("1.10.0", "1.9.9"):
        (tmp_path / "insects" / version).mkdir()
        for path in (tmp_path / "insects" / "1.2.0").iterdir():
            content = path.read_bytes()
            if path.name == "dataset_info.json":
                content = content.replace(b"1.2.0", version.encode())
            (tmp_path / "insects" / version / path.name).write_bytes(content)
    fingerprints = {
        name: load(name, "test", data_dir=tmp_path).fingerprint
        for name in ("insects", "insects:1.10.0", "insects:1.9.9", "insects:1.2.*")
    }
    assert fingerprints["insects"] == fingerprints["insects:1.10.0"]
    assert len(set(fingerprints.values())) == 3
    with pytest.raises(DataError, match="No such dataset"):
        load("insects:2.0.0", data_dir=tmp_path)


def test_configurations(tmp_path):
    make(tmp_path, {"train": 6, "test": 3})
    original = tmp_path / "insects" / "1.2.0"
    (tmp_path / "insects" / "small").mkdir()
    original.rename(tmp_path / "insects" / "small" / "1.2.0")
    assert len(load("insects/small", "test", data_dir=tmp_path)) == 3
    assert len(load("insects", "test", data_dir=tmp_path)) == 3
    other = tmp_path / "insects" / "big" / "1.2.0"
    other.mkdir(parents=True)
    (other / "dataset_info.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"several configurations. Received: 'insects'. Valid: insects/big, insects/small"
    ):
        load("insects", "test", data_dir=tmp_path)


def test_no_image_classification_dataset(tmp_path):
    make(tmp_path, {"train": 3})
    path = tmp_path / "insects" / "1.2.0" / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["text"] = features["featuresDict"]["features"].pop("image")
    path.write_text(json.dumps(features))
    with pytest.raises(
        DataError, match=r"not one for image classification. Received: 'insects' with features label, text"
    ):
        load("insects", data_dir=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "missing", "extra", "garbled", "json"])
def test_damaged_files(tmp_path, damage):
    make(tmp_path, {"train": 6})
    (path,) = (tmp_path / "insects" / "1.2.0").glob("*.tfrecord*")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-10])
    elif damage == "missing":
        path.unlink()
    elif damage == "extra":
        path.write_bytes(content * 2)
    elif damage == "garbled":
        path.write_bytes(content[:12] + b"\xff" * 40 + content[52:])
    else:
        (path.parent / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"[Pp]repare (it|the dataset) again") as error:
        load("insects", data_dir=tmp_path)
    assert "\n" not in str(error.value)


FEATURES = ("featuresDict", "features")
CLASSES = (*FEATURES, "label", "classLabel", "numClasses")
SPLIT = ("splits", 0)
DIMENSION = (*FEATURES, "image", "image", "shape", "dimensions", 0)
ENTRIES = [
    ("info", (), [], "the whole = []. Expected: an object"),
    ("info", (), None, "the whole = None. Expected: an object"),
    ("info", ("splits",), {"train": 1}, "splits = {'train': 1}. Expected: a list"),
    ("info", SPLIT, "train", "splits[0] = 'train'. Expected: an object"),
    ("info", (*SPLIT, "name"), ["train"], "splits[0].name = ['train']. Expected: text"),
    ("info", (*SPLIT, "shardLengths"), 6, "splits[0].shardLengths = 6. Expected: a list"),
    ("info", (*SPLIT, "shardLengths", 0), "x", "splits[0].shardLengths[0] = 'x'. Expected: a whole number"),
    ("info", (*SPLIT, "shardLengths", 0), "-6", "splits[0].shardLengths[0] = '-6'. Expected: a whole number from 0"),
    ("info", (*SPLIT, "shardLengths", 0), 6.5, "splits[0].shardLengths[0] = 6.5. Expected: a whole number"),
    ("info", (*SPLIT, "shardLengths", 0), True, "splits[0].shardLengths[0] = True. Expected: a whole number"),
    ("info", (*SPLIT, "shardLengths", 0), "5000000000000", "with 6 of 5000000000000 records"),
    ("info", (*SPLIT, "shardLengths"), ["6"] * 100, "is missing"),
    ("info", (*SPLIT, "numBytes"), "9" * 5000, "Expected: a whole number"),
    ("info", (*SPLIT, "filepathTemplate"), "{DATASET}" * 10**6, "Expected: text of up to 1000 characters"),
    ("info", (*SPLIT, "filepathTemplate"), ["a"], "splits[0].filepathTemplate = ['a']. Expected: text"),
    ("info", (*SPLIT, "filepathTemplate"), "{DATASET}" * 100, "cannot be read"),
    ("info", ("name",), "\ud800", "is missing"),
    ("info", ("name",), "a\0b", "is missing"),
    ("info", ("name",), "n" * 10**6, "Expected: text of up to 1000 characters"),
    ("info", ("fileFormat",), {"a": 1}, "fileFormat = {'a': 1}. Expected: text"),
    ("features", (), [], "the whole = []. Expected: an object"),
    ("features", ("featuresDict",), "x", "featuresDict = 'x'. Expected: an object"),
    ("features", FEATURES, [1], "featuresDict.features = [1]. Expected: an object"),
    ("features", (*FEATURES, "image"), 1, "featuresDict.features.image = 1. Expected: an object"),
    ("features", (*FEATURES, "label"), "x", "featuresDict.features.label = 'x'. Expected: an object"),
    ("features", (*FEATURES, "label", "classLabel"), "x", "label.classLabel = 'x'. Expected: an object"),
    ("features", CLASSES, "10000000000", "numClasses = '10000000000'. Expected: a whole number from 0 to 1000000"),
    ("features", CLASSES, [3], "numClasses = [3]. Expected: a whole number"),
    ("features", CLASSES, "2", "3 names for 2 classes"),
    ("features", (*FEATURES, "image", "image", "dtype"), ["\x1b"], "dtype = ['\\x1b']. Expected: text"),
    ("features", DIMENSION, "10000000000", "dimensions[0] = '10000000000'. Expected: a whole number"),
    ("features", DIMENSION[:-1], ["60000", "60000", "3"], "Expected: images of up to 89,478,485 pixels"),
    ("features", DIMENSION[:-1], {}, "shape.dimensions = {}. Expected: a list"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    make(folder, {"train": 6})
    return folder


@pytest.mark.parametrize(("file", "path", "value", "says"), ENTRIES)
def test_a_damaged_entry_is_one_line(file, path, value, says, prepared, tmp_path):
    name = {"info": "dataset_info.json", "features": "features.json"}[file]
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    target = tmp_path / "insects" / "1.2.0" / name
    content = [json.loads(target.read_text())]
    parent, last = content, 0
    for step in path:
        parent, last = parent[last], step
    parent[last] = value
    target.write_text(json.dumps(content[0]))
    with pytest.raises(DataError) as error:
        load("insects", "all", data_dir=tmp_path)
    assert says in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 3000


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900, b"\xff", b"9" * 5000, b""])
def test_a_damaged_description_is_one_line(name, content, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob(f"*{name}")
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load("insects", "all", data_dir=tmp_path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("entry", [("name",), (*SPLIT, "name")])
def test_a_missing_name_is_one_line(entry, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("dataset_info.json")
    content = parent = json.loads(path.read_text())
    for step in entry[:-1]:
        parent = parent[step]
    del parent["name"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"name is missing. Expected: text. Prepare the dataset again"):
        load("insects", "all", data_dir=tmp_path)


def test_shards_that_are_all_the_same_file(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("dataset_info.json")
    (shard,) = tmp_path.rglob("*.tfrecord*")
    content = json.loads(path.read_text())
    content["splits"][0] |= {"filepathTemplate": shard.name, "shardLengths": ["6"] * 3}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"Expected: text with {SHARD_X_OF_Y}"):
        load("insects", "all", data_dir=tmp_path)


def test_a_changed_byte_anywhere_in_a_record_is_found(tmp_path):
    """In its length, the length's checksum, its content (the pixels aside, all of it is read anyway), and its own."""
    make(tmp_path, {"train": 6})
    (path,) = (tmp_path / "insects" / "1.2.0").glob("*.tfrecord*")
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    middle = content.index(b"IDAT") + 20
    for position in (0, 7, 8, 11, 12, middle, 12 + length - 1, 12 + length, 12 + length + 3, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"(damaged|cut short).*[Pp]repare (it|the dataset) again") as error:
            load("insects", data_dir=tmp_path, on_bad_image="skip")
        assert "\n" not in str(error.value)
    path.write_bytes(content)
    assert len(load("insects", "all", data_dir=tmp_path)) == 6


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_records_that_are_replaced_while_they_are_streamed_are_noticed(tmp_path, monkeypatch, file_format):
    sizes = {"train": 30, "test": 3}
    make(tmp_path / "a", sizes, file_format)
    make(tmp_path / "b", {"test": 3, "train": 30}, file_format)  # other images, as valid
    monkeypatch.setattr(decoding, "available_memory", lambda: 1000)
    data = load("insects", "all", data_dir=tmp_path / "a")
    for path in (tmp_path / "b").rglob("*-train*"):
        shutil.copy(path, tmp_path / "a" / path.relative_to(tmp_path / "b"))
    with pytest.raises(DataError, match=r"has changed since it was checked. Received: 'insects train #0'"):
        data.reader.fetch(np.array([0]))


def test_a_bad_image_in_a_record(tmp_path):
    make(tmp_path, {"train": 6})
    (path,) = (tmp_path / "insects" / "1.2.0").glob("*.tfrecord*")
    content = path.read_bytes().replace(b"\x89PNG", b"junk", 1)
    (length,) = struct.unpack_from("<Q", content)
    path.write_bytes(content[: 12 + length] + masked_crc(content[12 : 12 + length]) + content[16 + length :])
    with pytest.raises(DataError, match=r"Bad image. Received: 'insects train #0'"):
        load("insects", "all", data_dir=tmp_path)
    assert len(load("insects", "all", data_dir=tmp_path, on_bad_image="skip")) == 5


def test_mnist(tfds_folder):
    test = load("mnist", "test", data_dir=tfds_folder)
    assert test.images.shape == (10000, 28, 28, 1)
    # The counts and the mean of the published test set.
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(test.images.mean() / 255 - 0.13251) < 1e-4
    validation = load("mnist", "validation", data_dir=tfds_folder)
    assert len(validation) == 6000
    counts = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert np.bincount(validation.labels).tolist() == ((counts + 5) // 10).tolist()


def test_mnist_equals_what_tfds_reads(tfds_folder):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(str(max((tfds_folder / "mnist").glob("*.*.*"))))
    expected = builder.as_dataset(split="test[:50]", shuffle_files=False)
    data = load("mnist", "test", data_dir=tfds_folder)
    for index, record in enumerate(expected.as_numpy_iterator()):
        np.testing.assert_array_equal(data.images[index], record["image"])
        assert data.labels[index] == record["label"]
