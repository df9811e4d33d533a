"""What the weights of kzoo's models are called in other frameworks' files, and how they lie there."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

PYTORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
CAFFE = {"kernel": "filter", "bias": "bias"}
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
VGG_DENSE_TIMM = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "predictions": "head.fc"}
PRE_ACTIVATION = {  # timm's: outside the blocks, and within one
    "conv1_conv": "stem.conv",
    "post_bn": "norm",
    "predictions": "head.fc",
    "in_bn": "norm1",
    "0_conv": "downsample.conv",
    "1_conv": "conv1",
    "1_bn": "norm2",
    "2_conv": "conv2",
}
CLASSIFIERS = ("predictions", "auxiliary_1", "auxiliary_2")  # the layers whose size is the number of classes


@dataclass(frozen=True)
class TensorLayout:
    """The name and layout that a weight of kzoo has in a file.

    Its `shape` there, read as `unfolded`, becomes Keras's by taking the axes in the order `axes`; folded again it is
    `keras_shape`.
    """

    name: str
    shape: tuple[int, ...]
    unfolded: tuple[int, ...]
    axes: tuple[int, ...]
    keras_shape: tuple[int, ...]

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """The file's array in Keras's layout."""
        return array.reshape(self.unfolded).transpose(self.axes).reshape(self.keras_shape)


@dataclass(frozen=True)
class Publisher:
    """Who published weights: the models, and what is particular to the files.

    `modules` says what each layer is called, given the model's name and its layers that have weights, in order.
    `kernel` gives (shape in the file, unfolded, axes) of a kernel of Keras's shape, given the model's name, the module,
    that shape and that of the feature map which is flattened before it. Every tensor's name is of the
    pattern `style`, those of the last classifier of `classifier`. Three patterns match the names of all that is ever
    left out: `ignored` is no weights, `auxiliary` of use only to a model with auxiliary heads, `head` only to one with
    a top and the same classes.
    """

    models: tuple[str, ...]
    modules: Callable[[str, Iterable[str]], dict[str, str]]
    kernel: Callable[..., tuple]
    variables: dict[str, str]
    separator: str
    style: str
    classifier: str
    head: str
    auxiliary: str = ""
    ignored: str = ""

    def has(self, model: str) -> bool:
        """Whether it has weights of `model`."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def classes(self, arrays: dict[str, np.ndarray]) -> int | None:
        """The outputs of the classifier in a file of these tensors: the length of its bias. None if it has none."""
        biases = (a for name, a in arrays.items() if re.fullmatch(self.classifier, name) and a.ndim == 1)
        return min((bias.size for bias in biases), default=None)


def tensor_layouts(model, source: Publisher, channels: int | None = None) -> list[TensorLayout]:
    """How each of `model.weights` is stored, in their order.

    The first, the kernel of the first convolution, is as for images of `channels` channels; by default the model's.
    """
    modules = source.modules(model.name, dict.fromkeys(w.path.split("/")[0] for w in model.weights))
    layouts = []
    for weight in model.weights:
        layer, kind = weight.path.split("/")
        shape = tuple(weight.shape)
        if channels and not layouts:
            shape = (*shape[:2], channels, shape[3])
        in_file = unfolded = shape
        axes = tuple(range(len(shape)))
        if len(shape) > 1:
            in_file, unfolded, axes = source.kernel(model.name, modules[layer], shape, _flattened_map(model, layer))
        name = f"{modules[layer]}{source.separator}{source.variables.get(kind, kind)}"
        layouts.append(TensorLayout(name, in_file, unfolded, axes, shape))
    return layouts


def _flattened_map(model, layer):
    """The shape of the feature map that a fully connected layer reads, flattened; None if it reads something else."""
    row = model.get_layer(layer).input
    flattened_by = (other for other in model.layers if other.name.endswith("flatten") and other.output is row)
    return next((tuple(flatten.input.shape[1:]) for flatten in flattened_by), None)


def _keras_kernel(_model, _module, shape, _flattened):
    return shape, shape, tuple(range(len(shape)))


def _pytorch_kernel(_model, _module, shape, flattened):
    """Outputs first, and the channels before the pixels; a feature map in one row has the channels first too."""
    *window, inputs, outputs = shape
    if window:
        unfolded = (outputs, inputs, *window)
        return unfolded, unfolded, (2, 3, 1, 0)
    if flattened:
        height, width, channels = flattened
        return (outputs, inputs), (outputs, channels, height, width), (2, 3, 1, 0)
    return (outputs, inputs), (outputs, inputs), (1, 0)


def _timm_kernel(model, module, shape, flattened):
    """As PyTorch's, but timm has convolutions for fully connected layers: VGG's hidden ones, the basic ResNet v2's."""
    in_file, unfolded, axes = _pytorch_kernel(model, module, shape, flattened)
    if module == VGG_DENSE_TIMM["fc1"]:
        return unfolded, unfolded, axes
    if module == VGG_DENSE_TIMM["fc2"] or (module == "head.fc" and model.endswith("_v2")):
        return (*in_file, 1, 1), unfolded, axes
    return in_file, unfolded, axes


def _caffe_kernel(_model, _module, shape, _flattened):
    """Rows of numbers, in the order (outputs, height, width, inputs)."""
    *window, inputs, outputs = shape
    return (math.prod(shape),), (outputs, *window, inputs), (*range(1, len(shape)), 0)


def _keras_modules(_model, layers):
    return {layer: layer for layer in layers}


def _caffe_modules(_model, layers):
    """A file's folder is the first part of the layer's name; conv2_3x3_reduce is conv2/3x3_reduce."""
    found = {layer: re.sub(r"^(conv\d|inception_\d[a-e])_", r"\1/", layer) for layer in layers}
    return {layer: "loss3/classifier" if layer == "predictions" else name for layer, name in found.items()}


def _torchvision_modules(model, layers):
    """PyTorch's module for each layer.

    >>> _torchvision_modules("resnet18", ["conv1_bn", "conv3_block1_0_conv", "conv3_block2_1_conv", "predictions"])
    {'conv1_bn': 'bn1', 'conv3_block1_0_conv': 'layer2.0.downsample.0', 'conv3_block2_1_conv': 'layer2.1.conv1', \
'predictions': 'fc'}
    """
    if model.startswith("vgg"):
        return _vgg(layers, VGG_DENSE)
    if model.startswith("inception"):
        return {layer: _inception(layer) for layer in layers}
    return {layer: "fc" if layer == "predictions" else _resnet(layer) for layer in layers}


def _timm_modules(model, layers):
    if model.startswith("vgg"):
        return _vgg(layers, VGG_DENSE_TIMM)
    if model.endswith("_v2"):
        return {layer: _pre_activation(layer) for layer in layers}
    return _torchvision_modules(model, layers)


def _cifar_modules(_model, layers):
    return {layer: "linear" if layer == "predictions" else _resnet(layer) for layer in layers}


def _resnet(layer):
    stem = re.fullmatch(r"conv1_(conv|bn)", layer)
    if stem:
        return f"{stem[1]}1"
    stage, block, number, kind = _match(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}"
    return f"{prefix}.downsample.{int(kind == 'bn')}" if number == "0" else f"{prefix}.{kind}{number}"


def _pre_activation(layer):
    if layer in PRE_ACTIVATION:
        return PRE_ACTIVATION[layer]
    stage, block, part = _match(r"conv(\d)_block(\d)_((?:in|\d)_(?:conv|bn))", layer)
    return f"stages.{int(stage) - 2}.blocks.{int(block) - 1}.{PRE_ACTIVATION[part]}"


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


def _vgg(layers, dense):
    """Number the modules as torchvision does: each ReLU and each pooling counts."""
    layers = list(layers)
    relu = 2 if any(layer.endswith("_bn") for layer in layers) else 1  # its place after the convolution
    names, index, block = {}, -relu - 1, "1"
    for layer in layers:
        if layer in dense:
            names[layer] = dense[layer]
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


_RESNETS = ("resnet18", "resnet34", "resnet*_v1_5", "resnext*", "wide_resnet*")

_KERAS = Publisher(
    models=("vgg16", "vgg19", *(f"resnet{depth}{form}" for depth in (50, 101, 152) for form in ("", "_v2"))),
    modules=_keras_modules,
    kernel=_keras_kernel,
    variables={},
    separator="/",
    style=r".+/.+",
    classifier=r"(predictions|probs)/.*",
    head=r"(predictions|probs|fc[12](_bn)?|auxiliary_[12]\w*)/.*",
    # State that is not a weight: the optimizer's, and dropout's random numbers.
    ignored=r"optimizer/.*|.*/seed_generator/.*",
)
_TORCHVISION = Publisher(
    models=(*_RESNETS, "vgg*", "inception_v1_bn"),
    modules=_torchvision_modules,
    kernel=_pytorch_kernel,
    variables=PYTORCH,
    separator=".",
    style=r".+\.(weight|bias|running_mean|running_var|num_batches_tracked)",
    classifier=r"(fc|classifier\.6)\..*",
    head=r"(fc|classifier\.\d|aux[12]\..*)\..*",
    auxiliary=r"aux[12]\..*",
    ignored=r".*\.num_batches_tracked",  # counts the batches of training, which only a momentum of None reads
)

SOURCES = {
    "keras": _KERAS,
    "kzoo": replace(_KERAS, models=("*",), auxiliary=r"auxiliary_[12]\w*/.*"),  # the same names, of more models
    "timm": replace(
        _TORCHVISION,
        models=(*_RESNETS, "resnet18_v2", "resnet34_v2", "vgg*"),
        modules=_timm_modules,
        kernel=_timm_kernel,
        classifier=r"(fc|head\.fc)\..*",
        head=r"(fc|pre_logits\.fc[12]|head\.fc)\..*",
        auxiliary="",
    ),
    "torchvision": _TORCHVISION,
    "akamaster": replace(
        _TORCHVISION,
        models=("resnet*_cifar",),
        modules=_cifar_modules,
        classifier=r"linear\..*",
        head=r"linear\..*",
        auxiliary="",
    ),
    "bvlc": Publisher(
        models=("inception_v1",),
        modules=_caffe_modules,
        kernel=_caffe_kernel,
        variables=CAFFE,
        separator="_",
        style=r".+_(filter|bias)",
        classifier=r"loss3/classifier_.*",
        head=r"loss3/classifier_.*",
    ),
}


def source_of(model: str, names: Iterable[str]) -> str | None:
    """Whose names a file of weights for `model` has, by their style and by what the classifier is called.

    Where two sources have the same names, as timm and torchvision for ResNets, they mean the same by them.

    >>> source_of("vgg16", ["features.0.weight", "classifier.6.bias"]), source_of("vgg16", ["block1_conv1/kernel"])
    ('torchvision', 'keras')
    >>> source_of("vgg16", ["epoch"])
    """
    names = list(names)
    fitting = [
        name
        for name, source in SOURCES.items()
        if source.has(model) and all(re.fullmatch(source.style, one) for one in names)
    ]
    with_head = [name for name in fitting if any(re.fullmatch(SOURCES[name].head, one) for one in names)]
    return next(iter(with_head or fitting), None)
