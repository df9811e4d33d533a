"""RandomCrop cuts out the very pixels, at a place of its own for each image."""

import numpy as np
import pytest

from kzoo.backend import keras, tf
from kzoo.errors import InvalidArgument
from kzoo.layers import RandomCrop

NUMPY_MODES = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}


def images(batch=6, height=9, width=12, channels=3, dtype="uint8"):
    return np.random.default_rng(height).integers(0, 256, (batch, height, width, channels)).astype(dtype)


def seeds(batch=6):
    return np.array([[i, 7 * i - 3] for i in range(batch)], "int32")


def windows(image, height, width):
    """Every window of the image, by its bytes, and where it is."""
    rows, columns = image.shape[0] - height + 1, image.shape[1] - width + 1
    return {
        image[i : i + height, j : j + width].tobytes(): (i, j) for i in range(rows) for j in range(columns)
    }, rows * columns


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_crop_is_a_window_of_the_padded_image_and_each_is_as_likely(mode, dtype):
    pixels = images(1, 4, 5, 2, dtype)
    arguments: dict = {"constant_values": 99} if mode == "constant" else {}
    padded = np.pad(pixels[0], ((1, 1), (1, 1), (0, 0)), **{"mode": NUMPY_MODES[mode], **arguments})
    places, count = windows(padded, 4, 5)
    layer = RandomCrop(4, 5, padding=1, fill_mode=mode, fill_value=99)
    crops = np.asarray(layer(np.repeat(pixels, 2000, axis=0), seeds=seeds(2000)))
    assert crops.dtype == dtype
    found = [places[crop.tobytes()] for crop in crops]
    # 9 places, 222 crops each: 5 standard deviations of a binomial count are 70.
    assert count == len(places) == 9
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 9
    assert 152 <= counts.min() <= counts.max() <= 292


def test_images_of_a_batch_are_cropped_at_places_of_their_own_whatever_the_batch():
    pixels, rows, layer = images(9), seeds(9), RandomCrop(4, 6, padding=1)
    together = np.asarray(layer(pixels, seeds=rows))
    places = {
        windows(np.pad(p, ((1, 1), (1, 1), (0, 0))), 4, 6)[0][c.tobytes()]
        for p, c in zip(pixels, together, strict=True)
    }
    assert len(places) > 4
    for i in range(9):
        np.testing.assert_array_equal(layer(pixels[i], seeds=rows[i]), together[i])
    dataset = tf.data.Dataset.from_tensor_slices((pixels, rows)).batch(4)
    mapped = dataset.map(lambda x, s: layer(x, seeds=s), num_parallel_calls=2)
    assert mapped.element_spec.shape == (None, 4, 6, 3)
    np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), together)


@pytest.mark.parametrize("padding", [0, 2])
def test_inference_crops_the_centre(padding):
    pixels = images()
    layer = RandomCrop(4, 7, padding=padding)
    np.testing.assert_array_equal(layer(pixels), pixels[:, 2:6, 2:9])
    np.testing.assert_array_equal(layer(pixels[0], training=False), pixels[0, 2:6, 2:9])
    np.testing.assert_array_equal(RandomCrop(9, 12, padding=padding)(pixels), pixels)


def test_unknown_heights_and_widths():
    layer = RandomCrop(4, 6, padding=1, fill_mode="reflect")
    pixels = [images(1, *size)[0] for size in ((9, 12), (3, 7), (20, 6))]
    signature = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: zip(pixels, seeds(3), strict=True), output_signature=signature)
    dataset = dataset.map(lambda x, s: layer(x, seeds=s))
    assert dataset.element_spec.shape == (4, 6, 3)
    for image, row, output in zip(pixels, seeds(3), dataset.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(output, layer(image, seeds=row))


def test_too_small_an_image_is_one_line():
    line = (
        "Images must be at least 4 x 6, their padding of 1 pixels on each side included. Received: {}. "
        "Resize them first, or pad more."
    )
    layer = RandomCrop(4, 6, padding=1)
    with pytest.raises(InvalidArgument) as caught:
        layer(images(2, 9, 3), seeds=seeds(2))
    assert str(caught.value) == line.format((9, 3))
    unknown = tf.function(lambda x: layer(x, seeds=seeds(2)), input_signature=[tf.TensorSpec((2, None, None, 3))])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be at least 4 x 6"):
        unknown(images(2, 9, 3, dtype="float32"))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_model(jit_compile, tmp_path):
    inputs = keras.Input((9, 12, 3))
    cropped = RandomCrop(4, 6, padding=1, seed=3)(inputs)
    assert cropped.shape == (None, 4, 6, 3)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(cropped)))
    model.compile(keras.optimizers.SGD(1e-6), "mse", jit_compile=jit_compile)
    pixels = images(5, dtype="float32")
    model.fit(pixels, np.ones((5, 1)), batch_size=2, verbose=0)
    expected = pixels[:, 2:6, 3:9].reshape(5, -1) @ model.layers[-1].kernel.numpy() + model.layers[-1].bias.numpy()
    np.testing.assert_allclose(model.predict(pixels, verbose=0), expected, rtol=1e-4, atol=1e-2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[1].get_config() == model.layers[1].get_config()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"height": 0}, "height must be a whole number of at least 1. Received: 0."),
        ({"width": 2.5}, "width must be a whole number of at least 1. Received: 2.5."),
        ({"padding": -1}, "padding must be a whole number of at least 0. Received: -1."),
        ({"fill_mode": "edge"}, "Unknown fill_mode. Received: 'edge'. Valid: constant, nearest, reflect, wrap."),
        ({"fill_value": -1}, "fill_value must be a number from 0 to 255. Received: -1."),
    ],
)
def test_wrong_arguments_are_one_line(arguments, line):
    with pytest.raises(InvalidArgument) as caught:
        RandomCrop(**{"height": 4, "width": 4, **arguments})
    assert str(caught.value) == line
