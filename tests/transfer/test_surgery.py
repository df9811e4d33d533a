"""add_head and copy_weights."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.transfer import add_head, copy_weights

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")


def test_a_head_on_a_feature_map():
    backbone = kzoo.create_model("resnet20_cifar", include_top=False)
    model = add_head(backbone, 4, dropout=0.5)
    assert [layer.name for layer in model.layers[-3:]] == ["avg_pool", "dropout", "predictions"]
    layer = model.get_layer("predictions")
    np.testing.assert_array_equal(model(IMAGES), np.full((2, 4), 0.25))  # of zeros
    layer.kernel.assign(np.random.default_rng(0).normal(0, 0.01, layer.kernel.shape))
    logits = np.asarray(backbone(IMAGES)).mean(axis=(1, 2)) @ layer.kernel.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-4)
    assert model.get_layer("conv1_conv") is backbone.get_layer("conv1_conv")


def test_a_head_in_place_of_another_has_zeros_of_its_own():
    model = kzoo.create_model("resnet20_cifar")
    again = add_head(model, 10)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert not again.get_layer("predictions").kernel.numpy().any()
    assert model.get_layer("predictions").kernel.numpy().all()


def test_a_head_on_an_application_and_on_a_sequential_model():
    vgg = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7)
    model = add_head(vgg, 2, classifier_activation=None)
    assert model.output_shape == (None, 2)
    assert model.layers[-2].name == "fc2"
    stack = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, activation="relu"), keras.layers.ReLU()])
    assert add_head(stack, 2).output_shape == (None, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1}, "classes must be a whole number of at least 2. Received: 1."),
        ({"classes": 2, "dropout": 1}, "dropout must be a rate from 0 up to, not including, 1. Received: 1."),
        (
            {"classes": 2, "classifier_activation": "relu"},
            "Unknown classifier_activation. Received: 'relu'. Valid: None, linear, softmax.",
        ),
    ],
)
def test_what_cannot_be_a_head(arguments, message):
    with pytest.raises(InvalidArgument) as caught:
        add_head(kzoo.create_model("mnist_net"), **arguments)
    assert message in str(caught.value)


def test_a_model_that_ends_in_neither():
    model = keras.Sequential([keras.Input((4, 4)), keras.layers.ReLU()], name="rows")
    with pytest.raises(
        InvalidArgument, match=r"a feature map or a vector .* Received: rows with output_shape=\(None, 4, 4\)"
    ):
        add_head(model, 2)


def test_copy_weights_says_what_it_left():
    source, target = kzoo.create_model("resnet50"), kzoo.create_model("resnet50", classes=3, input_shape=(64, 64, 1))
    before = {w.path: w.numpy().copy() for w in target.weights}
    left = copy_weights(source, target)
    assert left.source == left.target == ("conv1_conv/kernel", "predictions/kernel", "predictions/bias")
    given = {w.path: w.numpy() for w in source.weights}
    for weight in target.weights:
        expected = before if weight.path in left.target else given
        np.testing.assert_array_equal(weight.numpy(), expected[weight.path])


def test_copy_weights_between_a_model_and_keras_applications():
    source = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3))
    target = kzoo.create_model("resnet50", include_top=False, input_shape=(64, 64, 3), include_preprocessing=False)
    assert copy_weights(source, target) == ((), ())
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    expected = np.asarray(source(images))
    np.testing.assert_allclose(target(images), expected, atol=1e-5 * np.abs(expected).max())


def test_a_path_that_two_weights_have_is_not_copied():
    def twice():
        inputs, outer = keras.Input((3,)), keras.Input((3,))
        inner = keras.Model(inputs, keras.layers.Dense(3, name="same")(inputs))
        return keras.Model(outer, keras.layers.Dense(3, name="same")(inner(outer)))

    source, target = twice(), twice()
    paths = [w.path for w in source.weights]
    assert paths == ["same/kernel", "same/bias"] * 2
    left = copy_weights(source, target)
    assert left.target == tuple(paths)


@pytest.mark.parametrize("end", ["nested", "softmax layer", "softmax activation"])
def test_a_classifier_that_is_buried_is_refused(end):
    """A head on its probabilities would learn little."""
    x = inputs = keras.Input((4,))
    if end == "nested":
        x = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="old")])(x)
    else:
        x = keras.layers.Reshape((3,))(keras.layers.Reshape((3, 1))(keras.layers.Dense(3)(x)))
        x = keras.layers.Softmax()(x) if end == "softmax layer" else keras.layers.Activation("softmax")(x)
    with pytest.raises(InvalidArgument, match="cannot be taken off"):
        add_head(keras.Model(inputs, x), 2)
