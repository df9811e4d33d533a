"""What `kzoo.train.optimizers.ScheduleFreeAdamW` mends in Keras. Where one of these fails, Keras has: drop our mend.

The reference is algorithm 1 of Defazio et al., 2024, "The Road Less Scheduled", in NumPy.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.skipif(
    not keras.__version__.startswith("3.15"), reason=f"shows a fault of Keras 3.15; this is {keras.__version__}"
)

RANDOM = np.random.default_rng(0)
START, GRADIENTS = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(6, 3, 4))


def as_published(rates, decay=0.0):
    """The x, y and z after a step with each of the rates."""
    x = z = START
    second, squares = np.zeros_like(z), 0.0
    for step, (gradient, rate) in enumerate(zip(GRADIENTS, rates, strict=True), 1):
        y = 0.1 * z + 0.9 * x
        second = 0.999 * second + 0.001 * gradient**2
        z = z - rate * (gradient / (np.sqrt(second / (1 - 0.999**step)) + 1e-8) + decay * y)
        squares += rate**2
        x = x + rate**2 / squares * (z - x)
    return x, 0.1 * z + 0.9 * x, z


def by_keras(**arguments):
    """A variable, and its "momentum", which is z, after the same steps."""
    variable, optimizer = keras.Variable(START), keras.optimizers.ScheduleFreeAdamW(0.1, **arguments)
    optimizer.build([variable])
    for gradient in GRADIENTS:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    return np.asarray(variable), np.asarray(optimizer._momentums[0])


def test_the_next_gradients_are_not_taken_at_y():
    """It reads z after it has written it, so that each step moves x and y otherwise than published."""
    variable, base = by_keras()
    _, y, z = as_published([0.1] * 6)
    np.testing.assert_allclose(base, z, atol=1e-6)
    assert np.abs(variable - y).max() > 0.03


def test_warmup_counts_its_steps_as_much_as_the_others():
    variable, base = by_keras(warmup_steps=4)
    x, y, z = as_published([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(base, z, atol=1e-6)
    assert np.abs(variable - x).max() > 0.09
    assert np.abs(variable - y).max() > 0.09


def test_weight_decay_never_reaches_z():
    _, base = by_keras(weight_decay=0.5)
    np.testing.assert_allclose(base, as_published([0.1] * 6)[2], atol=1e-6)
    assert np.abs(base - as_published([0.1] * 6, decay=0.5)[2]).max() > 0.3


def test_what_is_validated_and_saved_is_where_the_gradients_are_taken():
    """Nothing brings the weights to x: neither `evaluate` nor the end of `fit` (`finalize_variable_values`)."""
    model: Any = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, use_bias=False)])
    optimizer = keras.optimizers.ScheduleFreeAdamW(0.1)
    model.compile(optimizer, "mse", jit_compile=False)
    images, targets = RANDOM.normal(size=(8, 3)), RANDOM.normal(size=(8, 4))
    model.fit(images, targets, epochs=5, verbose=0)
    before = model.get_weights()[0]
    model.evaluate(images, targets, verbose=0)
    optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert not any(hasattr(optimizer, name) for name in ("eval", "train", "swap"))
