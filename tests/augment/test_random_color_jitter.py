"""RandomColorJitter against the definition of each operation in float64, and its draws by the seeds alone."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from kzoo.augment.image_augmentation import uniform
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import RandomColorJitter

ALL = {"brightness_factor": 0.4, "contrast_factor": 0.5, "saturation_factor": 0.6, "hue_factor": 0.3}
NONE = dict.fromkeys(ALL, (1.0, 1.0)) | {"hue_factor": (0.0, 0.0)}


def images(batch=6, height=7, width=9, channels=3, dtype="float32"):
    pixels = np.random.default_rng(height).integers(0, 256, (batch, height, width, channels))
    pixels[0, :3] = pixels[0, :3, :, :1]  # grey: no hue to turn
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    return pixels.astype(dtype)


def seeds(batch=6, start=0):
    return np.array([[start + i, 7 * i - 3] for i in range(batch)], "int32")


def grey(image):
    return image @ [[0.299], [0.587], [0.114]] if image.shape[-1] == 3 else image.mean(-1, keepdims=True)


def reference(pixels, draws, ranges):
    """One image after the other, by colorsys."""
    results = []
    lows, highs = np.array(ranges).T
    for image, draw in zip(pixels.astype("float64"), np.asarray(draws, "float64"), strict=True):
        brightness, contrast, saturation, turn = draw * (highs - lows) + lows
        image = image * brightness
        mean = grey(image).mean()
        image = mean + contrast * (image - mean)
        if image.shape[-1] == 3:
            image = grey(image) + saturation * (image - grey(image))
            if turn:
                colors = image.reshape(-1, 3)
                # colorsys wants no negative numbers; hue and chroma do not change where all three rise alike.
                rise = np.minimum(colors.min(1, keepdims=True), 0)
                turned = []
                for h, s, v in (colorsys.rgb_to_hsv(*color) for color in colors - rise):
                    turned.append(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
                image = (np.array(turned) + rise).reshape(image.shape)
        results.append(np.clip(image, 0, 255))
    return np.stack(results)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("factors", [*([name] for name in ALL), ["contrast_factor", "hue_factor"], list(ALL)])
def test_equals_the_definition(factors, channels):
    pixels = images(channels=channels)
    layer = RandomColorJitter(**{name: ALL[name] for name in factors})
    ranges = [
        (sign - ALL[name], sign + ALL[name]) if name in factors else (sign, sign)
        for name, sign in zip(ALL, (1, 1, 1, 0), strict=True)
    ]
    expected = reference(pixels, uniform(seeds(), 4), ranges)
    result = np.asarray(layer(pixels, seeds=seeds()))
    assert result.dtype == "float32"
    # float32 has 7 digits; where chroma is small, hue loses some of them but weighs as little.
    np.testing.assert_allclose(result, expected, atol=2e-3)
    if channels == 3 or not {"saturation_factor", "hue_factor"}.issuperset(factors):
        assert np.abs(result - pixels).max() > 10, "the layer changed nothing"
    else:
        np.testing.assert_array_equal(result, pixels)
    rounded = layer(pixels.astype("uint8"), seeds=seeds())
    assert rounded.dtype == "uint8"
    np.testing.assert_array_equal(rounded, np.round(result).astype("uint8"))


def test_factors_have_torchvisions_ranges():
    grey_images = np.full((2000, 1, 1, 1), 100, "float32")

    def factors(factor):
        return np.asarray(RandomColorJitter(brightness_factor=factor)(grey_images, seeds=seeds(2000))).ravel() / 100

    for factor, low, high in ((0.4, 0.6, 1.4), (1.5, 0.0, 2.5), ((0.2, 0.3), 0.2, 0.3)):
        drawn = factors(factor)
        width = high - low
        assert low <= drawn.min() < low + 0.01 * width
        assert high - 0.01 * width < drawn.max() <= high + 1e-6
        assert abs(drawn.mean() - (low + high) / 2) < 5 * width / np.sqrt(12 * 2000)


def test_extreme_factors():
    pixels = images()
    np.testing.assert_array_equal(RandomColorJitter()(pixels, seeds=seeds()), pixels)
    np.testing.assert_array_equal(RandomColorJitter(**NONE)(pixels, seeds=seeds()), pixels)
    black = RandomColorJitter(brightness_factor=(0.0, 0.0))(pixels, seeds=seeds())
    np.testing.assert_array_equal(black, np.zeros_like(pixels))
    colourless = np.asarray(RandomColorJitter(saturation_factor=(0.0, 0.0))(pixels, seeds=seeds()))
    np.testing.assert_allclose(colourless, np.broadcast_to(grey(pixels), pixels.shape), atol=1e-4)
    # A third of a turn makes red green, green blue and blue red.
    third = np.asarray(RandomColorJitter(hue_factor=(1 / 3, 1 / 3))(pixels, seeds=seeds()))
    np.testing.assert_allclose(third, np.roll(pixels, 1, -1), atol=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_depend_on_its_batch(channels):
    layer = RandomColorJitter(**ALL)
    pixels, rows = images(40, channels=channels), seeds(40)
    together = np.asarray(layer(pixels, seeds=rows))
    order = [5, 0, 37, 2]
    np.testing.assert_array_equal(layer(pixels[order], seeds=rows[order]), together[order])
    np.testing.assert_array_equal(layer(pixels[7], seeds=rows[7]), together[7])
    unknown = tf.data.Dataset.from_tensor_slices((pixels, rows)).map(
        lambda x, s: (tf.ensure_shape(tf.identity(x), (None, None, channels)), s)
    )
    mapped = unknown.batch(9).map(lambda x, s: layer(x, seeds=s), num_parallel_calls=4)
    np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), together)


def test_nothing_is_done_at_inference():
    layer, pixels = RandomColorJitter(**ALL), images(dtype="uint8")
    for outputs in (layer(pixels), layer(pixels, training=False), layer(pixels, seeds=seeds(), training=False)):
        np.testing.assert_array_equal(outputs, pixels)
    assert not np.array_equal(layer(pixels, training=True), pixels)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_model_that_is_fitted(jit_compile):
    inputs = keras.Input((12, 12, 3), dtype="uint8")
    outputs = keras.layers.GlobalAveragePooling2D()(RandomColorJitter(**ALL, seed=1)(inputs) / 255)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(outputs))
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    history = model.fit(images(8, 12, 12, dtype="uint8"), np.arange(8) % 2, batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pixels_stay_exact_under_a_half_precision_policy(policy):
    expected = RandomColorJitter(**ALL)(images(), seeds=seeds())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        outputs = RandomColorJitter(**ALL)(images(), seeds=seeds())
    finally:
        keras.config.set_dtype_policy(before)
    assert outputs.dtype == "float32"
    np.testing.assert_array_equal(outputs, expected)


def test_config_roundtrip():
    layer = RandomColorJitter(0.1, (0.5, 1.5), 0.3, (-0.1, 0.2), seed=9, name="shake")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is RandomColorJitter
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(images(), seeds=seeds()), layer(images(), seeds=seeds()))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            {"brightness_factor": -0.1},
            "brightness_factor must be a number or a pair (low, high) of at least 0. Received: -0.1.",
        ),
        (
            {"contrast_factor": (1.2, 0.8)},
            "contrast_factor must be a number or a pair (low, high) of at least 0. Received: (1.2, 0.8).",
        ),
        (
            {"saturation_factor": None},
            "saturation_factor must be a number or a pair (low, high) of at least 0. Received: None.",
        ),
        (
            {"hue_factor": 0.6},
            "hue_factor must be a number or a pair (low, high) from -0.5 to 0.5. Received: 0.6.",
        ),
    ],
)
def test_bad_arguments(factors, message):
    with pytest.raises(InvalidArgument) as caught:
        RandomColorJitter(**factors)
    assert str(caught.value) == message
