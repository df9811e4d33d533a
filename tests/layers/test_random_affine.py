"""RandomAffine against SciPy's resampling, and its draws as pure functions of the seeds."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from kzoo.backend import keras
from kzoo.layers import RandomAffine
from kzoo.layers.image_augmentation import uniform

SCIPY_MODES = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}


def images(batch=6, height=13, width=17, channels=1, dtype="float32"):
    pixels = np.random.default_rng(height).integers(0, 256, (batch, height, width, channels))
    return scipy.ndimage.gaussian_filter(pixels.astype("float64"), (0, 1, 1, 0)).astype(dtype)


def seeds(batch=6, start=0):
    return np.array([[start + i, 7 * i - 3] for i in range(batch)], "int32")


def reference(pixels, draws, rotation=0.0, translation=0.0, zoom=0.0, flip=False, mode="constant"):
    """The same transformation in float64: out[p] = in[flip(rotate(p - centre) * scale) + centre + shift]."""
    height, width = pixels.shape[1:3]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    outputs = []
    for image, draw in zip(pixels.astype("float64"), np.asarray(draws, "float64"), strict=True):
        signed = 2 * draw - 1
        angle = 2 * np.pi * rotation * signed[0]
        shift = translation * signed[1:3] * (height, width)
        matrix = (1 + zoom * signed[3]) * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        if flip and draw[5] < 0.5:
            matrix[1] *= -1
        offset = centre + shift - matrix @ centre
        points = np.einsum("ij,jhw->ihw", matrix, np.indices((height, width))) + offset[:, None, None]
        resample = [
            scipy.ndimage.map_coordinates(image[..., c], points, order=1, mode=SCIPY_MODES[mode])
            for c in range(image.shape[-1])
        ]
        image = np.stack(resample, axis=-1)
        if mode == "wrap":  # TensorFlow does not interpolate between the last pixel and the first
            sizes = np.array([height, width])[:, None, None]
            image[(points % sizes > sizes - 1).any(axis=0)] = np.nan
        outputs.append(image)
    return np.stack(outputs)


@pytest.mark.parametrize(
    ("arguments", "reference_arguments"),
    [
        ({"rotation_factor": 0.2}, {"rotation": 0.2}),
        ({"translation_factor": 0.3}, {"translation": 0.3}),
        ({"zoom_factor": 0.4}, {"zoom": 0.4}),
        ({"horizontal_flip": True}, {"flip": True}),
        (
            {"rotation_factor": 0.1, "translation_factor": 0.1, "zoom_factor": 0.2, "horizontal_flip": True},
            {"rotation": 0.1, "translation": 0.1, "zoom": 0.2, "flip": True},
        ),
    ],
)
@pytest.mark.parametrize("mode", SCIPY_MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_scipy(arguments, reference_arguments, mode, channels):
    pixels = images(channels=channels)
    outputs = RandomAffine(**arguments, fill_mode=mode)(pixels, seeds=seeds())
    expected = reference(pixels, uniform(seeds(), 6), **reference_arguments, mode=mode)
    assert outputs.dtype == "float32"
    # float32 coordinates err by about 1e-5 pixels; neighbours differ by up to 200.
    known = ~np.isnan(expected)
    assert known.mean() > 0.7
    np.testing.assert_allclose(np.asarray(outputs)[known], expected[known], atol=0.01)
    assert np.nanmean(np.abs(expected - pixels)) > 5, "the reference moved nothing"


def test_bytes_are_the_rounded_floats():
    layer = RandomAffine(rotation_factor=0.1, zoom_factor=0.1)
    pixels = images(dtype="uint8")
    outputs = layer(pixels, seeds=seeds())
    assert outputs.dtype == "uint8"
    exact = layer(pixels.astype("float32"), seeds=seeds())
    np.testing.assert_array_equal(outputs, np.round(exact).astype("uint8"))


def test_half_of_the_images_are_mirrored_exactly():
    pixels = images(batch=200)
    outputs = np.asarray(RandomAffine(horizontal_flip=True)(pixels, seeds=seeds(200)))
    mirrored = [np.array_equal(out, image[:, ::-1]) for out, image in zip(outputs, pixels, strict=True)]
    same = [np.array_equal(out, image) for out, image in zip(outputs, pixels, strict=True)]
    assert sum(mirrored) + sum(same) == 200
    assert 72 <= sum(mirrored) <= 128  # 4 standard deviations of 200 fair coins


def test_an_image_does_not_depend_on_its_batch():
    layer = RandomAffine(rotation_factor=0.1, translation_factor=0.1, zoom_factor=0.1, horizontal_flip=True)
    pixels, rows = images(batch=8, channels=3), seeds(8)
    together = np.asarray(layer(pixels, seeds=rows))
    order = [5, 0, 7, 2]
    np.testing.assert_array_equal(layer(pixels[order], seeds=rows[order]), together[order])
    for i in range(8):
        np.testing.assert_array_equal(layer(pixels[i : i + 1], seeds=rows[i : i + 1])[0], together[i])
    # A compiled graph orders its float32 arithmetic in its own way, so that only graphs equal graphs to the bit.
    dataset = tf.data.Dataset.from_tensor_slices((pixels, rows))
    by_three, by_five = (
        np.concatenate(list(dataset.batch(size).map(lambda x, s: layer(x, seeds=s)).as_numpy_iterator()))
        for size in (3, 5)
    )
    np.testing.assert_array_equal(by_three, by_five)
    np.testing.assert_allclose(by_three, together, atol=0.01)


def test_calls_without_seeds_repeat_with_the_layer_seed():
    def calls(seed):
        layer = RandomAffine(rotation_factor=0.2, seed=seed)
        return [np.asarray(layer(images(), training=True)) for _ in range(2)]

    first, second = calls(3)
    np.testing.assert_array_equal(calls(3), [first, second])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, calls(4)[0])


def test_inference_changes_nothing():
    pixels = images(dtype="uint8")
    layer = RandomAffine(rotation_factor=0.2)
    for outputs in (layer(pixels), layer(pixels, training=False), layer(pixels, seeds=seeds(), training=False)):
        assert outputs.dtype == "uint8"
        np.testing.assert_array_equal(outputs, pixels)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pixels_stay_exact_under_a_half_precision_policy(policy):
    expected = RandomAffine(rotation_factor=0.1)(images(), seeds=seeds())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        outputs = RandomAffine(rotation_factor=0.1)(images(), seeds=seeds())
    finally:
        keras.config.set_dtype_policy(before)
    assert outputs.dtype == "float32"
    np.testing.assert_array_equal(outputs, expected)


def test_config_roundtrip():
    layer = RandomAffine(0.1, 0.2, 0.3, 0.1, True, "reflect", seed=9, name="shake")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is RandomAffine
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(images(), seeds=seeds()), layer(images(), seeds=seeds()))
