"""VGG: small filters, many layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015. Layer names and the
order of weights are those of keras.applications, which leaves out the paper's dropout; the forms with batch
normalization (Ioffe & Szegedy, 2015) are torchvision's, which keep the biases of the convolutions.

>>> import kzoo
>>> kzoo.VGG11(include_top=False).output_shape
(None, 7, 7, 512)
"""

from functools import partial

from kzoo.models.card import Card
from kzoo.models.lazy import layers
from kzoo.weights.record import CAFFE, TORCH

FILTERS = (64, 128, 256, 512, 512)
UNITS = 4096
# A block ends before its pooling, as in feature pyramids.
STAGES = {r"(block\d+)_conv\d+(_relu)?": r"\1"}


def features(x, convolutions, batch_norm):
    """Five blocks of 3x3 convolutions, each ending in 2x2 pooling: (h, w, c) -> (h/32, w/32, 512)."""
    for block, (depth, filters) in enumerate(zip(convolutions, FILTERS, strict=True), start=1):
        for layer in range(1, depth + 1):
            name = f"block{block}_conv{layer}"
            # Keras's default initialization, Glorot's, trains even the deepest of them from scratch (section 3.1).
            if batch_norm:
                x = layers.Conv2D(filters, 3, padding="same", name=name)(x)
                x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
                x = layers.ReLU(name=f"{name}_relu")(x)
            else:
                x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def neck(x, dropout):
    """Two fully connected layers, each followed by dropout (section 3.1): (h/32, w/32, 512) -> (4096,)."""
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(UNITS, activation="relu", name=name)(x)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def _card(name, constructor, convolutions, preprocessing=TORCH, *, batch_norm=False, keras=None) -> Card:
    return Card(
        name=name,
        constructor=constructor,
        features=partial(features, convolutions=convolutions, batch_norm=batch_norm),
        neck=neck,
        dropout=0.5,
        preprocessing=preprocessing,
        minimum_size=32,
        stages=STAGES,
        # Without batch normalization its loss stays that of guessing at kzoo's default.
        learning_rate=None if batch_norm else 0.0005,
        warmup_epochs=None if batch_norm else 1,
        keras=keras,
        torchvision=name,
        timm=name,
    )


# Table 1: the 3x3 convolutions in each of the five blocks. A-LRN and C, which were no better, are left out.
# Preprocessing is what the public weights were trained with: the authors' for vgg16 and vgg19, else torchvision's.
CARDS = (
    _card("vgg11", "VGG11", (1, 1, 2, 2, 2)),  # A
    _card("vgg13", "VGG13", (2, 2, 2, 2, 2)),  # B
    _card("vgg16", "VGG16", (2, 2, 3, 3, 3), CAFFE, keras="VGG16"),  # D
    _card("vgg19", "VGG19", (2, 2, 4, 4, 4), CAFFE, keras="VGG19"),  # E
    _card("vgg11_bn", "VGG11BN", (1, 1, 2, 2, 2), batch_norm=True),
    _card("vgg13_bn", "VGG13BN", (2, 2, 2, 2, 2), batch_norm=True),
    _card("vgg16_bn", "VGG16BN", (2, 2, 3, 3, 3), batch_norm=True),
    _card("vgg19_bn", "VGG19BN", (2, 2, 4, 4, 4), batch_norm=True),
)
