"""Scores of models on data, and labels matched by name; test_figures.py has the figures themselves."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

import kzoo
from kzoo.backend import keras, tf
from kzoo.data import Dataset
from kzoo.data.readers import ArrayReader
from kzoo.errors import DataError, InvalidArgument
from kzoo.saving import load_model, save_model
from kzoo.train import evaluate


def brightness_model(activation):
    """Says class i for images of brightness i, with probabilities that are known."""
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation=activation)]
    )
    # -(x - i)**2 + x**2 = 2 i x - i**2
    model.set_weights([np.array([[0.0, 2.0, 4.0]]), np.array([0.0, -1.0, -4.0])])
    return model


def brightness_data(labels, names, brightness=None, name="arrays"):
    values = labels if brightness is None else brightness
    images = np.broadcast_to(np.array(values, "float32")[:, None, None, None], (len(labels), 2, 2, 1))
    data = Dataset.from_arrays(images, labels, names)
    return replace(data, name=name, reader=ArrayReader(data.images, str), has_class_names=True)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_logits_and_probabilities_score_alike(activation):
    labels = [0, 1, 2, 2, 1] * 60  # more than a batch, and an uneven tail
    found = evaluate(brightness_model(activation), brightness_data(labels, None, [0, 1, 2, 1, 1] * 60))
    values = np.array([0, 1, 2, 1, 1] * 60)[:, None]
    probabilities = scipy.special.softmax(-((values - np.arange(3)) ** 2), axis=1)
    assert found["accuracy"] == 0.8
    assert found["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities), rel=1e-5)  # float32 outputs
    assert found["confusion_matrix"] == [[60, 0, 0], [0, 120, 0], [0, 60, 60]]


@pytest.fixture(scope="module")
def named_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("named") / "net.keras"
    save_model(brightness_model("softmax"), path, ["dark", "grey", "bright"])
    return load_model(path)


def test_labels_are_matched_by_name(named_model):
    # Position would score 0: here "bright" is class 0.
    data = brightness_data([0, 0, 1], ["bright", "dark"], brightness=[2, 2, 0], name="folder")
    found = evaluate(named_model, data)
    assert found["accuracy"] == 1.0
    assert found["classes"] == ["dark", "grey", "bright"]
    assert found["per_class"]["bright"] == {"precision": 1.0, "recall": 1.0, "images": 2, "predicted": 2}
    assert found["per_class"]["grey"] == {"precision": None, "recall": None, "images": 0, "predicted": 0}


def test_a_name_the_model_does_not_know(named_model):
    data = brightness_data([0, 1], ["dark", "white"], brightness=[0, 2], name="folder")
    with pytest.raises(DataError, match=r"The model does not know a label of 'folder'. Received: 'white'"):
        evaluate(named_model, data)


def test_arrays_are_matched_by_position(named_model):
    images = np.broadcast_to(np.array([0, 1, 2], "float32")[:, None, None, None], (3, 2, 2, 1))
    found = evaluate(named_model, (images, np.array([0, 1, 2])))
    assert found["accuracy"] == 1.0
    assert found["classes"] == ["dark", "grey", "bright"]


def test_data_that_does_not_fit(named_model):
    with pytest.raises(InvalidArgument, match=r"The model takes images of shape \(2, 2, 1\)"):
        evaluate(named_model, (np.zeros((2, 5, 5, 1)), [0, 1]))
    with pytest.raises(InvalidArgument, match="Data must be a kzoo Dataset"):
        evaluate(named_model, np.zeros((2, 2, 2, 1)))


def test_certain_mistakes_keep_the_loss_finite():
    model = brightness_model("softmax")
    model.set_weights([np.array([[0.0, 1e4, 2e4]]), np.zeros(3)])
    found = evaluate(model, brightness_data([0, 1, 2], None, [1, 1, 1]))
    assert np.isfinite(found["loss"])
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_a_model_of_the_zoo_on_the_digits(digits):
    _, validation = digits
    net = kzoo.create_model("mnist_net", input_shape=(8, 8, 1))
    found = evaluate(net, validation)
    outputs = np.asarray(net(validation.images), "float64")
    likelihoods = outputs[np.arange(len(validation)), validation.labels]
    assert found["loss"] == pytest.approx(-np.log(likelihoods).mean(), rel=1e-5)  # float32 outputs
    assert found["accuracy"] == (outputs.argmax(axis=1) == validation.labels).mean()
    assert found["classes"] == list(validation.class_names)


def test_mistakes_are_named_by_where_they_are():
    labels = [0, 1, 2, 2, 1]
    data = brightness_data(labels, ["dark", "grey", "bright"], brightness=[0, 1, 0.8, 0, 1])
    found = evaluate(brightness_model(None), replace(data, reader=ArrayReader(data.images, "photo {}".format)))
    assert [(one["where"], one["row"], one["true"], one["predicted"]) for one in found["mistakes"]] == [
        ("photo 3", 3, "bright", "dark"),
        ("photo 2", 2, "bright", "grey"),
    ]
    for one, brightness in zip(found["mistakes"], (0, 0.8), strict=True):
        probabilities = scipy.special.softmax(-((brightness - np.arange(3)) ** 2))
        assert one["probability"] == pytest.approx(probabilities.max(), rel=1e-5)
        assert one["true_probability"] == pytest.approx(probabilities[2], rel=1e-5)
    assert found["confused_pairs"] == [
        {"true": "bright", "predicted": "dark", "images": 1, "of": 2},
        {"true": "bright", "predicted": "grey", "images": 1, "of": 2},
    ]


def test_mistakes_of_a_stream_are_named_by_their_place():
    """Batches of 2: the fourth image is the second of the second batch."""
    images = np.broadcast_to(np.array([0, 1, 2, 0, 1], "float32")[:, None, None, None], (5, 2, 2, 1))
    stream = tf.data.Dataset.from_tensor_slices((images, [0, 1, 2, 2, 1])).batch(2)
    found = evaluate(brightness_model("softmax"), stream)
    assert [(one["where"], one["row"]) for one in found["mistakes"]] == [("tf.data #3", 3)]
    assert evaluate(brightness_model("softmax"), (images, [0, 1, 2, 2, 1]))["mistakes"][0]["where"] == "arrays #3"
