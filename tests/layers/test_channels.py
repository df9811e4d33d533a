"""Channels moved and added, in any dtype, and the same after saving."""

import numpy as np
import pytest

from kzoo.backend import keras
from kzoo.layers import PadChannels, ReverseChannels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_reverse_and_pad(dtype):
    x = np.arange(24, dtype="float32").reshape(1, 2, 4, 3)
    for layer, expected in (
        (ReverseChannels(dtype=dtype), x[..., ::-1]),
        (PadChannels((2, 1), dtype=dtype), np.concatenate([0 * x[..., :2], x, 0 * x[..., :1]], axis=-1)),
    ):
        outputs = layer(x)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        np.testing.assert_array_equal(np.asarray(outputs, "float32"), expected)
        assert tuple(layer.compute_output_shape((None, 2, None, 3))) == (None, 2, None, expected.shape[-1])


def test_saved_model_opens_as_it_was(tmp_path):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, PadChannels([0, 2], name="pad")(ReverseChannels(name="bgr")(images)))
    assert model.output_shape == (None, None, None, 5)
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    x = np.random.default_rng(0).normal(size=(2, 3, 1, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), np.pad(x[..., ::-1], [(0, 0)] * 3 + [(0, 2)]))
