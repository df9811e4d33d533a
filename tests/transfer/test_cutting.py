"""Where a model can be cut: as high as what is below gives the same at every step."""

import numpy as np
import pytest
from small_models import functional, nested, sequential

import kzoo
from kzoo.backend import keras
from kzoo.transfer import add_head, freeze, unfreeze
from kzoo.transfer.cutting import find_cut, split
from kzoo.transfer.layerwise import lowest_of_last_size

layers = keras.layers


@pytest.mark.parametrize(
    ("name", "through", "cut"),
    [
        ("mnist_net", "conv1", "pool1"),
        ("mnist_net", None, "fc1_relu"),
        ("vgg11", "block4", "block4_pool"),
        ("vgg11", None, "fc1"),  # dropout lies between the fully connected layers
        ("inception_v1", "inception_4e", "pool4_3x3_s2"),
        ("inception_v1", None, "avg_pool"),
        ("resnet20_cifar", "conv2", "conv2_block3_out"),
        ("resnet20_cifar", None, "avg_pool"),
        ("resnet50_v2", None, "avg_pool"),
    ],
)
def test_models_of_the_zoo(name, through, cut):
    model = kzoo.create_model(name, input_shape=(64, 64, 3))
    assert find_cut(freeze(model, through)) == cut


def check_backbone(name, size, low, high):
    """Cut below the new head and below the last stage; what is below computes what the whole computes there.

    Batch normalizations below a cut keep their statistics to the bit in training, as all else there.
    """
    model = add_head(kzoo.create_model(f"keras:{name}", include_top=False, input_shape=(size, size, 3)), 3)
    assert find_cut(freeze(model)) == high
    unfreeze(model, lowest_of_last_size(model))
    assert find_cut(model) == low
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "moving_mean" in weight.path:
            weight.assign(random.normal(0, 0.1, weight.shape))
    images = random.integers(0, 256, (4, size, size, 3)).astype("float32")
    cut = low or high
    below, above = split(model, cut)
    whole = keras.Model(model.inputs[0], [model.get_layer(cut).output, model.output])
    features, expected = whole(images, training=False)
    np.testing.assert_allclose(below(images, training=False), features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(above(features, training=False), expected, rtol=1e-4, atol=1e-6)
    if low is None:
        freeze(model)
    before = [np.array(weight) for weight in below.weights]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images, np.array([0, 1, 2, 0]), epochs=1, verbose=0)
    assert all(np.array_equal(weight, old) for weight, old in zip(below.weights, before, strict=True))
    statistics = [w for layer in model.layers for w in layer.weights if "moving" in w.path and not w.trainable]
    assert statistics or name == "ConvNeXtTiny"
    assert not below.trainable_weights


def test_a_small_backbone_of_keras_applications():
    check_backbone("MobileNetV3Small", 64, "expanded_conv_8_depthwise_pad", "avg_pool")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "low", "high"),
    [
        ("ConvNeXtTiny", 64, "add_14", "avg_pool"),
        ("EfficientNetV2B0", 64, "block6a_expand_activation", "avg_pool"),
        ("DenseNet121", 64, "pool4_pool", "avg_pool"),
        ("NASNetMobile", 64, None, "avg_pool"),  # a cell reads the two before it
        ("Xception", 96, "add_10", "avg_pool"),
        ("InceptionV3", 96, "mixed7", "avg_pool"),
    ],
)
def test_backbones_of_keras_applications(name, size, low, high):
    check_backbone(name, size, low, high)


@pytest.mark.parametrize("make", [functional, sequential, nested])
def test_the_parts_together_are_the_whole(make):
    model = make()
    stage = "before" if make is nested else "conv2"
    cut = find_cut(freeze(model, stage))
    assert cut is not None
    assert cut == ("before" if make is nested else "conv2_relu")
    below, above = split(model, cut)
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 1)).astype("float32")
    # Other graphs, other kernels: rounding.
    np.testing.assert_allclose(above(below(images)), model(images), rtol=1e-4, atol=1e-6)
    assert not below.trainable_weights
    assert [w.path for w in above.trainable_weights] == [w.path for w in model.trainable_weights]
    assert {id(w) for w in below.weights + above.weights} == {id(w) for w in model.weights}


def test_a_model_within_is_one_layer():
    """It is below as a whole or not at all."""
    model = nested()
    assert find_cut(freeze(model)) == "functional"
    unfreeze(model, "conv3")
    assert find_cut(model) == "before"


def test_nothing_frozen():
    model = functional()
    assert find_cut(unfreeze(model)) is None
    freeze(model, "conv3")
    model.get_layer("conv1_conv").trainable = True  # what is above a trained layer changes
    assert find_cut(model) is None


def test_trainable_batch_normalization_is_not_constant():
    model = freeze(functional())
    assert find_cut(model) == "flat"
    model.get_layer("conv3_bn").trainable = True
    assert find_cut(model) == "conv3_conv"
    plain = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(2, 1, name="conv"),
            layers.BatchNormalization(center=False, scale=False, name="statistics"),  # no trainable weight
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    freeze(plain)
    plain.get_layer("statistics").trainable = True
    assert find_cut(plain) == "conv"


def test_what_a_residual_bypasses():
    """Above the block its sum is read, and nothing from within it."""
    x = inputs = keras.Input((4,))
    x = layers.Dense(4, name="first")(x)
    y = layers.Dense(4, name="within")(x)
    y = layers.Dense(4, name="trained")(y)
    outputs = layers.Dense(2, name="head")(layers.Add(name="sum")([x, y]))
    model = keras.Model(inputs, outputs)
    for name in ("first", "within"):
        model.get_layer(name).trainable = False
    assert find_cut(model) == "first"  # not "within": the sum reads from below it
    model.get_layer("trained").trainable = False
    assert find_cut(model) == "sum"


def test_what_is_random_is_above():
    def with_layer(random):
        stack = [keras.Input((8, 8, 1)), layers.Conv2D(2, 3, name="conv"), random]
        stack += [layers.Flatten(name="flatten"), layers.Dense(2)]
        return freeze(keras.Sequential(stack))

    assert find_cut(with_layer(layers.ReLU())) == "flatten"
    assert find_cut(with_layer(layers.Dropout(0.5))) == "conv"
    assert find_cut(with_layer(layers.GaussianNoise(0.1))) == "conv"
    within = keras.Sequential([keras.Input((6, 6, 2)), layers.RandomFlip()], name="augmentation")
    assert find_cut(with_layer(within)) == "conv"
    first = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.RandomFlip(), layers.Conv2D(2, 3), layers.Flatten(name="flat")]
    )
    assert find_cut(freeze(first, "flat")) is None


def test_operations_that_are_not_layers():
    x = inputs = keras.Input((4,))
    x = layers.Dense(4, name="first")(x) * 2.0
    x = keras.ops.relu(x + 1.0)
    model = freeze(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    cut = find_cut(model)
    assert cut is not None
    below, above = split(model, cut)
    values = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(above(below(values)), model(values), rtol=1e-5)
    assert not below.trainable_weights
    assert [w.path for w in above.trainable_weights] == ["head/kernel", "head/bias"]


def test_a_layer_that_is_called_twice():
    """Its name means two outputs: it cannot be where a model is cut."""
    x = inputs = keras.Input((4,))
    shared = layers.ReLU(name="shared")
    x = shared(layers.Dense(4, name="frozen")(x))
    x = shared(layers.Dense(4, name="trained")(x))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    model.get_layer("frozen").trainable = False
    cut = find_cut(model)
    assert cut is not None
    below, above = split(model, cut)
    assert not below.trainable_weights
    assert len(above.trainable_weights) == 4
