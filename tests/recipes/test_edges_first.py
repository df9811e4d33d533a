"""Probes and pictures of small nets."""

import numpy as np
import pytest

import edges_first as recipe
import reporting
from kzoo.backend import keras
from kzoo.data import Dataset


@pytest.fixture
def colours():
    """Two classes that differ in their mean colour alone."""
    random = np.random.default_rng(0)
    labels = np.arange(300) % 2
    images = random.integers(0, 200, (300, 8, 8, 3)) + 20 * labels[:, None, None, None]
    return Dataset.from_arrays(images.astype(np.uint8), labels, ["dark", "bright"])


def test_features_are_the_means_of_each_stage(colours):
    keras.utils.set_random_seed(0)
    model = recipe.kzoo.create_model("resnet20_cifar", input_shape=(8, 8, 3))
    rows = np.arange(5, 150)  # more than two batches
    found = recipe.features(model, colours, rows)
    assert {stage: one.shape for stage, one in found.items()} == {
        "conv1": (145, 16), "conv2": (145, 16), "conv3": (145, 32), "conv4": (145, 64),
    }  # fmt: skip
    layer = recipe.kzoo.graph.endpoints.stages(model)["conv3"]
    part = keras.Model(model.inputs[0], model.get_layer(layer).output)
    np.testing.assert_allclose(found["conv3"], np.mean(part(colours.images[rows]), axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_a_probe_reads_what_is_there_and_nothing_else(colours):
    means = colours.images.mean(axis=(1, 2))
    noise = np.random.default_rng(1).normal(size=means.shape)
    scores = []
    for features in (means, noise):
        probe = recipe.probe(features[:100], colours.labels[:100])
        scores.append(float(np.mean(probe.predict(features[100:]) == colours.labels[100:])))
    assert scores[0] > 0.95
    assert 0.35 < scores[1] < 0.65  # four standard errors


def test_trained_and_random_weights_are_probed_on_the_same_draw(colours, monkeypatch):
    monkeypatch.setattr(recipe, "IMAGES", (5, 20))
    net = recipe.NETS[1]
    data = Dataset.from_arrays(np.tile(colours.images, (1, 4, 4, 1)), colours.labels, colours.class_names)
    test, all_rows = reporting.take(data, np.arange(200, 300)), np.arange(len(data))
    keras.utils.set_random_seed(3)
    trained = recipe.kzoo.create_model("resnet20_cifar")  # as random as the other
    known = recipe.Features(
        all_rows, recipe.features(trained, data, all_rows), recipe.features(trained, test, all_rows[:100])
    )
    found = recipe.scores(net, known, data, test, seed=3)
    assert list(found) == ["conv1", "conv2", "conv3", "conv4"]
    for scores in found.values():
        assert list(scores) == ["trained 5", "trained 20", "random 5", "random 20"]
        assert (scores["trained 5"], scores["trained 20"]) == (scores["random 5"], scores["random 20"])
    assert found["conv1"]["random 20"] > 0.8  # it sees the brightness, whatever its weights
    keras.utils.set_random_seed(4)
    other = recipe.kzoo.create_model("resnet20_cifar")
    known = recipe.Features(
        all_rows, recipe.features(other, data, all_rows), recipe.features(other, test, all_rows[:100])
    )
    again = recipe.scores(net, known, data, test, seed=3)
    assert again["conv4"]["random 5"] == found["conv4"]["random 5"]


def test_the_page_and_the_plot():
    keys = [f"{start} {count}" for start in recipe.STARTS for count in recipe.IMAGES]
    found = {
        net.title: {
            "test_images": 153,
            "seeds": {
                str(seed): {stage: dict.fromkeys(keys, 0.5 + seed / 10) for stage in ("conv1", "conv2")}
                for seed in (0, 1)
            },
        }
        for net in recipe.NETS
    }
    page = reporting.page("edges_first", recipe.tables(found))
    assert page.count("| conv2 | 55.0 (50.0 to 60.0) | 55.0 (50.0 to 60.0) |") == 2
    # Wilson's interval of 122 of 153, 79.7 %
    assert "Of 153 test images, 80 % have a 95 % interval of 72.7 to 85.3 %." in page
    assert recipe.plot(found)[:4] == b"\x89PNG"


def test_filters_are_side_by_side_and_grey_is_zero():
    whole = recipe.grid(np.array([[[[2.0]]], [[[-1.0]]], [[[0.0]]]]) + 1e-9)
    assert whole.shape == (3, 3, 1)
    np.testing.assert_allclose(whole[:, :, 0], [[1, 1, 0], [1, 1, 1], [1, 1, 1]], atol=1e-6)
    assert (
        recipe.filters(
            {"mnist_net": recipe.kzoo.create_model("mnist_net"), "two": recipe.kzoo.create_model("resnet20_cifar")}
        )[:4]
        == b"\x89PNG"
    )
