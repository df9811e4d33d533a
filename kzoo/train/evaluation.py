"""Scoring a model: accuracy, loss, and where it goes wrong."""

from typing import Any

import numpy as np

from kzoo import console
from kzoo.backend import compiled, keras, tf
from kzoo.classifier import PREDICTIONS, class_names_of, scaling_to, without_auxiliary_heads
from kzoo.errors import DataError
from kzoo.outputs import classes_of, logits_of
from kzoo.train.inputs import as_data, batches_per_epoch, check_fit, class_names_of_data, data_errors, with_labels_of

BATCH_SIZE = 128
MOST_CLASSES_OF_MATRIX = 1_000  # of 20,000 it would take gigabytes


def evaluate(model, data: Any) -> dict:
    """Score a classifier on labelled images.

    Labels are matched by name where both the model and the data know the names of their classes, never by position.

    Args:
        model: A `keras.Model` with an output of shape (batch, classes), probabilities or logits, or (batch, 1) for two
            classes; of one with auxiliary heads, the output `predictions` is scored. If it was trained on pixels of
            0 to 1, or -1 to 1, images of 0 to 255 are scaled to that.
        data: What `kzoo.train.fit` takes as data.

    Returns:
        Plain data: `accuracy` and, with more than 5 classes, `top5_accuracy` (fractions), `loss` (mean cross-entropy,
        natural logarithm), `images`, `classes` (names), `per_class` (name -> precision, recall, images; None where it
        is not defined) and, with 1,000 classes or fewer, `confusion_matrix` (rows: true class, columns: predicted).

    Raises:
        InvalidArgument: The model does not take these images, or does not end in probabilities or logits.
        DataError: A label that the model does not know.
    """
    data = as_data(data, BATCH_SIZE)
    names = class_names_of(model)
    model = without_auxiliary_heads(model)
    data = with_labels_of(data, names)
    check_fit(data, model, "evaluation")
    logits_of_batch, scaled = logits_of(model), scaling_to(model, data.pixel_range, "images")

    def predict(images):
        if scaled is not None:
            images = scaled(keras.ops.cast(images, "float32"))
        return logits_of_batch(images, training=False)[PREDICTIONS]

    # Not Keras's predict: made in the scope of a strategy, a model predicts once for each replica.
    predict = (lambda images, compute=predict: compute(images.numpy())) if tf is None else compiled(predict)
    labels, log_likelihoods = [], []
    with data_errors(), console.progress("evaluating", batches_per_epoch(data, BATCH_SIZE)) as advance:
        for images, batch_labels in data.batches(BATCH_SIZE):
            logits = keras.ops.convert_to_numpy(predict(images)).astype(np.float64)
            labels.append(batch_labels.numpy())
            log_likelihoods.append(_log_softmax(logits))
            advance(1)
    names = names or class_names_of_data(data) or tuple(str(i) for i in range(classes_of(model)))
    return report(np.concatenate(labels), np.concatenate(log_likelihoods), names)


def report(labels: np.ndarray, log_likelihoods: np.ndarray, class_names) -> dict:
    """Figures from labels (N,) and log-likelihoods (N, classes).

    >>> figures = report(np.array([0, 1, 1]), np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), ["cat", "dog"])
    >>> round(figures["accuracy"], 3), figures["confusion_matrix"], figures["per_class"]["dog"]
    (0.667, [[1, 0], [1, 1]], {'precision': 1.0, 'recall': 0.5, 'images': 2})
    """
    from sklearn.metrics import confusion_matrix

    classes = len(class_names)
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"A label is none of the model's {classes} outputs. Received: {wrong}. Labels count from 0.")
    predictions = log_likelihoods.argmax(axis=1)
    hits, actual, predicted = (
        np.bincount(found, minlength=classes) for found in (labels[predictions == labels], labels, predictions)
    )
    figures = {
        "accuracy": float((predictions == labels).mean()),
        "loss": float(-log_likelihoods[np.arange(len(labels)), labels].mean()),
        "images": len(labels),
    }
    if classes > 5:
        top5 = np.argpartition(log_likelihoods, -5, axis=1)[:, -5:]
        figures["top5_accuracy"] = float((top5 == labels[:, None]).any(axis=1).mean())
    figures["classes"] = list(class_names)
    figures["per_class"] = {
        name: {
            "precision": float(hits[i] / predicted[i]) if predicted[i] else None,
            "recall": float(hits[i] / actual[i]) if actual[i] else None,
            "images": int(actual[i]),
        }
        for i, name in enumerate(class_names)
    }
    if classes <= MOST_CLASSES_OF_MATRIX:
        figures["confusion_matrix"] = confusion_matrix(labels, predictions, labels=range(classes)).tolist()
    return figures


def _log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
