"""Residual networks, their plain counterparts, and the two families that widen them.

- He et al., "Deep Residual Learning for Image Recognition", 2015: Table 1 and Figure 3. Three forms of it are in use:
  the paper's own, with the stride on a bottleneck's first 1x1 convolution (`resnet50`, with keras.applications'
  biases); "v1.5", with the stride on the 3x3 (`resnet50_v1_5`, as torchvision and timm); and pre-activation
  (`resnet_v2.py`).
- Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", 2017: ResNeXt, Table 1.
- Zagoruyko & Komodakis, "Wide Residual Networks", 2016, section 3.4: bottlenecks twice as wide.

The CIFAR nets of the first paper's section 4.2 are in `resnet_cifar.py`.

>>> features = ResNet18(include_top=False, input_shape=(64, 64, 3))
>>> features.output_shape
(None, 2, 2, 512)
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kzoo.backend import keras
from kzoo.layers import BatchNormalization, Conv2D
from kzoo.models._assemble import Family, constructor
from kzoo.weights.record import CAFFE, TORCH, Preprocessing

EXPANSION = 4  # a bottleneck's last convolution has four times the filters of its stage


@dataclass(frozen=True)
class Reference:
    """What the implementations that published weights differ in, besides the topology."""

    preprocessing: Preprocessing
    use_bias: bool  # of convolutions that batch normalization follows
    epsilon: float
    momentum: float
    fan: str | None  # He et al.'s normal initialization by this fan; None is Keras's default

    def conv(self, x, filters, size, name, *, stride=1, groups=1, use_bias=None):
        """Convolve with symmetric padding; where the stride is 2, "same" would pad one side more than the other."""
        explicit = stride > 1 and size > 1
        if explicit:
            x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        return Conv2D(
            filters,
            size,
            strides=stride,
            padding="valid" if explicit else "same",
            groups=groups,
            use_bias=self.use_bias if use_bias is None else use_bias,
            kernel_initializer=self._initializer(),
            name=f"{name}_conv",
        )(x)

    def norm(self, x, name):
        """Normalize over the batch."""
        return BatchNormalization(epsilon=self.epsilon, momentum=self.momentum, name=f"{name}_bn")(x)

    def conv_bn(self, x, filters, size, name, **options):
        """Convolve and normalize."""
        return self.norm(self.conv(x, filters, size, name, **options), name)

    def _initializer(self):
        if self.fan is None:
            return "glorot_uniform"
        return keras.initializers.VarianceScaling(2.0, mode=self.fan, distribution="untruncated_normal")


TORCHVISION = Reference(TORCH, use_bias=False, epsilon=1e-5, momentum=0.9, fan="fan_out")
APPLICATIONS = Reference(CAFFE, use_bias=True, epsilon=1.001e-5, momentum=0.99, fan=None)


def relu(x, name):
    """Rectify."""
    return keras.layers.ReLU(name=name)(x)


def projection(reference, x, filters, stride, name):
    """Shortcut by a 1x1 convolution where the shape changes: option B of section 4.1, the paper's choice."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    return reference.conv_bn(x, filters, 1, f"{name}_0", stride=stride)


def merge(variant, shortcut, x, name):
    """Add the shortcut (a plain net has none), then rectify."""
    if variant.shortcut:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return relu(x, f"{name}_out")


def basic(variant, x, filters, stride, name):
    """Two 3x3 convolutions: Figure 5, left. (h, w, c) -> (h/stride, w/stride, filters)."""
    net = variant.reference
    shortcut = variant.shortcut and variant.shortcut(net, x, filters, stride, name)
    x = relu(net.conv_bn(x, filters, 3, f"{name}_1", stride=stride), f"{name}_1_relu")
    x = net.conv_bn(x, filters, 3, f"{name}_2")
    return merge(variant, shortcut, x, name)


def bottleneck(variant, x, filters, stride, name):
    """1x1, 3x3 and 1x1 convolutions: Figure 5, right. (h, w, c) -> (h/stride, w/stride, 4 * filters)."""
    net = variant.reference
    width = filters * variant.width // 64 * variant.groups
    first, second = (stride, 1) if variant.stride_on_first else (1, stride)
    shortcut = variant.shortcut(net, x, EXPANSION * filters, stride, name)
    x = relu(net.conv_bn(x, width, 1, f"{name}_1", stride=first), f"{name}_1_relu")
    x = relu(net.conv_bn(x, width, 3, f"{name}_2", stride=second, groups=variant.groups), f"{name}_2_relu")
    x = net.conv_bn(x, EXPANSION * filters, 1, f"{name}_3")
    return merge(variant, shortcut, x, name)


@dataclass(frozen=True)
class Variant:
    """A column of Table 1: the block, and how many of it in conv2_x, conv3_x, ...

    `width` is that of a group of the 3x3 convolution in conv2_x, ResNeXt's d; `groups` its cardinality C.
    """

    block: Callable[..., Any]
    blocks: tuple[int, ...]
    reference: Reference = TORCHVISION
    shortcut: Callable[..., Any] | None = projection
    stride_on_first: bool = False
    groups: int = 1
    width: int = 64


_keras = functools.partial(Variant, bottleneck, reference=APPLICATIONS, stride_on_first=True)
_plain = functools.partial(Variant, basic, shortcut=None)

# Conv2_x has 64 filters, each stage after it twice as many and half the size.
VARIANTS = {
    "resnet18": Variant(basic, (2, 2, 2, 2)),
    "resnet34": Variant(basic, (3, 4, 6, 3)),
    "resnet50": _keras((3, 4, 6, 3)),
    "resnet101": _keras((3, 4, 23, 3)),
    "resnet152": _keras((3, 8, 36, 3)),
    "resnet50_v1_5": Variant(bottleneck, (3, 4, 6, 3)),
    "resnet101_v1_5": Variant(bottleneck, (3, 4, 23, 3)),
    "resnet152_v1_5": Variant(bottleneck, (3, 8, 36, 3)),
    "resnext50_32x4d": Variant(bottleneck, (3, 4, 6, 3), groups=32, width=4),
    "resnext101_32x8d": Variant(bottleneck, (3, 4, 23, 3), groups=32, width=8),
    "wide_resnet50_2": Variant(bottleneck, (3, 4, 6, 3), width=128),
    "wide_resnet101_2": Variant(bottleneck, (3, 4, 23, 3), width=128),
    "plain18": _plain((2, 2, 2, 2)),
    "plain34": _plain((3, 4, 6, 3)),
}


def stages(variant, x, filters):
    """Stack the blocks; each stage but the first halves the size and doubles the filters."""
    for stage, blocks in enumerate(variant.blocks, start=2):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            x = variant.block(variant, x, filters * 2 ** (stage - 2), stride, f"conv{stage}_block{block}")
    return x


def pool1(x):
    """Max pooling, 3x3 with stride 2, where conv2_x begins: (h, w, c) -> (h/2, w/2, c)."""
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def features(variant, x):
    """Stem and four stages: (h, w, c) -> (h/32, w/32, 512), or 2048 with bottlenecks; sizes round up."""
    x = relu(variant.reference.conv_bn(x, 64, 7, "conv1", stride=2), "conv1_relu")
    return stages(variant, pool1(x), filters=64)


def _model(spelling, name):
    variant = VARIANTS[name]
    family = Family(functools.partial(features, variant), minimum_size=1, preprocessing=variant.reference.preprocessing)
    return constructor(spelling, name, family, __name__)


ResNet18 = _model("ResNet18", "resnet18")
ResNet34 = _model("ResNet34", "resnet34")
ResNet50 = _model("ResNet50", "resnet50")
ResNet101 = _model("ResNet101", "resnet101")
ResNet152 = _model("ResNet152", "resnet152")
ResNet50V1_5 = _model("ResNet50V1_5", "resnet50_v1_5")
ResNet101V1_5 = _model("ResNet101V1_5", "resnet101_v1_5")
ResNet152V1_5 = _model("ResNet152V1_5", "resnet152_v1_5")
ResNeXt50 = _model("ResNeXt50", "resnext50_32x4d")
ResNeXt101 = _model("ResNeXt101", "resnext101_32x8d")
WideResNet50 = _model("WideResNet50", "wide_resnet50_2")
WideResNet101 = _model("WideResNet101", "wide_resnet101_2")
Plain18 = _model("Plain18", "plain18")
Plain34 = _model("Plain34", "plain34")
