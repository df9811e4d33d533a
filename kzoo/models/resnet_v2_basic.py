"""Pre-activation residual networks of basic blocks, as timm's resnetv2_18 and resnetv2_34.

He et al., "Identity Mappings in Deep Residual Networks", 2016, Figure 4(e): normalization and ReLU come before each
convolution. Unlike in `resnet_v2.py`, the stride is on the first 3x3 convolution of a stage, as in PyTorch's nets, and
no convolution has a bias.

>>> import kzoo
>>> kzoo.ResNet18V2(include_top=False, input_shape=(64, 64, 3)).output_shape
(None, 2, 2, 512)
"""

from functools import partial

from kzoo.models.card import Card
from kzoo.models.lazy import layers
from kzoo.models.resnet import TORCHVISION, relu, stack
from kzoo.weights.record import TF

# A block's sum is normalized and rectified only where the next block begins. So a stage ends in what the first block of
# the next stage reads, before its stride, and conv5 with the net. Their strides are 2, 4, 8, 16 and 32.
STAGES = {
    **{f"conv{stage + 1}_block1_in_relu": f"conv{stage}" for stage in (2, 3, 4)},
    "conv1_conv": "conv1",
    "post_relu": "conv5",
}
conv, norm = TORCHVISION.conv, TORCHVISION.norm


def basic(x, filters, stride, name):
    """Two 3x3 convolutions: (h, w, c) -> (h/stride, w/stride, filters)."""
    preact = norm(x, f"{name}_in")
    preact = relu(preact, f"{name}_in")
    changes_shape = stride > 1 or x.shape[-1] != filters
    shortcut = conv(preact, filters, 1, f"{name}_0", stride=stride) if changes_shape else x
    x = conv(preact, filters, 3, f"{name}_1", stride=stride)
    x = norm(x, f"{name}_1")
    x = relu(x, f"{name}_1")
    x = conv(x, filters, 3, f"{name}_2")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def features(x, blocks):
    """Stem and four stages: (h, w, c) -> (h/32, w/32, 512); sizes round up."""
    x = conv(x, 64, 7, "conv1", stride=2)
    # No ReLU precedes this pooling, so that padding with zeros would count; "same" pads with nothing, but on both sides
    # alike only where the stride is 1.
    x = layers.MaxPooling2D(3, strides=1, padding="same", name="pool1_pool")(x)
    x = layers.MaxPooling2D(1, strides=2, name="pool1_stride")(x)
    x = stack(x, basic, blocks, filters=64)
    x = norm(x, "post")
    return relu(x, "post")


def _card(name: str, constructor: str, blocks: tuple[int, ...], timm: str) -> Card:
    return Card(
        name=name,
        constructor=constructor,
        features=partial(features, blocks=blocks),
        preprocessing=TF,
        stages=STAGES,
        timm=timm,
    )


# Blocks in conv2_x to conv5_x: Table 1 of "Deep Residual Learning for Image Recognition".
CARDS = (
    _card("resnet18_v2", "ResNet18V2", (2, 2, 2, 2), timm="resnetv2_18"),
    _card("resnet34_v2", "ResNet34V2", (3, 4, 6, 3), timm="resnetv2_34"),
)
