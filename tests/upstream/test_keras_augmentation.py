# pyright: reportArgumentType=false, reportOptionalSubscript=false, reportAttributeAccessIssue=false
"""What kzoo's augmentation layers mend in Keras's. Where one of these fails, Keras has: drop our mend.

kzoo's own behaviour is in tests/layers and tests/test_augment.py.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.skipif(
    not keras.__version__.startswith("3.15"), reason=f"shows a fault of Keras 3.15; this is {keras.__version__}"
)

# Each pixel says where it is.
IMAGE = np.arange(20 * 20, dtype="float32").reshape(20, 20, 1)
BATCH = np.stack([IMAGE] * 16)


def test_random_crop_has_one_offset_for_the_batch():
    outputs = np.asarray(keras.layers.RandomCrop(8, 8, seed=1)(BATCH, training=True))
    assert len(np.unique(outputs[:, 0, 0])) == 1


def test_random_crop_declares_a_size_that_inference_does_not_have():
    layer = keras.layers.RandomCrop(8, 8)
    assert layer.compute_output_shape((None, 20, 20, 1)) == (None, 8, 8, 1)
    assert layer(BATCH, training=False).shape == (16, 20, 20, 1)


def test_random_crop_fails_on_unknown_sizes():
    images = tf.data.Dataset.from_generator(lambda: [IMAGE], output_signature=tf.TensorSpec((None, None, 1)))
    with pytest.raises(Exception, match="Using a symbolic"):
        images.map(keras.layers.RandomCrop(8, 8))


def test_a_seeded_layer_draws_in_the_order_of_calls_not_of_images():
    layer = keras.layers.RandomRotation(0.5, seed=1)
    first, second = (np.asarray(layer(IMAGE, training=True)) for _ in range(2))
    again = keras.layers.RandomRotation(0.5, seed=1)
    # Which image of a parallel map comes first is anybody's guess: its draws are those of its turn.
    np.testing.assert_array_equal(again(IMAGE, training=True), first)
    assert not np.array_equal(first, second)


def test_a_bare_call_augments():
    assert not np.array_equal(keras.layers.RandomRotation(0.5, seed=1)(IMAGE), IMAGE)


def test_a_mixed_policy_changes_the_dtype_in_a_map():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = keras.layers.RandomFlip()
    finally:
        keras.config.set_dtype_policy(before)
    [image] = tf.data.Dataset.from_tensors(IMAGE).map(layer)
    assert image.dtype == tf.float16


@pytest.mark.parametrize("name", ["RandomRotation", "RandomTranslation", "RandomZoom", "RandomShear", "RandomCrop"])
def test_geometric_layers_turn_xla_off(name):
    arguments = {"RandomTranslation": (0.1, 0.1), "RandomCrop": (8, 8)}.get(name, (0.1,))
    assert getattr(keras.layers, name)(*arguments).supports_jit is False
