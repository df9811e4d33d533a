"""CutMix: a box of each image taken from another one, and the label by the box's area."""

import functools

from kzoo.arguments import number
from kzoo.augment.mixing import Mixing
from kzoo.backend import compiled, keras, tf


@keras.saving.register_keras_serializable(package="kzoo")
class CutMix(Mixing):
    """Paste a box of another image of its batch into each image, and mix the labels by area (Yun et al., 2019).

    The box has the image's proportions, the area 1 - s with a share s drawn for each image, and its centre anywhere in
    the image; what lies outside is cut off, and the labels are mixed by the pixels that are left of each image. Which
    other image it is from, follows from the seeds of the whole batch: CutMix of a batch is a pure function of (images,
    labels, seeds), and no image of it is used twice as the other one. One image alone stays as it is.

    Called as `layer((images, labels), seeds=seeds)`:

    - images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float; shape and dtype
      stay.
    - labels: (batch,) integers below `classes`, or (batch, classes) floats; (batch, classes) float32 is returned, at
      inference too, where the images pass.

    Given {"images": images, "labels": labels}, as Keras's layer of this name takes them, it returns such a dict.

    Runs on the TensorFlow backend.

    Args:
        classes: The number of classes.
        factor: A positive number; the shares are drawn from Beta(factor, factor), and 1, as in the paper, draws them
            evenly. Keras draws the distribution's parameter for each batch, from 0 to `factor`.
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument is out of range, or the labels are none (where integers become known only as a
            pipeline runs, TensorFlow's InvalidArgumentError).

    >>> import numpy as np
    >>> images = np.arange(2, dtype="uint8").reshape(2, 1, 1, 1) * np.ones((2, 8, 8, 1), "uint8")
    >>> mixed, labels = CutMix(classes=2)((images, np.array([0, 1])), seeds=np.array([[3, 1], [3, 2]], "int32"))
    >>> np.asarray(mixed).mean((1, 2, 3)).tolist() == np.asarray(labels)[:, 1].tolist()
    True
    """

    draws = 4

    config = (*Mixing.config, "factor")

    def __init__(self, classes, factor=1.0, **kwargs):
        factor = number("factor", factor, 0, above=True)
        super().__init__(classes, factor, **kwargs)
        self.factor = factor

    def mix(self, images, others, shares, draws):
        """Paste a box of the other image into each; the share left is of the box as it was pasted."""
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = tf.sqrt(1.0 - shares)
        rows, row_count = _inside(draws[:, 0], side, height)
        columns, column_count = _inside(draws[:, 1], side, width)
        left = 1.0 - tf.cast(row_count * column_count, tf.float32) / tf.cast(height * width, tf.float32)
        return _paste()(images, others, rows, columns), left


@functools.cache
def _paste():
    def paste(images, others, rows, columns):
        box = rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]
        return tf.where(box, others, images)

    return compiled(paste, jit_compile=True)


def _inside(draws, side, size):
    """Which positions along an axis of `size` a box of relative `side` covers, (batch, size), and how many."""
    length = tf.cast(side * tf.cast(size, tf.float32), tf.int32)[:, tf.newaxis]
    start = tf.cast(draws * tf.cast(size, tf.float32), tf.int32)[:, tf.newaxis] - length // 2
    positions = tf.range(size)
    covered = (positions >= start) & (positions < start + length)
    return covered, tf.reduce_sum(tf.cast(covered, tf.int32), 1)
