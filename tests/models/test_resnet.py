"""The ResNets: published parameter counts, equality with keras.applications, and what tells the topologies apart."""

import functools

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.models import registry, resnet, resnet_cifar, resnet_v2

# With 1000 classes, the CIFAR nets with 10.
TRAINABLE = {  # torchvision's and akamaster/pytorch_resnet_cifar10's
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50_v1_5": 25_557_032,
    "resnet101_v1_5": 44_549_160,
    "resnet152_v1_5": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    # A plain net lacks three projections: 64 x 128 + 128 x 256 + 256 x 512 weights, and 2 x (128 + 256 + 512) of BN.
    "plain18": 11_689_512 - 173_824,
    "plain34": 21_797_672 - 173_824,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962,
    "plain20_cifar": 269_722,
    "plain32_cifar": 464_154,
    "plain44_cifar": 658_586,
    "plain56_cifar": 853_018,
}
TOTAL = {  # keras.applications', moving statistics included
    "resnet50": 25_636_712,
    "resnet101": 44_707_176,
    "resnet152": 60_419_944,
    "resnet50_v2": 25_613_800,
    "resnet101_v2": 44_675_560,
    "resnet152_v2": 60_380_648,
}
NAMES = [*TRAINABLE, *TOTAL]
REFERENCES = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "resnet152": keras.applications.ResNet152,
    "resnet50_v2": keras.applications.ResNet50V2,
    "resnet101_v2": keras.applications.ResNet101V2,
    "resnet152_v2": keras.applications.ResNet152V2,
}
ONE_A_TOPOLOGY = [
    "resnet18",
    "resnet50",
    "resnet50_v1_5",
    "resnext50_32x4d",
    "resnet50_v2",
    "resnet20_cifar",
    "plain20_cifar",
]


def with_slow(names, large=("101", "152", "wide", "resnext")):
    """The names as parameters, those with a part of `large` marked slow; grouped convolutions are slow on a CPU."""
    return [pytest.param(n, marks=pytest.mark.slow) if any(s in n for s in large) else n for n in names]


@functools.cache
def net(name):
    """The model on small images, bare; shared by the tests, which do not change it."""
    return kzoo.create_model(name, input_shape=(64, 64, 3), include_preprocessing=False, classifier_activation="linear")


def pixels(shape, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *shape), "uint8")


def random_weights(weights, seed=0):
    """One array a weight; random statistics too, as in a trained model."""
    random = np.random.default_rng(seed)
    draw = {
        "kernel": lambda shape: random.normal(0, np.prod(shape[:-1]) ** -0.5, shape),
        "bias": lambda shape: random.normal(0, 0.1, shape),
        "gamma": lambda shape: random.uniform(0.5, 1.5, shape),
        "beta": lambda shape: random.normal(0, 0.1, shape),
        "moving_mean": lambda shape: random.normal(0, 0.1, shape),
        "moving_variance": lambda shape: random.uniform(0.5, 1.5, shape),
    }
    return [draw[w.name](w.shape).astype("float32") for w in weights]


def strided(model):
    """The names of the layers with stride 2."""
    return [layer.name for layer in model.layers if getattr(layer, "strides", 1) in (2, (2, 2))]


def test_every_resnet_is_in_the_tables():
    assert sorted(NAMES) == sorted(c.name for family in (resnet, resnet_v2, resnet_cifar) for c in family.CARDS)


@pytest.mark.parametrize("name", with_slow(NAMES, ("resnext101", "wide_resnet101", "101_v2", "152_v2")))
def test_parameters(name):
    model = net(name) if name in ONE_A_TOPOLOGY else kzoo.create_model(name)
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    count = trainable if name in TRAINABLE else model.count_params()
    assert count == {**TRAINABLE, **TOTAL}[name]


@pytest.mark.parametrize("name", with_slow(REFERENCES))
def test_equals_keras_applications(name):
    reference = REFERENCES[name](weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    model = net(name)
    assert [w.shape for w in model.weights] == [w.shape for w in reference.weights]
    assert [w.path for w in model.weights] == [w.path for w in reference.weights]
    before = model.get_weights()
    weights = random_weights(reference.weights)
    reference.set_weights(weights)
    model.set_weights(weights)
    images = np.random.default_rng(1).normal(0, 50, (2, 64, 64, 3)).astype("float32")
    try:
        outputs, expected = np.asarray(model(images)), np.asarray(reference(images))
    finally:
        model.set_weights(before)
    assert np.std(expected, axis=0).min() > 0
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", with_slow(REFERENCES))
def test_layer_names_are_keras_applications(name):
    reference = REFERENCES[name](weights=None, input_shape=(64, 64, 3))
    names = [layer.name for layer in reference.layers[1:]]
    if name.endswith("v2"):
        # Padding that "same" does for us, and poolings that Keras leaves without a name.
        names = [n for n in names if not n.endswith("_2_pad") and not n.startswith("max_pooling2d")]
    ours = [layer.name for layer in net(name).layers[1:]]
    assert [n for n in ours if not n.startswith("conv") or not n.endswith(("_0_pool", "_2_pad"))] == names


def test_stride_is_where_the_topology_has_it():
    stem = ["conv1_conv", "pool1_pool"]
    for name, conv in (("resnet50", 1), ("resnet50_v1_5", 2), ("resnext50_32x4d", 2), ("resnet18", 1)):
        expected = [f"conv{stage}_block1_{branch}_conv" for stage in (3, 4, 5) for branch in (0, conv)]
        assert sorted(strided(net(name))) == sorted(stem + expected)
    last = ("conv2_block3", "conv3_block4", "conv4_block6")
    expected = [f"{block}_{layer}" for block in last for layer in ("0_pool", "2_conv")]
    assert sorted(strided(net("resnet50_v2"))) == sorted(stem + expected)
    expected = [f"conv{stage}_block1_{layer}" for stage in (3, 4) for layer in ("0_pool", "1_conv")]
    assert sorted(strided(net("resnet20_cifar"))) == expected


def test_projections_are_where_the_shape_changes():
    def owners(name):
        return [layer.name.removesuffix("_0_conv") for layer in net(name).layers if layer.name.endswith("_0_conv")]

    assert owners("resnet18") == [f"conv{stage}_block1" for stage in (3, 4, 5)]
    for name in ("resnet50", "resnet50_v1_5", "resnext50_32x4d", "resnet50_v2"):
        assert owners(name) == [f"conv{stage}_block1" for stage in (2, 3, 4, 5)]
    assert owners("resnet20_cifar") == owners("plain20_cifar") == []
    assert not [layer for layer in net("plain20_cifar").layers if isinstance(layer, keras.layers.Add)]


@pytest.mark.parametrize(
    ("name", "epsilon", "momentum", "use_bias", "preprocessing"),
    [
        ("resnet18", 1e-5, 0.9, False, "torch"),
        ("resnet50", 1.001e-5, 0.99, True, "caffe"),
        ("resnet50_v1_5", 1e-5, 0.9, False, "torch"),
        ("resnet50_v2", 1.001e-5, 0.99, None, "tf"),
        ("resnet20_cifar", 1e-5, 0.9, False, "torch"),
    ],
)
def test_details_are_the_references(name, epsilon, momentum, use_bias, preprocessing):
    norms = [layer for layer in net(name).layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {type(layer) for layer in norms} == {kzoo.layers.BatchNormalization}
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(epsilon, momentum)}
    convs = {layer.name: layer for layer in net(name).layers if isinstance(layer, keras.layers.Conv2D)}
    if use_bias is None:  # without batch normalization
        use_bias = {n for n in convs if n.endswith(("_0_conv", "_3_conv"))} | {"conv1_conv"}
        assert {n for n, layer in convs.items() if layer.use_bias} == use_bias
    else:
        assert {layer.use_bias for layer in convs.values()} == {use_bias}

    model = kzoo.create_model(name, include_top=False, input_shape=(8, 8, 3))
    last = "preprocessing_bgr" if preprocessing == "caffe" else "preprocessing"
    outputs = keras.Model(model.input, model.get_layer(last).output)(pixels((8, 8, 3)))
    expected = keras.applications.imagenet_utils.preprocess_input(
        pixels((8, 8, 3)).astype("float32"), mode=preprocessing
    )
    # Two roundings of numbers up to 255, where the reference takes three.
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "layer", "deviation"),
    [
        ("resnet18", "conv5_block2_2", (2 / (512 * 9)) ** 0.5),
        ("resnext50_32x4d", "conv5_block3_2", (2 / (1024 * 9)) ** 0.5),
        ("resnet20_cifar", "conv4_block1_1", (2 / (32 * 9)) ** 0.5),
        ("resnet50", "conv5_block3_2", (2 / (512 * 9 + 512 * 9)) ** 0.5),
    ],
)
def test_initial_kernels(name, layer, deviation):
    kernel = np.asarray(net(name).get_layer(f"{layer}_conv").kernel)
    # At least 18,432 draws: a standard deviation known to 0.5 %.
    assert kernel.std() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_strided_convolution_pads_both_sides_alike(size, kernel_size):
    images = keras.Input((size, size, 1))
    model = keras.Model(images, resnet.TORCHVISION.conv(images, 1, kernel_size, "a", stride=2))
    x = np.random.default_rng(0).normal(size=(size, size)).astype("float32")
    kernel = np.asarray(model.get_layer("a_conv").kernel)[:, :, 0, 0]
    padded = np.pad(x, kernel_size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)[::2, ::2]
    expected = (windows * kernel).sum(axis=(2, 3))
    np.testing.assert_allclose(np.asarray(model(x[None, :, :, None]))[0, :, :, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("filters", "stride"), [(16, 2), (5, 2), (4, 2), (4, 1)])
def test_option_a_subsamples_and_pads_with_zeros(filters, stride):
    images = keras.Input((5, 8, 4))
    shortcut = resnet_cifar.pad_channels(images, filters, stride, "conv3_block1")
    x = np.random.default_rng(0).normal(size=(2, 5, 8, 4)).astype("float32")
    before = (filters - 4) // 2
    expected = np.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(before, filters - 4 - before)])
    if shortcut is images:
        assert (filters, stride) == (4, 1)
        return
    model = keras.Model(images, shortcut)
    assert model.count_params() == 0
    np.testing.assert_array_equal(model(x), expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet20_cifar", "plain20_cifar"])
def test_any_size_and_channels(name):
    fixed = kzoo.create_model(name, input_shape=(33, 47, 5), classes=7, dropout=0.5)
    free = kzoo.create_model(name, input_shape=(None, None, 5), classes=7)
    free.set_weights(fixed.get_weights())
    images = pixels((33, 47, 5))
    assert fixed.output_shape == (None, 7)
    assert fixed.get_layer("dropout").rate == 0.5
    np.testing.assert_allclose(free(images), fixed(images), rtol=1e-4, atol=1e-6)
    assert np.isfinite(free(pixels((1, 1, 5)))).all()  # the smallest


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet18", (8, 5, 512)), ("resnet50_v2", (8, 5, 2048)), ("resnet20_cifar", (57, 36, 64))]
)
def test_features(name, shape):
    model = kzoo.create_model(name, include_top=False, input_shape=(225, 143, 1))
    assert model.output_shape == (None, *shape)
    pooled = kzoo.create_model(name, include_top=False, input_shape=(225, 143, 1), pooling="max")
    assert pooled.output_shape == (None, shape[-1])


def test_constructors_are_create_model():
    arguments = {"classes": 7, "input_shape": (32, 16, 3), "classifier_activation": None}
    first = kzoo.ResNet20CIFAR(**arguments).get_config()
    assert first == kzoo.create_model("resnet20_cifar", **arguments).get_config()
    for name in NAMES:
        function = registry.get_card(name).constructor
        build = getattr(kzoo, function)
        assert (build.__module__, build.__name__) == ("kzoo", function)
        assert f"`{name}`" in build.__doc__
        assert registry.defaults(name) == (((32, 32, 3), 10) if "cifar" in name else ((224, 224, 3), 1000))
