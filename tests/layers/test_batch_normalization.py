"""The fused batch normalization computes what Keras's computes."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.backend import keras
from kzoo.layers import BatchNormalization

CHANNELS = 5
SHAPES = {2: (CHANNELS,), 3: (6, CHANNELS), 4: (6, 4, CHANNELS)}


def pair(rank, **arguments):
    """Keras's layer and ours, with the same random weights."""
    layers = keras.layers.BatchNormalization(**arguments), BatchNormalization(**arguments)
    for layer in layers:
        layer.build((None, *SHAPES[rank]))
    random = np.random.default_rng(0)
    weights = [random.uniform(0.5, 1.5, w.shape).astype("float32") for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def everything(layer, inputs, upstream, training):
    """Outputs, all gradients, and the weights afterwards."""
    inputs = tf.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=training)
        loss = tf.reduce_sum(outputs * upstream)
    watched = [inputs, *(v.value for v in layer.trainable_variables)]
    return [outputs, *tape.gradient(loss, watched), *layer.get_weights()]


def assert_equal(rank, batch, training=True, inputs=None, **arguments):
    random = np.random.default_rng(batch)
    if inputs is None:
        inputs = random.normal(1.0, 2.0, (batch, *SHAPES[rank])).astype("float32")
    # Of order 1 / batch, as a mean loss gives, so that sums over the batch stay of order 1.
    upstream = (random.normal(size=inputs.shape) / batch).astype("float32")
    keras_layer, layer = pair(rank, **arguments)
    expected = everything(keras_layer, inputs, upstream, training)
    found = everything(layer, inputs, upstream, training)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # Numbers of order 1: float32 rounding, summed in another order.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 256])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_training_equals_keras(rank, batch):
    assert_equal(rank, batch)


@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize(
    "arguments",
    [{"scale": False}, {"center": False}, {"scale": False, "center": False}, {"momentum": 0.6, "epsilon": 0.01}],
)
def test_options_equal_keras(rank, arguments):
    assert_equal(rank, 7, **arguments)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_inference_equals_keras_and_leaves_the_statistics(rank):
    assert_equal(rank, 7, training=False)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_frozen_layer_runs_in_inference_mode(rank):
    inputs = np.random.default_rng(0).normal(size=(7, *SHAPES[rank])).astype("float32")
    keras_layer, layer = pair(rank)
    before = layer.get_weights()
    keras_layer.trainable = layer.trainable = False
    np.testing.assert_allclose(layer(inputs, training=True), keras_layer(inputs, training=True), rtol=1e-5, atol=1e-5)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_small_epsilon_is_not_raised():
    # TensorFlow's Python wrapper of the kernel raises epsilon to 1.001e-5: outputs 3 times too small at a variance
    # of 1e-8.
    inputs = np.random.default_rng(0).normal(0, 1e-4, (16, *SHAPES[4])).astype("float32")
    layer = BatchNormalization(epsilon=1e-6)
    outputs = np.asarray(layer(inputs, training=True))
    wide = inputs.astype("float64")
    axes = (0, 1, 2)
    expected = (wide - wide.mean(axes)) / np.sqrt(wide.var(axes) + 1e-6)
    # The variance, of order 1e-8, is rounded beside epsilon.
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-6)


# Rank, images on the first of two replicas, dtype, mean, tolerance.
SYNCHRONIZED_CASES = [
    # Numbers of order 1 in float32, as on one device.
    (4, 5, "float32", 1.0, 1e-5),
    (2, 3, "float32", 1.0, 1e-5),
    (4, 1, "float32", 1.0, 1e-5),
    (4, 0, "float32", 1.0, 1e-5),
    # E[x^2] - E[x]^2 would be off by 1e-2. The mean of numbers near 1,000 is rounded by 1e-4, a few times.
    (4, 2, "float32", 1000.0, 1e-3),
    # One rounding, to 8 bits, of outputs below 4 and of gradients of order 1.
    (4, 3, "bfloat16", 1.0, 2.0**-6),
]
SYNCHRONIZED = """
import sys
import numpy as np
from kzoo.backend import tf
from kzoo.layers import BatchNormalization

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2

def run(file, cut, dtype):
    with np.load(file) as arrays:
        inputs, upstream, weights = arrays["inputs"], arrays["upstream"], [arrays[f"weight{i}"] for i in range(4)]
    with strategy.scope():
        layer = BatchNormalization(synchronized=True, dtype=f"mixed_{dtype}" if dtype != "float32" else dtype)
        layer.build(inputs.shape)
        layer.set_weights(weights)

    def part(array):
        parts = array[:cut], array[cut:]
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.cast(parts[context.replica_id_in_sync_group], dtype)
        )

    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(tf.cast(outputs * upstream, tf.float32))
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        return [tf.cast(x, tf.float32) for x in (outputs, *gradients)]

    train = tf.function(lambda x, upstream: strategy.run(step, (x, upstream)), autograph=False)
    arguments = part(inputs), part(upstream)
    outputs, x_gradient, gamma_gradient, beta_gradient = map(strategy.experimental_local_results, train(*arguments))
    statistics = [strategy.experimental_local_results(v.value) for v in (layer.moving_mean, layer.moving_variance)]
    operations = [op.type for op in train.get_concrete_function(*arguments).graph.get_operations()]
    np.savez(
        file,
        outputs=np.concatenate(outputs),
        x_gradient=np.concatenate(x_gradient),
        gamma_gradient=sum(gamma_gradient),
        beta_gradient=sum(beta_gradient),
        **{f"statistics{i}": np.stack(v) for i, v in enumerate(statistics)},
        reductions=operations.count("CollectiveReduceV2") // strategy.num_replicas_in_sync,
    )

for file, cut, dtype in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    run(file, int(cut), dtype)
"""


@pytest.fixture(scope="module")
def synchronized(fresh_python, tmp_path_factory):
    """Of each case what Keras computes on the whole batch, and the file of what two replicas computed."""
    folder, results, arguments = tmp_path_factory.mktemp("synchronized"), [], []
    for rank, cut, dtype, mean, _ in SYNCHRONIZED_CASES:
        random = np.random.default_rng(0)
        # The images differ in mean, so that local statistics would be far off.
        shift = np.arange(7.0).reshape(7, *[1] * (rank - 1))
        inputs = (random.normal(mean, 1.0, (7, *SHAPES[rank])) + shift).astype("float32")
        upstream = (random.normal(size=inputs.shape) / 7).astype("float32")
        if dtype == "bfloat16":
            inputs, upstream = (np.asarray(tf.cast(tf.cast(a, dtype), "float32")) for a in (inputs, upstream))
        keras_layer, _ = pair(rank)
        weights = keras_layer.get_weights()
        file = folder / f"{len(results)}.npz"
        np.savez(file, inputs=inputs, upstream=upstream, **{f"weight{i}": w for i, w in enumerate(weights)})
        results.append((everything(keras_layer, inputs, upstream, True), file))
        arguments += [file, cut, dtype]
    fresh_python(SYNCHRONIZED, *arguments)
    return results


@pytest.mark.parametrize("case", range(len(SYNCHRONIZED_CASES)), ids=lambda i: str(SYNCHRONIZED_CASES[i]))
def test_synchronized_replicas_equal_keras_on_the_whole_batch(case, synchronized):
    *_, atol = SYNCHRONIZED_CASES[case]
    expected, file = synchronized[case]
    with np.load(file) as found:
        names = ("outputs", "x_gradient", "gamma_gradient", "beta_gradient")
        for name, theirs in zip(names, expected[:4], strict=True):
            np.testing.assert_allclose(found[name], theirs, rtol=1e-5, atol=atol, err_msg=name)
        for i, theirs in enumerate(expected[-2:]):
            np.testing.assert_allclose(found[f"statistics{i}"], np.stack([theirs, theirs]), rtol=max(1e-5, atol / 10))
        assert found["reductions"] == 2  # one forward, one backward


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_synchronized_on_one_device_equals_the_whole_batch(rank, batch):
    _, local = pair(rank)
    _, synchronized = pair(rank, synchronized=True)
    random = np.random.default_rng(batch)
    inputs = random.normal(1.0, 2.0, (batch, *SHAPES[rank])).astype("float32")
    upstream = (random.normal(size=inputs.shape) / max(batch, 1)).astype("float32")
    found, expected = (everything(layer, inputs, upstream, True) for layer in (synchronized, local))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_activations_with_float32_statistics(rank, dtype):
    # 1,000 +- 1: in bfloat16 (8 bits) the mean and variance of such numbers would be far off.
    random = np.random.default_rng(0)
    inputs = tf.cast(1000 + 8 * random.integers(-1, 2, (64, *SHAPES[rank])), dtype)
    layer = BatchNormalization(momentum=0.0, dtype=f"mixed_{dtype}")
    outputs = layer(inputs, training=True)
    exact = tf.cast(inputs, "float64").numpy()
    axes = tuple(range(rank - 1))
    assert outputs.dtype == dtype
    assert {w.dtype for w in layer.weights} == {"float32"}
    np.testing.assert_allclose(layer.moving_mean, exact.mean(axes), rtol=1e-5)
    # A float32 variance of numbers near 1,000 whose variance is about 40.
    np.testing.assert_allclose(layer.moving_variance, exact.var(axes), rtol=1e-3)
    expected = (exact - exact.mean(axes)) / np.sqrt(exact.var(axes) + 1e-3)
    # One rounding of outputs below 2: to 8 bits in bfloat16, to 11 in float16 (and 1e-3 for the statistics).
    half_unit = 2.0 ** (-8 if dtype == "bfloat16" else -11)
    np.testing.assert_allclose(tf.cast(outputs, "float64"), expected, atol=2 * half_unit + 1e-3)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_empty_batch_is_harmless(rank):
    _, layer = pair(rank)
    before = layer.get_weights()
    inputs = np.zeros((0, *SHAPES[rank]), "float32")
    outputs, *rest = everything(layer, inputs, inputs, True)
    input_gradient, gamma_gradient, beta_gradient, *after = rest
    assert outputs.shape == input_gradient.shape == inputs.shape
    np.testing.assert_array_equal(gamma_gradient, np.zeros(CHANNELS))
    np.testing.assert_array_equal(beta_gradient, np.zeros(CHANNELS))
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [({"axis": 1}, (7, 5, 6, 4)), ({"renorm": True}, (7, 6, 4, 5)), ({"dtype": "float64"}, (7, 6, 4, 5))],
)
def test_what_the_kernel_cannot_do_is_left_to_keras(arguments, shape):
    inputs = np.random.default_rng(0).normal(1, 2, shape)
    layers = keras.layers.BatchNormalization(**arguments), BatchNormalization(**arguments)
    expected, found = (layer(inputs, training=True) for layer in layers)
    np.testing.assert_array_equal(found, expected)
    for ours, theirs in zip(layers[1].get_weights(), layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_keras_does_not_compile_it_with_xla():
    # XLA computes the kernel's variance as E[x^2] - E[x]^2: NaN at a mean of 1,000.
    inputs = 1000 + np.random.default_rng(0).normal(size=(16, *SHAPES[4])).astype("float32")
    model = keras.Sequential([keras.Input(SHAPES[4]), BatchNormalization()])
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile is False
    model.fit(inputs, inputs, verbose=0)
    assert np.isfinite(model.get_weights()[3]).all()


def test_weights_have_keras_order_names_and_shapes():
    keras_layer, layer = pair(4)
    described = [[(w.name, w.shape, w.trainable) for w in one.weights] for one in (keras_layer, layer)]
    assert described[1] == described[0]
    assert [name for name, *_ in described[1]] == ["gamma", "beta", "moving_mean", "moving_variance"]


def test_config_roundtrip():
    layer = BatchNormalization(momentum=0.7, epsilon=2e-5, scale=False, name="here")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is BatchNormalization
    assert again.get_config() == layer.get_config()
    assert (again.momentum, again.epsilon, again.scale, again.name) == (0.7, 2e-5, False, "here")


def test_same_results_inside_a_compiled_function():
    _, eager = pair(4)
    _, traced = pair(4)
    inputs = np.random.default_rng(3).normal(size=(7, *SHAPES[4])).astype("float32")
    outputs = tf.function(lambda x: traced(x, training=True))(inputs)
    # The same kernel twice.
    np.testing.assert_allclose(outputs, eager(inputs, training=True), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(traced.get_weights(), eager.get_weights())


REPLICAS = """
import numpy as np
from kzoo.backend import tf
from kzoo.layers import BatchNormalization

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
halves = [np.full((4, 2, 2, 3), 1.0, "float32"), np.full((4, 2, 2, 3), 5.0, "float32")]
with strategy.scope():
    layer = BatchNormalization(momentum=0.5)
    layer.build((None, 2, 2, 3))
inputs = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(halves[context.replica_id_in_sync_group])
)
tf.function(lambda: strategy.run(lambda x: layer(x, training=True), (inputs,)))()
for moving in (layer.moving_mean, layer.moving_variance):
    print([float(v.numpy()[0]) for v in strategy.experimental_local_results(moving.value)])
"""


def test_moving_statistics_agree_on_two_replicas(fresh_python):
    lines = fresh_python(REPLICAS).stdout.splitlines()
    # From 0 and 1, with momentum 0.5, replicas that see only 1s and only 5s: 0.5 and 2.5, of mean 1.5.
    assert lines == ["[1.5, 1.5]", "[0.5, 0.5]"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_images_are_normalized_by_one_kernel_in_their_own_dtype(dtype):
    layer = BatchNormalization(dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype)
    layer.build((None, 4, 4, 3))

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.cast(layer(x, training=True), tf.float32))
        return tape.gradient(loss, x)

    graph = gradient.get_concrete_function(tf.TensorSpec((2, 4, 4, 3), dtype)).graph
    kernels = [op for op in graph.get_operations() if op.type.startswith("FusedBatchNorm")]
    assert sorted(op.type for op in kernels) == ["FusedBatchNormGradV3", "FusedBatchNormV3"]
    for op in kernels:
        assert (op.get_attr("T").name, op.get_attr("U").name) == (dtype, "float32")  # images; statistics
