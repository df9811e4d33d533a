"""Images of 16 bits a channel whose values use a part of the range: one scale for all images of a dataset."""

import io
import json
import logging

import numpy as np
import pytest
from PIL import Image
from test_images import chunk, png

import kzoo
from kzoo.classifier import scaling_of
from kzoo.data import decoding, images, load
from kzoo.data.decoding import _range_of
from kzoo.errors import DataError, InvalidArgument

LOW, HIGH = 1000, 1000 + 4000  # 12 bits, with an offset, as of a thermal camera


def png_16(values: np.ndarray) -> bytes:
    """A 16-bit PNG of `[H, W, channels]`: grey, grey and alpha, RGB or RGBA."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


def make(root, channels=1, count=20, factor=1) -> dict[str, np.ndarray]:
    """Two classes of 12-bit images in folders per split; the test images go beyond the training images' range."""
    written = {}
    for split, number, reach in (("train", count, HIGH - LOW), ("val", 4, HIGH - LOW), ("test", 4, 3 * (HIGH - LOW))):
        for label in ("cold", "warm"):
            (root / split / label).mkdir(parents=True)
            for index in range(number):
                generator = np.random.default_rng([number, index, len(label)])
                values = LOW + generator.integers(0, reach + 1, (16, 16, channels)) // factor * factor
                values[0, 0], values[0, 1] = LOW, LOW + reach
                path = root / split / label / f"{index}.png"
                path.write_bytes(png_16(values.astype(np.uint16)))
                written[str(path)] = values
    return written


def expected(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint((values - LOW) * 255 / (HIGH - LOW)), 0, 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_range_of_the_training_images_is_that_of_all(tmp_path, caplog, channels):
    written = make(tmp_path, channels)
    for split in ("train", "validation", "test"):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            data = load(tmp_path, split)
        assert "the values 1,000 to 5,000 become 0 to 255 (the range is that of the training images)" in caplog.text
        assert data.image_shape == (16, 16, channels)
        for index, pixels in enumerate(data.images):
            np.testing.assert_array_equal(pixels, expected(written[data.where(index)]))
    assert data.load_arguments is not None
    assert data.load_arguments["range_16_bit"] == [1000, 5000]


def test_a_range_that_is_given_is_used(tmp_path, caplog):
    written = make(tmp_path)
    with caplog.at_level(logging.INFO):
        data = load(tmp_path, range_16_bit=(1000, 3000))
    assert "the values 1,000 to 3,000 become 0 to 255 (the range is given)" in caplog.text
    values = written[data.where(0)]
    np.testing.assert_array_equal(data.images[0], np.clip(np.rint((values - 1000) * 255 / 2000), 0, 255))


@pytest.mark.parametrize("wrong", [(5, 5), (9, 3), (-1, 5), (0, 65536), (0.5, 3), "ab", 7])
def test_wrong_ranges(wrong):
    with pytest.raises(InvalidArgument, match="range_16_bit must be two integers"):
        load("digits", range_16_bit=wrong)


def test_images_of_8_bits_beside_them_stay_as_they_are(tmp_path):
    make(tmp_path)
    path = tmp_path / "train" / "cold" / "eight.png"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    Image.fromarray(pixels).save(path)
    data = load(tmp_path)
    index = [data.where(index) for index in range(len(data))].index(str(path))
    np.testing.assert_array_equal(data.images[index][..., 0], pixels)


def test_alpha_is_composited_after_scaling():
    values = np.array([[[1000, 65535], [5000, 65535], [1000, 0], [5000, 0]]], np.uint16)
    for channels in (2, 4):
        image = values if channels == 2 else np.concatenate([values[..., :1]] * 3 + [values[..., 1:]], -1)
        found = images.decode(png_16(image), None, 3, images.Scaling(range_16_bit=(1000, 5000)))
        np.testing.assert_array_equal(found[0], [[0] * 3, [255] * 3, [255] * 3, [255] * 3])


def test_a_transparent_colour_is_no_value_of_the_range():
    rows = b"\0" + np.array([1000, 2000, 5000, 60000, 0, 0], ">u2").tobytes()
    content = png(2, 1, 16, 2, rows, chunk(b"tRNS", b"\xea\x60" + bytes(4)))
    counts = images.histogram(content)
    assert np.flatnonzero(counts).tolist() == [1000, 2000, 5000]
    found = images.decode(content, None, 3, images.Scaling(range_16_bit=(1000, 5000)))
    np.testing.assert_array_equal(found[0], [[0, 64, 255], [255] * 3])


def counts_of(values) -> np.ndarray:
    return np.bincount(np.asarray(values), minlength=1 << 16)


def test_dead_pixels_do_not_make_the_range():
    values = np.random.default_rng(0).integers(300, 4000, 100_000)
    assert _range_of(counts_of(values)) == (300, 3999)
    dead = np.concatenate([values, [0] * 3, [65535] * 5])
    low, high = _range_of(counts_of(dead))
    assert 300 <= low <= 310
    assert 3990 <= high <= 3999
    many = np.concatenate([values, [65535] * 500])  # one in 200 is no accident
    assert _range_of(counts_of(many)) == (300, 65535)


@pytest.mark.parametrize("value", [0, 700, 65535])
def test_images_of_one_value(value):
    low, high = _range_of(counts_of([value] * 10))
    assert 0 <= low < high <= 65535


def test_a_bad_image_does_not_stop_the_search_for_the_range(tmp_path):
    make(tmp_path)
    bad = tmp_path / "train" / "cold" / "0.png"
    bad.write_bytes(bad.read_bytes()[:-40])
    data = load(tmp_path, on_bad_image="skip")
    assert data.load_arguments is not None
    assert data.load_arguments["range_16_bit"] == [1000, 5000]
    with pytest.raises(DataError, match="Bad image"):
        load(tmp_path)


def test_records_of_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    generator = np.random.default_rng(0)
    values = {split: generator.integers(LOW, HIGH + 1, (9, 16, 16, 1), np.uint16) for split in ("train", "test")}
    values["train"][:, 0, :2, 0] = LOW, HIGH
    tfds.dataset_builders.store_as_tfds_dataset(
        name="depths",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(16, 16, 1), dtype=np.uint16),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
        ),
        split_datasets={
            split: [(i, {"image": image, "label": i % 3}) for i, image in enumerate(one)]
            for split, one in values.items()
        },
        data_dir=tmp_path,
        disable_shuffling=True,
    )
    data = load("depths", "test", data_dir=tmp_path)
    np.testing.assert_array_equal(data.images, expected(values["test"].astype(int)))
    assert data.where(0) == "depths test #0"


def test_a_trained_model_scales_what_it_sees_later_alike(tmp_path, monkeypatch):
    """The range is in config.json and in the model's file; predict and evaluate take it from there."""
    written = make(tmp_path / "photos", count=20)
    monkeypatch.setattr(decoding, "available_memory", lambda: 0)  # decoded on the way, as large datasets are
    train = load(tmp_path / "photos")
    result = kzoo.train.fit(
        lambda: kzoo.create_model("mnist_net", input_shape=(16, 16, 1), classes=2),
        train,
        config=kzoo.train.TrainConfig(epochs=1),
        run_dir=tmp_path / "run",
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["train"]["load"]["range_16_bit"] == [1000, 5000]
    model = kzoo.load_model(tmp_path / "run", "last")
    assert scaling_of(model) == {"range_16_bit": (1000, 5000)}
    assert scaling_of(result.model) == {"range_16_bit": (1000, 5000)}
    path = next(path for path in written if "/test/" in path)  # brighter than any training image
    values = written[path]
    by_pixels = kzoo.predict(model, [expected(values).astype(np.uint8)])
    assert kzoo.predict(model, [path]) == by_pixels
    assert kzoo.predict(model, [values.astype(np.uint16)]) == by_pixels
    assert kzoo.predict(model, values[np.newaxis].astype(np.uint16)) == by_pixels
    assert kzoo.predict(model, [np.asarray(Image.open(io.BytesIO(png_16(values))))]) == by_pixels


def test_files_for_a_model_without_a_range_are_scaled_as_load_scales_them(tmp_path, caplog):
    """Predict finds the range of the files, evaluate that of the dataset; of the same files they are the same."""
    make(tmp_path, count=2)
    data = load(tmp_path, "train")
    model = kzoo.create_model("mnist_net", input_shape=(16, 16, 1), classes=2)
    paths = [data.where(index) for index in range(len(data))]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        found = kzoo.predict(model, [*paths, tmp_path / "train" / "cold" / "0.png"])
    assert found[:-1] == kzoo.predict(model, list(data.images))
    assert caplog.text.count("the values 1,000 to 5,000 become 0 to 255 (the range is that of these files)") == 1
    missing = tmp_path / "none.png"
    with pytest.raises(DataError, match="No such image file"):
        kzoo.predict(model, [paths[0], missing])
