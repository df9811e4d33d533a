"""Inception v1 (GoogLeNet): filters of several sizes side by side, behind 1x1 convolutions that keep them cheap.

Szegedy et al., "Going Deeper with Convolutions", 2015. `inception_v1` is the paper's net as the Caffe model zoo built
it (BVLC GoogLeNet): biases, local response normalization, Caffe's sizes. `inception_v1_bn` is torchvision's GoogLeNet:
batch normalization (Ioffe & Szegedy, 2015) instead of both.

>>> import kzoo
>>> kzoo.InceptionV1().count_params()
6998552
>>> sorted(kzoo.InceptionV1(auxiliary_heads=True, classes=10).output)
['auxiliary_1', 'auxiliary_2', 'predictions']
"""

from functools import partial

from kzoo.models.card import AuxiliaryHeads, Card
from kzoo.models.lazy import keras, layers
from kzoo.weights.record import BVLC, TF

# Table 1: filters of each inception module. A max pooling precedes 4a and 5a.
MODULES = {
    # name   #1x1  #3x3 reduce  #3x3  #5x5 reduce  #5x5  pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
STAGES = {
    r"(conv1)_7x7_s2(_relu)?": r"\1",
    r"(conv2)_3x3(_relu)?": r"\1",
    r"(inception_\d[a-z])": r"\1",
}
# Section 5: classifiers on top of 4a and 4d, "1x1 convolution with 128 filters", "1024 units", "70% ratio".
AUXILIARY = {"auxiliary_1": "inception_4a", "auxiliary_2": "inception_4d"}
AUXILIARY_FILTERS, AUXILIARY_UNITS, AUXILIARY_DROPOUT = 128, 1024, 0.7


def features(x, batch_norm):
    """The stem and nine inception modules: (h, w, c) -> (h/32, w/32, 1024).

    The shapes beside the layers are those of 224 x 224 pixels.
    """
    conv = partial(_convolution, batch_norm=batch_norm)
    # "same" would pad 2 before and 3 after; Caffe and PyTorch pad 3 on every side.
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = conv(x, 64, 7, "conv1_7x7_s2", strides=2, padding="valid")  # 112 x 112 x 64
    x = _max_pool(x, 3, "pool1_3x3_s2")  # 56 x 56 x 64
    x = x if batch_norm else layers.LocalResponseNormalization(name="pool1_norm1")(x)
    x = conv(x, 64, 1, "conv2_3x3_reduce")
    x = conv(x, 192, 3, "conv2_3x3")  # 56 x 56 x 192
    x = x if batch_norm else layers.LocalResponseNormalization(name="conv2_norm2")(x)
    x = _max_pool(x, 3, "pool2_3x3_s2")  # 28 x 28 x 192
    for name, filters in MODULES.items():
        if name == "4a":
            x = _max_pool(x, 3, "pool3_3x3_s2")  # 14 x 14 x 480
        elif name == "5a":
            # torchvision's window is smaller.
            x = _max_pool(x, 2, "pool4_2x2_s2") if batch_norm else _max_pool(x, 3, "pool4_3x3_s2")  # 7 x 7 x 832
        x = _module(x, filters, f"inception_{name}", conv, batch_norm)
    return x  # 7 x 7 x 1024


def _module(x, filters, name, conv, batch_norm):
    """Figure 2b: four branches side by side, joined by their channels."""
    ones, three_reduce, three, five_reduce, five, projection = filters
    branch1 = conv(x, ones, 1, f"{name}_1x1")
    branch2 = conv(x, three_reduce, 1, f"{name}_3x3_reduce")
    branch2 = conv(branch2, three, 3, f"{name}_3x3")
    branch3 = conv(x, five_reduce, 1, f"{name}_5x5_reduce")
    # torchvision's "5x5" branch is 3x3, a mistake that its weights were trained with and that it keeps; so is the name.
    branch3 = conv(branch3, five, 3 if batch_norm else 5, f"{name}_5x5")
    branch4 = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    branch4 = conv(branch4, projection, 1, f"{name}_pool_proj")
    return layers.Concatenate(name=name)([branch1, branch2, branch3, branch4])


def _convolution(x, filters, size, name, batch_norm, strides=1, padding="same"):
    arguments = {"strides": strides, "padding": padding, "name": name}
    if batch_norm:
        x = layers.Conv2D(filters, size, use_bias=False, **arguments)(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x)
    return layers.Conv2D(filters, size, activation="relu", **_initializers(), **arguments)(x)


def _initializers():
    """How BVLC GoogLeNet starts: Caffe's "xavier", a uniform distribution of variance 1 / fan-in, and biases of 0.2."""
    return {"kernel_initializer": "lecun_uniform", "bias_initializer": keras.initializers.Constant(0.2)}


def _max_pool(x, size, name):
    """Pool with stride 2, sizes rounded up as in Caffe: the last window may reach one pixel beyond the image.

    Only at the end; "same" would pad an odd size on both sides.
    """
    inside = {"padding": "valid"}
    if size == 2 or all(n is not None and n % 2 == 0 for n in x.shape[1:3]):
        inside = {"padding": "same"}
    elif not all(n is not None and n % 2 == 1 for n in x.shape[1:3]):
        # What is pooled is never negative, so that a zero is like nothing.
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides=2, name=name, **inside)(x)


def auxiliary_neck(x, name, batch_norm):
    """What an auxiliary classifier reads (section 5): (h, w, c) -> (1024,)."""
    if batch_norm:  # torchvision's windows follow the input's size, so that the output is always 4 x 4
        x = layers.AdaptiveAveragePooling2D(4, name=f"{name}_avg_pool")(x)
    else:
        x = layers.AveragePooling2D(5, strides=3, name=f"{name}_avg_pool")(x)
    x = _convolution(x, AUXILIARY_FILTERS, 1, f"{name}_conv", batch_norm)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    start = {} if batch_norm else _initializers()
    x = layers.Dense(AUXILIARY_UNITS, activation="relu", name=f"{name}_fc", **start)(x)
    return layers.Dropout(AUXILIARY_DROPOUT, name=f"{name}_dropout")(x)


CARDS = (
    Card(
        name="inception_v1",
        constructor="InceptionV1",
        features=partial(features, batch_norm=False),
        minimum_size=31,  # leaves pool4 2 x 2
        preprocessing=BVLC,
        dropout=0.4,
        # 79 pixels leave the 5x5 average pooling 5 x 5.
        auxiliary=AuxiliaryHeads(AUXILIARY, partial(auxiliary_neck, batch_norm=False), minimum_size=79),
        stages=STAGES,
        # Without batch normalization its loss stays that of guessing at kzoo's default.
        learning_rate=0.0005,
        warmup_epochs=1,
    ),
    Card(
        name="inception_v1_bn",
        constructor="InceptionV1BN",
        features=partial(features, batch_norm=True),
        minimum_size=15,  # leaves pool4 1 x 1
        # torchvision's public weights: "transform_input" undoes the usual normalization, for pixels from -1 to 1.
        preprocessing=TF,
        dropout=0.2,  # torchvision's
        # 31 pixels leave 4a and 4d 2 x 2; Keras's adaptive pooling cannot spread a single pixel over 4 x 4.
        auxiliary=AuxiliaryHeads(AUXILIARY, partial(auxiliary_neck, batch_norm=True), minimum_size=31),
        stages=STAGES,
        torchvision="googlenet",
    ),
)
