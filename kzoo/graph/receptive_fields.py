"""Which pixels an output depends on.

Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import LocalResponseNormalization, PadChannels, ReverseChannels

_layers = keras.layers
# Layers whose multiply-adds count, and of which depth is made.
WEIGHTED = (_layers.Conv2D, _layers.DepthwiseConv2D, _layers.SeparableConv2D, _layers.Dense)
_CONVOLUTIONS = WEIGHTED[:-1]
_POOLINGS = (_layers.MaxPooling2D, _layers.AveragePooling2D)
# Each output depends on the whole image. The windows of adaptive pooling differ in size.
_WHOLE = (
    _layers.GlobalAveragePooling2D,
    _layers.GlobalMaxPooling2D,
    _layers.AdaptiveAveragePooling2D,
    _layers.AdaptiveMaxPooling2D,
    _layers.Flatten,
)
# Each output depends on the same place of the input, and perhaps on other channels there.
_POINTWISE = (
    _layers.Dense,
    *(_layers.Activation, _layers.ReLU, _layers.LeakyReLU, _layers.PReLU, _layers.ELU, _layers.Softmax),
    *(_layers.BatchNormalization, LocalResponseNormalization, _layers.Rescaling, _layers.Normalization),
    *(_layers.Dropout, _layers.SpatialDropout2D, _layers.GaussianDropout, _layers.GaussianNoise),
    *(_layers.Add, _layers.Subtract, _layers.Multiply, _layers.Average, _layers.Maximum, _layers.Minimum),
    *(_layers.Concatenate, _layers.Identity, ReverseChannels, PadChannels),
)
# Sums and products that are no layers, as Keras's MobileNetV3 and ConvNeXt have them.
_OPERATIONS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative", "Maximum", "Minimum")
_OF_CONVNEXT = tuple(("keras.src.applications.convnext", name) for name in ("LayerScale", "StochasticDepth"))


@dataclass(frozen=True)
class Axis:
    """What is read along one axis of the image: output i depends on pixels `low + i * stride` to `high + i * stride`.

    Pixels before the first and after the last are padding.
    """

    low: int = 0
    high: int = 0
    stride: int = 1

    def window(self, size: int, stride: int = 1, before: int = 0) -> "Axis":
        """The axis after a window of `size`, moved by `stride`, the first one starting `before` the input."""
        low = self.low - before * self.stride
        return Axis(low, self.high + (size - 1 - before) * self.stride, self.stride * stride)

    def join(self, other: "Axis") -> "Axis":
        """Of two branches, all that either depends on."""
        return Axis(min(self.low, other.low), max(self.high, other.high), max(self.stride, other.stride))

    @property
    def size(self) -> int:
        """The pixels that an output depends on."""
        return self.high - self.low + 1


ReceptiveField = tuple[Axis, Axis] | None  # down and right; None is the whole image


def receptive_field(layer, inputs: Sequence[ReceptiveField], input_shape: Sequence[int]) -> ReceptiveField:
    """What the output of `layer` depends on, given what its inputs do; `input_shape` is that of the first input.

    Raises:
        InvalidArgument: A layer of which this is not known.
    """
    if isinstance(layer, _WHOLE):
        return None
    known = [axes for axes in inputs if axes is not None]
    whole = len(known) < len(inputs)
    if isinstance(layer, _layers.Reshape) and whole:
        return None
    if isinstance(layer, _POINTWISE) or _is_pointwise(layer):
        windows = ((1, 1, 0), (1, 1, 0))
    elif isinstance(layer, _CONVOLUTIONS):
        windows = _convolution(layer, input_shape)
    elif isinstance(layer, _POOLINGS):
        windows = _sliding(layer, layer.pool_size, input_shape)
    elif isinstance(layer, _layers.ZeroPadding2D):
        windows = [(1, 1, before) for before, _ in layer.padding]
    elif isinstance(layer, _layers.Cropping2D):
        windows = [(1, 1, -before) for before, _ in layer.cropping]
    else:
        raise InvalidArgument(
            f"What a layer of this type depends on is not known. Received: {type(layer).__name__} {layer.name!r}. "
            "Valid: 2D convolutions and poolings, padding, and layers that work on each pixel by itself."
        )
    if whole:
        return None
    down, right = (functools.reduce(Axis.join, axes) for axes in zip(*known, strict=True))
    return down.window(*windows[0]), right.window(*windows[1])


def _is_pointwise(layer) -> bool:
    """Whether it is an operation between numbers of the same place, or one of the layers of ConvNeXt."""
    if isinstance(layer, _layers.LayerNormalization):
        return layer.axis in (-1, 3, [-1], [3])  # over channels
    kind = type(layer)
    is_operation = kind.__module__ == "keras.src.ops.numpy" and kind.__name__ in _OPERATIONS
    return is_operation or (kind.__module__, kind.__name__) in _OF_CONVNEXT


def _convolution(layer, input_shape):
    dilated = [(size - 1) * rate + 1 for size, rate in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    return _sliding(layer, dilated, input_shape)


def _sliding(layer, sizes, input_shape):
    """(size, stride, padding before) of each axis."""
    if layer.data_format != "channels_last":
        raise InvalidArgument(
            f"Layers must have data_format='channels_last'. Received: {layer.data_format!r} in {layer.name!r}."
        )
    windows = []
    for size, stride, length in zip(sizes, layer.strides, input_shape[1:3], strict=True):
        missing = (math.ceil(length / stride) - 1) * stride + size - length if layer.padding == "same" else 0
        windows.append((size, stride, max(missing, 0) // 2))
    return windows
