"""VGG: its exact sizes, and outputs equal to those of keras.applications."""

import math

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import BatchNormalization

# Of table 2 of the paper (133, 133, 138 and 144 million), exactly; torchvision's for the forms with normalization.
TRAINABLE = {
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}
# Channels normalized: two moving statistics each that are not trained.
NORMALIZED = {"vgg11_bn": 2752, "vgg13_bn": 2944, "vgg16_bn": 4224, "vgg19_bn": 5504}


def pixels(shape, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *shape), "uint8")


def size(variables):
    return sum(math.prod(v.shape) for v in variables)


def small(name, **arguments):
    """A net for 32 x 32 pixels: an eighth of the weights."""
    return kzoo.create_model(name, **{"input_shape": (32, 32, 3), "classes": 10, **arguments})


@pytest.mark.parametrize("name", TRAINABLE)
def test_exact_parameter_count(name, shapes_only):
    with shapes_only():
        model = kzoo.create_model(name)
    assert size(model.trainable_variables) == TRAINABLE[name]
    assert size(model.variables) - size(v for v in model.variables if "seed" in v.path) == TRAINABLE[
        name
    ] + 2 * NORMALIZED.get(name, 0)
    assert (model.input_shape, model.output_shape, model.name) == ((None, 224, 224, 3), (None, 1000), name)


@pytest.mark.parametrize(
    ("shape", "classes"), [((32, 32, 1), 10), ((33, 47, 4), 2), ((63, 64, 2), 3), ((96, 65, 12), 1000)]
)
def test_other_inputs_and_classes(shape, classes, shapes_only):
    with shapes_only():
        model = kzoo.create_model("vgg11", input_shape=shape, classes=classes)
    height, width, channels = shape
    convolutions = sum(9 * a * b + b for a, b in [(channels, 64), (64, 128), (128, 256), (256, 256), (256, 512)])
    convolutions += 3 * (9 * 512 * 512 + 512)
    inputs = (height // 32) * (width // 32) * 512
    dense = sum(a * b + b for a, b in [(inputs, 4096), (4096, 4096), (4096, classes)])
    assert size(model.trainable_variables) == convolutions + dense
    assert model.output_shape == (None, classes)


@pytest.mark.parametrize(("ours", "theirs"), [("vgg16", "VGG16"), ("vgg19", "VGG19")])
def test_layers_and_weights_are_those_of_keras_applications(ours, theirs, shapes_only):
    with shapes_only():
        model = kzoo.create_model(ours, include_preprocessing=False)
        reference = getattr(keras.applications, theirs)(weights=None)
    assert [(w.path, w.shape) for w in model.weights] == [(w.path, w.shape) for w in reference.weights]
    layers = [layer.name for layer in model.layers if not layer.name.endswith("_dropout")]
    assert layers[1:] == [layer.name for layer in reference.layers][1:]


def assert_equal_outputs(model, reference, images):
    generator = np.random.default_rng(0)
    weights = [
        (generator.standard_normal(w.shape, "float32") * (2 / max(1, math.prod(w.shape[:-1]))) ** 0.5)
        for w in reference.weights
    ]
    reference.set_weights(weights)
    model.set_weights(weights)
    expected = np.asarray(reference(keras.applications.vgg16.preprocess_input(images.astype("float32"))))
    assert np.ptp(expected) > 0.1
    # The same operations, on pixels prepared by another expression.
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("ours", "theirs"), [("vgg16", "VGG16"), ("vgg19", "VGG19")])
def test_features_equal_keras_applications(ours, theirs):
    arguments = {"include_top": False, "input_shape": (64, 64, 3)}
    reference = getattr(keras.applications, theirs)(weights=None, **arguments)
    assert_equal_outputs(kzoo.create_model(ours, **arguments), reference, pixels((64, 64, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "theirs"), [("vgg16", "VGG16"), ("vgg19", "VGG19")])
def test_logits_equal_keras_applications(ours, theirs):
    reference = getattr(keras.applications, theirs)(weights=None, classifier_activation=None)
    assert_equal_outputs(kzoo.create_model(ours, classifier_activation=None), reference, pixels((224, 224, 3)))


def test_normalization_is_torchvisions():
    model = kzoo.create_model("vgg11_bn", include_top=False, input_shape=(32, 32, 3))
    layers = model.layers
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 8
    for i in convolutions:
        convolution, norm, relu = layers[i : i + 3]
        assert convolution.use_bias
        assert convolution.activation is keras.activations.linear
        assert (type(norm), norm.epsilon, norm.momentum) == (BatchNormalization, 1e-5, 0.9)
        assert [norm.name, relu.name] == [f"{convolution.name}_bn", f"{convolution.name}_relu"]


def test_dropout_follows_each_fully_connected_layer(shapes_only):
    with shapes_only():
        models = [small("vgg11", dropout=rate) for rate in (None, 0, 0.2)]
    rates = [[model.get_layer(f"{fc}_dropout").rate for fc in ("fc1", "fc2")] for model in models]
    assert rates == [[0.5, 0.5], [0, 0], [0.2, 0.2]]


@pytest.mark.parametrize("constructor", [name.upper().replace("_", "") for name in TRAINABLE])
def test_constructor_is_create_model(constructor):
    arguments = {"include_top": False, "input_shape": (None, None, 1), "pooling": "max"}
    name = constructor.lower().removesuffix("bn") + ("_bn" if constructor.endswith("BN") else "")
    first = getattr(kzoo, constructor)(**arguments)
    assert first.get_config() == kzoo.create_model(name, **arguments).get_config()
    assert (first.name, first.output_shape) == (name, (None, 512))


def test_too_small_an_image():
    with pytest.raises(InvalidArgument, match=r"vgg16 takes input_shape=.* of at least 32 x 32 x 1"):
        kzoo.create_model("vgg16", input_shape=(31, 32, 3))
