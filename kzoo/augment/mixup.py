"""MixUp: each image and its label blended with those of another one."""

import functools

from kzoo.arguments import number
from kzoo.augment.mixing import Mixing
from kzoo.backend import compiled, keras, tf


@keras.saving.register_keras_serializable(package="kzoo")
class MixUp(Mixing):
    """Blend each image with another one of its batch, and their labels alike (Zhang et al., 2018).

    Image i becomes `s * image_i + (1 - s) * image_j`, its label `s * label_i + (1 - s) * label_j`, with a share s that
    it draws. Which other image j is, follows from the seeds of the whole batch: MixUp of a batch is a pure function of
    (images, labels, seeds), and no image of it is used twice as the other one. One image alone stays as it is.

    Called as `layer((images, labels), seeds=seeds)`:

    - images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float; shape and dtype
      stay, bytes are rounded.
    - labels: (batch,) integers below `classes`, or (batch, classes) floats; (batch, classes) float32 is returned, at
      inference too, where the images pass.

    Given {"images": images, "labels": labels}, as Keras's layer of this name takes them, it returns such a dict.

    Runs on the TensorFlow backend.

    Args:
        classes: The number of classes.
        alpha: The shares are drawn from Beta(alpha, alpha); the paper has 0.1 to 0.4 for ImageNet.
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument is out of range, or the labels are none (where integers become known only as a
            pipeline runs, TensorFlow's InvalidArgumentError).

    >>> import numpy as np
    >>> images = np.array([0, 200], "uint8").reshape(2, 1, 1, 1)
    >>> mixed, labels = MixUp(classes=2)((images, np.array([0, 1])), seeds=np.array([[3, 1], [3, 2]], "int32"))
    >>> bool(np.all(np.abs(np.asarray(mixed)[:, 0, 0, 0] - 200 * np.asarray(labels)[:, 1]) <= 0.5))
    True
    """

    config = (*Mixing.config, "alpha")

    def __init__(self, classes, alpha=0.2, **kwargs):
        alpha = number("alpha", alpha, 0, above=True)
        super().__init__(classes, alpha, **kwargs)
        self.alpha = alpha

    def mix(self, images, others, shares, draws):
        """Blend each image with the other."""
        return _blend()(images, others, shares), shares


@functools.cache
def _blend():
    def blend(images, others, shares):
        wide, other = tf.cast(images, tf.float32), tf.cast(others, tf.float32)
        blended = other + shares[:, tf.newaxis, tf.newaxis, tf.newaxis] * (wide - other)
        return tf.cast(tf.round(blended) if images.dtype.is_integer else blended, images.dtype)

    return compiled(blend, jit_compile=True)
