"""Scores against scikit-learn's, and labels matched by name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

import kzoo
from kzoo.backend import keras
from kzoo.data import Dataset
from kzoo.data.readers import ArrayReader
from kzoo.errors import DataError, InvalidArgument
from kzoo.saving import load_model, save_model
from kzoo.train import evaluate, runs
from kzoo.train.evaluation import report


def scores(count=500, classes=8):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes - 1, count)  # the last class has no image
    logits = random.normal(size=(count, classes))
    logits[:, 2] -= 10  # the third is never predicted
    logits[np.arange(count), labels] += 1
    return labels, scipy.special.log_softmax(logits, axis=1)


def test_report_is_scikit_learns():
    labels, log_likelihoods = scores()
    names = [f"class {i}" for i in range(8)]
    figures = report(labels, log_likelihoods, names)
    predictions = log_likelihoods.argmax(axis=1)
    metrics: Any = sklearn.metrics
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(8), zero_division=np.nan
    )
    for i, name in enumerate(names):
        assert figures["per_class"][name] == {
            "precision": None if i == 2 else pytest.approx(precision[i], rel=1e-12),
            "recall": None if i == 7 else pytest.approx(recall[i], rel=1e-12),
            "images": support[i],
        }
    assert figures["accuracy"] == sklearn.metrics.accuracy_score(labels, predictions)
    expected = sklearn.metrics.log_loss(labels, np.exp(log_likelihoods), labels=range(8))
    assert figures["loss"] == pytest.approx(expected, rel=1e-9)
    top5 = sklearn.metrics.top_k_accuracy_score(labels, log_likelihoods, k=5, labels=range(8))
    assert figures["top5_accuracy"] == pytest.approx(top5, rel=1e-12)
    expected = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(8)).tolist()
    assert figures["confusion_matrix"] == expected
    assert (figures["images"], figures["classes"]) == (500, names)


def test_five_classes_have_no_top_five():
    assert "top5_accuracy" not in report(np.array([0, 1]), np.log(np.full((2, 5), 0.2)), list("abcde"))


def test_the_figures_of_many_classes_can_be_read_again(tmp_path):
    """The matrix of 2,500 classes made a metrics.json that was too large for kzoo itself."""
    for classes, has_matrix in ((1_000, True), (1_001, False), (20_000, False)):
        labels = np.array([classes - 1, 0, 0])
        log_likelihoods = np.full((3, classes), -20.0)
        log_likelihoods[[0, 1, 2], [classes - 1, 0, 1]] = 0
        figures = report(labels, log_likelihoods, [f"a class with a long name {i}" for i in range(classes)])
        assert figures["per_class"]["a class with a long name 0"] == {"precision": 1, "recall": 0.5, "images": 2}
        assert ("confusion_matrix" in figures) == has_matrix
        # As of a run that was fine-tuned and then evaluated.
        metrics = {"head": {"validation": figures}, "validation": figures, "test": figures}
        runs.write_json(tmp_path / "metrics.json", metrics)
        assert runs.read_json(tmp_path / "metrics.json") == metrics


def test_a_label_beyond_the_outputs():
    with pytest.raises(DataError, match=r"A label is none of the model's 2 outputs. Received: 2."):
        report(np.array([0, 2]), np.log([[0.5, 0.5]] * 2), ["a", "b"])


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
    assert found["per_class"]["bright"] == {"precision": 1.0, "recall": 1.0, "images": 2}
    assert found["per_class"]["grey"] == {"precision": None, "recall": None, "images": 0}


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
