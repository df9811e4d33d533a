"""RandomErasing: what is erased, how often, of which sizes, and all of it by the seeds alone."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import RandomErasing


def images(batch=6, height=13, width=17, channels=3, dtype="uint8"):
    return np.random.default_rng(height).integers(0, 256, (batch, height, width, channels)).astype(dtype)


def seeds(batch=6, start=0):
    return np.array([[start + i, 7 * i - 3] for i in range(batch)], "int32")


def boxes(erased):
    """(top, left, height, width) of each mask (batch, height, width) that has a pixel; they must be rectangles."""
    found = []
    for mask in erased[erased.any((1, 2))]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, left, height, width = rows[0], columns[0], len(rows), len(columns)
        assert mask[top : top + height, left : left + width].all()
        assert mask.sum() == height * width
        found.append((top, left, height, width))
    return np.array(found)


def test_areas_shapes_and_places_are_the_papers():
    pixels = np.full((3000, 60, 90, 1), 200, "uint8")
    erased = np.asarray(RandomErasing(factor=(1, 1), fill_value=7)(pixels, seeds=seeds(3000)))[..., 0] == 7
    assert erased.any((1, 2)).all()
    top, left, height, width = boxes(erased).T
    area, ratio = height * width / 5400, height / width
    # Sides are rounded: the smallest box, 108 pixels, can be off by half a pixel at each.
    assert 0.018 < area.min() < 0.025
    assert 0.3 < area.max() < 0.34
    assert 0.28 < ratio.min() < 0.35
    assert 2.8 < ratio.max() < 3.5
    # All boxes up to a fifth of the image fit: there, areas and the logarithms of the ratios are even.
    small = area < 0.2
    assert scipy.stats.kstest((area[small] - 0.02) / 0.18, "uniform").statistic < 0.03
    even = (np.log(ratio[small]) - np.log(0.3)) / np.log(11)
    assert scipy.stats.kstest(even, "uniform").statistic < 0.04  # sides are whole pixels
    for start, room in ((top, 60 - height), (left, 90 - width)):
        assert start.min() == 0
        assert (start == room).any()
        assert abs((start / room).mean() - 0.5) < 0.03


def test_how_often():
    pixels = np.full((2000, 16, 16, 1), 200, "uint8")
    # A number is the range from 0 to it, so that its middle counts, as in Keras.
    for factor, probability in ((0.0, 0.0), (0.6, 0.3), (1.0, 0.5), ((0.2, 0.4), 0.3), ((1.0, 1.0), 1.0)):
        outputs = np.asarray(RandomErasing(factor, fill_value=0)(pixels, seeds=seeds(2000)))
        share = (outputs == 0).any((1, 2, 3)).mean()
        assert abs(share - probability) <= 5 * np.sqrt(probability * (1 - probability) / 2000)
    # None of ten boxes as tall as this fits.
    whole = RandomErasing((1, 1), scale=(0.9, 0.9), ratio=(3.0, 3.0), fill_value=0)
    np.testing.assert_array_equal(whole(pixels[:9], seeds=seeds(9)), pixels[:9])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_even_and_the_rest_stays(channels, dtype):
    pixels = np.full((200, 40, 40, channels), 99, dtype)
    layer = RandomErasing((1, 1), scale=(0.3, 0.3), ratio=(1.0, 1.0))
    outputs = np.asarray(layer(pixels, seeds=seeds(200)))
    assert outputs.dtype == dtype
    plain = np.asarray(RandomErasing((1, 1), (0.3, 0.3), (1.0, 1.0), 0)(pixels, seeds=seeds(200)))
    assert (outputs[plain != 0] == 99).all()
    noise = outputs[plain == 0].reshape(200, 22 * 22, channels)
    counts = np.bincount(noise.astype(int).ravel(), minlength=256)
    assert len(counts) == 256
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    # Neither pixels, channels nor images repeat each other.
    flat = noise.reshape(200, -1).astype("float64")
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(flat.size)
    assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 5 / np.sqrt(flat.size)


@pytest.mark.parametrize("fill_value", [None, 128])
def test_an_image_does_not_depend_on_its_batch(fill_value):
    layer = RandomErasing(fill_value=fill_value)
    pixels, rows = images(40), seeds(40)
    together = np.asarray(layer(pixels, seeds=rows))
    order = [5, 0, 37, 2]
    np.testing.assert_array_equal(layer(pixels[order], seeds=rows[order]), together[order])
    np.testing.assert_array_equal(layer(pixels[7], seeds=rows[7]), together[7])
    unknown = tf.data.Dataset.from_tensor_slices((pixels, rows)).map(
        lambda x, s: (tf.ensure_shape(tf.identity(x), (None, None, 3)), s)
    )
    mapped = unknown.batch(9).map(lambda x, s: layer(x, seeds=s), num_parallel_calls=4)
    np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), together)


def test_factor_is_that_of_keras():
    pixels = np.full((2000, 16, 16, 1), 200, "float32")
    for factor in (0.6, 1.0, (0.2, 0.4), (1.0, 1.0)):
        theirs = np.asarray(keras.layers.RandomErasing(factor, (0.3, 0.3), 0, seed=1)(pixels, training=True))
        ours = np.asarray(RandomErasing(factor, (0.3, 0.3), (1, 1), 0)(pixels, seeds=seeds(2000)))
        shares = [(outputs == 0).any((1, 2, 3)).mean() for outputs in (theirs, ours)]
        # 5 standard deviations of the difference of two shares of 2000, each at most 0.5 / sqrt(2000).
        assert abs(shares[0] - shares[1]) < 5 * np.sqrt(0.5 / 2000)


def test_a_scale_that_is_a_number_is_a_range_from_zero():
    pixels = np.full((500, 60, 60, 1), 200, "uint8")
    areas = (np.asarray(RandomErasing((1, 1), 0.2, (1, 1), 0)(pixels, seeds=seeds(500))) == 0).mean((1, 2, 3))
    # Sides are whole pixels: an area is off by at most half a pixel at each of two sides of 27.
    assert areas.min() < 0.01
    assert 0.19 < areas.max() <= 27**2 / 60**2
    assert abs(areas.mean() - 0.1) < 0.02


def test_nothing_is_done_at_inference():
    layer, pixels = RandomErasing((1, 1)), images()
    for outputs in (layer(pixels), layer(pixels, training=False), layer(pixels, seeds=seeds(), training=False)):
        np.testing.assert_array_equal(outputs, pixels)
    assert not np.array_equal(layer(pixels, training=True), pixels)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_model_that_is_fitted(jit_compile):
    inputs = keras.Input((12, 12, 3), dtype="uint8")
    outputs = keras.layers.GlobalAveragePooling2D()(RandomErasing(seed=1)(inputs) / 255)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(outputs))
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    history = model.fit(images(8, 12, 12), np.arange(8) % 2, batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pixels_stay_exact_under_a_half_precision_policy(policy):
    pixels = images(dtype="float32") + np.float32(0.123)
    expected = RandomErasing((1, 1))(pixels, seeds=seeds())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        outputs = RandomErasing((1, 1))(pixels, seeds=seeds())
    finally:
        keras.config.set_dtype_policy(before)
    assert outputs.dtype == "float32"
    np.testing.assert_array_equal(outputs, expected)


def test_config_roundtrip():
    layer = RandomErasing(0.7, (0.1, 0.2), (0.5, 2.0), 3, seed=9, name="hole")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is RandomErasing
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(images(), seeds=seeds()), layer(images(), seeds=seeds()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1.5}, "factor must be a number or a pair (low, high) from 0 to 1. Received: 1.5."),
        ({"scale": -0.3}, "scale must be a number or a pair (low, high) from 0 to 1. Received: -0.3."),
        ({"scale": (0.5, 1.2)}, "scale must be a number or a pair (low, high) from 0 to 1. Received: (0.5, 1.2)."),
        ({"ratio": (2, 1)}, "ratio must be a pair (low, high) above 0. Received: (2, 1)."),
        ({"fill_value": "noise"}, "fill_value must be a number from 0 to 255. Received: 'noise'."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgument) as caught:
        RandomErasing(**arguments)
    assert str(caught.value) == message
