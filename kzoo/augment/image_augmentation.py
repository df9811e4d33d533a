"""What all augmentation layers share: draws that are a pure function of one seed per image."""

from kzoo.augment.arguments import check_seeds
from kzoo.backend import keras, tf


class ImageAugmentation(keras.layers.Layer):
    """A layer that changes each image of a batch at random, each by draws of its own, and only in training.

    Images: (batch, height, width, channels) or one image (height, width, channels), uint8 or float, 0 to 255; the dtype
    stays. The draws of an image are a pure function of its row of `seeds`, so they depend neither on the batch nor on
    the thread or the replica. Without `seeds` they come from the layer's own generator, which `seed` starts.

    As Keras's Dropout, and unlike Keras's augmentation layers, it does nothing unless in training: inside `fit`, when
    called with `training=True`, or given `seeds`.

    A layer defines `augment(images, seeds)`, for a batch, and where inference is not the identity, `infer(images)`. Its
    `config` has the names of its arguments, which it keeps in attributes of these names.

    Args:
        seed: Seed of the draws for a call without `seeds`.

    Raises:
        InvalidArgument: `seeds` are not two integers for each image.
    """

    config: tuple[str, ...] = ()

    def __init__(self, seed=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # Pixels keep their dtype: a cast to the compute dtype would turn uint8 into floats.
        self.autocast = False

    def call(self, images, seeds=None, training=None):
        """Augment `images`; `seeds` is (batch, 2) int32, or (2,) for one image."""
        images = tf.convert_to_tensor(images)
        if seeds is not None:
            seeds = tf.convert_to_tensor(seeds)
            check_seeds(seeds, images)
        if images.shape.rank == 3:
            return self.call(images[tf.newaxis], None if seeds is None else seeds[tf.newaxis], training)[0]
        if training is False or (training is None and seeds is None):
            return self.infer(images)
        return self.augment(images, self._seeds(images) if seeds is None else seeds)

    def augment(self, images, seeds):
        """Change each image of a batch by draws from its seed."""
        raise NotImplementedError

    def infer(self, images):
        """What is done to a batch outside of training."""
        return images

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **{name: getattr(self, name) for name in ("seed", *self.config)}}

    def _seeds(self, images):
        # Seed and row are hashed, each on its own: of their sum, image i + 1 by one seed would be image i by the next.
        seed, call = tf.unstack(tf.cast(self.seed_generator.next(), tf.uint32))
        rows = _hash(tf.cast(tf.range(tf.shape(images)[0]), tf.uint32))
        key = tf.fill(tf.shape(rows), _hash(tf.bitwise.bitwise_xor(_hash(seed), call)))
        return tf.bitcast(tf.stack([key, rows], axis=-1), tf.int32)


def uniform(seeds, count):
    """Numbers in [0, 1), each a pure function of a seed and a position: (batch, 2) int32 -> (batch, count) float32.

    TensorFlow's stateless generators take one seed for a whole tensor, so that an image's draws would depend on its
    batch. This hashes each (seed, position) with Wellons's lowbias32 finalizer, in uint32 arithmetic.
    """
    seeds = tf.cast(seeds, tf.uint32)
    state = _hash(tf.bitwise.bitwise_xor(_hash(seeds[:, :1]), seeds[:, 1:]))
    positions = tf.cast(tf.range(1, count + 1), tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)
    bits = _hash(_hash(state + positions[tf.newaxis]))
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def _hash(x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
