"""Views of an image: which ones suit a model, what they are, and the mean over them."""

from typing import Any

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.classifier import metadata, set_metadata
from kzoo.errors import RunError
from kzoo.saving import load_model, save_model
from kzoo.train import TrainConfig, evaluate, fit
from kzoo.views import MIRRORED, MOVED, view, views_of


def classifier(shape=(28, 28, 1), end="softmax"):
    keras.utils.set_random_seed(1)
    images = keras.Input(shape)
    x = keras.layers.Flatten()(images / 255)
    return keras.Model(images, keras.layers.Dense(10, activation=end)(x))


@pytest.mark.parametrize(
    ("shape", "mirrored", "views"),
    [
        ((28, 28, 1), None, MOVED),
        ((28, 28, 1), True, MIRRORED),
        ((32, 32, 3), None, MOVED),  # house numbers look so, too
        ((32, 32, 3), True, MIRRORED),
        ((224, 224, 3), None, MIRRORED),
        ((224, 224, 3), False, MOVED),
        ((224, 224, 1), None, MOVED),
        ((None, None, 3), None, MIRRORED),
    ],
)
def test_views_are_what_a_model_was_trained_on(shape, mirrored, views):
    images = keras.Input(shape)
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(images)))
    assert views_of(set_metadata(model, mirrored=mirrored)) == views


@pytest.mark.parametrize(("side", "by"), [(8, 1), (28, 1), (56, 2), (224, 8)])
def test_a_moved_image_shows_its_edge(side, by):
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype("uint8")
    padded = np.pad(images, ((0, 0), (by, by), (by, by), (0, 0)), mode="edge")
    places = {"as it is": (by, by), "left": (by, 2 * by), "right": (by, 0), "up": (2 * by, by), "down": (0, by)}
    for name, (top, left) in places.items():
        found = np.asarray(view(images, name))
        np.testing.assert_array_equal(found, padded[:, top : top + side, left : left + side])
        assert found.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(view(images, "mirrored")), images[:, :, ::-1])


@pytest.mark.parametrize("end", ["softmax", None])
def test_probabilities_are_averaged(end):
    model = set_metadata(classifier(end=end), mirrored=True)
    digits = kzoo.data.load("digits", "test", image_size=28)
    images = digits.images[:20].astype("float32")
    found = [np.asarray(model(part), "f8") for part in (images, images[:, :, ::-1])]
    found = found if end else [np.exp(part) / np.exp(part).sum(axis=1, keepdims=True) for part in found]
    mean = np.mean(found, axis=0)
    figures = evaluate(model, (images, digits.labels[:20]), tta=True)
    assert figures["tta"] == ["as it is", "mirrored"]
    assert figures["loss"] == pytest.approx(-np.log(mean[np.arange(20), digits.labels[:20]]).mean(), rel=1e-5)
    assert "tta" not in evaluate(model, (images, digits.labels[:20]))
    ranked = kzoo.predict(model, images, top=10, tta=True)
    for row, expected in zip(ranked, mean, strict=True):
        np.testing.assert_allclose([one.probability for one in row], np.sort(expected)[::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("augment", "known"), [("digits", False), ("cifar", True), ("none", None), (["digits", "cifar"], True)]
)
def test_a_run_says_whether_it_was_trained_on_mirror_images(augment, known, tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1)).astype("uint8"), np.arange(20) % 10
    config = TrainConfig(epochs=1, precision="float32", augment=augment)
    fit(classifier, (images, labels), config=config, run_dir=tmp_path / "run")
    assert metadata(load_model(tmp_path / "run")).get("mirrored") is known


def test_weights_of_the_zoo_say_it_by_their_classes():
    assert metadata(kzoo.create_model("mnist_net", weights="mnist"))["mirrored"] is False


def test_a_damaged_entry_is_refused(tmp_path):
    wrong: Any = 3
    save_model(set_metadata(classifier(), mirrored=wrong), tmp_path / "model.keras")
    with pytest.raises(RunError, match=r"mirrored in its metadata\.json is neither true nor false"):
        load_model(tmp_path / "model.keras")
