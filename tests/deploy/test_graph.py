"""The graph that is exported computes what the model does, with batch normalization folded."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras, tf
from kzoo.classifier import set_metadata
from kzoo.data.pixels import UNIT
from kzoo.deploy import graph
from kzoo.errors import InvalidArgument
from kzoo.layers import BatchNormalization, Conv2D
from kzoo.train.precision import dtype_policy

layers = keras.layers


def not_initial(model):
    """The model with weights that a mistake in folding shows in: none is 0 or 1."""
    random = np.random.default_rng(0)
    old = model.get_weights()
    model.set_weights(
        [random.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else random.normal(0, 0.2, w.shape) for w in old]
    )
    return model


def normalizations(model):
    return [one for one in model.layers if isinstance(one, layers.BatchNormalization)]


@pytest.mark.parametrize(
    "convolution",
    [
        lambda: Conv2D(6, 3, use_bias=False),
        lambda: Conv2D(6, 3, strides=2, padding="same"),
        lambda: Conv2D(8, 3, groups=4),
        lambda: layers.Conv2D(6, 3),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
        lambda: layers.SeparableConv2D(6, 3),
    ],
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
def test_batch_normalization_is_folded(convolution, options):
    images = keras.Input((9, 8, 4))
    x = BatchNormalization(**options)(convolution()(images))
    model = not_initial(keras.Model(images, layers.Dense(3)(layers.Flatten()(x))))
    folded = graph.fold(model)
    assert not normalizations(folded)
    pixels = np.random.default_rng(1).normal(size=(2, 9, 8, 4)).astype("float32")
    np.testing.assert_allclose(folded(pixels), model(pixels, training=False), rtol=1e-4, atol=1e-4)


def test_a_dense_layer_and_one_within_a_model_are_folded():
    inner_images = keras.Input((4, 4, 2))
    inner = keras.Model(inner_images, BatchNormalization()(Conv2D(3, 1)(inner_images)), name="inner")
    images = keras.Input((4, 4, 2))
    x = BatchNormalization()(layers.Dense(5)(layers.Flatten()(inner(images))))
    model = not_initial(keras.Model(images, layers.Dense(2)(x)))
    folded = graph.fold(model)
    assert not normalizations(folded)
    assert not normalizations(folded.get_layer("inner"))
    pixels = np.random.default_rng(1).normal(size=(2, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(folded(pixels), model(pixels, training=False), rtol=1e-4, atol=1e-4)


def test_what_something_else_reads_is_not_folded():
    images = keras.Input((6, 6, 3))
    convolution, shared = Conv2D(3, 1), BatchNormalization()
    x = convolution(images)
    y = layers.Add()([x, BatchNormalization()(x)])  # the convolution's output is read twice
    z = shared(Conv2D(3, 1, activation="relu")(y))  # an activation is in between
    z = shared(Conv2D(3, 1)(z))  # the normalization is called twice
    model = not_initial(keras.Model(images, layers.Dense(2)(layers.Flatten()(z))))
    folded = graph.fold(model)
    assert len(normalizations(folded)) == len(normalizations(model)) == 2
    pixels = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype("float32")
    np.testing.assert_allclose(folded(pixels), model(pixels, training=False), rtol=1e-4, atol=1e-4)


def test_the_model_is_left_as_it_was():
    model = not_initial(kzoo.create_model("resnet20_cifar"))
    before = model.get_weights()
    graph.fold(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def small(units, activation=None, channels=3):
    images = keras.Input((4, 4, channels), name="images")
    return not_initial(keras.Model(images, layers.Dense(units, activation=activation)(layers.Flatten()(images / 255))))


@pytest.mark.parametrize(
    ("units", "activation"), [(3, None), (3, "softmax"), (1, None), (1, "sigmoid"), (2, "softmax")]
)
def test_every_classifier_gives_probabilities_of_all_classes(units, activation):
    model = small(units, activation)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), "uint8")
    found = graph.inference_graph(graph.classifier_of(model))(images)["probabilities"].numpy()
    outputs = np.asarray(model(images.astype("float32")), np.float64)
    if activation is None:
        outputs = np.concatenate([np.zeros((5, 1)), outputs], axis=1) if units == 1 else outputs
        wanted = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    else:
        wanted = np.concatenate([1 - outputs, outputs], axis=1) if units == 1 else outputs
    assert found.dtype == np.float32
    assert found.shape == (5, max(units, 2))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_pixels_come_to_the_range_that_the_model_was_trained_on():
    model = set_metadata(small(3, "softmax"), pixel_range=UNIT)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), "uint8")
    found = graph.inference_graph(graph.classifier_of(model))(images)["probabilities"].numpy()
    np.testing.assert_allclose(found, model(images.astype("float32") / 255), atol=1e-6)


def test_a_range_that_bytes_cannot_be_brought_to_is_refused():
    model = set_metadata(small(3, "softmax"), pixel_range=(-2.1, 2.6))
    with pytest.raises(InvalidArgument, match=r"takes pixels of 0 to 255\. Received: .* -2\.1 to 2\.6"):
        graph.classifier_of(model)


def test_half_precision_and_auxiliary_heads_are_left_out():
    with dtype_policy("mixed_bfloat16"):
        model = kzoo.create_model("inception_v1", input_shape=(79, 79, 3), classes=4, auxiliary_heads=True)
    classifier = graph.classifier_of(model)
    assert {layer.compute_dtype for layer in classifier.layers} == {"float32"}
    assert classifier.output_shape == (None, 4)
    assert not any("auxiliary" in layer.name for layer in graph.fold(classifier).layers)


def test_the_signature_takes_any_batch_and_size():
    model = kzoo.create_model("inception_v1", input_shape=(None, None, 3), classes=4)
    function = graph.inference_graph(graph.classifier_of(model))
    [taken] = function.input_signature
    assert (taken.shape.as_list(), taken.dtype, taken.name) == ([None, None, None, 3], tf.uint8, "images")
    for shape in ((1, 64, 64, 3), (3, 65, 50, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
        np.testing.assert_allclose(
            function(images)["probabilities"], model(images.astype("float32"), training=False), atol=1e-5
        )
