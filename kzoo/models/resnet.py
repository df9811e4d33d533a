"""Residual networks, their plain counterparts, and the two families that widen them.

- He et al., "Deep Residual Learning for Image Recognition", 2015: Table 1 and Figure 3. Three forms of it are in use:
  the paper's own, with the stride on a bottleneck's first 1x1 convolution (`resnet50`, with keras.applications'
  biases); "v1.5", with the stride on the 3x3 (`resnet50_v1_5`, as torchvision and timm); and pre-activation
  (`resnet_v2.py`).
- Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", 2017: ResNeXt, Table 1.
- Zagoruyko & Komodakis, "Wide Residual Networks", 2016, section 3.4: bottlenecks twice as wide.

The CIFAR nets of the first paper's section 4.2 are in `resnet_cifar.py`.

>>> import kzoo
>>> kzoo.ResNet18(include_top=False, input_shape=(64, 64, 3)).output_shape
(None, 2, 2, 512)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kzoo.models.card import Card
from kzoo.models.lazy import keras, layers
from kzoo.weights.record import CAFFE, TORCH, Preprocessing

EXPANSION = 4  # a bottleneck's last convolution has four times the filters of its stage
STAGES = {r"(conv\d+)_block\d+_out": r"\1", "conv1_relu": "conv1"}


def convolution(x, filters, size, name, *, stride=1, groups=1, use_bias=False, fan=None):
    """Convolve with symmetric padding; where the stride is 2, "same" would pad one side more than the other.

    `fan` is that of He et al.'s normal initialization; None is Keras's default.
    """
    explicit = stride > 1 and size > 1
    if explicit:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    initializer = "glorot_uniform"
    if fan is not None:
        initializer = keras.initializers.VarianceScaling(2.0, mode=fan, distribution="untruncated_normal")
    return layers.Conv2D(
        filters,
        size,
        strides=stride,
        padding="valid" if explicit else "same",
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=initializer,
        name=f"{name}_conv",
    )(x)


def normalization(x, name, *, epsilon, momentum):
    """Normalize over the batch."""
    return layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name=f"{name}_bn")(x)


def relu(x, name):
    """Rectify."""
    return layers.ReLU(name=f"{name}_relu")(x)


def projection(x, filters, stride, name, *, conv, norm):
    """Shortcut by a 1x1 convolution where the shape changes: option B of section 4.1, the paper's choice."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    x = conv(x, filters, 1, f"{name}_0", stride=stride)
    return norm(x, f"{name}_0")


def basic(x, filters, stride, name, *, conv, norm, match):
    """Two 3x3 convolutions: Figure 5, left. (h, w, c) -> (h/stride, w/stride, filters).

    `match` gives the shortcut the shape of the sum.
    """
    shortcut = match(x, filters, stride, name)
    x = conv(x, filters, 3, f"{name}_1", stride=stride)
    x = norm(x, f"{name}_1")
    x = relu(x, f"{name}_1")
    x = conv(x, filters, 3, f"{name}_2")
    x = norm(x, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def plain(x, filters, stride, name, *, conv, norm):
    """A basic block without its shortcut: Figure 3, middle."""
    x = conv(x, filters, 3, f"{name}_1", stride=stride)
    x = norm(x, f"{name}_1")
    x = relu(x, f"{name}_1")
    x = conv(x, filters, 3, f"{name}_2")
    x = norm(x, f"{name}_2")
    return layers.ReLU(name=f"{name}_out")(x)


def bottleneck(x, filters, stride, name, *, conv, norm, match, stride_on_first=False, groups=1, width=64):
    """1x1, 3x3 and 1x1 convolutions: Figure 5, right. (h, w, c) -> (h/stride, w/stride, 4 * filters).

    `match` is as for `basic`. `groups` is ResNeXt's cardinality C, `width` that of a group of the 3x3 convolution in
    conv2_x, ResNeXt's d.
    """
    inner = filters * width // 64 * groups
    first, second = (stride, 1) if stride_on_first else (1, stride)
    shortcut = match(x, EXPANSION * filters, stride, name)
    x = conv(x, inner, 1, f"{name}_1", stride=first)
    x = norm(x, f"{name}_1")
    x = relu(x, f"{name}_1")
    x = conv(x, inner, 3, f"{name}_2", stride=second, groups=groups)
    x = norm(x, f"{name}_2")
    x = relu(x, f"{name}_2")
    x = conv(x, EXPANSION * filters, 1, f"{name}_3")
    x = norm(x, f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def pool1(x):
    """Max pooling, 3x3 with stride 2, where conv2_x begins: (h, w, c) -> (h/2, w/2, c)."""
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def stack(x, block, blocks, filters):
    """All stages; each but the first halves the size and doubles the filters."""
    for stage, count in enumerate(blocks, start=2):
        for i in range(1, count + 1):
            stride = 2 if i == 1 and stage > 2 else 1
            x = block(x, filters * 2 ** (stage - 2), stride, f"conv{stage}_block{i}")
    return x


def features(x, block, blocks, conv, norm):
    """Stem and four stages: (h, w, c) -> (h/32, w/32, 512), or 2048 with bottlenecks; sizes round up."""
    x = conv(x, 64, 7, "conv1", stride=2)
    x = norm(x, "conv1")
    x = relu(x, "conv1")
    x = pool1(x)
    return stack(x, block, blocks, filters=64)


@dataclass(frozen=True)
class Form:
    """What published implementations differ in besides the topology."""

    preprocessing: Preprocessing
    conv: Callable[..., Any]
    norm: Callable[..., Any]


TORCHVISION = Form(
    TORCH,
    conv=partial(convolution, fan="fan_out"),
    norm=partial(normalization, epsilon=1e-5, momentum=0.9),
)
APPLICATIONS = Form(
    CAFFE,
    conv=partial(convolution, use_bias=True),
    norm=partial(normalization, epsilon=1.001e-5, momentum=0.99),
)


PAPER = {"form": APPLICATIONS, "stride_on_first": True}


def _card(
    name: str,
    constructor: str,
    block: Callable[..., Any],
    blocks: tuple[int, ...],
    *,
    form: Form = TORCHVISION,
    keras: str | None = None,
    pytorch: str | None = None,
    **options,
) -> Card:
    """A column of Table 1: the block, and how many of it in conv2_x to conv5_x.

    `pytorch` is what torchvision and timm call it.
    """
    bound = {"conv": form.conv, "norm": form.norm}
    if block is not plain:
        options["match"] = partial(projection, **bound)
    return Card(
        name=name,
        constructor=constructor,
        features=partial(features, block=partial(block, **bound, **options), blocks=blocks, **bound),
        preprocessing=form.preprocessing,
        stages=STAGES,
        keras=keras,
        torchvision=pytorch,
        timm=pytorch,
    )


CARDS = (
    _card("resnet18", "ResNet18", basic, (2, 2, 2, 2), pytorch="resnet18"),
    _card("resnet34", "ResNet34", basic, (3, 4, 6, 3), pytorch="resnet34"),
    _card("resnet50", "ResNet50", bottleneck, (3, 4, 6, 3), **PAPER, keras="ResNet50"),
    _card("resnet101", "ResNet101", bottleneck, (3, 4, 23, 3), **PAPER, keras="ResNet101"),
    _card("resnet152", "ResNet152", bottleneck, (3, 8, 36, 3), **PAPER, keras="ResNet152"),
    _card("resnet50_v1_5", "ResNet50V1_5", bottleneck, (3, 4, 6, 3), pytorch="resnet50"),
    _card("resnet101_v1_5", "ResNet101V1_5", bottleneck, (3, 4, 23, 3), pytorch="resnet101"),
    _card("resnet152_v1_5", "ResNet152V1_5", bottleneck, (3, 8, 36, 3), pytorch="resnet152"),
    _card("resnext50_32x4d", "ResNeXt50", bottleneck, (3, 4, 6, 3), groups=32, width=4, pytorch="resnext50_32x4d"),
    _card("resnext101_32x8d", "ResNeXt101", bottleneck, (3, 4, 23, 3), groups=32, width=8, pytorch="resnext101_32x8d"),
    _card("wide_resnet50_2", "WideResNet50", bottleneck, (3, 4, 6, 3), width=128, pytorch="wide_resnet50_2"),
    _card("wide_resnet101_2", "WideResNet101", bottleneck, (3, 4, 23, 3), width=128, pytorch="wide_resnet101_2"),
    _card("plain18", "Plain18", plain, (2, 2, 2, 2)),
    _card("plain34", "Plain34", plain, (3, 4, 6, 3)),
)
