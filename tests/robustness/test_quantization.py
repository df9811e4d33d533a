"""Models of few bits, against other ways to compute them; the model itself stays as it is."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.robustness import Quantized
from kzoo.robustness.quantization import levels, quantized_kernel, rounded, step_of

layers = keras.layers


def images(shape, count=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.float32)


def nested():
    """A base within a model, and a layer that is called twice."""
    keras.utils.set_random_seed(0)
    base_input = keras.Input((8, 8, 4))
    x = layers.SeparableConv2D(6, 3, activation="relu")(base_input)
    base = keras.Model(base_input, [layers.DepthwiseConv2D(3, depth_multiplier=2)(x), x], name="base")
    twice = layers.Dense(5, activation="tanh")
    image = keras.Input((12, 12, 1))
    x = layers.Rescaling(1 / 255)(image)
    x = keras.Sequential([layers.Conv2D(4, 5, activation="relu")], name="stem")(x)
    deep, shallow = base(x)
    deep, shallow = (layers.GlobalAveragePooling2D()(one) for one in (deep, shallow))
    x = layers.Concatenate()([twice(layers.Dense(5)(deep)), twice(layers.Dense(5)(shallow))])
    return keras.Model(image, layers.Dense(3, activation="softmax")(x))


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_kernel_has_the_best_of_the_steps_of_each_channel(bits):
    kernel = np.random.default_rng(bits).normal(size=(3, 3, 8, 5)).astype(np.float32) * np.arange(1, 6, dtype="f")
    found = quantized_kernel(kernel, bits)
    low, high = levels(bits)
    for channel in range(5):
        values = found[..., channel]
        assert len(np.unique(values)) <= high - low + 1
        one = kernel[..., channel]
        errors = [
            np.square(rounded(one, np.abs(one).max() * clip / 20 / high, low, high) - one).sum()
            for clip in range(1, 21)
        ]
        assert np.square(values - one).sum() == pytest.approx(min(errors), rel=1e-4)


def test_output_channels_do_not_share_a_step():
    """One is a thousand times smaller: with a step for all it would be zero in four bits."""
    kernel = np.array([[1.0, 0.001], [-0.5, -0.0005], [0.25, 0.00025]], np.float32)
    np.testing.assert_allclose(quantized_kernel(kernel, 4)[:, 1], quantized_kernel(kernel, 4)[:, 0] / 1000, rtol=1e-5)


@pytest.mark.parametrize("layer", [layers.DepthwiseConv2D(3, depth_multiplier=2), layers.Conv2DTranspose(6, 3)])
def test_the_channels_of_other_layouts(layer):
    """Scaled by output channel, the layer gives scaled outputs: rounding must be of each channel for itself."""
    keras.utils.set_random_seed(1)
    x = images((6, 6, 3)) / 255
    net = keras.Sequential([keras.Input((6, 6, 3)), layer, layers.GlobalAveragePooling2D()])
    scaled = keras.models.clone_model(net)
    factors = 10.0 ** np.arange(-3, net.output_shape[-1] - 3)
    kernel = layer.kernel.numpy()
    by_channel = factors.reshape(kernel.shape[-2:]) if isinstance(layer, layers.DepthwiseConv2D) else factors[:, None]
    scaled.layers[0].kernel.assign(kernel * by_channel)
    found = []
    for model in (net, scaled):
        few = Quantized(model, [x])
        few.use(3)
        found.append(np.asarray(few.model(x)))
    np.testing.assert_allclose(found[1], found[0] * factors, rtol=1e-4)


def test_a_dense_layer_by_hand():
    net = keras.Sequential([keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(3)])
    kernel, bias = np.random.default_rng(2).normal(size=(4, 3)).astype("f"), np.array([1.0, 2.0, 3.0], "f")
    net.set_weights([kernel, bias])
    x = images((2, 2, 1))
    few = Quantized(net, [x[:5], x[5:]])
    np.testing.assert_array_equal(few.model(x), net(x))  # not rounded yet
    few.use(4)
    flat = x.reshape(8, 4)
    counts = np.histogram(flat, bins=4096, range=(0, flat.max()))[0]
    step = step_of(counts.astype(float), float(flat.max()), 4, signed=False)
    expected = np.clip(np.rint(flat / step), 0, 15) * step @ quantized_kernel(kernel, 4) + bias
    np.testing.assert_allclose(few.model(x), expected, rtol=1e-5)


def test_the_model_stays_as_it_is():
    model = nested()
    x = images((12, 12, 1))
    weights, answers = model.get_weights(), np.asarray(model(x))
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    few = Quantized(model, [x])
    few.use(2)
    assert not np.allclose(few.model(x), answers)
    np.testing.assert_array_equal(model(x), answers)
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [len(layer._inbound_nodes) for layer in model.layers] == calls


def test_models_within_models_and_layers_called_twice():
    model = nested()
    x = images((12, 12, 1), 32)
    few = Quantized(model, [x])
    np.testing.assert_allclose(few.model(x), model(x), atol=1e-6)
    # Conv2D, SeparableConv2D, DepthwiseConv2D, two Dense, one called twice, and the classifier.
    assert sum(type(layer).__name__ == "_Rounding" for layer in few.model.layers) == 8
    distances = []
    for bits in (16, 8, 4, 2):
        few.use(bits)
        distances.append(float(np.abs(few.model(x) - model(x)).max()))
    assert distances == sorted(distances)
    assert distances[0] < 1e-3
    for layer, sizes in ((few.model.get_layer(model.layers[-1].name), 3), (few.model.layers[2], 3)):
        if hasattr(layer, "kernel"):
            assert all(len(np.unique(one)) <= sizes for one in np.moveaxis(layer.kernel.numpy(), -1, 0))


@pytest.mark.parametrize("name", ["mnist_net", "resnet20_cifar", "inception_v1_bn"])
def test_models_of_the_zoo_in_sixteen_bits_are_themselves(name):
    keras.utils.set_random_seed(3)
    model = kzoo.create_model(name, classifier_activation=None)
    x = images(model.input_shape[1:], 2)
    few = Quantized(model, [x])
    few.use(16)
    expected = np.asarray(model(x))
    # A step is 2**-15 of the largest value; errors add up over some dozens of layers.
    np.testing.assert_allclose(few.model(x), expected, atol=2e-3 * np.abs(expected).max())


def test_what_the_graph_does_not_show_is_said(capsys):
    image = keras.Input((4, 4, 2))
    x = layers.Reshape((16, 2))(image)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    few = Quantized(model, [images((4, 4, 2))])
    assert "within some layers activations keep their bits" in (said := capsys.readouterr().err)
    assert "attention" in said
    before = few.model.get_layer("attention").get_weights()[0]
    few.use(2)
    after = few.model.get_layer("attention").get_weights()[0]
    assert len(np.unique(after[..., 0])) <= 3 < len(np.unique(before[..., 0]))


def test_a_step_clips_what_is_rare():
    """One value in ten thousand is 100 times larger: the others get the steps."""
    counts = np.zeros(4096)
    counts[:41] = 10_000 / 41
    counts[-1] = 0.01
    assert step_of(counts, 1.0, 4, signed=True) < 0.5 / 7
    assert step_of(np.ones(4096), 1.0, 8, signed=True) == pytest.approx(1 / 127)
