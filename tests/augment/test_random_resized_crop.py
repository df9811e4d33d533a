"""RandomResizedCrop: torchvision's distribution of boxes, Pillow's resizing of them."""

import math

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from kzoo.backend import keras, tf
from kzoo.errors import InvalidArgument
from kzoo.layers import RandomResizedCrop


def images(batch=6, height=60, width=90, channels=3, dtype="uint8"):
    return np.random.default_rng(height).integers(0, 256, (batch, height, width, channels)).astype(dtype)


def seeds(batch=6):
    return np.array([[i, 7 * i - 3] for i in range(batch)], "int32")


def pillow(image, box, size):
    """Cut out, then resized, a channel at a time: bytes as bytes, others as float32."""
    top, left, height, width = (int(v) for v in box)
    part = image[top : top + height, left : left + width]
    channels = [
        Image.fromarray(part[..., c]).resize(size[::-1], Image.Resampling.BILINEAR) for c in range(part.shape[-1])
    ]
    return np.stack([np.asarray(c) for c in channels], axis=-1)


def torchvision_boxes(height, width, count, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    """The boxes of torchvision 0.28's `RandomResizedCrop.get_params`, written anew with NumPy's generator."""
    random, boxes = np.random.default_rng(0), []
    for _ in range(count):
        for _ in range(10):
            area = height * width * random.uniform(*scale)
            aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                boxes.append((random.integers(height - h + 1), random.integers(width - w + 1), h, w))
                break
        else:
            w = min(width, round(height * ratio[1]))
            h = min(height, round(width / ratio[0]))
            boxes.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(boxes)


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 90), (200, 30)])
def test_boxes_have_torchvisions_distribution(height, width):
    boxes = np.asarray(RandomResizedCrop(8, 8).boxes(seeds(20_000), height, width))
    expected = torchvision_boxes(height, width, 20_000)
    top, left, tall, broad = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + tall <= height).all()
    assert (left + broad <= width).all()
    for ours, theirs in zip(
        (*boxes.T, tall * broad, broad / tall),
        (*expected.T, expected[:, 2] * expected[:, 3], expected[:, 3] / expected[:, 2]),
        strict=True,
    ):
        assert float(np.asarray(scipy.stats.ks_2samp(ours, theirs))[1]) > 1e-3


def test_a_shape_that_never_fits_takes_the_largest_box_in_the_centre():
    boxes = np.asarray(RandomResizedCrop(8, 8, scale=(1, 1)).boxes(seeds(5), 100, 20))
    np.testing.assert_array_equal(boxes, [[36, 0, 27, 20]] * 5)


@pytest.mark.parametrize("size", [(20, 30), (64, 64), (7, 200)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_equals_pillow(size, channels):
    pixels, layer = images(channels=channels), RandomResizedCrop(*size)
    outputs = np.asarray(layer(pixels, seeds=seeds()))
    assert outputs.dtype == "uint8"
    for image, box, output in zip(pixels, np.asarray(layer.boxes(seeds(), 60, 90)), outputs, strict=True):
        expected = pillow(image, box, size)
        # Bytes are rounded after each axis, and Pillow does not always begin with the same one.
        np.testing.assert_allclose(output, expected.astype(int), atol=1)
        assert (output != expected).mean() < 0.3


def test_floats_equal_pillow():
    pixels, layer = images(dtype="float32"), RandomResizedCrop(20, 100)
    outputs = np.asarray(layer(pixels, seeds=seeds()))
    for image, box, output in zip(pixels, np.asarray(layer.boxes(seeds(), 60, 90)), outputs, strict=True):
        # Weights of 14 bits, twice, on pixels up to 255.
        np.testing.assert_allclose(output, pillow(image, box, (20, 100)), atol=0.05)


def test_nearest_takes_the_pixel_that_holds_the_centre():
    pixels, layer = images(), RandomResizedCrop(20, 100, interpolation="nearest")
    outputs = np.asarray(layer(pixels, seeds=seeds()))
    boxes = np.asarray(layer.boxes(seeds(), 60, 90))
    for image, (top, left, height, width), output in zip(pixels, boxes, outputs, strict=True):
        rows, columns = top + (2 * np.arange(20) + 1) * height // 40, left + (2 * np.arange(100) + 1) * width // 200
        np.testing.assert_array_equal(output, image[rows[:, None], columns])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_image_does_not_depend_on_its_batch(dtype):
    pixels, rows, layer = images(9, 20, 30, 3, dtype), seeds(9), RandomResizedCrop(16, 12)
    together = np.asarray(layer(pixels, seeds=rows))
    for i in range(2):
        np.testing.assert_array_equal(layer(pixels[i], seeds=rows[i]), together[i])
    dataset = tf.data.Dataset.from_tensor_slices((pixels, rows))
    for batch, workers in ((4, 1), (9, 8)):
        mapped = dataset.batch(batch).map(lambda x, s: layer(x, seeds=s), num_parallel_calls=workers)
        np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), together)


def test_unknown_heights_and_widths_differ_by_rounding_only():
    layer = RandomResizedCrop(16, 12)
    pixels = [images(1, *size)[0] for size in ((60, 90), (13, 70), (100, 12))]
    signature = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: zip(pixels, seeds(3), strict=True), output_signature=signature)
    dataset = dataset.map(lambda x, s: layer(x, seeds=s))
    assert dataset.element_spec.shape == (16, 12, 3)
    for image, row, output in zip(pixels, seeds(3), dataset.as_numpy_iterator(), strict=True):
        np.testing.assert_allclose(output, np.asarray(layer(image, seeds=row)).astype(int), atol=1)


@pytest.mark.parametrize(("size", "box"), [((32, 32), (4, 19, 52, 52)), ((30, 60), (10, 5, 39, 79))])
def test_inference_takes_the_centre(size, box):
    # 0.875 of the sides of the largest box of the output's shape: 60 x 60, and 45 x 90.
    pixels = images()
    outputs = np.asarray(RandomResizedCrop(*size)(pixels))
    for image, output in zip(pixels, outputs, strict=True):
        np.testing.assert_allclose(output, pillow(image, box, size).astype(int), atol=1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_model(jit_compile, tmp_path):
    inputs = keras.Input((20, 30, 3))
    cropped = RandomResizedCrop(8, 6, crop_fraction=1.0, seed=3)(inputs)
    assert cropped.shape == (None, 8, 6, 3)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(cropped)))
    model.compile(keras.optimizers.SGD(1e-6), "mse", jit_compile=jit_compile)
    pixels = images(5, 20, 30, dtype="float32")
    model.fit(pixels, np.ones((5, 1)), batch_size=2, verbose=0)
    centre = np.stack([pillow(image, (0, 7, 20, 15), (8, 6)) for image in pixels])
    expected = centre.reshape(5, -1) @ model.layers[-1].kernel.numpy() + model.layers[-1].bias.numpy()
    np.testing.assert_allclose(model.predict(pixels, verbose=0), expected, rtol=1e-3, atol=0.05)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), model.predict(pixels, verbose=0))
    assert again.layers[1].get_config()["crop_fraction"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"height": 0}, "height must be a whole number of at least 1. Received: 0."),
        ({"scale": (0, 1)}, "scale must be a pair (low, high) above 0 and at most 1. Received: (0, 1)."),
        ({"ratio": 2}, "ratio must be a pair (low, high) above 0. Received: 2."),
        ({"crop_fraction": 1.2}, "crop_fraction must be a number above 0 and at most 1. Received: 1.2."),
        ({"interpolation": "cubic"}, "Unknown interpolation. Received: 'cubic'. Valid: bilinear, nearest."),
    ],
)
def test_wrong_arguments_are_one_line(arguments, line):
    with pytest.raises(InvalidArgument) as caught:
        RandomResizedCrop(**{"height": 4, "width": 4, **arguments})
    assert str(caught.value) == line
