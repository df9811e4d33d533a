"""Conversion: all of a file into all of a model, or nothing."""

from typing import Any

import numpy as np
import pytest

import kzoo
from kzoo.errors import InvalidArgument, KzooError, WeightsError
from kzoo.weights import formats
from kzoo.weights.convert import adapt_input_channels, convert
from kzoo.weights.names import SOURCES, tensor_layouts

NAME = "resnet20_cifar"


def drawn(model, source):
    """Tensors for every weight of a model, as they are in a file."""
    random = np.random.default_rng(0)
    return {t.name: random.random(t.shape).astype("float32") for t in tensor_layouts(model, SOURCES[source])}


@pytest.fixture(scope="module")
def full():
    return drawn(kzoo.create_model(NAME), "akamaster")


def refused(given, model, source="akamaster", error: type[KzooError] = WeightsError, **options):
    """The message with which nothing is loaded."""
    before = model.get_weights()
    with pytest.raises(error) as caught:
        convert(given, model, source, **options)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_weight_is_set(full):
    model = kzoo.create_model(NAME)
    counters = {f"{name}.num_batches_tracked": np.array(7) for name in ("bn1", "layer1.0.bn1")}
    convert({**full, **counters}, model, "akamaster")
    names = [t.name for t in tensor_layouts(model, SOURCES["akamaster"])]
    for weight, name in zip(model.weights, names, strict=True):
        expected = full[name]
        if expected.ndim == 4:
            expected = expected.transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(weight, expected.T if expected.ndim == 2 else expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("layer3.2.bn2.running_var"),
            "The weights do not fit resnet20_cifar: 1 missing tensors (layer3.2.bn2.running_var). Received: 96 "
            "tensors, source 'akamaster'. Is it the file of another model?",
        ),
        (
            lambda t: t.update({f"layer{n}.9.conv1.weight": np.zeros(3, "float32") for n in range(1, 5)}),
            "The weights do not fit resnet20_cifar: 4 unknown tensors (layer1.9.conv1.weight, layer2.9.conv1.weight, "
            "layer3.9.conv1.weight, ...). Received: 101 tensors, source 'akamaster'. Is it the file of another model?",
        ),
        (
            lambda t: t.update({"layer1.0.bn1.num_batches": t.pop("layer1.0.bn1.bias")}),
            "The weights do not fit resnet20_cifar: 1 missing tensors (layer1.0.bn1.bias) and 1 unknown tensors "
            "(layer1.0.bn1.num_batches). Received: 97 tensors, source 'akamaster'. Is it the file of another model?",
        ),
        (
            lambda t: [t.pop(f"linear.{kind}") for kind in ("weight", "bias")],
            "The weights do not fit resnet20_cifar: 2 missing tensors (linear.weight, linear.bias). Received: 95 "
            "tensors, source 'akamaster'. They are of the top of the network: build the model as the file has it, with "
            "or without.",
        ),
        (
            lambda t: t.update({"layer1.0.conv1.weight": np.zeros((16, 16, 3, 1), "float32")}),
            "layer1.0.conv1.weight has another shape in resnet20_cifar: (16, 16, 3, 3). Received: (16, 16, 3, 1), from "
            "the file. Build the model for the input shape that the weights were trained on.",
        ),
        (
            lambda t: t.update({"conv1.weight": np.zeros((16, 3, 3, 1), "float32")}),
            "conv1.weight has another shape in resnet20_cifar: (16, 3, 3, 3). Received: (16, 3, 3, 1), from the file. "
            "Build the model for the input shape that the weights were trained on.",
        ),
        (
            lambda t: t.update({"bn1.bias": np.zeros((4, 4), "float32")}),
            "bn1.bias has another shape in resnet20_cifar: (16,). Received: (4, 4), from the file. Build the model for "
            "the input shape that the weights were trained on.",
        ),
        (
            lambda t: t.update({"linear.bias": np.zeros(1000, "float32")}),
            "linear.bias has another number of classes in resnet20_cifar: (10,). Received: (1000,), from the file. "
            "Build the model for that number, or leave the classifier out.",
        ),
        (
            lambda t: t.update({"bn1.weight": np.zeros(16, "float64")}),
            "bn1.weight must hold float32 numbers. Received: float64.",
        ),
        (
            lambda t: t.update({"bn1.weight": np.zeros(16, "int64")}),
            "bn1.weight must hold float32 numbers. Received: int64.",
        ),
        (
            lambda t: t.clear(),
            "The weights do not fit resnet20_cifar: 97 missing tensors (conv1.weight, bn1.weight, bn1.bias, ...). "
            "Received: 0 tensors, source 'akamaster'. Is it the file of another model?",
        ),
    ],
)
def test_what_does_not_fit(change, message, full):
    given = dict(full)
    change(given)
    assert refused(given, kzoo.create_model(NAME)) == message


def test_other_models_and_sources(full):
    message = refused(full, kzoo.create_model("resnet32_cifar"))
    assert message.startswith("The weights do not fit resnet32_cifar: 60 missing tensors (layer1.3.conv1.weight, ")
    message = refused(full, kzoo.create_model("mnist_net"), error=InvalidArgument)
    assert message == "akamaster has no weights of this model. Received: 'mnist_net'. Valid: resnet*_cifar."
    message = refused(full, kzoo.create_model(NAME), "pytorch", error=InvalidArgument)
    assert message.startswith("Unknown source of weights. Received: 'pytorch'.")


def test_the_classifier_stays_where_it_is_left_out(full):
    model = kzoo.create_model(NAME, classes=7)
    assert "Build the model for that number" in refused(full, model)
    before = [np.array(w) for w in model.get_layer("predictions").weights]
    convert(full, model, "akamaster", head=False)
    for old, new in zip(before, model.get_layer("predictions").weights, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.get_layer("conv4_block3_2_bn").beta, full["layer3.2.bn2.bias"])

    backbone = kzoo.create_model(NAME, include_top=False)
    assert "They are of the top of the network" in refused(full, backbone)
    convert(full, backbone, "akamaster", head=False)
    for weight, other in zip(backbone.weights, model.weights, strict=False):
        np.testing.assert_array_equal(weight, other)
    # Without a classifier in the file it is the same.
    convert({n: x for n, x in full.items() if not n.startswith("linear")}, backbone, "akamaster", head=False)
    refused({n: x for n, x in full.items() if n != "bn1.bias"}, backbone, head=False)


@pytest.mark.parametrize(("name", "source"), [("vgg11", "torchvision"), ("vgg11", "timm"), ("vgg16", "keras")])
def test_the_top_of_vgg(name, source):
    """Other classes keep fc1 and fc2; without a top the file's are left out."""
    options: dict[str, Any] = {"input_shape": (32, 32, 3)}
    given = drawn(kzoo.create_model(name, classes=3, **options), source)
    model = kzoo.create_model(name, classes=5, **options)
    convert(given, model, source, head=False)
    (bias,) = (x for n, x in given.items() if "fc1" in n or "classifier.0" in n if x.ndim == 1)
    np.testing.assert_array_equal(model.get_layer("fc1").bias, bias)
    assert model.get_layer("predictions").bias.numpy().tolist() == [0.0] * 5
    convert(given, kzoo.create_model(name, include_top=False, **options), source, head=False)
    larger = kzoo.create_model(name, classes=3, input_shape=(64, 32, 3))
    assert "has another shape" in refused(given, larger, source)


@pytest.mark.parametrize("classes", [1000, 4])
def test_auxiliary_heads(classes):
    options: dict[str, Any] = {"input_shape": (96, 96, 3)}
    given = drawn(kzoo.create_model("inception_v1_bn", auxiliary_heads=True, **options), "torchvision")
    heads = kzoo.create_model("inception_v1_bn", classes=classes, auxiliary_heads=True, **options)
    convert(given, heads, "torchvision", head=classes == 1000)
    np.testing.assert_array_equal(heads.get_layer("auxiliary_2_fc").bias, given["aux2.fc1.bias"])
    loaded = np.array_equal(heads.get_layer("auxiliary_2").bias, given["aux2.fc2.bias"][:classes])
    assert loaded == (classes == 1000)
    lacking = {name: x for name, x in given.items() if not name.startswith("aux1.")}
    message = refused(lacking, heads, "torchvision", head=classes == 1000)
    assert "missing tensors (aux1.conv.conv.weight" in message


def test_kzoos_own_weights():
    model = kzoo.create_model("mnist_net")
    given = {weight.path: np.random.default_rng(0).random(weight.shape).astype("float32") for weight in model.weights}
    convert(given, model, "kzoo")
    for weight in model.weights:
        np.testing.assert_array_equal(weight, given[weight.path])


def test_a_model_saved_with_its_optimizer(tmp_path):
    model = kzoo.create_model("resnet20_cifar", dropout=0.5)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save_weights(tmp_path / "model.weights.h5")
    other = kzoo.create_model("resnet20_cifar")
    convert(formats.read(tmp_path / "model.weights.h5", "keras_weights_h5"), other, "kzoo")
    for weight, expected in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_two_tensors_for_one_weight():
    model = kzoo.create_model("mnist_net")
    given = {weight.path: np.zeros(weight.shape, "float32") for weight in model.weights}
    given["predictions/1"] = given["predictions/bias"]
    assert refused(given, model, "kzoo").startswith("Two tensors have the same name. Received: ")


KERNEL = np.arange(2 * 2 * 3 * 5, dtype="float32").reshape(2, 2, 3, 5)


def test_one_channel_is_the_sum_of_all():
    adapted = adapt_input_channels(KERNEL, 1)
    assert adapted.shape == (2, 2, 1, 5)
    assert adapted[0, 0, 0].tolist() == [15.0, 18.0, 21.0, 24.0, 27.0]
    np.testing.assert_array_equal(adapt_input_channels(KERNEL, 1, bgr=True), adapted)


def test_other_numbers_of_channels_repeat_the_three():
    four = adapt_input_channels(KERNEL, 4)
    assert four[0, 0].tolist() == [[0.0, 0.75, 1.5, 2.25, 3.0], [3.75, 4.5, 5.25, 6.0, 6.75], *four[0, 0, 2:].tolist()]
    np.testing.assert_array_equal(four[:, :, 3], four[:, :, 0])
    np.testing.assert_array_equal(four[:, :, :3], KERNEL * np.float32(0.75))
    thirteen = adapt_input_channels(KERNEL, 13)
    assert (thirteen.shape, thirteen.dtype) == ((2, 2, 13, 5), np.float32)
    for channel in range(13):
        np.testing.assert_array_equal(thirteen[:, :, channel], KERNEL[:, :, channel % 3] * np.float32(3 / 13))
    two = adapt_input_channels(KERNEL, 2, bgr=True)
    np.testing.assert_array_equal(two, KERNEL[:, :, [2, 1]] * np.float32(1.5))
    four = adapt_input_channels(KERNEL, 4, bgr=True)
    np.testing.assert_array_equal(four, KERNEL[:, :, [2, 1, 0, 2]] * np.float32(0.75))
    assert adapt_input_channels(KERNEL, 3) is KERNEL
    assert adapt_input_channels(KERNEL, 3, bgr=True) is KERNEL
    with pytest.raises(InvalidArgument, match=r"channels must be at least 1. Received: 0."):
        adapt_input_channels(KERNEL, 0)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_a_model_for_other_channels(channels, full):
    model = kzoo.create_model(NAME, input_shape=(32, 32, channels))
    convert(full, model, "akamaster", bgr=True)
    kernel = full["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(
        model.get_layer("conv1_conv").kernel, adapt_input_channels(kernel, channels, bgr=True)
    )
    two = {**full, "conv1.weight": full["conv1.weight"][:, :2]}
    if channels != 2:
        assert "conv1.weight has another shape" in refused(two, model)


def test_grey_images_give_what_they_gave_in_rgb(full):
    colour = kzoo.create_model(NAME, include_preprocessing=False)
    grey = kzoo.create_model(NAME, input_shape=(32, 32, 1), include_preprocessing=False)
    for model in (colour, grey):
        convert(full, model, "akamaster")
    images = np.random.default_rng(0).random((2, 32, 32, 1)).astype("float32")
    expected = colour(np.repeat(images, 3, axis=-1))
    # One sum in another order.
    np.testing.assert_allclose(grey(images), expected, rtol=1e-4, atol=1e-5)


def test_raw_weights_for_other_channels():
    given = drawn(kzoo.create_model("inception_v1", input_shape=(32, 32, 3)), "bvlc")
    model = kzoo.create_model("inception_v1", input_shape=(32, 32, 4))
    convert(given, model, "bvlc", bgr=True)
    kernel = given["conv1/7x7_s2_filter"].reshape(64, 7, 7, 3)
    np.testing.assert_array_equal(model.weights[0][:, :, 3, 5], kernel[5, :, :, 2] * np.float32(0.75))


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "correct"), [(20, 9173), (32, 9263)])
def test_real_checkpoints_score_what_was_published(depth, correct, real_data):
    """8.27 % and 7.37 % error, on an exact copy of CIFAR-10 but for 25 images of its test set."""
    (path,) = (real_data / "weights").glob(f"resnet{depth}-*.th")
    model = kzoo.create_model(f"resnet{depth}_cifar")
    convert(formats.read(path, "pytorch"), model, "akamaster")
    test = kzoo.data.load("cifar10", "test")
    predicted = model.predict(np.asarray(test.images), batch_size=500, verbose=0).argmax(axis=1)
    assert abs(int((predicted == np.asarray(test.labels)).sum()) - correct) <= 2
