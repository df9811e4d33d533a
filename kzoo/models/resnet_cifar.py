"""The CIFAR-10 nets of He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2.

A 3x3 convolution, then three stages of n blocks with 16, 32 and 64 filters: 6n + 2 layers. Shortcuts have no parameters
(option A), so that a plain net and a residual net have the same weights.

>>> ResNet20CIFAR().count_params() - Plain20CIFAR().count_params()
0
"""

import functools

from kzoo.backend import keras
from kzoo.layers import PadChannels
from kzoo.models._assemble import Family, constructor
from kzoo.models.resnet import Reference, Variant, basic, relu, stages
from kzoo.weights.record import TORCH

# As github.com/akamaster/pytorch_resnet_cifar10, whose weights and figures are the usual ones.
REFERENCE = Reference(TORCH, use_bias=False, epsilon=1e-5, momentum=0.9, fan="fan_in")


def pad_channels(reference, x, filters, stride, name):
    """Shortcut of option A, section 4.1: every stride-th pixel, and zeros for the new channels, half on each side."""
    if stride > 1:
        x = keras.layers.AveragePooling2D(1, strides=stride, name=f"{name}_0_pool")(x)
    missing = filters - x.shape[-1]
    return PadChannels((missing // 2, missing - missing // 2), name=f"{name}_0_pad")(x) if missing else x


def _variant(n, shortcut):
    return Variant(basic, (n, n, n), REFERENCE, shortcut)


# Layers are 6n + 2.
VARIANTS = {
    "resnet20_cifar": _variant(3, pad_channels),
    "resnet32_cifar": _variant(5, pad_channels),
    "resnet44_cifar": _variant(7, pad_channels),
    "resnet56_cifar": _variant(9, pad_channels),
    "resnet110_cifar": _variant(18, pad_channels),
    "plain20_cifar": _variant(3, None),
    "plain32_cifar": _variant(5, None),
    "plain44_cifar": _variant(7, None),
    "plain56_cifar": _variant(9, None),
}


def features(variant, x):
    """Stem and three stages: (h, w, c) -> (h/4, w/4, 64); sizes round up."""
    x = relu(variant.reference.conv_bn(x, 16, 3, "conv1"), "conv1_relu")
    return stages(variant, x, filters=16)


def _model(spelling, name):
    family = Family(functools.partial(features, VARIANTS[name]), minimum_size=1, preprocessing=REFERENCE.preprocessing)
    return constructor(spelling, name, family, __name__)


ResNet20CIFAR = _model("ResNet20CIFAR", "resnet20_cifar")
ResNet32CIFAR = _model("ResNet32CIFAR", "resnet32_cifar")
ResNet44CIFAR = _model("ResNet44CIFAR", "resnet44_cifar")
ResNet56CIFAR = _model("ResNet56CIFAR", "resnet56_cifar")
ResNet110CIFAR = _model("ResNet110CIFAR", "resnet110_cifar")
Plain20CIFAR = _model("Plain20CIFAR", "plain20_cifar")
Plain32CIFAR = _model("Plain32CIFAR", "plain32_cifar")
Plain44CIFAR = _model("Plain44CIFAR", "plain44_cifar")
Plain56CIFAR = _model("Plain56CIFAR", "plain56_cifar")
