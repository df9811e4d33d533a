"""Classifiers of the 8x8 digits that train in a moment, of every kind, as if they had been pretrained."""

import numpy as np

from kzoo import data
from kzoo.backend import keras


def stack(stride_of_first=1):
    """The layers of three stages, conv1 8x8, conv2 and conv3 4x4, by the names that zoo models have."""
    layers = keras.layers
    yield layers.Rescaling(1 / 255, name="scale")
    for number, stride in ((1, stride_of_first), (2, 2), (3, 1)):
        yield layers.Conv2D(6, 3, stride, padding="same", use_bias=False, name=f"conv{number}_conv")
        yield layers.BatchNormalization(momentum=0.9, name=f"conv{number}_bn")
        yield layers.LeakyReLU(name=f"conv{number}_relu")
    yield layers.Flatten(name="flat")


def functional(dropout=0.2, top=True, size: int | None = 8):
    x = inputs = keras.Input((size, size, 1), name="images")
    for layer in stack():
        x = layer(x)
    if top:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
        x = keras.layers.Dense(7, activation="softmax", name="old")(x)
    return _pretrained(keras.Model(inputs, x, name="functional"))


def sequential():
    layers = [*stack(), keras.layers.Dense(7, name="old")]
    return _pretrained(keras.Sequential([keras.Input((8, 8, 1), name="images"), *layers], name="sequential"))


def nested():
    """A convolution before the model within."""
    inputs = keras.Input((8, 8, 1), name="images")
    x = keras.layers.Conv2D(1, 3, padding="same", name="before")(inputs)
    x = functional(top=False)(x)
    return _pretrained(keras.Model(inputs, keras.layers.Dense(7, name="old")(x), name="nested"))


KINDS = {make.__name__: make for make in (functional, sequential, nested)}


def _pretrained(model):
    """Weights and statistics that are not those of a new model."""
    random = np.random.default_rng(3)
    for weight in model.weights:
        low, high = (-0.4, 0.4) if len(weight.shape) > 1 else (0.1, 1.0)
        weight.assign(random.uniform(low, high, weight.shape))
    return model


def digits(train=200, validation=100):
    """The first training and validation digits, 8x8."""
    given = data.load("digits"), data.load("digits", "validation")
    return [
        data.Dataset.from_arrays(one.images[:count], one.labels[:count], one.class_names, "some digits")
        for one, count in zip(given, (train, validation), strict=True)
    ]


def assert_same_weights(one, other):
    for found, expected in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=expected.path)
