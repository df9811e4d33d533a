"""Local response normalization against its formula in NumPy, and against TensorFlow's."""

import numpy as np
import pytest

from kzoo.backend import keras, tf
from kzoo.layers import LocalResponseNormalization

ARGUMENTS = [
    {},
    {"depth_radius": 1, "bias": 2.0, "alpha": 0.1, "beta": 0.5},
    {"depth_radius": 3, "bias": 1.0, "alpha": 0.3, "beta": 0.75},
    {"depth_radius": 9, "alpha": 0.2, "beta": 1.2},
    {"depth_radius": 0, "bias": 0.5, "alpha": 1.0},
]


def inputs(shape=(2, 4, 3, 7), scale=3.0):
    return (scale * np.random.default_rng(0).standard_normal(shape)).astype("float32")


def formula(x, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75):
    """Section 3.3 of the paper, a channel at a time, in float64."""
    x = x.astype("float64")
    y = np.empty_like(x)
    for i in range(x.shape[-1]):
        window = x[..., max(0, i - depth_radius) : i + depth_radius + 1]
        y[..., i] = x[..., i] / (bias + alpha * (window**2).sum(axis=-1)) ** beta
    return y


@pytest.mark.parametrize("shape", [(2, 4, 3, 7), (5, 7), (2, 3, 4, 1), (0, 4, 3, 7)])
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_equals_the_formula(arguments, shape):
    x = inputs(shape)
    found = LocalResponseNormalization(**arguments)(x)
    np.testing.assert_allclose(found, formula(x, **arguments), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_outputs_and_gradients_equal_tensorflows(arguments):
    layer = LocalResponseNormalization(**arguments)
    x, upstream = tf.constant(inputs()), inputs((2, 4, 3, 7), 1.0)[::-1]
    found = []
    for function in (
        layer,
        lambda x: tf.nn.lrn(x, layer.depth_radius, layer.bias, layer.alpha, layer.beta),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = function(x)
            loss = tf.reduce_sum(outputs * upstream)
        found.append([outputs, tape.gradient(loss, x)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_computes_in_float32(policy):
    x = inputs(scale=1000.0)  # whose squares float16 cannot hold
    layer = LocalResponseNormalization(alpha=1e-4, dtype=policy)
    outputs = layer(x)
    assert outputs.dtype == policy.removeprefix("mixed_")
    tolerance = {"mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}[
        policy
    ]  # of inputs and outputs rounded to 11 and 8 bits
    np.testing.assert_allclose(tf.cast(outputs, "float32"), formula(x, alpha=1e-4), rtol=tolerance)


def test_config_round_trip_and_saving(tmp_path):
    images = keras.Input((None, None, 7))
    layer = LocalResponseNormalization(depth_radius=1, bias=2.0, alpha=0.1, beta=0.5, name="norm")
    model = keras.Model(images, layer(images))
    assert model.output_shape == (None, None, None, 7)
    assert model.weights == []
    again = LocalResponseNormalization.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs()), model(inputs()))
