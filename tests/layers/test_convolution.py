"""The convolution computes what Keras's computes."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.backend import keras
from kzoo.layers import Conv2D

CASES = [
    {"groups": 1, "padding": "same", "activation": "relu"},
    {"groups": 4, "padding": "same", "use_bias": False},
    {"groups": 4, "padding": "valid", "strides": 2},
    {"groups": 8, "padding": "same", "dilation_rate": 2},
    {"groups": 8, "padding": "same", "strides": 2, "activation": "relu"},
    {"groups": 8, "padding": "valid", "strides": (1, 2)},
]


def pair(**arguments):
    """Keras's layer and ours, with the same random weights."""
    layers = keras.layers.Conv2D(16, 3, **arguments), Conv2D(16, 3, **arguments)
    for layer in layers:
        layer.build((None, 9, 7, 8))
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.2, w.shape).astype("float32") for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def outputs_and_gradients(layer, inputs, upstream):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
    return [outputs, *tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_results_equal_keras(arguments):
    keras_layer, layer = pair(**arguments)
    inputs = tf.random.stateless_normal((5, 9, 7, 8), (0, 1))
    upstream = tf.random.stateless_normal(keras_layer.compute_output_shape(inputs.shape), (0, 2))
    expected = outputs_and_gradients(keras_layer, inputs, upstream)
    found = outputs_and_gradients(layer, inputs, upstream)
    for ours, theirs in zip(found, expected, strict=True):
        # Sums of up to 315 products of order 1 in float32, in another order.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(groups, dtype):
    layer = Conv2D(16, 3, groups=groups, dtype=f"mixed_{dtype}")
    exact = Conv2D(16, 3, groups=groups)
    inputs = np.random.default_rng(0).normal(size=(2, 9, 7, 8)).astype("float32")
    layer.build(inputs.shape)
    exact.build(inputs.shape)
    exact.set_weights(layer.get_weights())
    outputs = layer(inputs)
    assert outputs.dtype == dtype
    assert {w.dtype for w in layer.weights} == {"float32"}
    # Inputs and kernels are rounded, to 8 or 11 bits; the outputs are of order 1.
    np.testing.assert_allclose(
        tf.cast(outputs, "float32"), exact(inputs), atol=4 * 2.0 ** (-8 if "b" in dtype else -11)
    )


def test_a_grouped_convolution_leaves_xla_alone_on_a_cpu():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU has a kernel for grouped convolutions")
    names = {}
    for layer in pair(groups=4):
        concrete = tf.function(layer).get_concrete_function(tf.TensorSpec((2, 9, 7, 8)))
        definition = concrete.graph.as_graph_def()
        compiled = [f for f in definition.library.function if f.attr["_XlaMustCompile"].b]
        names[type(layer).__module__.split(".")[0]] = len(compiled)
    assert names == {"keras": 1, "kzoo": 0}  # the first: that there is still something to leave alone


def test_bias_is_added_by_the_operation_that_fuses():
    definition = tf.function(Conv2D(4, 3)).get_concrete_function(tf.TensorSpec((2, 9, 7, 8))).graph.as_graph_def()
    assert [node.op for node in definition.node if node.op in ("BiasAdd", "AddV2")] == ["BiasAdd"]


def test_weights_config_and_channels_first():
    keras_layer, layer = pair(groups=4)
    described = [[(w.name, w.shape, w.trainable) for w in one.weights] for one in (keras_layer, layer)]
    assert described[1] == described[0]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is Conv2D
    assert again.get_config() == layer.get_config()
    # TensorFlow's CPU kernels have no such layout; the shape is Keras's all the same.
    spec = keras.KerasTensor((2, 8, 9, 7))
    assert Conv2D(4, 3, data_format="channels_first")(spec).shape == (2, 4, 7, 5)
