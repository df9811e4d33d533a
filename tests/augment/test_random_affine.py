"""RandomAffine against SciPy's resampling, and its draws as pure functions of the seeds."""

import numpy as np
import pytest
import scipy.ndimage

from kzoo.augment.image_augmentation import uniform
from kzoo.backend import keras, tf
from kzoo.errors import InvalidArgument
from kzoo.layers import RandomAffine

SCIPY_MODES = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}


def images(batch=6, height=13, width=17, channels=1, dtype="float32"):
    pixels = np.random.default_rng(height).integers(0, 256, (batch, height, width, channels))
    return scipy.ndimage.gaussian_filter(pixels.astype("float64"), (0, 1, 1, 0)).astype(dtype)


def seeds(batch=6, start=0):
    return np.array([[start + i, 7 * i - 3] for i in range(batch)], "int32")


def points(draw, shape, rotation=0.0, translation=0.0, zoom=0.0, shear=0.0, flips=(False, False)):
    """Where each pixel of the output comes from: flip(zoom(rotate(shear(p - centre - shift)))) + centre, in float64."""
    signed = 2 * draw - 1
    centre = (np.array(shape) - 1) / 2
    angle = 2 * np.pi * rotation * signed[0]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, 0], [shear * signed[4] * (1 if draw[5] >= 0.5 else -1), 1]])
    mirror = np.diag([-1 if wanted and draw[k] < 0.5 else 1 for wanted, k in zip(flips, (7, 6), strict=True)])
    matrix = (1 + zoom * signed[3]) * mirror @ turn @ slant
    offset = centre - matrix @ (centre + translation * signed[1:3] * shape)
    return np.einsum("ij,jhw->ihw", matrix, np.indices(shape)) + offset[:, None, None]


def reference(pixels, draws, arguments, mode="constant", fill_value=0.0, nearest=False):
    outputs = []
    for image, draw in zip(pixels.astype("float64"), np.asarray(draws, "float64"), strict=True):
        where = points(draw, image.shape[:2], **arguments)
        if nearest:
            where = np.floor(where + 0.5)
        channels = [
            scipy.ndimage.map_coordinates(image[..., c], where, order=1, mode=SCIPY_MODES[mode], cval=fill_value)
            for c in range(image.shape[-1])
        ]
        outputs.append(np.stack(channels, axis=-1))
    return np.stack(outputs)


ALL = {"rotation_factor": 0.2, "translation_factor": 0.3, "zoom_factor": 0.4, "shear_factor": 0.3}
FLIPS = {"horizontal_flip": True, "vertical_flip": True}
REFERENCE = {"rotation": 0.2, "translation": 0.3, "zoom": 0.4, "shear": 0.3, "flips": (True, True)}


@pytest.mark.parametrize("name", ALL)
def test_each_factor_alone_equals_scipy(name):
    pixels = images(channels=3)
    outputs = RandomAffine(**{name: ALL[name]}, fill_mode="constant")(pixels, seeds=seeds())
    expected = reference(pixels, uniform(seeds(), 8), {name.removesuffix("_factor"): ALL[name]})
    np.testing.assert_allclose(outputs, expected, atol=TOLERANCE)
    assert np.abs(expected - pixels).mean() > 5, "the reference moved nothing"


# Coordinates are rounded to 2 ** -15 pixels, twice; neighbours differ by up to 200.
TOLERANCE = 0.02


@pytest.mark.parametrize("mode", SCIPY_MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_together_equal_scipy_up_to_the_corners(mode, dtype, channels):
    pixels = images(channels=channels, dtype=dtype)
    layer = RandomAffine(**ALL, **FLIPS, fill_mode=mode, fill_value=200)
    outputs = layer(pixels, seeds=seeds())
    expected = reference(pixels, uniform(seeds(), 8), REFERENCE, mode, 200)
    assert outputs.dtype == dtype
    # Bytes are rounded, and weights to 2 ** -11, twice: 0.5 + 200 * 2 ** -11.
    np.testing.assert_allclose(outputs, expected, atol=0.6 if dtype == "uint8" else TOLERANCE)


@pytest.mark.parametrize("mode", SCIPY_MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nearest_equals_scipy_exactly(mode, dtype):
    pixels = images(channels=3, dtype=dtype)
    layer = RandomAffine(**ALL, **FLIPS, fill_mode=mode, fill_value=7, interpolation="nearest")
    expected = reference(pixels, uniform(seeds(), 8), REFERENCE, mode, 7, nearest=True)
    np.testing.assert_array_equal(layer(pixels, seeds=seeds()), expected.astype(dtype))


@pytest.mark.parametrize(
    ("keras_layer", "arguments"),
    [
        (keras.layers.RandomRotation((0.1, 0.1)), {"rotation_factor": (0.1, 0.1)}),
        (keras.layers.RandomTranslation((0.2, 0.2), (0.2, 0.2)), {"translation_factor": (0.2, 0.2)}),
        (keras.layers.RandomZoom((0.3, 0.3)), {"zoom_factor": (0.3, 0.3)}),
        (keras.layers.RandomZoom((-0.3, -0.3)), {"zoom_factor": (-0.3, -0.3)}),
    ],
)
def test_directions_are_those_of_keras(keras_layer, arguments):
    pixels = images(channels=3)
    expected = np.asarray(keras_layer(pixels, training=True))
    np.testing.assert_allclose(RandomAffine(**arguments)(pixels, seeds=seeds()), expected, atol=TOLERANCE)
    assert np.abs(expected - pixels).mean() > 5


def test_a_pair_is_a_range():
    edge = np.zeros((100, 5, 40, 1), "uint8")
    edge[:, :, 20:] = 255
    moved = RandomAffine(translation_factor=(0.25, 0.5), fill_mode="nearest")(edge, seeds=seeds(100))
    shifts = 20 - np.asarray(moved, "float64")[:, 2, :, 0].sum(axis=1) / 255
    assert 10 <= shifts.min() < 11
    assert 19 < shifts.max() <= 20


def test_half_of_the_images_are_mirrored_exactly():
    pixels = images(batch=200)
    outputs = np.asarray(RandomAffine(horizontal_flip=True)(pixels, seeds=seeds(200)))
    mirrored = [np.array_equal(out, image[:, ::-1]) for out, image in zip(outputs, pixels, strict=True)]
    same = [np.array_equal(out, image) for out, image in zip(outputs, pixels, strict=True)]
    assert sum(mirrored) + sum(same) == 200
    assert 72 <= sum(mirrored) <= 128  # 4 standard deviations of 200 fair coins


@pytest.mark.parametrize(("dtype", "shape"), [("uint8", (24, 24, 3)), ("float32", (13, 17, 3))])
def test_an_image_does_not_depend_on_its_batch(dtype, shape):
    height, width, channels = shape
    layer = RandomAffine(**ALL, horizontal_flip=True)
    pixels, rows = images(11, height, width, channels, dtype), seeds(11)
    together = np.asarray(layer(pixels, seeds=rows))
    order = [5, 0, 7, 2]
    np.testing.assert_array_equal(layer(pixels[order], seeds=rows[order]), together[order])
    for i in range(3):
        np.testing.assert_array_equal(layer(pixels[i], seeds=rows[i]), together[i])
    dataset = tf.data.Dataset.from_tensor_slices((pixels, rows))
    for batch, workers in ((3, 1), (4, 2), (11, 8)):
        mapped = dataset.batch(batch).map(lambda x, s: layer(x, seeds=s), num_parallel_calls=workers)
        np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), together)


@pytest.mark.parametrize("mode", ["constant", "wrap"])
def test_unknown_heights_and_widths(mode):
    layer = RandomAffine(**ALL, fill_mode=mode)
    sizes = [(13, 17), (70, 20), (64, 64)]
    pixels = [images(1, *size, 3, "uint8")[0] for size in sizes]
    signature = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: zip(pixels, seeds(3), strict=True), output_signature=signature)
    outputs = list(dataset.map(lambda x, s: layer(x, seeds=s)).as_numpy_iterator())
    for image, row, output in zip(pixels, seeds(3), outputs, strict=True):
        np.testing.assert_array_equal(output, layer(image, seeds=row))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_moves_images_and_inference_does_not(jit_compile):
    inputs = keras.Input((9, 7, 3))
    moved = RandomAffine(0.1, 0.1, horizontal_flip=True, seed=1)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(moved)))
    model.compile(keras.optimizers.SGD(1e-6), "mse", jit_compile=jit_compile)
    pixels = images(5, 9, 7, 3)
    dense = model.layers[-1]
    before = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(before, pixels.reshape(5, -1) @ dense.kernel.numpy(), rtol=1e-4, atol=1e-2)
    model.fit(pixels, np.ones((5, 2)), batch_size=2, verbose=0)
    assert np.isfinite(model.predict(pixels, verbose=0)).all()
    # In training the very images of the seeds' draws.
    layer = RandomAffine(0.1, 0.1, horizontal_flip=True)
    compiled = tf.function(lambda x, s: layer(x, seeds=s, training=True), jit_compile=jit_compile)
    np.testing.assert_allclose(compiled(pixels, seeds(5)), layer(pixels, seeds=seeds(5)), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"rotation_factor": 1.5},
            "rotation_factor must be a number or a pair (low, high) from -1 to 1. Received: 1.5.",
        ),
        (
            {"translation_factor": (0.2, 0.1)},
            "translation_factor must be a number or a pair (low, high) from -1 to 1. Received: (0.2, 0.1).",
        ),
        (
            {"zoom_factor": (-1, 0)},
            "zoom_factor must be a number or a pair (low, high) above -1 and at most 1. Received: (-1, 0).",
        ),
        (
            {"shear_factor": "much"},
            "shear_factor must be a number or a pair (low, high) from 0 to 1. Received: 'much'.",
        ),
        ({"fill_mode": "mirror"}, "Unknown fill_mode. Received: 'mirror'. Valid: constant, nearest, reflect, wrap."),
        ({"interpolation": "cubic"}, "Unknown interpolation. Received: 'cubic'. Valid: bilinear, nearest."),
        ({"fill_value": 300}, "fill_value must be a number from 0 to 255. Received: 300."),
    ],
)
def test_wrong_arguments_are_one_line(arguments, line):
    with pytest.raises(InvalidArgument) as caught:
        RandomAffine(**arguments)
    assert str(caught.value) == line


def test_without_a_factor_nothing_is_resampled():
    layer = RandomAffine()
    concrete = tf.function(lambda x, s: layer(x, seeds=s)).get_concrete_function(
        tf.TensorSpec((None, 9, 7, 3), tf.uint8), tf.TensorSpec((None, 2), tf.int32)
    )
    assert "PartitionedCall" not in {op.type for op in concrete.graph.get_operations()}


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
    layer = RandomAffine(0.1, (0.0, 0.2), 0.3, 0.1, True, True, "constant", 9, "nearest", seed=9, name="shake")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is RandomAffine
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(images(), seeds=seeds()), layer(images(), seeds=seeds()))
