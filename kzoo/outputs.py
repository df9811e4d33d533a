"""What a classifier's output means, read off the model's graph: logits or probabilities, and the logits of either.

A classifier has one output of shape (batch, classes), or (batch, 1) for two classes: then it is the logit or the
probability (sigmoid) of class 1. Layers that change nothing, such as Dropout or Activation("linear"), are looked
through, and so are models within models. What is neither logits nor probabilities for sure is refused.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from kzoo import functional
from kzoo.backend import keras, tf
from kzoo.classifier import PREDICTIONS, auxiliary_heads
from kzoo.errors import InvalidArgument

_Layers = keras.layers
# Layers whose last step is their activation, and that are linear without it.
_LINEAR = (_Layers.Dense, _Layers.EinsumDense, _Layers.Conv1D, _Layers.Conv2D, _Layers.Conv3D)
# Layers that leave their input as it is, at inference.
_UNCHANGING = (
    _Layers.Identity,
    _Layers.Dropout,
    _Layers.SpatialDropout1D,
    _Layers.SpatialDropout2D,
    _Layers.SpatialDropout3D,
    _Layers.GaussianDropout,
    _Layers.GaussianNoise,
    _Layers.AlphaDropout,
    _Layers.ActivityRegularization,
)
_GLOBAL_AVERAGES = (_Layers.GlobalAveragePooling1D, _Layers.GlobalAveragePooling2D, _Layers.GlobalAveragePooling3D)
# Layers that make logits of logits: the classes stay as they are, or keep their places.
_KEEP_LOGITS = (
    _Layers.Add,
    _Layers.Subtract,
    _Layers.Rescaling,
    _Layers.BatchNormalization,
    _Layers.LayerNormalization,
    _Layers.AveragePooling2D,
    _Layers.MaxPooling2D,
    _Layers.GlobalMaxPooling1D,
    _Layers.GlobalMaxPooling2D,
    _Layers.GlobalMaxPooling3D,
)
# The same, of operations that are no layers, by the names of their classes in keras.ops.
_UNCHANGING_OPERATIONS = ("Cast", "Identity")
_RESHAPING_OPERATIONS = ("Reshape", "Squeeze")
_OPERATIONS_THAT_KEEP_LOGITS = ("Add", "Subtract")
_OPERATIONS_THAT_SCALE = ("Multiply", "TrueDivide")

_SOFTMAX = [keras.activations.softmax, keras.ops.softmax, *([] if tf is None else [tf.nn.softmax])]
_SIGMOID = [keras.activations.sigmoid, keras.ops.sigmoid, *([] if tf is None else [tf.nn.sigmoid])]
# Log-probabilities are logits: their softmax is the probabilities.
_LOGITS = [None, keras.activations.linear, keras.activations.log_softmax, keras.ops.log_softmax]

_WHAT_TO_DO = (
    "End it in Dense(classes), which gives logits, or in Dense(classes, activation='softmax'); to a model that gives "
    "logits otherwise add keras.layers.Softmax()."
)


class _Reading(NamedTuple):
    """What a tensor of a model is, and how its logits are computed."""

    is_probabilities: bool
    sources: list
    """The tensors of the model that the logits are computed from."""
    logits: Callable[[Sequence[Any], bool], Any]
    """From the values of `sources` and whether it is training. Of probabilities that are one number, those of both
    classes."""
    shape: tuple
    """Of the logits; the classes come last."""


def check_classifier(model) -> None:
    """Raise InvalidArgument unless a model's output, besides auxiliary heads, is that of a classifier."""
    _read_heads(model)


def classes_of(model) -> int:
    """The number of classes that a classifier without auxiliary heads tells apart: two, if it has one output."""
    outputs = model.output_shape[-1]
    return 2 if outputs == 1 else outputs


def gives_probabilities(model) -> bool:
    """Whether a classifier's output is probabilities; otherwise it is logits."""
    return _read_heads(model)[PREDICTIONS].is_probabilities


def as_probabilities(model, outputs: np.ndarray) -> np.ndarray:
    """The probabilities of all classes, (batch, classes) float32, of what a classifier gave."""
    outputs = np.asarray(outputs, np.float32)
    if gives_probabilities(model):
        return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs
    if outputs.shape[1] == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def logits_of(model) -> Callable[..., dict[str, Any]]:
    """A function that computes the logits of a classifier and of its auxiliary heads, with the model's weights.

    Of a softmax or sigmoid they are what it is computed from, in whatever precision that is. Of an average of
    probabilities they are the logarithms of the average, computed from the logits, in float32.

    Returns:
        A function of (images, training) to logits (batch, classes) by the name of the head, "predictions" for the
        classifier. Its softmax is the model's probabilities. The model is left as it is.

    Raises:
        InvalidArgument: An output is neither logits nor probabilities.

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Softmax()])
    >>> images = np.ones((1, 2), "float32")
    >>> logits = logits_of(model)(images, training=False)["predictions"]
    >>> bool(np.allclose(keras.ops.softmax(logits), model(images)))
    True
    """
    readings = _read_heads(model)
    sources = [source for reading in readings.values() for source in reading.sources]
    body = _part(model.inputs, sources)

    def compute(images, training):
        values, found = iter(body([images], training)), {}
        for name, reading in readings.items():
            logits = reading.logits([next(values) for _ in reading.sources], training)
            found[name] = _of_two_classes(logits) if logits.shape[-1] == 1 else logits
        return found

    return compute


def log_of_mean(logits, axis: int = 0):
    """The logarithm of the mean of the probabilities that some logits are of: their softmax is that mean.

    It never leaves the logarithms, so that small probabilities keep their digits.

    Args:
        logits: A list of tensors (batch, classes), or a tensor with one more axis.
        axis: The axis over which the mean is taken; of a list 0.

    >>> ones = keras.ops.log([[0.5, 0.5]])
    >>> mean = keras.ops.exp(log_of_mean([ones, keras.ops.log([[0.9, 0.1]])]))
    >>> [round(float(one), 3) for one in mean[0]]
    [0.7, 0.3]
    """
    stacked = keras.ops.stack(logits, axis=axis) if isinstance(logits, list) else logits
    logs = keras.ops.log_softmax(keras.ops.cast(stacked, "float32"), axis=-1)
    return keras.ops.logsumexp(logs, axis=axis) - np.log(stacked.shape[axis])


def classifier_layer(model):
    """The Dense layer that a classifier's output is of, in `model` or in a model within it; None if there is none."""
    call = _classifier_call(functional.outputs(model)[0], within_models=True)
    return None if call is None else call.operation


def features_below_classifiers(model) -> list:
    """The tensors that a classifier's Dense layer is called on; the model's output, if it ends in features.

    There is one, and of a model that averages the probabilities of several, as `kzoo.ensemble` does, one for each.

    Raises:
        InvalidArgument: The model ends in a classifier that is no Dense layer of `model` itself.
    """
    return _features_below(model, functional.outputs(model)[0])


def _features_below(model, output) -> list:
    call = _classifier_call(output, within_models=False)
    if call is not None:
        return [call.input_tensors[0]]
    last = functional.call_of(output)
    if _is_of_both_classes(last.operation, last.input_tensors):
        return _features_below(model, last.input_tensors[1])
    if _calls_as(last.operation, (_Layers.Average,)) and _is_probabilities(output):
        return [features for one in last.input_tensors for features in _features_below(model, one)]
    buried = _classifier_call(output, within_models=True) is not None
    if buried or _is_probabilities(output) or _is_average_of_logits(output):
        raise InvalidArgument(
            f"The model ends in a classifier that cannot be taken off. Received: {model.name}, whose last layer is "
            f"{functional.layer_of(output).name!r}. Pass the model up to its features, for example one made with "
            "include_top=False."
        )
    return [output]


def _classifier_call(output, *, within_models: bool):
    """The call of a Dense layer that gives `output`, perhaps by way of a softmax and what changes nothing."""
    tensor = output
    while True:
        call, inner = functional.call_of(tensor), functional.inner_tensor(tensor)
        layer = call.operation
        is_dense = isinstance(layer, keras.layers.Dense)
        if is_dense or (tensor is not output and _is_classifying_convolution(call)):
            return call if tensor is output or layer.activation in (*_LOGITS, *_SOFTMAX, *_SIGMOID) else None
        if inner is not None and within_models:
            tensor = inner
        elif _is_unchanging(layer) or _is_activation_of_classes(layer) or _keeps_classes(call):
            tensor = call.input_tensors[0]
        else:
            return None


def _is_classifying_convolution(call) -> bool:
    """Whether it is a convolution of one pixel, which computes what a Dense layer does: MobileNet's classifier."""
    layer, shape = call.operation, call.input_tensors[0].shape if call.input_tensors else ()
    if not _calls_as(layer, (_Layers.Conv2D,)) or layer.data_format != "channels_last" or layer.groups != 1:
        return False
    return (
        tuple(shape[1:3]) == (1, 1)
        and tuple(layer.kernel_size) == (1, 1)
        and tuple(call.outputs[0].shape[1:3]) == (1, 1)
    )


def _keeps_classes(call) -> bool:
    """Whether a call gives the classes of its input in another shape or scale."""
    layer = call.operation
    if _calls_as(layer, (_Layers.Rescaling,)):
        return True
    if not _calls_as(layer, (_Layers.Flatten, _Layers.Reshape)) and not _is_operation(layer, _RESHAPING_OPERATIONS):
        return False
    before, after = call.input_tensors[0].shape, call.outputs[0].shape
    return before[-1] == after[-1] and not _has_other_axes(before, len(before) - 1)


def _is_activation_of_classes(layer) -> bool:
    if isinstance(layer, _Layers.Activation):
        return layer.activation in (*_LOGITS, *_SOFTMAX, *_SIGMOID)
    return isinstance(layer, _Layers.Softmax) or _is_operation(layer, ("Softmax", "Sigmoid", "LogSoftmax"))


def _is_average_of_logits(tensor) -> bool:
    call = functional.call_of(tensor)
    if not _calls_as(call.operation, (_Layers.Average,)):
        return False
    found = [_classifier_call(one, within_models=True) for one in call.input_tensors]
    return all(one is not None and one.operation.activation in _LOGITS for one in found)


def _is_probabilities(tensor) -> bool:
    try:
        return _read(tensor).is_probabilities
    except InvalidArgument:
        return False


def _read_heads(model) -> dict[str, _Reading]:
    return {name: _read_classes(tensor) for name, tensor in _heads(model).items()}


def _heads(model) -> dict[str, Any]:
    """The outputs of a classifier by their names, `PREDICTIONS` first."""
    if not isinstance(model, keras.Model):
        raise InvalidArgument(f"A classifier must be a keras.Model. Received: {type(model).__name__}.")
    try:
        shape, outputs = model.output_shape, model.outputs
    except (AttributeError, ValueError):
        raise InvalidArgument(
            f"The model {model.name!r} is not built, or has no graph: kzoo reads off it what the output means. Give a "
            "Sequential model its input shape by a keras.Input; make of another one x = keras.Input(shape), "
            "keras.Model(x, keras.layers.Softmax()(model(x)))."
        ) from None
    names = auxiliary_heads(model)
    if names:
        return {name: model.output[name] for name in (PREDICTIONS, *names)}
    if len(outputs) != 1 or not isinstance(shape, tuple) or not _is_classes(shape):
        raise InvalidArgument(
            f"A classifier must have one output of shape (batch, classes). Received: output_shape={shape!r}."
        )
    return {PREDICTIONS: outputs[0]}


def _is_classes(shape) -> bool:
    return len(shape) == 2 and isinstance(shape[1], int)


def _read_classes(tensor) -> _Reading:
    """Read an output of shape (batch, classes)."""
    if not _is_classes(tensor.shape):
        raise InvalidArgument(f"A head must have an output of shape (batch, classes). Received: shape={tensor.shape}.")
    return _read(tensor)


def _read(tensor) -> _Reading:
    """Find out what a tensor is.

    Raises:
        InvalidArgument: Neither logits nor probabilities.
    """
    call = functional.call_of(tensor)
    layer, inputs = call.operation, list(call.input_tensors)
    if (inner := functional.inner_tensor(tensor)) is not None:
        reading = _read(inner)
        within = reading._replace(sources=inputs, logits=_within(layer, reading))
        return within if reading.is_probabilities else _as_it_is(tensor)
    if _is_unchanging(layer):
        reading = _read(inputs[0])
        return reading if reading.is_probabilities else _as_it_is(tensor)
    if _is_operation(layer, ("LogSoftmax",)):
        return _as_it_is(tensor)
    if (_calls_as(layer, (_Layers.Softmax,)) and len(inputs) == 1) or _is_operation(layer, ("Softmax",)):
        return _softmax(tensor, inputs[0], layer.axis, lambda x: x)
    if _is_operation(layer, ("Sigmoid",)):
        return _sigmoid(tensor, inputs[0], lambda x: x)
    if _calls_as(layer, _LINEAR) or _calls_as(layer, (_Layers.Activation,)):
        activation = layer.activation
        if activation in _SOFTMAX:
            return _softmax(tensor, inputs[0], -1, _before_activation(layer))
        if activation in _SIGMOID:
            return _sigmoid(tensor, inputs[0], _before_activation(layer))
        if activation in _LOGITS:
            return _as_it_is(tensor)
        raise _refusal(f"{getattr(activation, '__name__', activation)!r} in its last layer {layer.name!r}")
    if _calls_as(layer, (_Layers.Average, *_GLOBAL_AVERAGES)) and inputs:
        return _average(tensor, [_read(one) for one in inputs])
    if _is_of_both_classes(layer, inputs):
        return _read(inputs[1])._replace(shape=(None, 2))
    if _calls_as(layer, (_Layers.Flatten, _Layers.Reshape)) or _is_operation(layer, _RESHAPING_OPERATIONS):
        return _reshaped(tensor, _read(inputs[0]))
    scales = _is_operation(layer, _OPERATIONS_THAT_SCALE) and len(inputs) == 1
    if scales or _calls_as(layer, _KEEP_LOGITS) or _is_operation(layer, _OPERATIONS_THAT_KEEP_LOGITS):
        if inputs and not any(_read(one).is_probabilities for one in inputs):
            return _as_it_is(tensor)
        raise _refusal(f"probabilities that its last layer {layer.name!r}, {type(layer).__name__}, changes")
    raise _refusal(f"its last layer {layer.name!r} is of class {type(layer).__name__}, which could give anything")


def _refusal(received: str, hint: str = _WHAT_TO_DO) -> InvalidArgument:
    return InvalidArgument(f"A classifier must end in softmax or in logits. Received: {received}. {hint}")


def _as_it_is(tensor) -> _Reading:
    """Logits, as the model gives them."""
    return _Reading(False, [tensor], lambda values, _: values[0], tuple(tensor.shape))


def _softmax(tensor, source, axis, before) -> _Reading:
    shape = tuple(tensor.shape)
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if len(axes) != 1 or axes[0] % len(shape) == 0:
        raise _refusal(f"a softmax over the axes {axis}", "It must be over the classes, the last axis.")
    axis = axes[0] % len(shape)
    if shape[axis] == 1:
        raise _refusal(
            "a softmax over one output, which is always 1",
            "Give two classes two outputs, or one with activation='sigmoid' or without any.",
        )
    if axis == len(shape) - 1:
        return _Reading(True, [source], lambda values, _: before(values[0]), shape)
    if _has_other_axes(shape, axis):
        raise _refusal(f"a softmax over axis {axis} of shape {shape}", "It must be over the classes, the last axis.")
    classes = shape[axis]
    flat = (None, classes)
    return _Reading(True, [source], lambda values, _: keras.ops.reshape(before(values[0]), (-1, classes)), flat)


def _sigmoid(tensor, source, before) -> _Reading:
    shape = tuple(tensor.shape)
    if shape[-1] != 1:
        raise _refusal(
            f"'sigmoid' in its last layer {functional.layer_of(tensor).name!r} with {shape[-1]} outputs",
            "Several labels for an image are not supported. For one label of several use softmax; for two classes "
            "sigmoid with one output.",
        )
    return _Reading(True, [source], lambda values, _: _of_two_classes(before(values[0])), (*shape[:-1], 2))


def _average(tensor, readings: list[_Reading]) -> _Reading:
    """The mean over several tensors, or over the positions of one."""
    kinds = {reading.is_probabilities for reading in readings}
    if kinds == {False}:
        return _as_it_is(tensor)
    if len(kinds) > 1:
        raise _refusal(f"an average of logits and probabilities, {functional.layer_of(tensor).name!r}")
    layer = functional.layer_of(tensor)
    over_positions = not isinstance(layer, _Layers.Average)
    if over_positions and (getattr(layer, "data_format", None) != "channels_last" or layer.keepdims):
        raise _refusal(f"an average over the positions of an image by {layer.name!r}")
    if over_positions and None in readings[0].shape[1:]:
        raise _refusal(f"an average by {layer.name!r} over positions of unknown number")

    def logits(values, training):
        values, parts = iter(values), []
        for reading in readings:
            own = reading.logits([next(values) for _ in reading.sources], training)
            parts.append(own)
        if over_positions:
            count, classes = int(np.prod(readings[0].shape[1:-1])), readings[0].shape[-1]
            return log_of_mean(keras.ops.reshape(parts[0], (-1, count, classes)), axis=1)
        return log_of_mean(parts)

    shape = (None, readings[0].shape[-1]) if over_positions else readings[0].shape
    return _Reading(True, [source for reading in readings for source in reading.sources], logits, shape)


def _is_of_both_classes(layer, inputs: list) -> bool:
    """Whether a layer puts 1 - p before p, the probability of class 1 of two: `kzoo.ensemble` makes it."""
    if not (_calls_as(layer, (_Layers.Concatenate,)) and len(inputs) == 2 and inputs[1].shape == (None, 1)):
        return False
    other = functional.call_of(inputs[0])
    is_complement = _calls_as(other.operation, (_Layers.Rescaling,)) and (
        (other.operation.scale, other.operation.offset) == (-1.0, 1.0)
    )
    return is_complement and other.input_tensors[0] is inputs[1] and _is_probabilities(inputs[1])


def _reshaped(tensor, reading: _Reading) -> _Reading:
    """What Flatten and its like make of another tensor."""
    if not reading.is_probabilities:
        return _as_it_is(tensor)
    if _has_other_axes(reading.shape, len(reading.shape) - 1):
        layer = functional.layer_of(tensor)
        raise _refusal(f"probabilities of several positions, {reading.shape}, that {layer.name!r} reshapes")
    classes = reading.shape[-1]

    def logits(values, training):
        return keras.ops.reshape(reading.logits(values, training), (-1, classes))

    return _Reading(True, reading.sources, logits, (None, classes))


def _has_other_axes(shape, axis: int) -> bool:
    return any(size != 1 for i, size in enumerate(shape) if i not in (0, axis))


def _within(model, reading: _Reading):
    """How the logits of a model within a model are computed from its inputs."""
    body = cache(lambda: _part(model.inputs, reading.sources))  # not made where a model is only read
    return lambda values, training: reading.logits(body()(values, training), training)


def _part(inputs: list, outputs: list):
    """A function of (values of inputs, training) to those of outputs: a part of a model, whose layers it shares."""
    single = len(inputs) == 1
    part = keras.Model(inputs[0] if single else inputs, outputs)

    def compute(values, training):
        found = part(values[0] if single else list(values), training=training)
        return list(found) if isinstance(found, list | tuple) else [found]

    return compute


def _before_activation(layer):
    """What a layer computes before its activation, here alone: it may be called elsewhere in the model too."""

    def compute(inputs):
        activation = layer.activation
        layer.activation = keras.activations.linear
        try:
            found = layer(inputs)
        finally:
            layer.activation = activation
        if layer.activity_regularizer is not None:
            layer(inputs)  # the layer's loss is that of its whole output
        return found

    return compute


def _of_two_classes(logit):
    return keras.ops.concatenate([keras.ops.zeros_like(logit), logit], axis=-1)


def _is_unchanging(layer) -> bool:
    is_linear = _calls_as(layer, (_Layers.Activation,)) and layer.activation is keras.activations.linear
    return is_linear or _calls_as(layer, _UNCHANGING) or _is_operation(layer, _UNCHANGING_OPERATIONS)


def _calls_as(layer, classes: tuple) -> bool:
    """Whether a layer computes what one of Keras's classes does: a user's subclass may have a `call` of its own."""
    by_kzoo = type(layer).__module__.startswith("kzoo.layers.")
    return any(isinstance(layer, one) and (by_kzoo or type(layer).call is one.call) for one in classes)


def _is_operation(layer, names: tuple[str, ...]) -> bool:
    return type(layer).__module__.startswith("keras.src.ops.") and type(layer).__name__ in names
