"""The one-pass optimizers do what Keras's do (test_step.py compares them with the papers')."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.backend import keras
from kzoo.train import TrainConfig
from kzoo.train.optimizers import create_optimizer

CASES = [
    ({"optimizer": "sgd", "momentum": 0.0}, lambda: keras.optimizers.SGD(0.1)),
    ({"optimizer": "sgd", "momentum": 0.8}, lambda: keras.optimizers.SGD(0.1, momentum=0.8, nesterov=True)),
    ({"optimizer": "adam"}, lambda: keras.optimizers.Adam(0.1)),
    ({"optimizer": "adamw", "weight_decay": 0.2}, lambda: keras.optimizers.AdamW(0.1, weight_decay=0.2)),
]


def after_steps(optimizer):
    """A matrix's values and the optimizer's state after five steps, in one compiled function."""
    random = np.random.default_rng(0)
    weight = keras.Variable(random.normal(size=(3, 4)), name="kernel")
    optimizer.build([weight])
    gradients = tf.constant(random.normal(size=(5, 3, 4)), tf.float32)

    @tf.function(autograph=False)
    def take(gradient):
        optimizer.apply([gradient], [weight])

    for gradient in gradients:
        take(gradient)
    return np.asarray(weight), {v.path.split("/", 1)[1]: np.asarray(v) for v in optimizer.variables}


@pytest.mark.parametrize(("arguments", "reference"), CASES, ids=lambda a: str(a) if isinstance(a, dict) else "")
def test_updates_and_state_are_keras(arguments, reference):
    found, state = after_steps(create_optimizer(TrainConfig(learning_rate=0.1, **arguments)))
    expected, expected_state = after_steps(reference())
    # Five updates of 0.1 each, of which 1 - 0.999^n, near 0.001, leaves four or five digits in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert list(state) == list(expected_state)
    for name, value in state.items():
        np.testing.assert_allclose(value, expected_state[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "schedule_free_adamw"])
def test_variables_of_another_dtype(name):
    optimizer = create_optimizer(TrainConfig(optimizer=name, learning_rate=0.1))
    weight = keras.Variable(np.ones((2, 2)), dtype="float64")
    optimizer.build([weight])
    optimizer.apply([tf.ones((2, 2), tf.float64)], [weight])
    assert weight.dtype == "float64"
    assert (np.asarray(weight) < 1).all()


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_schedule_free_adamw_is_that_of_its_paper(decay):
    """Algorithm 1 of Defazio et al., 2024, in float64, with a warm-up and a factor of the rate for each variable."""
    random = np.random.default_rng(0)
    start = [random.normal(size=(3, 4)), random.normal(size=4)]
    gradients = [[random.normal(size=w.shape) for w in start] for _ in range(7)]
    rates, factors = [0.0, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1], [1.0, 0.25]
    config = TrainConfig(optimizer="schedule_free_adamw", learning_rate=0.1, weight_decay=decay, epsilon=1e-8)
    optimizer, weights = create_optimizer(config, factors), [keras.Variable(w) for w in start]
    optimizer.build(weights)

    @tf.function(autograph=False)
    def take(gradients):
        optimizer.apply(gradients, weights)

    for rate, step in zip(rates, gradients, strict=True):
        optimizer.learning_rate.assign(rate)
        take([tf.constant(g, tf.float32) for g in step])
    for i, (weight, factor) in enumerate(zip(weights, factors, strict=True)):
        x = z = start[i]
        second, squares = np.zeros_like(z), 0.0
        for number, (rate, step) in enumerate(zip(rates, gradients, strict=True), 1):
            y = 0.1 * z + 0.9 * x
            second = 0.999 * second + 0.001 * step[i] ** 2
            decayed = decay * y if i == 0 else 0.0  # no bias
            z = z - factor * rate * (step[i] / (np.sqrt(second / (1 - 0.999**number)) + 1e-8) + decayed)
            squares += rate**2
            x = x + rate**2 / squares * (z - x) if squares else x
        # Numbers of order 1 after seven float32 updates.
        np.testing.assert_allclose(weight, 0.1 * z + 0.9 * x, atol=1e-6)
        np.testing.assert_allclose(optimizer.averaged(weight), x, atol=1e-6)
        assert np.abs(weight - x).max() > 1e-3


def test_decay_is_of_kernels_alone():
    optimizer = create_optimizer(TrainConfig(optimizer="adamw", learning_rate=0.1, weight_decay=0.5))
    kernel, bias = keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))
    optimizer.build([kernel, bias])
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel, 0.95 * np.ones((2, 2)), rtol=1e-6)
    np.testing.assert_array_equal(bias, np.ones(2))
