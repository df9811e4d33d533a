"""Pre-activation residual networks: He et al., "Identity Mappings in Deep Residual Networks", 2016, Figure 1(b).

Normalization and ReLU come before each convolution, so that the shortcut carries a block's sum on unchanged. The form
is keras.applications': the stride is on the 3x3 convolution of a stage's last block, and only a convolution that
normalization follows has no bias. Its layers that pad for a 3x3 convolution of stride 1 are left out: "same" does that.

>>> model = ResNet50V2(include_top=False, pooling="avg", input_shape=(64, 64, 3))
>>> model.output_shape
(None, 2048)
"""

import functools

from kzoo.backend import keras
from kzoo.models._assemble import Family, constructor
from kzoo.models.resnet import EXPANSION, Reference, pool1, relu
from kzoo.weights.record import TF

REFERENCE = Reference(TF, use_bias=False, epsilon=1.001e-5, momentum=0.99, fan=None)

# Blocks in conv2_x to conv5_x: Table 1 of "Deep Residual Learning for Image Recognition".
VARIANTS = {
    "resnet50_v2": (3, 4, 6, 3),
    "resnet101_v2": (3, 4, 23, 3),
    "resnet152_v2": (3, 8, 36, 3),
}


def block(x, filters, stride, first, name):
    """One pre-activation bottleneck: (h, w, c) -> (h/stride, w/stride, 4 * filters)."""
    net = REFERENCE
    preact = relu(net.norm(x, f"{name}_preact"), f"{name}_preact_relu")
    if first:
        shortcut = net.conv(preact, EXPANSION * filters, 1, f"{name}_0", stride=stride, use_bias=True)
    else:
        shortcut = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}_0_pool")(x) if stride > 1 else x
    x = relu(net.conv_bn(preact, filters, 1, f"{name}_1"), f"{name}_1_relu")
    x = relu(net.conv_bn(x, filters, 3, f"{name}_2", stride=stride), f"{name}_2_relu")
    x = net.conv(x, EXPANSION * filters, 1, f"{name}_3", use_bias=True)
    return keras.layers.Add(name=f"{name}_out")([shortcut, x])


def features(blocks, x):
    """Stem and four stages: (h, w, c) -> (h/32, w/32, 2048); sizes round up."""
    x = pool1(REFERENCE.conv(x, 64, 7, "conv1", stride=2, use_bias=True))
    for stage, count in enumerate(blocks, start=2):
        for i in range(1, count + 1):
            stride = 2 if i == count and stage < 5 else 1
            x = block(x, 64 * 2 ** (stage - 2), stride, i == 1, f"conv{stage}_block{i}")
    return relu(REFERENCE.norm(x, "post"), "post_relu")


def _model(spelling, name):
    family = Family(functools.partial(features, VARIANTS[name]), minimum_size=1, preprocessing=REFERENCE.preprocessing)
    return constructor(spelling, name, family, __name__)


ResNet50V2 = _model("ResNet50V2", "resnet50_v2")
ResNet101V2 = _model("ResNet101V2", "resnet101_v2")
ResNet152V2 = _model("ResNet152V2", "resnet152_v2")
