"""Convolution, by the operations that TensorFlow has fast kernels for.

Keras 3.15 adds the bias by a broadcast sum, which TensorFlow's graph optimizer cannot fuse with the convolution, and
computes grouped convolutions (Xie et al., 2017, Figure 3c) through XLA, whose code for them on a CPU is far slower than
one convolution for each group.
"""

from kzoo.backend import keras, tf


@keras.saving.register_keras_serializable(package="kzoo")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, faster: the same arguments, weights, config and results.

    With images of layout (batch, channels, height, width), or another backend than TensorFlow, Keras's own
    implementation computes it.

    >>> import numpy as np
    >>> layer = Conv2D(4, 3, padding="same", groups=2)
    >>> layer(np.zeros((1, 8, 8, 6), "float32")).shape, layer.kernel.shape
    (TensorShape([1, 8, 8, 4]), TensorShape([3, 3, 3, 4]))
    """

    def call(self, inputs):
        """Convolve `inputs` (batch, height, width, channels)."""
        if tf is None or self.data_format != "channels_last":
            return super().call(inputs)
        convolve = self._convolve_groups if self.groups > 1 and not _has_gpu() else self.convolution_op
        outputs = convolve(inputs, self.kernel)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _convolve_groups(self, inputs, kernel):
        """One convolution for each group: TensorFlow's kernel for CPUs has no gradient for several at once.

        With a channel in each group, as in ConvNeXt, it is a depthwise convolution.
        """
        if self.groups == inputs.shape[-1] and self.strides[0] == self.strides[1]:
            window, factor = kernel.shape[:2], kernel.shape[-1] // self.groups
            depthwise = tf.reshape(kernel, (*window, self.groups, factor))
            strides = (1, *self.strides, 1)
            return tf.nn.depthwise_conv2d(
                inputs, depthwise, strides, self.padding.upper(), dilations=self.dilation_rate
            )
        kernels = tf.split(kernel, self.groups, axis=-1)
        parts = tf.split(inputs, self.groups, axis=-1)
        return tf.concat([self.convolution_op(x, k) for x, k in zip(parts, kernels, strict=True)], axis=-1)


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
