"""`feature_extractor`: every family's stages, of the same values as in the model, and shared with it."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.graph.endpoints import named_stages, stages
from kzoo.transfer import freeze, unfreeze
from kzoo.transfer.layerwise import lowest_of_last_size, rate_factors

RESNET = {"conv1": (2, 64), "conv2": (4, 256), "conv3": (8, 512), "conv4": (16, 1024), "conv5": (32, 2048)}
BASIC = {"conv1": (2, 64), "conv2": (4, 64), "conv3": (8, 128), "conv4": (16, 256), "conv5": (32, 512)}
VGG = {"block1": (1, 64), "block2": (2, 128), "block3": (4, 256), "block4": (8, 512), "block5": (16, 512)}
INCEPTION = {
    "conv1": (2, 64), "conv2": (4, 192), "inception_3a": (8, 256), "inception_3b": (8, 480), "inception_4a": (16, 512),
    "inception_4b": (16, 512), "inception_4c": (16, 512), "inception_4d": (16, 528), "inception_4e": (16, 832),
    "inception_5a": (32, 832), "inception_5b": (32, 1024),
}  # fmt: skip
# Stride and channels of each stage.
FAMILIES = {
    "mnist_net": {"conv1": (1, 32), "conv2": (2, 64)},
    "vgg11": VGG,
    "vgg11_bn": VGG,
    "inception_v1": INCEPTION,
    "inception_v1_bn": INCEPTION,
    "resnet18": BASIC,
    "plain18": BASIC,
    "resnet50": RESNET,
    "resnet50_v2": RESNET,
    "resnet20_cifar": {"conv1": (1, 16), "conv2": (1, 16), "conv3": (2, 32), "conv4": (4, 64)},
    "plain20_cifar": {"conv1": (1, 16), "conv2": (1, 16), "conv3": (2, 32), "conv4": (4, 64)},
}
# The layer that ends the third stage.
THIRD = {
    "vgg11": "block3_conv2",
    "vgg11_bn": "block3_conv2_relu",
    "inception_v1": "inception_3a",
    "resnet18": "conv3_block2_out",
    "plain18": "conv3_block2_out",
    "resnet50": "conv3_block4_out",
    "resnet50_v2": "conv3_block4_preact_relu",
    "resnet20_cifar": "conv3_block3_out",
}
SIZE = (64, 96, 3)


def images(shape=SIZE, batch=1):
    return np.random.default_rng(0).integers(0, 256, (batch, *shape), "uint8")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name):
    model = kzoo.create_model(name, include_top=False, input_shape=SIZE)
    extractor = kzoo.feature_extractor(model)
    features = {stage: np.asarray(values) for stage, values in extractor(images()).items()}
    expected = {stage: (1, 64 // s, 96 // s, c) for stage, (s, c) in FAMILIES[name].items()}
    assert {stage: values.shape for stage, values in features.items()} == expected
    assert list(features) == list(expected)
    assert all(values.dtype == np.float32 and values.std() > 0 for values in features.values())
    listed = {stage.name: (stage.stride, stage.channels) for stage in kzoo.describe(extractor).stages}
    assert listed == FAMILIES[name]
    if name in THIRD:
        assert list(stages(model).values())[2] == THIRD[name]


def test_values_are_those_inside_the_model():
    model = kzoo.create_model("inception_v1_bn", input_shape=SIZE, classes=5, auxiliary_heads=True)
    whole = keras.Model(model.input, [model.get_layer(n).output for n in ("conv2_3x3_relu", "inception_4e")])
    features = kzoo.feature_extractor(model, ["inception_4e", "conv2"])(images(batch=2))
    assert list(features) == ["inception_4e", "conv2"]  # in the order asked for
    for found, wanted in zip(features.values(), reversed(whole(images(batch=2))), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_extractor_holds_what_it_needs_of_the_model_itself():
    model = kzoo.create_model("inception_v1_bn", input_shape=SIZE, auxiliary_heads=True)
    extractor = kzoo.feature_extractor(model, "inception_4e")
    own = {layer.name for layer in extractor.layers}
    assert own < {layer.name for layer in model.layers}
    assert not [name for name in own if name.startswith(("auxiliary", "inception_5", "predictions"))]
    assert all(extractor.get_layer(name) is model.get_layer(name) for name in own)


def test_a_model_from_a_file_has_the_same_stages(tmp_path):
    model = kzoo.create_model("resnet20_cifar", input_shape=(32, 32, 3))
    model.save(tmp_path / "model.keras")
    loaded = kzoo.load_model(tmp_path / "model.keras")
    assert stages(loaded) == stages(model)
    wanted = kzoo.feature_extractor(model)(images((32, 32, 3)))
    extractor = kzoo.feature_extractor(loaded)
    extractor.save(tmp_path / "extractor.keras")
    for found in (extractor, kzoo.load_model(tmp_path / "extractor.keras")):
        features = found(images((32, 32, 3)))
        assert list(features) == list(wanted)
        for stage in wanted:
            np.testing.assert_array_equal(features[stage], wanted[stage])


def test_half_precision_and_its_float32_twin():
    from kzoo.train.precision import dtype_policy, in_float32

    with dtype_policy("mixed_bfloat16"):
        model = kzoo.create_model("mnist_net")
    dtypes = [
        {tensor.dtype for tensor in kzoo.feature_extractor(m).output.values()} for m in (model, in_float32(model))
    ]
    assert dtypes == [{"bfloat16"}, {"float32"}]


def test_layers_by_name_and_other_models():
    model = kzoo.create_model("vgg11", include_top=False, input_shape=SIZE)
    assert kzoo.feature_extractor(model, ["block5_pool", "block5"]).output["block5_pool"].shape == (None, 2, 3, 512)
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, strides=2, name="stem")])
    assert stages(other) == {"stride2": "stem"}
    assert kzoo.feature_extractor(other, ["stem"]).output["stem"].shape == (None, 3, 3, 4)
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    assert stages(flat) == {}
    with pytest.raises(InvalidArgument, match="Valid: the names of its layers"):
        kzoo.feature_extractor(flat)


def plain_net(*names, size=64):
    """A model of convolutions called so, each of stride 2 and with a ReLU behind it, for images of a size."""
    x = inputs = keras.Input((size, size, 3))
    for name in names:
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name=name)(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))


def test_other_models_have_as_many_stages_as_they_name():
    five = plain_net(*(f"conv{n}" for n in range(1, 6)))
    assert stages(five) == {f"conv{n}": f"conv{n}_relu" for n in range(1, 6)}
    assert lowest_of_last_size(five) == "conv5"
    seven = plain_net(*(f"block{n}_conv1" for n in range(1, 8)), size=128)
    assert stages(seven) == {f"block{n}": f"block{n}_conv1_relu" for n in range(1, 8)}
    both = plain_net("conv1", "block1_conv1", "block2_conv1")
    assert stages(both) == {"conv1": "conv1_relu", "block1": "block1_conv1_relu", "block2": "block2_conv1_relu"}
    assert stages(plain_net("conv1_conv", "post", "conv5")) == {"conv5": "conv5_relu"}


def test_rates_of_other_models_follow_their_stages():
    model = plain_net(*(f"conv{n}" for n in range(1, 6)))
    factors = rate_factors(model, 0.5)
    found = [factors[id(model.get_layer(name).kernel)] for name in ("conv1", "conv3", "conv5", "predictions")]
    assert found == [0.03125, 0.125, 0.5, 1]


def test_keras_applications_have_the_same_stages():
    theirs = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=SIZE)
    ours = kzoo.create_model("resnet50_v2", include_top=False, input_shape=SIZE)
    assert stages(theirs) == stages(ours)
    assert kzoo.describe(theirs).stages == kzoo.describe(ours).stages


def test_stages_by_stride_where_no_names_are_known():
    """Each ends where all above reads the image through; names that only look like a card's count for nothing."""
    model = kzoo.create_model("keras:MobileNet", include_top=False, input_shape=SIZE)
    assert named_stages(model) == {"conv1": "conv1_relu"}  # as of a ResNet
    expected = {"stride2": "conv_pw_1_relu", "stride4": "conv_pw_3_relu", "stride8": "conv_pw_5_relu",
                "stride16": "conv_pw_11_relu", "stride32": "conv_pw_13_relu"}  # fmt: skip
    assert stages(model) == expected
    assert lowest_of_last_size(model) == "stride32"
    extractor = kzoo.feature_extractor(model, ["stride8", "stride32"])
    assert {name: value.shape for name, value in extractor(images()).items()} == {
        "stride8": (1, 8, 12, 256), "stride32": (1, 2, 3, 1024),
    }  # fmt: skip
    assert [stage.stride for stage in kzoo.describe(model).stages] == [2, 4, 8, 16, 32]


def test_a_stage_ends_behind_its_shortcuts():
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, 2, padding="same", name="stem")(x)
    for number in (1, 2):
        y = keras.layers.Conv2D(4, 3, padding="same", name=f"block{number}_a")(x)
        x = keras.layers.Add(name=f"sum{number}")([x, y])
    y = keras.layers.Conv2D(4, 3, padding="same", name="wide")(x)  # of the next block, at the size of this one
    y = keras.layers.Conv2D(4, 3, 2, padding="same", name="down")(y)
    x = keras.layers.Add(name="sum3")([keras.layers.Conv2D(4, 1, 2, name="shortcut")(x), y])
    assert stages(keras.Model(inputs, x)) == {"stride2": "sum2", "stride4": "sum3"}


def test_stages_of_a_model_within():
    inner = kzoo.create_model("keras:MobileNetV2", include_top=False, input_shape=(32, 32, 3))
    x = inputs = keras.Input((32, 32, 3))
    outer = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inner(x))))
    assert stages(outer) == {"stride32": "MobileNetV2"}
    assert lowest_of_last_size(outer) == "stride32"
    unfreeze(freeze(outer), down_to="stride32")  # of the one that has more stages
    trained = [layer.name for layer in inner.layers if layer.trainable_weights]
    assert trained[0] == "block_13_depthwise"
    assert trained[-1] == "Conv_1"


def test_errors():
    model = kzoo.create_model("mnist_net")
    with pytest.raises(InvalidArgument) as caught:
        kzoo.feature_extractor(model, ["conv1", "conv3"])
    assert str(caught.value) == (
        "Unknown endpoint of mnist_net. Received: 'conv3'. Did you mean 'conv2'? Valid: conv1, conv2. "
        "Or the name of a layer, such as 'conv2'."
    )
    with pytest.raises(InvalidArgument, match="such as 'conv2_bn'"):
        kzoo.feature_extractor(model, ["conv2_bm"])
    with pytest.raises(InvalidArgument, match="at least one stage or layer of mnist_net"):
        kzoo.feature_extractor(model, [])
    with pytest.raises(InvalidArgument, match="must be a Functional or Sequential"):
        kzoo.feature_extractor("mnist_net")
