"""`describe`: published counts, depths and receptive fields, nets counted by hand, and fields found by experiment."""

import functools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops  # the counts that tf.compat.v1.profiler shows

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument

layers = keras.layers


@functools.cache
def described(name):
    """The model described for images of 64 x 96."""
    return kzoo.describe(name, (64, 96, 3))


def net(*steps, shape=(32, 40, 3)):
    return keras.Sequential([keras.Input(shape), *steps], name="net")


def stage_of(model):
    """The output of a model as one stage."""
    return kzoo.describe(kzoo.feature_extractor(model, model.layers[-1].name)).stages[0]


@pytest.mark.parametrize("name", kzoo.list_models())
def test_every_model(name):
    found = described(name)
    # What a net is called is its depth.
    depth = 4 if name == "mnist_net" else 22 if "inception" in name else int(re.findall(r"\d+", name)[0])
    assert found.depth == depth
    assert (found.name, found.input_shape) == (name, (64, 96, 3))
    assert [stage.name for stage in found.stages[:2]] in (["conv1", "conv2"], ["block1", "block2"])
    for stage in found.stages:
        assert stage.output_shape == (math.ceil(64 / stage.stride), math.ceil(96 / stage.stride), stage.channels)
    for field in ("stride", "receptive_field", "depth"):
        values = [getattr(stage, field) for stage in found.stages]
        assert values == sorted(values)
    assert 0 < sum(stage.multiply_adds for stage in found.stages) < found.multiply_adds
    assert 0 < sum(stage.parameters for stage in found.stages) < found.parameters
    json.dumps(found.to_dict())


# Counted by torch.utils.flop_counter.FlopCounterMode on torchvision's models, at the models' default sizes.
PYTORCH = json.loads((Path(__file__).parents[1] / "golden" / "goldens.json").read_text())["models"]


@pytest.mark.parametrize("name", sorted(set(PYTORCH) & set(kzoo.list_models())))
def test_multiply_adds_are_pytorchs_count(name):
    assert kzoo.describe(name).multiply_adds == PYTORCH[name]["multiply_adds"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if re.search("101|152", name) else ())
        for name in kzoo.list_models()
        if name not in PYTORCH
    ],
)
def test_multiply_adds_are_tensorflows_count(name):
    model = kzoo.create_model(name)
    graph = tf.function(model, autograph=False).get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]))).graph
    count = ops.get_stats_for_node_def
    # Local response normalization convolves too, over channels; it is neither a convolution nor a dense layer.
    nodes = [
        operation.node_def
        for operation in graph.get_operations()
        if operation.type in ("Conv2D", "MatMul") and "_norm" not in operation.name
    ]
    # A multiplication and an addition each.
    assert kzoo.describe(name).multiply_adds == sum(count(graph, node, "flops").value for node in nodes) / 2


def test_multiply_adds_of_the_papers():
    # Table 1 of "Deep Residual Learning" says 1.8, 3.6, 3.8, 7.6 and 11.3 billion; "Going Deeper" 1.5 billion.
    billions = {name: kzoo.describe(name).multiply_adds / 1e9 for name in ("plain18", "resnet50", "inception_v1")}
    assert {name: round(n, 2) for name, n in billions.items()} == {
        "plain18": 1.79,
        "resnet50": 3.86,
        "inception_v1": 1.58,
    }


def test_parameters_are_those_of_the_model():
    model = kzoo.create_model("resnet18", input_shape=(32, 32, 1), classes=7)
    found = kzoo.describe("resnet18", (32, 32, 1), classes=7)
    assert found.parameters == model.count_params()
    assert found.trainable_parameters == sum(math.prod(w.shape) for w in model.trainable_weights)
    assert found.classes == 7
    assert {layer.name: layer.parameters for layer in found.layers} == {x.name: x.count_params() for x in model.layers}
    assert found == kzoo.describe(model)


def test_a_net_counted_by_hand():
    found = kzoo.describe(
        net(
            layers.Conv2D(8, (3, 5), strides=2, padding="same", name="a"),  # 16 x 20
            layers.Conv2D(4, 3, groups=4, padding="valid", use_bias=False, name="b"),  # 14 x 18
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="c"),
            layers.SeparableConv2D(6, 3, padding="same", name="d"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, name="e"),
        )
    )
    assert {layer.name: layer.multiply_adds for layer in found.layers if layer.multiply_adds} == {
        "a": 16 * 20 * 8 * (3 * 5 * 3),
        "b": 14 * 18 * 4 * (3 * 3 * 2),  # a filter sees the channels of its group
        "c": 14 * 18 * 8 * (3 * 3),
        "d": 14 * 18 * (8 * 3 * 3 + 8 * 6),
        "e": 6 * 5,
    }
    assert found.multiply_adds == sum(layer.multiply_adds for layer in found.layers)
    assert (found.depth, found.classes, [stage.name for stage in found.stages]) == (5, 5, ["stride2"])


def test_shared_layers_and_models_within_models():
    shared = layers.Conv2D(3, 3, padding="same")
    block = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 3, padding="same"), layers.ReLU()])
    images = keras.Input((10, 10, 3))
    found = kzoo.describe(keras.Model(images, layers.Add()([images, block(block(shared(shared(images))))])))
    assert found.parameters == 2 * 84  # weights count once,
    assert found.multiply_adds == 4 * 100 * 81  # what is computed with them each time
    assert found.depth == 4


def test_depth_is_the_longest_path():
    # Table 2 of its paper: 1 + 2 + 16 x 3 + 1 convolutions, and the classifier.
    net = kzoo.describe(keras.applications.MobileNetV2(weights=None))
    assert net.depth == 53
    assert round(net.multiply_adds / 1e6) == 301  # "300M"


# Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019. Its ResNets have
# the stride at the end of a stage, which comes to the same as the paper's at the beginning of the next.
DISTILL = {"resnet50": 483, "resnet101": 1027, "resnet152": 1507, "resnet50_v2": 483, "resnet101_v2": 1027}


@pytest.mark.parametrize("name", DISTILL)
def test_published_receptive_fields(name):
    assert described(name).stages[-1].receptive_field == DISTILL[name]


def test_published_receptive_field_of_vgg16():
    fields = {stage.name: stage.receptive_field for stage in described("vgg16").stages}
    assert fields == {"block1": 5, "block2": 14, "block3": 40, "block4": 92, "block5": 196}
    pooled = kzoo.create_model("vgg16", include_top=False, input_shape=(32, 32, 3))
    assert stage_of(pooled).receptive_field == 212  # Distill's
    assert stage_of(pooled).stride == 32


def field_by_experiment(model, width):
    """The columns of the image that reach the output in the middle, counted with a lit column at a time.

    With kernels that are positive throughout, whatever is read adds to the output.
    """
    for layer in model.layers:
        for weight in layer.weights:
            if len(weight.shape) > 1 or weight.name == "bias":
                weight.assign(np.full(weight.shape, (len(weight.shape) > 1) / math.prod(weight.shape[:-1])))
    height, _, channels = model.input_shape[1:]
    lit = np.zeros((width, height, width, channels), "float32")
    lit[np.arange(width), :, np.arange(width)] = 1
    outputs = model.predict(lit, batch_size=32, verbose=0)
    [features] = outputs.values() if isinstance(outputs, dict) else [outputs]
    middle = features[:, features.shape[1] // 2, features.shape[2] // 2].max(-1)
    columns = np.flatnonzero(middle)
    assert columns[0] > 0
    assert columns[-1] < width - 1
    return columns[-1] - columns[0] + 1


def _branches(x):
    small = layers.Conv2D(2, 3, padding="same")(x)
    large = layers.Conv2D(2, 3, padding="same", dilation_rate=3)(layers.MaxPooling2D(3, 1, padding="same")(x))
    x = layers.Concatenate()([x, small, large])
    return layers.Conv2D(2, 1, strides=2)(x)


def _shifted(x):
    left = layers.ZeroPadding2D(((0, 0), (4, 0)))(layers.Cropping2D(((0, 0), (0, 4)))(x))
    return layers.Maximum()([left, layers.Conv2D(3, 3, padding="same")(x)])


SMALL = {
    "one": [layers.Conv2D(4, 5)],
    "two": [layers.Conv2D(4, 3, padding="same"), layers.Conv2D(4, 3, padding="same")],
    "strides": [
        layers.Conv2D(4, 7, strides=2, padding="same"),
        layers.ReLU(),
        layers.AveragePooling2D(3, 2, padding="same"),
        layers.Conv2D(4, 4, strides=2),
        layers.MaxPooling2D(2),
    ],
    "dilation": [layers.DepthwiseConv2D(3, dilation_rate=2), layers.SeparableConv2D(4, (1, 5), dilation_rate=2)],
    "branches": [_branches, layers.Conv2D(2, 3, padding="same"), _branches],
    "shifted": [_shifted, layers.MaxPooling2D(2), _shifted],
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("width", [90, 97])
def test_receptive_fields_of_small_nets_by_experiment(name, width):
    images = x = keras.Input((40, width, 3))
    for step in SMALL[name]:
        x = (type(step).from_config(step.get_config()) if isinstance(step, layers.Layer) else step)(x)
    model = keras.Model(images, x)
    axes = _receptive_field(model)
    assert axes is not None
    down, right = axes
    assert right.size == field_by_experiment(model, width)
    assert stage_of(model).receptive_field == max(down.size, right.size)


def _receptive_field(model):
    from kzoo.graph.counting import LayerCounter, Output

    return LayerCounter(model.inputs, [Output(model.inputs[0])]).count_to(model.outputs[0]).receptive_field


@pytest.mark.parametrize(
    ("name", "stage", "width"),
    [
        ("mnist_net", "conv2", 45),
        ("vgg13", "block3", 90),
        ("inception_v1", "inception_3b", 141),
        ("resnet18", "conv3", 145),
        ("resnet50", "conv3", 145),
        ("resnet50_v1_5", "conv3", 145),
        ("resnet50_v2", "conv3", 135),
        ("resnet20_cifar", "conv4", 125),
    ],
)
def test_receptive_fields_of_the_zoo_by_experiment(name, stage, width):
    arguments = {
        "input_shape": (32 if name[0] in "vi" else 8, width, 1),
        "include_preprocessing": False,
        "include_top": False,
    }
    model = kzoo.feature_extractor(kzoo.create_model(name, **arguments), stage)
    known = {s.name: s.receptive_field for s in described(name).stages}
    assert known[stage] == field_by_experiment(model, width)


def test_what_is_behind_global_pooling_depends_on_the_whole_image():
    gate = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1, activation="sigmoid")]
    images = keras.Input((32, 32, 3))
    model = keras.Model(images, layers.Multiply()([images, keras.Sequential(gate)(images)]))
    found = kzoo.describe(kzoo.feature_extractor(model, model.layers[-1].name))
    assert found.stages[0].receptive_field is None
    assert "whole image" in str(found)


def test_a_loaded_model_and_one_of_any_size(tmp_path):
    model = kzoo.create_model("resnet20_cifar", input_shape=(None, None, 3), classes=4)
    model.save(tmp_path / "model.keras")
    loaded = kzoo.load_model(tmp_path / "model.keras")
    assert kzoo.describe(loaded, (48, 64, 3)) == kzoo.describe("resnet20_cifar", (48, 64, 3), classes=4)
    with pytest.raises(InvalidArgument, match=r"one size.*Received: input_shape=\(None, None, 3\)"):
        kzoo.describe(loaded)


def test_auxiliary_heads_are_left_out():
    whole = kzoo.create_model("inception_v1_bn", input_shape=(64, 96, 3), auxiliary_heads=True)
    found = kzoo.describe(whole)
    assert found == described("inception_v1_bn")
    assert found.parameters < whole.count_params()


def test_nothing_is_left_of_the_models_that_were_described():
    """Keras would fill in VGG's half gigabyte of weights when the next layer is built."""
    from keras.src.backend.common import global_state

    kzoo.describe("vgg11")
    assert not global_state.get_global_attribute("uninitialized_variables")
    assert not global_state.get_global_attribute("stateless_scope")


def test_tables():
    found = kzoo.describe("mnist_net")
    assert str(found).splitlines() == [
        "mnist_net: 524,894 parameters, 524,402 of them trainable; 11.13 M multiply-adds; 4 layers deep; "
        "input 28x28x1, 10 classes",
        "stage        output    stride  channels  receptive field  parameters  multiply-adds",
        "conv1        28x28x32  1       32        5                928         627,200",
        "conv2        14x14x64  2       64        14               51,456      10.04 M",
        "predictions  10                10                         472,510     471,900",
    ]
    assert found.markdown().splitlines()[2:5] == [
        "| stage | output | stride | channels | receptive field | parameters | multiply-adds |",
        "|---|---|---|---|---|---|---|",
        "| conv1 | 28x28x32 | 1 | 32 | 5 | 928 | 627,200 |",
    ]
    extractor = kzoo.feature_extractor(kzoo.create_model("mnist_net"))
    assert [row[0] for row in kzoo.describe(extractor).table()] == ["stage", "conv1", "conv2"]


def _two_inputs():
    a, b = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    return keras.Model([a, b], layers.Add()([a, b]))


ANY_SIZE: Any = (None, None, 3)
ONE_NUMBER: Any = 224


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kzoo.describe("resnet5"), "Unknown model. Received: 'resnet5'. Did you mean 'resnet50'"),
        (lambda: kzoo.describe("vgg16", (16, 16, 3)), "vgg16 takes input_shape"),
        (lambda: kzoo.describe("resnet18", ANY_SIZE), "What is described is one size"),
        (lambda: kzoo.describe("resnet18", ONE_NUMBER), "What is described is one size.*Received: input_shape=224"),
        (lambda: kzoo.describe(net(layers.Conv2D(2, 1)), (8, 8, 3)), r"net is built for input_shape=\(32, 40, 3\)"),
        (lambda: kzoo.describe(net(layers.Conv2D(2, 1)), classes=3), "classes is for a model by name"),
        (lambda: kzoo.describe(3), "must be a Functional or Sequential.*Received: int"),
        (lambda: kzoo.describe(keras.Sequential([layers.Dense(3)])), "knows its input shape"),
        (lambda: kzoo.describe(_two_inputs()), "must have one input. Received: 2"),
        (lambda: kzoo.describe(net(layers.UpSampling2D(name="up"))), "not known. Received: UpSampling2D 'up'"),
        (lambda: kzoo.describe(net(layers.Conv2D(2, 1, data_format="channels_first"))), "channels_last"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InvalidArgument, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
