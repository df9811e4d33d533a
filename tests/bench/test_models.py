"""The contenders of the benchmark are what they are called."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras, tf
from kzoo.bench import footprint, measure_precisions
from kzoo.bench.models import in_plain_keras
from kzoo.hardware import probe
from kzoo.layers import BatchNormalization
from kzoo.models.registry import CARDS
from kzoo.train.precision import dtype_policy


def test_plain_keras_is_the_same_net_without_layers_of_kzoo():
    model = kzoo.create_model("resnext50_32x4d", input_shape=(32, 32, 3), classes=10)
    plain = in_plain_keras(model)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    plain.set_weights(model.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    # Probabilities, of 50 layers in another order of summation.
    np.testing.assert_allclose(model(images), plain(images), rtol=1e-4, atol=1e-6)


def test_every_counterpart_exists_in_keras_applications():
    counterparts = {name: card.keras for name, card in CARDS.items() if card.keras}
    assert len(counterparts) == 8
    for counterpart in counterparts.values():
        assert callable(getattr(keras.applications, counterpart))


def test_footprint_by_hand():
    found = footprint("mnist_net", "float32"), footprint("mnist_net", "mixed_bfloat16")
    model = kzoo.create_model("mnist_net")
    assert [f["weight_bytes"] for f in found] == [4 * model.count_params()] * 2
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    assert [f["gradient_bytes"] for f in found] == [4 * trainable] * 2
    # In half precision all but the pixels, the preprocessing and the classifier's 10 outputs.
    pixels, single = 28 * 28, found[0]["activation_bytes"] // 4
    whole = 2 * pixels + 10
    assert found[1]["activation_bytes"] == 2 * (single - whole) + 4 * whole
    normalized = sum(layer.count_params() for layer in model.layers if isinstance(layer, BatchNormalization))
    classifier = model.get_layer("predictions").count_params()
    kept = normalized + classifier
    assert found[1]["computed_weight_bytes"] == 2 * (model.count_params() - kept) + 4 * kept


def test_gradients_come_in_float32_whatever_the_precision():
    with dtype_policy("mixed_bfloat16"):
        model = kzoo.create_model("mnist_net")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(np.zeros((2, 28, 28, 1), "float32")))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_weights])
    assert {g.dtype.name for g in gradients} == {"float32"}


@pytest.fixture(scope="module")
def precisions():
    return measure_precisions("mnist_net", precisions=("float32", "mixed_float16"), images=256, rounds=1)


@pytest.mark.slow
def test_float16_on_a_cpu_is_measured_on_a_few_images(precisions):
    first, second = precisions["rows"]
    assert (first["precision"], first["batch_size"], first["ratio"]) == ("float32", 128, 1.0)
    if not probe().gpus:
        assert (second["precision"], second["batch_size"]) == ("mixed_float16", 8)
        assert second["ratio"] == pytest.approx(second["images_per_second"] / first["images_per_second"])
    # TensorFlow alone takes hundreds of megabytes.
    assert all(2**28 < row["peak_memory_bytes"] < 2**33 for row in precisions["rows"])
