"""The contenders of the benchmark are what they are called."""

import numpy as np

import kzoo
from kzoo.backend import keras
from kzoo.bench import APPLICATIONS, in_plain_keras


def test_plain_keras_is_the_same_net_without_layers_of_kzoo():
    model = kzoo.create_model("resnext50_32x4d", input_shape=(32, 32, 3), classes=10)
    plain = in_plain_keras(model)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    plain.set_weights(model.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    # Probabilities, of 50 layers in another order of summation.
    np.testing.assert_allclose(model(images), plain(images), rtol=1e-4, atol=1e-6)


def test_every_counterpart_exists_in_keras_applications():
    for name, counterpart in APPLICATIONS.items():
        assert name in kzoo.list_models()
        assert callable(getattr(keras.applications, counterpart))
