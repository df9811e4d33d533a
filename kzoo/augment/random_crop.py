"""A window of each image, each its own, as for CIFAR: padded by 4 pixels and cropped to its size again."""

from kzoo.arguments import integer, number
from kzoo.augment.arguments import FILL_MODES, one_of
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.augment.pixels.whole_pixels import crop
from kzoo.backend import keras, tf
from kzoo.errors import InvalidArgument


@keras.saving.register_keras_serializable(package="kzoo")
class RandomCrop(ImageAugmentation):
    """Cut a window out of each image, at a place drawn for each; outside of training, out of its centre.

    Images: (batch, any height, any width, channels) or one image, uint8 or float. Output: (batch, height, width,
    channels), the same dtype, no pixel changed. An image of that very size comes back untouched outside of training.
    Keras's layer of this name draws one place for a whole batch, and does not crop at all outside of training.
    Runs on the TensorFlow backend.

    Args:
        height: Of the window.
        width: Of the window.
        padding: How many pixels are added on each side of the image before.
        fill_mode: What is added: "constant", "nearest", "reflect" (d c b a | a b c d | d c b a) or "wrap".
        fill_value: The value of added pixels for "constant".
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: An argument that is none of these, or images that are smaller than the window with their
            padding (where their size becomes known only as the pipeline runs, TensorFlow's InvalidArgumentError).

    >>> import numpy as np
    >>> images = np.arange(16, dtype="uint8").reshape(1, 4, 4, 1)
    >>> np.asarray(RandomCrop(2, 2)(images, training=False))[0, :, :, 0].tolist()
    [[5, 6], [9, 10]]
    """

    config = ("height", "width", "padding", "fill_mode", "fill_value")

    def __init__(self, height, width, padding=0, fill_mode="constant", fill_value=0.0, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.height = integer("height", height, 1)
        self.width = integer("width", width, 1)
        self.padding = integer("padding", padding, 0)
        self.fill_mode = one_of("fill_mode", fill_mode, FILL_MODES)
        self.fill_value = number("fill_value", fill_value, 0, 255)

    def __call__(self, images, *args, **kwargs):
        """Check the images' size, where Keras adds no lines to the error, and crop them."""
        for size, wanted in zip(images.shape[-3:-1], (self.height, self.width), strict=True):
            if size is not None and size + 2 * self.padding < wanted:
                raise InvalidArgument(_too_small(self, tuple(images.shape[-3:-1])))
        return super().__call__(images, *args, **kwargs)

    def augment(self, images, seeds):
        """Crop each image at a place of its own."""
        spare = self._spare(images)
        # Of 24 bits: a number below 1 stays below it, and times the number of places below that.
        places = tf.cast(uniform(seeds, 2), tf.float64) * tf.cast(spare + 1, tf.float64)
        return self._crop(images, tf.cast(places, tf.int32))

    def infer(self, images):
        """Crop the centre."""
        return self._crop(images, tf.tile(self._spare(images)[tf.newaxis] // 2, [tf.shape(images)[0], 1]))

    def compute_output_shape(self, input_shape):
        """The input's shape with the window's height and width."""
        return (*input_shape[:-3], self.height, self.width, input_shape[-1])

    def _spare(self, images):
        """(2,) int32: by how much the padded images are larger than the window."""
        spare = tf.shape(images)[1:3] + 2 * self.padding - (self.height, self.width)
        if None in images.shape[1:3]:
            message = _too_small(self, "smaller images")
            with tf.control_dependencies([tf.debugging.assert_non_negative(spare, message)]):
                spare = tf.identity(spare)
        return spare

    def _crop(self, images, offsets):
        size = self.height, self.width
        cropped = crop(images, offsets - self.padding, size, self.fill_mode, self.fill_value)
        return tf.ensure_shape(cropped, [images.shape[0], *size, images.shape[-1]])


def _too_small(layer, received):
    return (
        f"Images must be at least {layer.height} x {layer.width}, their padding of {layer.padding} pixels on each side "
        f"included. Received: {received}. Resize them first, or pad more."
    )
