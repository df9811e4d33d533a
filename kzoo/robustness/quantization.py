"""A model that computes with few bits: what it gives, not how fast.

Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, section 2: uniform and
symmetric, so that zero stays zero. Weights have a step for each output channel, activations one for a tensor.

What is multiplied has few bits: the kernel of each convolution and Dense layer, and its input, in the first and last
layer too. Sums, biases and normalizations stay in float32. Batch normalization is not folded into the kernels, as that
would change nothing: it multiplies an output channel by a number, and so the channel's step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kzoo import console, functional
from kzoo.backend import compiled, keras, layers_within, tf
from kzoo.classifier import metadata, set_metadata
from kzoo.train.precision import twin

_layers = keras.layers
# The kernels of a layer by its class, with the axes that tell output channels apart. The first class that fits counts.
_KERNELS = (
    ((_layers.DepthwiseConv1D, _layers.DepthwiseConv2D), {"kernel": (-2, -1)}),
    ((_layers.SeparableConv1D, _layers.SeparableConv2D), {"depthwise_kernel": (-2, -1), "pointwise_kernel": (-1,)}),
    ((_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose), {"kernel": (-2,)}),
    ((_layers.Conv1D, _layers.Conv2D, _layers.Conv3D, _layers.Dense, _layers.EinsumDense), {"kernel": (-1,)}),
)

# Where values end is the share of the largest one with the least squared error among these.
_CLIPS = tuple(share / 20 for share in range(20, 0, -1))
_BINS = 4096  # of an activation's histogram


def levels(bits: int, *, signed: bool = True) -> tuple[int, int]:
    """The whole numbers of so many bits: symmetric, or from 0 on for what is never negative.

    >>> levels(4), levels(2), levels(2, signed=False)
    ((-7, 7), (-1, 1), (0, 3))
    """
    return (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def rounded(values, step, low: int, high: int):
    """Values as multiples of a step, from `low` to `high` steps.

    >>> rounded(np.array([-9.0, 0.4, 0.6, 3.0]), 1.0, -1, 1).tolist()
    [-1.0, 0.0, 1.0, 1.0]
    """
    return np.clip(np.rint(values / step), low, high) * step


def quantized_kernel(kernel: np.ndarray, bits: int, channels: Sequence[int] = (-1,)) -> np.ndarray:
    """A kernel in so many bits, with a step for each output channel: that of the least squared error.

    Args:
        kernel: Float, any shape.
        bits: 2 or more.
        channels: The axes that tell output channels apart.

    >>> quantized_kernel(np.array([[1.0, 10.0], [-0.9, 1.0]]), 2).tolist()
    [[0.949..., 10.0], [-0.949..., 0.0]]
    """
    axes = tuple(axis for axis in range(kernel.ndim) if axis - kernel.ndim not in channels)
    low, high = levels(bits)
    top = np.abs(kernel).max(axis=axes, keepdims=True)
    top = np.where(top == 0, 1, top).astype(kernel.dtype)
    best, least = kernel, np.full_like(top, np.inf)
    for clip in _CLIPS:
        found = rounded(kernel, top * np.float32(clip / high), low, high)
        error = np.square(found - kernel).sum(axis=axes, keepdims=True)
        best, least = np.where(error < least, found, best), np.minimum(error, least)
    return best


def step_of(counts: np.ndarray, top: float, bits: int, *, signed: bool) -> float:
    """The step of the least squared error for values whose magnitudes have this histogram, of 0 to `top`."""
    low, high = levels(bits, signed=signed)
    values = (np.arange(len(counts)) + 0.5) * (top / len(counts))
    steps = [clip * top / high for clip in _CLIPS]
    errors = [float(counts @ np.square(rounded(values, step, low, high) - values)) for step in steps]
    return steps[int(np.argmin(errors))]


class _Rounding(keras.layers.Layer):
    """Rounds its input to multiples of a step; before one is set, it hands it on as it is."""

    def build(self, input_shape):
        options = {"shape": (), "trainable": False, "dtype": "float32", "initializer": "ones"}
        self.step, self.low, self.high = (self.add_weight(name=name, **options) for name in ("step", "low", "high"))
        self.is_set = False

    def set(self, step: float, low: int, high: int) -> None:
        for variable, value in ((self.step, step), (self.low, low), (self.high, high)):
            variable.assign(value)
        self.is_set = True

    def call(self, inputs):
        if not self.is_set:
            return inputs
        values = keras.ops.round(keras.ops.cast(inputs, "float32") / self.step)
        return keras.ops.cast(keras.ops.clip(values, self.low, self.high) * self.step, inputs.dtype)


class Quantized:
    """A copy of a classifier that computes with as many bits as `use` says. The classifier stays as it is.

    Args:
        model: A Functional or Sequential classifier; models within it are looked into.
        images: Batches of images as the model takes them, by which the steps of activations are chosen.

    Attributes:
        model: The `keras.Model`, in float32 until `use` is called.

    >>> net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2, name="last")])
    >>> few = Quantized(net, [np.linspace(0, 255, 32, dtype="float32").reshape(2, 4, 4, 1)])
    >>> few.use(bits=2)
    >>> len(np.unique(few.model.get_layer("last").kernel[:, 0])) <= 3
    True
    """

    def __init__(self, model, images: Sequence[np.ndarray]):
        copy = twin(model)
        self._roundings: list[tuple[_Rounding, Any]] = []  # with the tensor that each is called on
        (output,) = _called_again(copy.outputs, {id(tensor): tensor for tensor in copy.inputs}, self._rounded)
        self.model = set_metadata(keras.Model(copy.inputs[0], output, name=model.name), **metadata(model))
        within = [layer for layer in self.model.layers if not kernels_of(layer) and _kernels_within(layer)]
        if within:
            names = ", ".join(layer.name for layer in within)
            console.warn(f"within some layers activations keep their bits, as the graph does not show them: {names}")
        kernels = {id(kernel): (kernel, channels) for kernel, channels in _kernels_within(self.model)}
        self._kernels = [(kernel, kernel.numpy(), channels) for kernel, channels in kernels.values()]
        self._histograms = self._calibrated(images)

    def use(self, bits: int) -> None:
        """Round weights and activations to so many bits, 2 or more."""
        for kernel, values, channels in self._kernels:
            kernel.assign(quantized_kernel(values, bits, channels))
        for (rounding, _), (counts, top, signed) in zip(self._roundings, self._histograms, strict=True):
            rounding.set(step_of(counts, top, bits, signed=signed), *levels(bits, signed=signed))

    def _rounded(self, tensor):
        rounding = _Rounding(dtype=tensor.dtype)
        self._roundings.append((rounding, tensor))
        return rounding(tensor)

    def _calibrated(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float, bool]]:
        """Of each activation the histogram of its magnitudes, the largest, and whether some are negative."""
        seen = keras.Model(self.model.inputs[0], [tensor for _, tensor in self._roundings])

        def activations(batch):
            found = seen(batch, training=False)
            return [tf.cast(x, tf.float32) for x in (found if isinstance(found, list) else [found])]

        def ends(batch):
            return [(tf.reduce_min(x), tf.reduce_max(x)) for x in activations(batch)]

        def counts(batch, tops):
            ranges = [[0.0, top] for top in tf.unstack(tops, len(self._roundings))]
            pairs = zip(activations(batch), ranges, strict=True)
            return [tf.histogram_fixed_width(tf.abs(x), ends, _BINS, tf.int64) for x, ends in pairs]

        ends, counts = compiled(ends), compiled(counts)
        found = np.array([ends(batch) for batch in images])  # (batches, activations, 2)
        lowest, highest = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
        tops = np.maximum(-lowest, highest)
        tops[tops <= 0] = 1
        histograms = np.sum([counts(batch, tops) for batch in images], axis=0, dtype=float)
        return list(zip(histograms, tops.tolist(), (lowest < 0).tolist(), strict=True))


def kernels_of(layer) -> list[tuple[Any, tuple[int, ...]]]:
    """The kernels of a layer itself, each with the axes that tell its output channels apart."""
    for classes, kernels in _KERNELS:
        if isinstance(layer, classes):
            return [(getattr(layer, name), channels) for name, channels in kernels.items()]
    return []


def _kernels_within(layer) -> list[tuple[Any, tuple[int, ...]]]:
    return [pair for one in layers_within(layer) for pair in kernels_of(one)]


def _called_again(outputs: Sequence, known: dict[int, Any], before_kernel: Callable[[Any], Any]) -> list:
    """Symbolic outputs computed again, with something between each layer that has a kernel and what it is called on.

    Args:
        outputs: Symbolic tensors of a model.
        known: What stands for the model's inputs, by their id.
        before_kernel: What makes another tensor of the one that a layer with a kernel is called on.
    """
    known = dict(known)
    for call in functional.calls(outputs, set()):
        if id(call.outputs[0]) in known:
            continue  # an input
        layer, change = call.operation, before_kernel if kernels_of(call.operation) else lambda tensor: tensor
        if functional.inner_tensor(call.outputs[0]) is not None:
            inputs = [known[id(tensor)] for tensor in call.input_tensors]
            inner = {id(tensor): value for tensor, value in zip(layer.inputs, inputs, strict=True)}
            found = _called_again(layer.outputs, inner, before_kernel)
        else:
            arguments, options = call.arguments.convert(
                lambda x, change=change: change(known[id(x)]) if isinstance(x, keras.KerasTensor) else x
            )
            found = keras.tree.flatten(layer(*arguments, **options))
        known.update((id(tensor), value) for tensor, value in zip(call.outputs, found, strict=True))
    return [known[id(tensor)] for tensor in outputs]
