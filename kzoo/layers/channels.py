"""Layers that move or add channels; none has weights."""

from kzoo.backend import keras


@keras.saving.register_keras_serializable(package="kzoo")
class ReverseChannels(keras.layers.Layer):
    """Reverse the order of the channels: RGB to BGR and back.

    Input and output: (..., channels), of any dtype.

    >>> import numpy as np
    >>> np.asarray(ReverseChannels()(np.array([[1.0, 2.0, 3.0]], "float32"))).tolist()
    [[3.0, 2.0, 1.0]]
    """

    def call(self, inputs):
        """Reverse the last axis of `inputs`."""
        return keras.ops.flip(inputs, axis=-1)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="kzoo")
class PadChannels(keras.layers.Layer):
    """Add channels of zeros before and after those of the input.

    Input: (batch, height, width, channels). Output: (batch, height, width, before + channels + after).

    Args:
        padding: How many channels to add: (before, after).

    >>> import numpy as np
    >>> np.asarray(PadChannels((1, 2))(np.ones((1, 1, 1, 2), "float32")))[0, 0, 0].tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, padding, **kwargs):
        super().__init__(**kwargs)
        before, after = padding
        self.padding = (int(before), int(after))

    def call(self, inputs):
        """Pad the last axis of `inputs`."""
        return keras.ops.pad(inputs, [(0, 0)] * (len(inputs.shape) - 1) + [self.padding])

    def compute_output_shape(self, input_shape):
        """The input's shape with more channels."""
        return (*input_shape[:-1], input_shape[-1] + sum(self.padding))

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "padding": self.padding}
