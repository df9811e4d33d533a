"""What plain Keras does on two replicas, each in a strategy of its own: prints what was found, as JSON."""

import json
import sys

import numpy as np

from kzoo.backend import keras, tf
from kzoo.train import TrainConfig
from kzoo.train.strategy import create_strategy


def two_replicas():
    strategy = create_strategy(TrainConfig(strategy="mirrored"), "cpu", 2)
    assert strategy.num_replicas_in_sync == 2
    return strategy


def make(optimizer, strategy=None, policy="float32", layers=(), **arguments):
    """A linear model of four pixels with zero weights, compiled."""
    with (strategy or tf.distribute.get_strategy()).scope():
        keras.config.set_dtype_policy(policy)
        dense = keras.layers.Dense(1, kernel_initializer="zeros", **arguments)
        model = keras.Sequential([keras.Input((4,)), *layers, dense])
        keras.config.set_dtype_policy("float32")
        model.compile(optimizer() if callable(optimizer) else optimizer, "mse")
    return model


def batches(*parts):
    """Batches of ones with the targets given, whose sizes may differ."""
    spec = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, 1)))
    data = [(np.ones((len(part), 4), "float32"), np.array(part, "float32")[:, None]) for part in parts]
    return tf.data.Dataset.from_generator(lambda: iter(data), output_signature=spec)


def message(function):
    """How a call fails: the error's type and text, or None."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:2000]
    return None


def overflow_on_the_second_replica():
    model = make(lambda: keras.optimizers.SGD(0.1), two_replicas(), policy="mixed_float16", dtype="mixed_float16")
    model.fit(batches([0, 0, np.inf, np.inf]), verbose=0)
    return {
        "finite": bool(np.isfinite(model.get_weights()[0]).all()),
        "scale": float(model.optimizer.dynamic_scale.value.numpy()),
    }


def float16_in_one_layer():
    model = make(lambda: keras.optimizers.SGD(0.1), dtype="mixed_float16")
    model.fit(batches([1.0, 1.0]), verbose=0)
    return type(model.optimizer).__name__


def synchronized_normalization():
    """Collective operations of one layer, forward and backward; and its variance far from zero."""
    strategy = two_replicas()
    with strategy.scope():
        layer = keras.layers.BatchNormalization(synchronized=True, momentum=0.0)
        layer.build((None, 3))
    inputs = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(
            np.random.default_rng(context.replica_id_in_sync_group).normal(3000, 1, (64, 3)), tf.float32
        )
    )

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
        return tape.gradient(outputs, [x, layer.gamma.value], output_gradients=tf.ones_like(x))

    function = tf.function(lambda: strategy.run(gradients, (inputs,)), autograph=False)
    function()
    graph = function.get_concrete_function().graph
    reductions = [op.type for op in graph.get_operations()].count("CollectiveReduceV2") // 2
    parts = [np.random.default_rng(replica).normal(3000, 1, (64, 3)) for replica in (0, 1)]
    error = np.abs(layer.moving_variance.numpy() / np.concatenate(parts).var(axis=0) - 1).max()
    return {"reductions": reductions, "relative error of the variance": float(error)}


def normalization_is_not_fused():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 8, 8, 3))
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec((2, 8, 8, 3))).graph
    return sum("FusedBatchNorm" in op.type for op in graph.get_operations())


def dropout_masks():
    strategy = two_replicas()
    with strategy.scope():
        layer = keras.layers.Dropout(0.5)
    masks = tf.function(lambda: strategy.run(lambda: layer(tf.ones([1, 64]), training=True)), autograph=False)()
    first, second = strategy.experimental_local_results(masks)
    return bool(np.array_equal(first, second))


def uneven_first_batch():
    return message(lambda: make(lambda: keras.optimizers.SGD(0.1), two_replicas()).fit(batches([1, 2, 3]), verbose=0))


def uneven_tail():
    """The bias after one step on an even batch without error, and one on three images, of which one has a target."""
    biases = []
    for strategy in (None, two_replicas()):
        model = make(lambda: keras.optimizers.SGD(0.1), strategy)
        model.fit(batches([0, 0, 0, 0], [0, 0, 3]), verbose=0)
        biases.append(float(model.get_weights()[1][0]))
    return biases


def not_supported():
    found = {}
    model = make(lambda: keras.optimizers.SGD(0.1), two_replicas())
    model.compile("sgd", "mse", steps_per_execution=2)
    found["steps_per_execution"] = message(lambda: model.fit(batches([1, 2], [1, 2]), verbose=0))
    for name, arguments in {
        "gradient_accumulation_steps": {"gradient_accumulation_steps": 2},
        "ema_overwrite_frequency": {"use_ema": True, "ema_overwrite_frequency": 1},
    }.items():
        model = make(lambda: keras.optimizers.SGD(0.1, **arguments), two_replicas())  # noqa: B023
        found[name] = message(lambda: model.fit(batches([1, 2], [1, 2]), verbose=0))  # noqa: B023
    return found


def clipping():
    """The kernel after one step at a clipped norm of 1, where the replicas' gradients are opposite but for a bit."""
    kernels = []
    for strategy in (None, two_replicas()):
        model = make(lambda: keras.optimizers.SGD(1.0, global_clipnorm=1.0), strategy, use_bias=False)
        model.fit(batches([-4, -4, 5, 5]), verbose=0)
        kernels.append(float(model.get_weights()[0][0, 0]))
    return kernels


def model_made_before_the_scope():
    strategy = two_replicas()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    def fit():
        with strategy.scope():
            model.compile("sgd", "mse")
        model.fit(batches([1, 2]), verbose=0)

    return message(fit)


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
