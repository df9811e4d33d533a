"""Pre-activation ResNet-18 and -34: timm's sizes and timm's logits from equal weights.

`python tests/models/test_resnet_v2_basic.py` prints the logits anew, where timm 1.0.31 is installed.
"""

import math
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))

import files  # pyright: ignore[reportMissingImports]

NAMES = {"resnet18_v2": "resnetv2_18", "resnet34_v2": "resnetv2_34"}
# Those of resnet18 and resnet34, without the stem's normalization (64 channels) and that of the shortcuts (128 + 256 +
# 512), with one at the end (512); the first of a stage is of the channels before it (64 + 128 + 256 fewer).
TRAINABLE = {"resnet18_v2": 11_689_512 - 2 * 896, "resnet34_v2": 21_797_672 - 2 * 896}
SIZE = (75, 96, 3)
LOGITS = {  # timm's, in float64
    "resnet18_v2": [
        [
            -1.64102201,
            -2.291303,
            -1.23512593,
            0.59827327,
            0.87736189,
            1.75161084,
            -1.35230346,
            -2.38927971,
            3.64552384,
            0.72796815,
        ],
        [
            -1.38032221,
            -2.29897539,
            -1.33402531,
            0.53695035,
            0.96827493,
            1.80039519,
            -1.54962429,
            -2.38862069,
            3.50011462,
            0.80552012,
        ],
    ],
    "resnet34_v2": [
        [
            -2.40805324,
            -1.76990476,
            -4.78496743,
            0.68106536,
            1.79670198,
            1.85142975,
            -1.96928395,
            -2.37403667,
            4.50688102,
            1.12346797,
        ],
        [
            -2.60517488,
            -1.79902052,
            -4.83701398,
            0.61790614,
            2.08608238,
            2.22106825,
            -2.09917415,
            -2.89902052,
            4.41621261,
            1.55436934,
        ],
    ],
}
STAGES = {"conv1": (2, 64), "conv2": (4, 64), "conv3": (8, 128), "conv4": (16, 256), "conv5": (32, 512)}


def draw(name, shape):
    """The tensor called `name` in timm's model, in PyTorch's layout; RandomState's numbers are the same for ever."""
    values = np.random.RandomState(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    if len(shape) > 1:
        values *= math.sqrt(3 / math.prod(shape[1:]))
    elif name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "running_var")):
        values = 1 + 0.3 * values
    return values.astype("float32")


def images(size=SIZE):
    return np.random.RandomState(0).uniform(-1, 1, (2, *size)).astype("float32")


def timm_module(layer):
    """What timm calls a layer."""
    known = {"conv1_conv": "stem.conv", "post_bn": "norm", "predictions": "head.fc"}
    if layer in known:
        return known[layer]
    found = re.fullmatch(r"conv(\d)_block(\d)_(in|\d)_(conv|bn)", layer)
    assert found, layer
    stage, block, number, kind = found.groups()
    part = {"0_conv": "downsample.conv", "in_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}
    return f"stages.{int(stage) - 2}.blocks.{int(block) - 1}.{part[f'{number}_{kind}']}"


def to_keras(array):
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 1 else array


def in_pytorch(weight):
    """The name and shape of a weight in timm's file."""
    layer, kind = weight.path.split("/")
    kinds = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    kinds |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    *window, last, outputs = (1, *weight.shape) if len(weight.shape) == 1 else weight.shape
    shape = (outputs,) if len(weight.shape) == 1 else (outputs, last, *window)
    return f"{timm_module(layer)}.{kinds[kind]}", shape


@pytest.mark.parametrize("name", [*NAMES])
def test_parameters(name, shapes_only):
    import kzoo

    with shapes_only():
        model = kzoo.create_model(name)
        assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1000))
        assert sum(math.prod(w.shape) for w in model.trainable_weights) == TRAINABLE[name]


@pytest.mark.parametrize("name", [*NAMES])
def test_logits_are_timms(name):
    import kzoo

    model = kzoo.create_model(
        name, input_shape=SIZE, classes=10, classifier_activation=None, include_preprocessing=False
    )
    for weight in model.weights:
        weight.assign(to_keras(draw(*in_pytorch(weight))))
    assert sorted(in_pytorch(w)[0] for w in model.weights) == sorted({in_pytorch(w)[0] for w in model.weights})
    expected = np.array(LOGITS[name])
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(model(images()), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", [*NAMES])
def test_timms_file_gives_timms_logits(name, tmp_path):
    """A file with the names and shapes that timm saves, of 10 classes."""
    import kzoo

    def value(tensor, shape, dtype):
        if dtype == "int64":
            return np.array(1000)
        return draw(tensor, (10, *shape[1:]) if tensor.startswith("head.fc") else shape)

    files.save(tmp_path / "file", f"timm {NAMES[name]} safetensors", value)
    model = kzoo.create_model(
        name,
        weights=tmp_path / "file",
        input_shape=SIZE,
        classifier_activation=None,
        include_preprocessing=False,
    )
    expected = np.array(LOGITS[name])
    np.testing.assert_allclose(model(images()), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_pooling_ignores_what_is_beyond_the_image():
    import kzoo
    from kzoo.backend import keras

    for size in (8, 9):
        model = kzoo.create_model(
            "resnet18_v2", input_shape=(2 * size, 2 * size, 1), include_top=False, include_preprocessing=False
        )
        conv, pooled = (model.get_layer(name).output for name in ("conv1_conv", "pool1_stride"))
        x = -1 - np.random.default_rng(0).random((1, size, size, 64), "float32")  # zeros would be the largest
        found = np.asarray(keras.Model(conv, pooled)(x))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
        np.testing.assert_array_equal(found, windows.max(axis=(-1, -2)))


def test_stages_are_normalized_and_of_their_own_size():
    import kzoo
    from kzoo.graph.endpoints import stages

    model = kzoo.create_model("resnet18_v2", include_top=False, input_shape=(64, 96, 3))
    extractor = kzoo.feature_extractor(model)
    shapes = {stage: output.shape for stage, output in extractor.output.items()}
    assert shapes == {stage: (None, 64 // s, 96 // s, c) for stage, (s, c) in STAGES.items()}
    found = kzoo.describe(extractor).stages
    assert {stage.name: (stage.stride, stage.channels) for stage in found} == STAGES
    assert stages(model)["conv3"] == "conv4_block1_in_relu"
    # A part has the stages that are whole in it.
    part = kzoo.feature_extractor(model, "conv4_block1_add")
    assert list(stages(part)) == ["conv1", "conv2", "conv3"]


def test_layers_are_in_the_order_of_figure_4e(shapes_only):
    import kzoo

    with shapes_only():
        model = kzoo.create_model("resnet18_v2", input_shape=(32, 32, 3))
    names = [layer.name.removeprefix("conv2_block1_") for layer in model.layers if "conv2_block1_" in layer.name]
    assert names == ["in_bn", "in_relu", "1_conv", "1_bn", "1_relu", "2_conv", "add"]
    projections = [layer.name for layer in model.layers if layer.name.endswith("_0_conv")]
    assert projections == [f"conv{stage}_block1_0_conv" for stage in (3, 4, 5)]
    strided = [layer.name for layer in model.layers if getattr(layer, "strides", 1) in (2, (2, 2))]
    blocks = [f"conv{stage}_block1_{conv}_conv" for stage in (3, 4, 5) for conv in (0, 1)]
    assert sorted(strided) == sorted(["conv1_conv", "pool1_stride", *blocks])


def main():
    """Print timm's sizes and logits."""
    import timm  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    for name, theirs in NAMES.items():
        sizes = [sum(p.numel() for p in timm.create_model(theirs).parameters())]
        model = timm.create_model(theirs, num_classes=10).eval()
        for tensor, value in model.state_dict().items():
            if not tensor.endswith("num_batches_tracked"):
                shape = value.shape[:2] if tensor == "head.fc.weight" else value.shape  # there a 1x1 convolution
                value.copy_(torch.from_numpy(draw(tensor, tuple(shape))).reshape(value.shape))
        with torch.no_grad():
            logits = model.double()(torch.from_numpy(images()).permute(0, 3, 1, 2).double())
        print(name, *sizes, logits.numpy().round(8).tolist())


if __name__ == "__main__":
    main()
