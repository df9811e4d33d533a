"""Accuracy under changes, where it can be computed otherwise."""

import numpy as np
import pytest
import scipy.stats

from kzoo.backend import keras, tf
from kzoo.classifier import set_metadata
from kzoo.data import Dataset
from kzoo.errors import DataError, InvalidArgument
from kzoo.robustness import curves, measure
from kzoo.robustness.changes import CORRUPTIONS, DEVIATIONS
from kzoo.train.figures import interval


def brightness_model(channels=1, factor=1.0):
    """Says class 1 for images brighter than 128: by their mean, of pixels that the factor brings to 0 to 255."""
    net = keras.Sequential(
        [
            keras.Input((4, 4, channels)),
            keras.layers.Rescaling(factor),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    net.set_weights([np.repeat([[-1.0, 1.0]], channels, axis=0) / channels, np.array([128.0, -128.0])])
    return net


def grey_images(count=600):
    labels = np.arange(count) % 2
    return np.broadcast_to((120 + 16 * labels)[:, None, None, None], (count, 4, 4, 1)).astype(np.uint8), labels


def colours(count=300):
    """Classes by their brightness, 40 points from the border, with a pattern of colours."""
    labels = np.arange(count) % 2
    pattern = np.random.default_rng(0).integers(-60, 61, (count, 4, 4, 3))
    pattern -= np.rint(pattern.mean(axis=(1, 2, 3), keepdims=True)).astype(int)
    return (88 + 80 * labels[:, None, None, None] + pattern).astype(np.uint8), labels


def test_noise_is_what_a_normal_distribution_says():
    images, labels = grey_images()
    found = measure(brightness_model(), (images, labels))
    assert [row["deviation"] for row in found["noise"]] == [0, *DEVIATIONS]
    assert found["images"] == 600
    for row in found["noise"][1:5]:  # stronger noise is clipped
        # The mean of 16 pixels moves by a quarter of the noise; it is 8 from the border.
        share = float(scipy.stats.norm.cdf(8 / (row["deviation"] / 4)))
        assert row["accuracy"] == pytest.approx(share, abs=4 * (share * (1 - share) / 600) ** 0.5 + 1e-3)
        assert row["interval"] == interval(round(600 * row["accuracy"]), 600)
    assert found["noise"][0]["accuracy"] == 1
    assert found["corruptions"] == {}
    assert found["calibrated_on"] == "scored images"


def test_pixels_of_other_ranges_get_the_same_noise():
    images, labels = grey_images()
    images = images.copy()
    images[0, 0, 0], images[1, 0, 0] = 255, 0  # both ends of the range are seen
    whole = measure(brightness_model(), (images, labels))
    unit = measure(set_metadata(brightness_model(factor=255.0), pixel_range=(0, 1)), (images.astype("f") / 255, labels))
    scaled = measure(set_metadata(brightness_model(factor=255.0), pixel_range=(0, 1)), (images, labels))
    for other in (unit, scaled):
        for row, expected in zip(other["noise"], whole["noise"], strict=True):
            # Rounding may move an image that is on the border.
            assert row["accuracy"] == pytest.approx(expected["accuracy"], abs=2 / 600)


def test_few_bits_are_those_of_a_model_of_few_bits():
    images, labels = grey_images()
    found = measure(brightness_model(), (images, labels), calibration=(images[:20], labels[:20]))
    assert found["calibrated_on"] == "training images"
    assert [row["bits"] for row in found["bits"]] == [32, 16, 8, 6, 4, 3, 2]
    assert found["bits"][0]["accuracy"] == found["bits"][2]["accuracy"] == 1
    # The two brightnesses, 120 and 136, are one of four steps: one class gets all images.
    assert found["bits"][-1]["accuracy"] == 0.5


def test_a_stream_is_measured_as_its_arrays():
    images, labels = grey_images(200)
    stream = tf.data.Dataset.from_tensor_slices((images, labels)).batch(128)
    found, expected = (measure(brightness_model(), data) for data in (stream, (images, labels)))
    assert (found["images"], found["noise"]) == (200, expected["noise"])


def test_photos_are_corrupted_too():
    found = measure(brightness_model(3), colours())
    assert {name: [row["level"] for row in rows] for name, rows in found["corruptions"].items()} == {
        name: list(corruption.levels) for name, corruption in CORRUPTIONS.items()
    }
    # Blur and contrast keep the mean of an image.
    assert all(row["accuracy"] == 1 for name in ("blur", "contrast") for row in found["corruptions"][name])
    assert curves.picture({"a": found, "b": {**found, "corruptions": {}}})[:4] == b"\x89PNG"


def test_what_cannot_be_measured_is_refused():
    images, labels = grey_images(20)
    normalized = ((images - 128.0) / 3).astype("f")
    with pytest.raises(InvalidArgument, match=r"Noise is in units of pixels 0 to 255.* Received: -2.67 to 2.67\."):
        measure(brightness_model(), (normalized, labels))
    with pytest.raises(InvalidArgument, match="The model takes images of shape"):
        measure(brightness_model(), (images[:, :2], labels))
    with pytest.raises((DataError, InvalidArgument), match="Received: the label 2"):
        measure(brightness_model(), Dataset.from_arrays(images, labels + 1))


def test_files_of_the_curves(tmp_path):
    row = {"accuracy": 0.5, "interval": [0.25, 0.75]}
    found = {
        "images": 12,
        "calibrated_on": "scored images",
        "noise": [{"deviation": 0, **row}, {"deviation": 4, **row}],
        "bits": [{"bits": 32, **row}],
        "corruptions": {"jpeg": [{"level": 50, **row}]},
    }
    written = curves.save(tmp_path, found)
    assert [path.name for path in written] == ["robustness.png", "robustness.csv"]
    assert (tmp_path / "robustness.csv").read_text() == (
        "change,level,accuracy,low,high\n"
        "noise,0,0.5,0.25,0.75\nnoise,4,0.5,0.25,0.75\nbits,32,0.5,0.25,0.75\njpeg,50,0.5,0.25,0.75\n"
    )
    assert curves.save(tmp_path, None) == []
    assert not list(tmp_path.iterdir())
