"""Pre-activation residual networks: He et al., "Identity Mappings in Deep Residual Networks", 2016, Figure 1(b).

Normalization and ReLU come before each convolution, so that the shortcut carries a block's sum on unchanged. The form
is keras.applications': the stride is on the 3x3 convolution of a stage's last block, and only a convolution that
normalization follows has no bias. Its layers that pad for a 3x3 convolution of stride 1 are left out: "same" does that.

>>> import kzoo
>>> kzoo.ResNet50V2(include_top=False, pooling="avg", input_shape=(64, 64, 3)).output_shape
(None, 2048)
"""

from functools import partial

from kzoo.models.card import Card
from kzoo.models.lazy import layers
from kzoo.models.resnet import EXPANSION, convolution, normalization, pool1, relu
from kzoo.weights.record import TF

# A block's sum is normalized and rectified only where the next block begins, and the last block of a stage has the
# stride: its own output is of the next stage's size. So a stage ends in what its last block reads, and conv5 with the
# net. Their strides are 2, 4, 8, 16 and 32, those that feature pyramids are built on.
STAGES = {
    r"(conv\d+)_block\d+_preact_relu": r"\1",
    "conv1_conv": "conv1",
    "post_relu": "conv5",
}
conv = convolution
norm = partial(normalization, epsilon=1.001e-5, momentum=0.99)


def bottleneck(x, filters, stride, first, name):
    """One pre-activation bottleneck: (h, w, c) -> (h/stride, w/stride, 4 * filters)."""
    preact = norm(x, f"{name}_preact")
    preact = relu(preact, f"{name}_preact")
    if first:
        shortcut = conv(preact, EXPANSION * filters, 1, f"{name}_0", stride=stride, use_bias=True)
    else:
        shortcut = layers.MaxPooling2D(1, strides=stride, name=f"{name}_0_pool")(x) if stride > 1 else x
    x = conv(preact, filters, 1, f"{name}_1")
    x = norm(x, f"{name}_1")
    x = relu(x, f"{name}_1")
    x = conv(x, filters, 3, f"{name}_2", stride=stride)
    x = norm(x, f"{name}_2")
    x = relu(x, f"{name}_2")
    x = conv(x, EXPANSION * filters, 1, f"{name}_3", use_bias=True)
    return layers.Add(name=f"{name}_out")([shortcut, x])


def features(x, blocks):
    """Stem and four stages: (h, w, c) -> (h/32, w/32, 2048); sizes round up."""
    x = conv(x, 64, 7, "conv1", stride=2, use_bias=True)
    x = pool1(x)
    for stage, count in enumerate(blocks, start=2):
        for i in range(1, count + 1):
            stride = 2 if i == count and stage < 5 else 1
            x = bottleneck(x, 64 * 2 ** (stage - 2), stride, i == 1, f"conv{stage}_block{i}")
    x = norm(x, "post")
    return relu(x, "post")


def _card(name: str, keras: str, blocks: tuple[int, ...]) -> Card:
    return Card(
        name=name,
        constructor=keras,
        features=partial(features, blocks=blocks),
        preprocessing=TF,
        stages=STAGES,
        keras=keras,
    )


# Blocks in conv2_x to conv5_x: Table 1 of "Deep Residual Learning for Image Recognition".
CARDS = (
    _card("resnet50_v2", "ResNet50V2", (3, 4, 6, 3)),
    _card("resnet101_v2", "ResNet101V2", (3, 4, 23, 3)),
    _card("resnet152_v2", "ResNet152V2", (3, 8, 36, 3)),
)
