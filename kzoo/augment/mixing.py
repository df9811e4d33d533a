"""What MixUp and CutMix share: soft labels, a partner for each image, and how much of it."""

import functools

import numpy as np
from scipy.special import betaincinv

from kzoo.arguments import integer
from kzoo.augment.arguments import check_seeds
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.backend import tf
from kzoo.errors import InvalidArgument

# Cells of the table that the shares are looked up in.
_CELLS = 4096


class Mixing(ImageAugmentation):
    """A layer that mixes each image of a batch with another one of it, and their labels alike.

    Called as `layer((images, labels), seeds=seeds)`, it returns (images, labels); given {"images": images, "labels":
    labels}, as Keras's layers take them, it returns such a dict. Outside of training the images pass, and the labels
    only become soft ones.

    Args:
        classes: The number of classes.
        concentration: Positive; the share of an image that is left is drawn from Beta(concentration, concentration).
        seed: Seed of the draws for a call without `seeds`.
    """

    # How many numbers an image draws; the first decides its partner, the second the share.
    draws = 2

    config = ("classes",)

    def __init__(self, classes, concentration, **kwargs):
        super().__init__(**kwargs)
        self.classes = integer("classes", classes, 1)
        self._concentration = concentration

    def call(self, inputs, seeds=None, training=None):
        """Mix (images, labels), or a dict of both; `seeds` is (batch, 2) int32."""
        if isinstance(inputs, dict) and inputs.keys() == {"images", "labels"}:
            images, labels = self.call((inputs["images"], inputs["labels"]), seeds, training)
            return {"images": images, "labels": labels}
        if not isinstance(inputs, tuple | list) or len(inputs) != 2:
            received = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
            raise InvalidArgument(
                f'{type(self).__name__} takes (images, labels) or {{"images": images, "labels": labels}}. '
                f"Received: {received}."
            )
        images, labels = (tf.convert_to_tensor(x) for x in inputs)
        if seeds is not None:
            seeds = tf.convert_to_tensor(seeds)
            check_seeds(seeds, images)
        if images.shape.rank == 3:
            seeds = None if seeds is None else seeds[tf.newaxis]
            images, labels = self.call((images[tf.newaxis], labels[tf.newaxis]), seeds, training)
            return images[0], labels[0]
        labels = self._soft(labels)
        if training is False or (training is None and seeds is None):
            return images, labels
        draws = uniform(self._seeds(images) if seeds is None else seeds, self.draws)
        partners = partners_of(draws[:, 0])
        shares = beta_quantile(draws[:, 1], self._concentration)
        mixed, shares = self.mix(images, tf.gather(images, partners), shares, draws[:, 2:])
        others = tf.gather(labels, partners)
        return tf.ensure_shape(mixed, images.shape), others + shares[:, tf.newaxis] * (labels - others)

    def mix(self, images, others, shares, draws):
        """Mix each image with the other; returns the images, and the share (batch,) that is left of each."""
        raise NotImplementedError

    def _soft(self, labels):
        if labels.dtype.is_integer and labels.shape.rank in (1, None):
            return tf.one_hot(self._in_range(labels), self.classes)
        if labels.dtype.is_floating and labels.shape.rank in (2, None) and labels.shape[-1] in (self.classes, None):
            return tf.cast(labels, tf.float32)
        raise InvalidArgument(
            f"labels must be integers (batch,) or floats (batch, {self.classes}). "
            f"Received: {labels.dtype.name} {tuple(labels.shape)}."
        )

    def _in_range(self, labels):
        """The labels as int32; tf.one_hot would make rows of zeros of those that are no class."""
        labels = tf.cast(labels, tf.int64)
        is_class = (labels >= 0) & (labels < self.classes)
        line = f"labels must be integers, 0 to {self.classes - 1}. Received:"
        if tf.executing_eagerly():
            if not tf.reduce_all(is_class):
                raise InvalidArgument(f"{line} {int(labels[~is_class][0])}.")
            return tf.cast(labels, tf.int32)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_class), [line, labels])]):
            return tf.cast(labels, tf.int32)


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
