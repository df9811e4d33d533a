"""The CIFAR-10 nets of He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2.

A 3x3 convolution, then three stages of n blocks with 16, 32 and 64 filters: 6n + 2 layers. Shortcuts have no parameters
(option A), so that a plain net and a residual net have the same weights.

>>> import kzoo
>>> kzoo.ResNet20CIFAR().count_params() - kzoo.Plain20CIFAR().count_params()
0
"""

from functools import partial

from kzoo.models.card import Card
from kzoo.models.lazy import layers
from kzoo.models.resnet import STAGES, basic, convolution, normalization, plain, relu, stack
from kzoo.weights.record import TORCH

# As github.com/akamaster/pytorch_resnet_cifar10, whose weights and figures are the usual ones.
conv = partial(convolution, fan="fan_in")
norm = partial(normalization, epsilon=1e-5, momentum=0.9)


def pad_channels(x, filters, stride, name):
    """Shortcut of option A, section 4.1: every stride-th pixel, and zeros for the new channels, half on each side."""
    if stride > 1:
        x = layers.AveragePooling2D(1, strides=stride, name=f"{name}_0_pool")(x)
    missing = filters - x.shape[-1]
    return layers.PadChannels((missing // 2, missing - missing // 2), name=f"{name}_0_pad")(x) if missing else x


def features(x, block, n):
    """Stem and three stages: (h, w, c) -> (h/4, w/4, 64); sizes round up."""
    x = conv(x, 16, 3, "conv1")
    x = norm(x, "conv1")
    x = relu(x, "conv1")
    return stack(x, block, (n, n, n), filters=16)


RESIDUAL = partial(basic, conv=conv, norm=norm, match=pad_channels)
PLAIN = partial(plain, conv=conv, norm=norm)


def _card(name: str, constructor: str, block: partial, n: int) -> Card:
    return Card(
        name=name,
        constructor=constructor,
        features=partial(features, block=block, n=n),
        preprocessing=TORCH,
        input_shape=(32, 32, 3),
        classes=10,
        stages=STAGES,
    )


CARDS = (
    _card("resnet20_cifar", "ResNet20CIFAR", RESIDUAL, 3),
    _card("resnet32_cifar", "ResNet32CIFAR", RESIDUAL, 5),
    _card("resnet44_cifar", "ResNet44CIFAR", RESIDUAL, 7),
    _card("resnet56_cifar", "ResNet56CIFAR", RESIDUAL, 9),
    _card("resnet110_cifar", "ResNet110CIFAR", RESIDUAL, 18),
    _card("plain20_cifar", "Plain20CIFAR", PLAIN, 3),
    _card("plain32_cifar", "Plain32CIFAR", PLAIN, 5),
    _card("plain44_cifar", "Plain44CIFAR", PLAIN, 7),
    _card("plain56_cifar", "Plain56CIFAR", PLAIN, 9),
)
