"""What MixUp and CutMix share: soft labels, a partner for each image, and how much of it."""

import functools

import numpy as np
from scipy.special import betaincinv

from kzoo.backend import tf
from kzoo.errors import InvalidArgument
from kzoo.layers.arguments import is_number
from kzoo.layers.image_augmentation import ImageAugmentation, uniform

# Cells of the table that the shares are looked up in.
_CELLS = 4096


class Mixing(ImageAugmentation):
    """A layer that mixes each image of a batch with another one of it, and their labels alike.

    Called as `layer((images, labels), seeds=seeds)`, it returns (images, labels). Outside of training the images pass,
    and the labels only become soft ones.

    Args:
        classes: The number of classes.
        alpha: The share of an image that is left is drawn from Beta(alpha, alpha).
        seed: Seed of the draws for a call without `seeds`.
    """

    # How many numbers an image draws; the first decides its partner, the second the share.
    draws = 2

    def __init__(self, classes, alpha, **kwargs):
        """Keep the arguments."""
        super().__init__(**kwargs)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
            raise InvalidArgument(f"classes must be an integer, at least 1. Received: {classes!r}.")
        if not is_number(alpha) or not 0.0 < alpha < float("inf"):
            raise InvalidArgument(f"alpha must be a positive number. Received: {alpha!r}.")
        self.classes = classes
        self.alpha = alpha

    def call(self, inputs, seeds=None, training=None):
        """Mix (images, labels); `seeds` is (batch, 2) int32."""
        images, labels = (tf.convert_to_tensor(x) for x in inputs)
        if images.shape.rank == 3:
            seeds = None if seeds is None else tf.convert_to_tensor(seeds)[tf.newaxis]
            images, labels = self.call((images[tf.newaxis], labels[tf.newaxis]), seeds, training)
            return images[0], labels[0]
        labels = self._soft(labels)
        if training is False or (training is None and seeds is None):
            return images, labels
        draws = uniform(self._seeds(images) if seeds is None else seeds, self.draws)
        partners = partners_of(draws[:, 0])
        shares = beta_quantile(draws[:, 1], self.alpha)
        mixed, shares = self.mix(images, tf.gather(images, partners), shares, draws[:, 2:])
        others = tf.gather(labels, partners)
        return tf.ensure_shape(mixed, images.shape), others + shares[:, tf.newaxis] * (labels - others)

    def mix(self, images, others, shares, draws):
        """Mix each image with the other; returns the images, and the share (batch,) that is left of each."""
        raise NotImplementedError

    def _soft(self, labels):
        if labels.dtype.is_integer and labels.shape.rank in (1, None):
            return tf.one_hot(tf.cast(labels, tf.int32), self.classes)
        if labels.dtype.is_floating and labels.shape.rank in (2, None) and labels.shape[-1] in (self.classes, None):
            return tf.cast(labels, tf.float32)
        raise InvalidArgument(
            f"labels must be integers (batch,) or floats (batch, {self.classes}). "
            f"Received: {labels.dtype.name} {tuple(labels.shape)}."
        )

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "classes": self.classes, "alpha": self.alpha}


def partners_of(draws):
    """The index of another image for each of a batch, (batch,) int32: the one that drew the next larger number.

    So each image is the partner of one other. The one that drew the largest number has the one that drew the smallest,
    and an image alone has itself.
    """
    order = tf.argsort(draws, stable=True)
    return tf.gather(tf.roll(order, -1, 0), tf.argsort(order))


def beta_quantile(draws, alpha):
    """Numbers in [0, 1) to numbers that follow Beta(alpha, alpha), by the inverse of its distribution function."""
    table = tf.constant(_beta_table(alpha))
    cells = draws * _CELLS
    lower = tf.cast(cells, tf.int32)
    below, above = tf.gather(table, lower), tf.gather(table, lower + 1)
    return below + (above - below) * (cells - tf.cast(lower, tf.float32))


@functools.cache
def _beta_table(alpha):
    return betaincinv(alpha, alpha, np.linspace(0.0, 1.0, _CELLS + 1)).astype("float32")
