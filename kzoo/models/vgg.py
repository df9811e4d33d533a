"""VGG: small filters, many layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015. Layer names and the
order of weights are those of keras.applications; the forms with batch normalization (Ioffe & Szegedy, 2015) are
torchvision's, which keep the biases of the convolutions.
"""

from functools import partial

from kzoo.backend import keras
from kzoo.layers import BatchNormalization, Conv2D
from kzoo.models._assemble import Family, assemble
from kzoo.weights.record import CAFFE, TORCH

# Table 1: the 3x3 convolutions in each of the five blocks. A-LRN and C, which were no better, are left out.
CONFIGURATIONS = {
    "vgg11": (1, 1, 2, 2, 2),  # A
    "vgg13": (2, 2, 2, 2, 2),  # B
    "vgg16": (2, 2, 3, 3, 3),  # D
    "vgg19": (2, 2, 4, 4, 4),  # E
}
FILTERS = (64, 128, 256, 512, 512)
UNITS = 4096


def features(x, convolutions, batch_norm):
    """Five blocks of 3x3 convolutions, each ending in 2x2 pooling: (h, w, c) -> (h/32, w/32, 512)."""
    for block, (depth, filters) in enumerate(zip(convolutions, FILTERS, strict=True), start=1):
        for layer in range(1, depth + 1):
            x = _convolution(x, filters, f"block{block}_conv{layer}", batch_norm)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def _convolution(x, filters, name, batch_norm):
    # Keras's default initialization, Glorot's, trains even the deepest of them from scratch (section 3.1).
    if not batch_norm:
        return Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
    x = Conv2D(filters, 3, padding="same", name=name)(x)
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def neck(x, dropout):
    """Two fully connected layers, each followed by dropout (section 3.1): (h/32, w/32, 512) -> (4096,)."""
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(UNITS, activation="relu", name=name)(x)
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def _build(name, arguments):
    plain = name.removesuffix("_bn")
    batch_norm = name != plain
    family = Family(
        features=partial(features, convolutions=CONFIGURATIONS[plain], batch_norm=batch_norm),
        neck=neck,
        minimum_size=32,
        # What the public weights were trained with: the authors' for vgg16 and vgg19, torchvision's for the others.
        preprocessing=CAFFE if name in ("vgg16", "vgg19") else TORCH,
        dropout=0.5,
    )
    return assemble(family, name, **arguments)


def VGG11(**arguments):  # noqa: N802 - Keras's spelling of a model constructor
    """Build VGG-11, configuration A; `kzoo.create_model` documents the arguments.

    Input: (batch, 224, 224, 3) by default, pixels from 0 to 255. Output: (batch, 1000) probabilities.

    >>> VGG11(include_top=False).output_shape
    (None, 7, 7, 512)
    """
    return _build("vgg11", arguments)


def VGG13(**arguments):  # noqa: N802
    """Build VGG-13, configuration B; as `VGG11`."""
    return _build("vgg13", arguments)


def VGG16(**arguments):  # noqa: N802
    """Build VGG-16, configuration D; as `VGG11`.

    With `include_preprocessing=False`, `get_weights()` is in the order of `keras.applications.VGG16`. That has no
    dropout; the paper has.
    """
    return _build("vgg16", arguments)


def VGG19(**arguments):  # noqa: N802
    """Build VGG-19, configuration E; as `VGG16`."""
    return _build("vgg19", arguments)


def VGG11BN(**arguments):  # noqa: N802
    """Build VGG-11 with batch normalization after each convolution; as `VGG11`.

    >>> VGG11BN(input_shape=(32, 32, 1), include_top=False, pooling="avg").output_shape
    (None, 512)
    """
    return _build("vgg11_bn", arguments)


def VGG13BN(**arguments):  # noqa: N802
    """Build VGG-13 with batch normalization after each convolution; as `VGG11`."""
    return _build("vgg13_bn", arguments)


def VGG16BN(**arguments):  # noqa: N802
    """Build VGG-16 with batch normalization after each convolution; as `VGG11`."""
    return _build("vgg16_bn", arguments)


def VGG19BN(**arguments):  # noqa: N802
    """Build VGG-19 with batch normalization after each convolution; as `VGG11`."""
    return _build("vgg19_bn", arguments)
