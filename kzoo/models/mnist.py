"""The MNIST net: two convolutions and two fully connected layers.

The shape is LeNet's (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998) with the widths of
the net that brought the MNIST record to 99.79 % (Wan et al., "Regularization of Neural Networks using DropConnect",
2013, section 6.1, Table 3: 32 and 64 feature maps of 5x5, then 150 units), batch normalization after each hidden layer
(Ioffe & Szegedy, 2015) and dropout before the classifier.
"""

from kzoo.models.card import Card
from kzoo.models.lazy import layers
from kzoo.weights.record import MNIST

FEATURE_MAPS = (32, 64)
UNITS = 150
# Statistics that follow within tens of steps: an epoch of a small dataset has no more.
BN_MOMENTUM = 0.9


def features(x):
    """Two blocks of convolution, normalization, ReLU and 2x2 pooling: (h, w, c) -> (h/4, w/4, 64)."""
    for block, filters in enumerate(FEATURE_MAPS, start=1):
        x = layers.Conv2D(filters, 5, padding="same", use_bias=False, name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"conv{block}_bn")(x)
        x = layers.ReLU(name=f"conv{block}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    return x


def neck(x, dropout):
    """The first fully connected layer: (h/4, w/4, 64) -> (150,)."""
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(UNITS, use_bias=False, name="fc1")(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, name="fc1_bn")(x)
    x = layers.ReLU(name="fc1_relu")(x)
    return layers.Dropout(dropout, name="dropout")(x)


CARDS = (
    Card(
        name="mnist_net",
        constructor="MNISTNet",
        features=features,
        neck=neck,
        dropout=0.25,
        preprocessing=MNIST,
        input_shape=(28, 28, 1),
        minimum_size=4,
        classes=10,
        stages={r"(conv\d+)_relu": r"\1"},  # before their pooling
    ),
)
