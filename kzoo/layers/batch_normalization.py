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

    With `synchronized=True` the replicas normalize by the statistics of the whole batch, each image counting once,
    however unevenly they are spread. It takes one all-reduce forward and one backward (Keras: three and two).

    Keras does not compile a model that holds it with XLA (`supports_jit`): XLA computes the kernel's variance as
    E[x^2] - E[x]^2, which is NaN for activations far from zero. One's own `tf.function(jit_compile=True)` still does.

    With `renorm`, a mask, an axis other than the last, or another backend than TensorFlow, Keras's own implementation
    computes it.

    >>> import numpy as np
    >>> layer = BatchNormalization(epsilon=1e-5)
    >>> outputs = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    >>> np.round(np.asarray(outputs), 3).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if tf is not None:
            self.supports_jit = False

    def add_weight(self, *args, trainable=True, **kwargs):
        """Create a weight; the moving statistics are averaged over the replicas at each assignment."""
        if not trainable:
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, trainable=trainable, **kwargs)

    def call(self, inputs, training=None, mask=None):
        """Normalize `inputs`: by their own statistics in training, by the moving ones otherwise."""
        elsewhere = self.renorm or mask is not None
        last = self.axis in (-1, len(inputs.shape) - 1)
        half_or_single = keras.backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16", "float16")
        if tf is None or elsewhere or not last or not half_or_single:
            return super().call(inputs, training=training, mask=mask)

        training = bool(training and self.trainable)
        is_empty = tf.size(inputs) == 0
        synchronized = self.synchronized and not tf.distribute.in_cross_replica_context()
        if training and synchronized:
            outputs, mean, variance, count = _synchronized(self, inputs)
            is_empty = count == 0
        elif len(inputs.shape) == 4:
            outputs, mean, variance = _fused(self, inputs, training)
        else:  # on vectors the two passes of tf.nn.moments cost less than the kernel, which is made for images
            outputs, mean, variance = _two_pass(self, inputs, training)
        if training:
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                old = tf.convert_to_tensor(moving)
                updated = tf.where(is_empty, old, old * self.momentum + batch * (1.0 - self.momentum))
                if synchronized:  # the same on all replicas: nothing to average
                    tf.raw_ops.AssignVariableOp(resource=moving.value.handle, value=updated)
                else:
                    moving.assign(updated)
        return outputs


def keep_statistics(layer, keep: bool) -> None:
    """Have a batch normalization normalize by its moving statistics in training too, or as usual.

    Keras has only `trainable=False` for it, which keeps gamma and beta too. So the layer's call is wrapped.
    """
    layer.__dict__.pop("call", None)
    if not keep:
        return

    def call(inputs, training=None, mask=None):
        return type(layer).call(layer, inputs, training=False, mask=mask)

    object.__setattr__(layer, "call", call)


def moves_statistics(layer) -> bool:
    """Whether a layer is a batch normalization whose statistics move in training.

    >>> layer = BatchNormalization()
    >>> keep_statistics(layer, True)
    >>> moves_statistics(BatchNormalization()), moves_statistics(layer)
    (True, False)
    """
    is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
    return is_batch_norm and layer.trainable and "call" not in layer.__dict__


def _parameters(layer, channels):
    """Gamma, beta and the moving statistics of `layer` as float32 tensors of shape (channels,)."""
    gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels])
    beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels])
    return gamma, beta, tf.convert_to_tensor(layer.moving_mean), tf.convert_to_tensor(layer.moving_variance)


def _fused(layer, images, training):
    """Normalize (batch, height, width, channels) in one kernel; returns outputs and the batch's mean and variance."""
    outputs, mean, variance = _kernel(images, *_parameters(layer, images.shape[-1]), layer.epsilon, training)
    # The kernel divides by count - 1 (Bessel's correction), Keras by count.
    count = _count(images)
    return outputs, mean, tf.math.divide_no_nan(variance * (count - 1.0), count)


def _kernel(images, gamma, beta, mean, variance, epsilon, training):
    # The raw op, because its Python wrapper raises epsilon to at least 1.001e-5.
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=images, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=training
    )
    return outputs, mean, variance


def _count(inputs):
    """How many values each channel has, as float32."""
    return tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)


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


def _synchronized(layer, inputs):
    """Normalize (..., channels) by the statistics of all replicas' inputs.

    Returns outputs, and the whole batch's mean, variance and count of values in each channel.
    """
    channels, epsilon = inputs.shape[-1], layer.epsilon
    gamma, beta, *_ = _parameters(layer, channels)

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        mean, variance, count = _statistics_of_all(x)
        outputs, *_ = _kernel(x, gamma, beta, mean, variance, epsilon, False)

        def gradient(upstream, *_):
            # As if mean and variance were constants; then what is due to their being functions of x
            # (Ioffe & Szegedy, 2015, section 3), which takes the sums over the whole batch.
            x_gradient, gamma_gradient, beta_gradient, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=x,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros([0]),
                epsilon=epsilon,
                is_training=False,
            )
            sums = tf.distribute.get_replica_context().all_reduce("SUM", tf.stack([gamma_gradient, beta_gradient]))
            means = tf.math.divide_no_nan(sums, count)
            inverse = tf.math.rsqrt(variance + epsilon)
            normalized = (tf.cast(x, tf.float32) - mean) * inverse
            x_gradient -= tf.cast(gamma * inverse * (means[1] + normalized * means[0]), x.dtype)
            return x_gradient, gamma_gradient, beta_gradient

        return (outputs, mean, variance, count), gradient

    outputs, *statistics = normalize(tf.reshape(inputs, [-1, 1, 1, channels]), gamma, beta)
    return tf.reshape(outputs, tf.shape(inputs)), *map(tf.stop_gradient, statistics)


def _statistics_of_all(x):
    """Mean and variance of each channel, and the count of its values, over the x of all replicas, in one all-reduce.

    Each replica puts its own into its row of a table whose other rows are zero, so that the sum holds them all: squares
    are summed about each replica's own mean, where E[x^2] - E[x]^2 would cancel.
    """
    zeros = tf.zeros([x.shape[-1]])
    _, mean, variance = _kernel(x, zeros, zeros, zeros, zeros, 1.0, True)
    count = _count(x)
    # Of an empty batch the kernel's mean is NaN; of a single value its variance is, which is divided by count - 1.
    mean = tf.where(count > 0, mean, 0.0)
    squares = tf.where(count > 1, variance * (count - 1.0), 0.0)
    replica = tf.distribute.get_replica_context()
    own_row = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync)[:, None]
    table = replica.all_reduce("SUM", own_row * tf.concat([mean, squares, [count]], 0))
    means, squares, counts = tf.split(table, [x.shape[-1], x.shape[-1], 1], axis=1)
    count = tf.reduce_sum(counts)
    mean = tf.math.divide_no_nan(tf.reduce_sum(counts * means, 0), count)
    squares = tf.reduce_sum(squares + counts * tf.square(means - mean), 0)
    return mean, tf.math.divide_no_nan(squares, count), count
