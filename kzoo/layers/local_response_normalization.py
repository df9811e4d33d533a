"""Local response normalization (Krizhevsky et al., "ImageNet Classification with Deep CNNs", 2012, section 3.3)."""

import numpy as np

from kzoo.backend import keras


@keras.saving.register_keras_serializable(package="kzoo")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each activation by `(bias + alpha * s) ** beta`, `s` the sum of squares over the channels around it.

    Inputs: (..., channels); the output has the same shape. Computed in float32 whatever the dtype policy: squares
    overflow in float16. The defaults are GoogLeNet's. As in `tf.nn.local_response_normalization`, `alpha` multiplies
    the sum; Caffe and PyTorch first divide theirs by the window's number of channels (their 1e-4 for 5 is 2e-5 here).

    Args:
        depth_radius: Channels on either side that count.
        bias: What is added to the sum; the paper's k.
        alpha: Factor of the sum.
        beta: Exponent.

    >>> import numpy as np
    >>> layer = LocalResponseNormalization(depth_radius=1, bias=8.0, alpha=1.0, beta=1.0)
    >>> np.asarray(layer(np.array([[2.0, 2.0, 0.0]], "float32"))).tolist()
    [[0.125, 0.125, 0.0]]
    """

    def __init__(self, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs):
        """Normalize `inputs`."""
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        # The sum over neighbours as a product with a matrix of ones around its diagonal, forward and backward: a CPU
        # multiplies matrices faster than it runs TensorFlow's own op, or adds slices.
        channels = np.arange(x.shape[-1])
        near = np.abs(channels[:, np.newaxis] - channels) <= self.depth_radius
        base = self.bias + ops.matmul(ops.square(x), (self.alpha * near).astype("float32"))
        return ops.cast(x * _power(base, -self.beta), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """The input's."""
        return input_shape

    def get_config(self):
        """The arguments."""
        names = ("depth_radius", "bias", "alpha", "beta")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _power(base, exponent):
    """Positive numbers to a power; to GoogLeNet's by square roots, which take a fraction of the time."""
    if exponent != -0.75:
        return keras.ops.power(base, exponent)
    root = keras.ops.rsqrt(base)
    return root * keras.ops.sqrt(root)
