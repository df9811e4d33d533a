"""From a classifier to the graph that is exported: bytes in, probabilities out, batch normalization folded."""

from collections import Counter
from typing import Any

import numpy as np

from kzoo import functional
from kzoo.backend import keras, tf
from kzoo.classifier import image_shape_of, pixel_range_of, without_auxiliary_heads
from kzoo.data.pixels import RAW, can_scale, scale, shown
from kzoo.errors import InvalidArgument
from kzoo.layers import BatchNormalization, Conv2D, LocalResponseNormalization
from kzoo.outputs import check_classifier, gives_probabilities
from kzoo.train.precision import in_float32

IMAGES, PROBABILITIES = "images", "probabilities"  # what an exported model calls its input and output

# The layers that batch normalization is folded into, with the kernel that comes last in each.
_KERNELS = {
    keras.layers.Dense: "kernel",
    keras.layers.Conv2D: "kernel",
    Conv2D: "kernel",
    keras.layers.DepthwiseConv2D: "kernel",
    keras.layers.SeparableConv2D: "pointwise_kernel",
}


class _GroupedConv2D(keras.layers.Conv2D):
    """All groups in one operation. TensorFlow's kernel for CPUs has no gradient for it; the engines have one kernel."""

    def call(self, inputs):
        outputs = tf.nn.conv2d(inputs, self.kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


class _LocalResponseNormalization(LocalResponseNormalization):
    """By the operation that the engines know as one."""

    def call(self, inputs):
        return tf.nn.local_response_normalization(inputs, self.depth_radius, self.bias, self.alpha, self.beta)


def classifier_of(model) -> Any:
    """The model that is exported: the classifier alone, in float32.

    Raises:
        InvalidArgument: It does not end in a classifier, or takes other images than pixels of 0 to 255 can be made to.
    """
    model = without_auxiliary_heads(model)
    check_classifier(model)
    image_shape_of(model)
    given = pixel_range_of(model)
    if given != RAW and not can_scale(RAW, given):
        raise InvalidArgument(
            f"An exported model takes pixels of 0 to 255. Received: {model.name!r}, trained on values {shown(given)}. "
            "Put what makes these of pixels inside the model, as keras.layers.Rescaling, and train it so."
        )
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    return in_float32(model)


def inference_graph(model) -> Any:
    """A `tf.function` of images uint8 (N, height, width, channels) to probabilities float32 (N, classes).

    N may be any number, and so may height and width where the model's are None. The engines run it, so that it is made
    of operations that they know; TensorFlow's own kernels compute it as well.

    Args:
        model: What `classifier_of` gave.
    """
    folded, pixels, is_probabilities = fold(model), pixel_range_of(model), gives_probabilities(model)
    signature = [tf.TensorSpec((None, *image_shape_of(model)), tf.uint8, name=IMAGES)]

    def compute(images):
        values = tf.cast(images, tf.float32)
        outputs = folded(values if pixels == RAW else scale(values, pixels), training=False)
        if outputs.shape[-1] == 1:
            outputs = tf.concat([1.0 - outputs if is_probabilities else tf.zeros_like(outputs), outputs], axis=1)
        return {PROBABILITIES: tf.identity(outputs if is_probabilities else tf.nn.softmax(outputs))}

    function: Any = tf.function(compute, input_signature=signature, autograph=False)
    function.model = folded  # whose variables the function uses
    return function


def fold(model) -> Any:
    """A copy of a model with each batch normalization after a convolution or Dense layer folded into it, in float64.

    It is left as it is where something else reads that layer's output, or where one of the two is called several
    times; so are models within models whose graph is unknown. Both compute the same, up to rounding.

    >>> images = keras.Input((8, 8, 3))
    >>> x = BatchNormalization(name="bn")(Conv2D(4, 3, use_bias=False, name="conv")(images))
    >>> folded = fold(keras.Model(images, x))
    >>> [layer.name for layer in folded.layers][1:], folded.get_layer("conv").use_bias
    (['conv'], True)
    """
    if isinstance(model, keras.Sequential):  # which has no graph to change
        model = keras.Model(model.inputs, model.outputs[0], name=model.name)
    pairs = _foldable(model)
    normalizations = {id(normalization) for normalization in pairs.values()}
    copies: dict[int, Any] = {}

    def copy(layer):
        made = fold(layer) if functional.has_graph(layer) else _copy(layer, with_bias=id(layer) in pairs)
        copies[id(made)] = layer
        return made

    def call(layer, *arguments, **options):
        original = copies.get(id(layer))
        return arguments[0] if id(original) in normalizations else layer(*arguments, **options)

    folded = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in folded.layers:
        original = copies.get(id(layer))
        if original is None or functional.has_graph(layer):
            continue
        if id(original) in pairs:
            _set_folded(layer, original, pairs[id(original)])
        else:
            layer.set_weights(original.get_weights())
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()
    return folded


def _copy(layer, *, with_bias: bool):
    """A new layer that computes the same, by operations that engines know, with a bias if it gets one."""
    kind, config = type(layer), layer.get_config()
    if with_bias:
        config["use_bias"] = True
    if kind is LocalResponseNormalization:
        kind = _LocalResponseNormalization
    elif isinstance(layer, keras.layers.Conv2D) and kind in _KERNELS and _is_grouped(layer):
        kind = _GroupedConv2D
    return kind.from_config(config)


def _is_grouped(layer) -> bool:
    is_linear = layer.activation is keras.activations.linear
    return layer.groups > 1 and layer.data_format == "channels_last" and is_linear


def _foldable(model) -> dict[int, Any]:
    """The normalizations that can be folded, by the `id` of the convolution before each."""
    calls = list(functional.calls(model.outputs, set()))
    times = Counter(id(call.operation) for call in calls)
    readers = Counter(id(functional.call_of(tensor)) for call in calls for tensor in call.input_tensors)
    readers.update(id(functional.call_of(tensor)) for tensor in model.outputs)
    found = {}
    for call in calls:
        normalization = call.operation
        if type(normalization) not in (keras.layers.BatchNormalization, BatchNormalization):
            continue
        before = functional.call_of(call.input_tensors[0])
        convolution = before.operation
        is_alone = readers[id(before)] == 1 and times[id(convolution)] == times[id(normalization)] == 1
        if is_alone and type(convolution) in _KERNELS and _is_linear_over_channels(convolution, normalization):
            found[id(convolution)] = normalization
    return found


def _is_linear_over_channels(convolution, normalization) -> bool:
    is_last = normalization.axis in (-1, len(normalization.input.shape) - 1) and not normalization.renorm
    is_linear = convolution.activation is keras.activations.linear
    return is_last and is_linear and getattr(convolution, "data_format", "channels_last") == "channels_last"


def _set_folded(layer, convolution, normalization) -> None:
    """Set the weights of a convolution that also does what the normalization after it does."""
    names = [variable.name for variable in convolution.weights]
    weights = dict(zip(names, (np.asarray(w, np.float64) for w in convolution.get_weights()), strict=True))
    mean, variance = (np.asarray(v, np.float64) for v in (normalization.moving_mean, normalization.moving_variance))
    gamma = np.asarray(normalization.gamma, np.float64) if normalization.scale else 1.0
    beta = np.asarray(normalization.beta, np.float64) if normalization.center else 0.0
    factor = gamma / np.sqrt(variance + normalization.epsilon)
    kernel = _KERNELS[type(convolution)]
    # The output channels are the last axis; of a depthwise kernel the last two together.
    is_depthwise = type(convolution) is keras.layers.DepthwiseConv2D
    per_channel = factor.reshape(weights[kernel].shape[2:]) if is_depthwise else factor
    folded = {kernel: weights[kernel] * per_channel, "bias": beta + (weights.get("bias", 0.0) - mean) * factor}
    for variable in layer.weights:
        variable.assign({**weights, **folded}[variable.name].astype(np.float32))
