"""PyTorch's name and layout of every weight of kzoo's models: torchvision's, and pytorch_resnet_cifar10's."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
INCEPTION_STEM = {"conv1_7x7_s2": "conv1", "conv2_3x3_reduce": "conv2", "conv2_3x3": "conv3"}
INCEPTION_BRANCHES = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool_proj": "branch4.1",
}
INCEPTION_AUXILIARY = {"conv": "conv", "fc": "fc1", None: "fc2"}
VGG_DENSE = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}


@dataclass(frozen=True)
class Tensor:
    """What a weight of kzoo is in PyTorch.

    `flattened` is the (height, width, channels) which a fully connected layer reads in one row: PyTorch's row has the
    channels first.
    """

    name: str
    shape: tuple[int, ...]
    flattened: tuple[int, int, int] | None = None

    def to_keras(self, array):
        """PyTorch's array in Keras's layout: output channels last, and the input's order in rows."""
        if self.flattened:
            height, width, channels = self.flattened
            array = array.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
            return array.reshape(-1, array.shape[-1])
        return np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array.T


def tensors(model) -> list[Tensor]:
    """One tensor for each of `model.weights`, in their order."""
    modules = module_names(model.name, dict.fromkeys(w.path.split("/")[0] for w in model.weights))
    found = []
    for weight in model.weights:
        layer, kind = weight.path.split("/")
        *window, last = weight.shape
        shape = (last, window[-1], *window[:-1]) if window else (last,)
        flattened = _flattened_by(model.get_layer(layer)) if kind == "kernel" and len(window) == 1 else None
        found.append(Tensor(f"{modules[layer]}.{TENSORS[kind]}", shape, flattened))
    return found


def module_names(model: str, layers: Iterable[str]) -> dict[str, str]:
    """PyTorch's module for each layer that has weights; the layers are given in the model's order.

    >>> module_names("resnet18", ["conv1_bn", "conv3_block1_0_conv", "conv3_block2_1_conv", "predictions"])
    {'conv1_bn': 'bn1', 'conv3_block1_0_conv': 'layer2.0.downsample.0', 'conv3_block2_1_conv': 'layer2.1.conv1', \
'predictions': 'fc'}
    """
    if model.startswith("vgg"):
        return _vgg(layers)
    if model.startswith("inception"):
        return {layer: _inception(layer) for layer in layers}
    classifier = "linear" if model.endswith("_cifar") else "fc"
    return {layer: classifier if layer == "predictions" else _resnet(layer) for layer in layers}


def _flattened_by(layer):
    """The shape of what a fully connected layer reads, if that is a feature map in one row."""
    before = layer.input._keras_history.operation
    return tuple(before.input.shape[1:]) if before.name.endswith("flatten") else None


def _resnet(layer):
    stem = re.fullmatch(r"conv1_(conv|bn)", layer)
    if stem:
        return f"{stem[1]}1"
    stage, block, number, kind = _match(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}"
    return f"{prefix}.downsample.{int(kind == 'bn')}" if number == "0" else f"{prefix}.{kind}{number}"


def _inception(layer):
    if layer == "predictions":
        return "fc"
    head = re.fullmatch(r"auxiliary_(\d)(?:_(fc))?", layer)
    if head:
        return f"aux{head[1]}.{INCEPTION_AUXILIARY[head[2]]}"
    name = layer.removesuffix("_bn")
    kind = "conv" if name == layer else "bn"
    if name in INCEPTION_STEM:
        return f"{INCEPTION_STEM[name]}.{kind}"
    if name.startswith("auxiliary"):
        number, part = _match(r"auxiliary_(\d)_(conv)", name)
        return f"aux{number}.{INCEPTION_AUXILIARY[part]}.{kind}"
    module, branch = _match(r"inception_(\d[a-e])_(\w+)", name)
    return f"inception{module}.{INCEPTION_BRANCHES[branch]}.{kind}"


def _vgg(layers):
    """Number the modules as torchvision does: each ReLU and each pooling counts."""
    layers = list(layers)
    relu = 2 if any(layer.endswith("_bn") for layer in layers) else 1  # its place after the convolution
    names, index, block = {}, -relu - 1, "1"
    for layer in layers:
        if layer in VGG_DENSE:
            names[layer] = VGG_DENSE[layer]
        elif layer.endswith("_bn"):
            names[layer] = f"features.{index + 1}"
        else:
            before, (block, _) = block, _match(r"block(\d)_conv(\d)", layer)
            index += relu + 1 + (block != before)
            names[layer] = f"features.{index}"
    return names


def _match(pattern, layer):
    found = re.fullmatch(pattern, layer)
    if found is None:
        raise ValueError(f"No PyTorch name is known for this layer. Received: {layer!r}.")
    return found.groups()
