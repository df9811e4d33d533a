"""Batch normalization (Ioffe & Szegedy, 2015), by TensorFlow's fused kernel.

Keras 3 computes it from `tf.nn.moments` and `tf.nn.batch_normalization`, in float32 throughout: several passes over the
activations, most of a small network's time on a CPU. The fused kernel reads half-precision activations once, keeps its
statistics in float32, and has a fused gradient.
"""

from kzoo.backend import keras, tf


@keras.saving.register_keras_serializable(package="kzoo")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, faster: the same arguments, weights, config and results.

    The moving statistics of all replicas of a `tf.distribute` strategy agree (Keras lets them drift apart and saves the
    first replica's): after each step they are the mean over the replicas. An empty batch, which a replica meets at an
    uneven end of an epoch, leaves them as they are (in Keras they become NaN).

    With `renorm`, `synchronized`, a mask, an axis other than the last, or another backend than TensorFlow, Keras's own
    implementation computes it.

    >>> import numpy as np
    >>> layer = BatchNormalization(epsilon=1e-5)
    >>> outputs = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    >>> np.round(np.asarray(outputs), 3).tolist()
    [[-1.0], [1.0]]
    """

    def add_weight(self, *args, trainable=True, **kwargs):
        """Create a weight; the moving statistics are averaged over replicas."""
        if not trainable:
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, trainable=trainable, **kwargs)

    def call(self, inputs, training=None, mask=None):
        """Normalize `inputs`: by their own statistics in training, by the moving ones otherwise."""
        elsewhere = self.renorm or self.synchronized or mask is not None
        last = self.axis in (-1, len(inputs.shape) - 1)
        half_or_single = keras.backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16", "float16")
        if tf is None or elsewhere or not last or not half_or_single:
            return super().call(inputs, training=training, mask=mask)

        training = bool(training and self.trainable)
        # On vectors the two passes of tf.nn.moments cost less than the kernel, which is made for images.
        normalize = _fused if len(inputs.shape) == 4 else _two_pass
        outputs, mean, variance = normalize(self, inputs, training)
        if training:
            is_empty = tf.size(inputs) == 0
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                old = tf.convert_to_tensor(moving)
                updated = old * self.momentum + batch * (1.0 - self.momentum)
                moving.assign(tf.where(is_empty, old, updated))
        return outputs


def _parameters(layer, channels):
    """Gamma, beta and the moving statistics of `layer` as float32 tensors of shape (channels,)."""
    gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels])
    beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels])
    return gamma, beta, tf.convert_to_tensor(layer.moving_mean), tf.convert_to_tensor(layer.moving_variance)


def _fused(layer, images, training):
    """Normalize (batch, height, width, channels) in one kernel; returns outputs and the batch's mean and variance."""
    channels = images.shape[-1]
    gamma, beta, mean, variance = _parameters(layer, channels)
    # The raw op, because its Python wrapper raises epsilon to at least 1.001e-5.
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=layer.epsilon,
        is_training=training,
    )
    # The kernel divides by count - 1 (Bessel's correction), Keras by count.
    count = tf.cast(tf.size(images) // channels, variance.dtype)
    return outputs, mean, tf.math.divide_no_nan(variance * (count - 1.0), count)


def _two_pass(layer, inputs, training):
    """Normalize (..., channels) of any rank; returns outputs and the batch's mean and variance."""
    gamma, beta, mean, variance = _parameters(layer, inputs.shape[-1])
    values = tf.cast(inputs, tf.float32)
    if training:
        statistics = tf.nn.moments(values, list(range(len(inputs.shape) - 1)))
        # Those of an empty batch are NaN, and so would be the gradient of gamma: 0 * NaN.
        is_empty = tf.size(inputs) == 0
        mean, variance = (tf.where(is_empty, m, s) for m, s in zip((mean, variance), statistics, strict=True))
    outputs = tf.nn.batch_normalization(values, mean, variance, beta, gamma, layer.epsilon)
    return tf.cast(outputs, inputs.dtype), mean, variance
