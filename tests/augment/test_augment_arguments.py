"""What layers ask of their arguments."""

import json

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from kzoo import layers
from kzoo.arguments import integer, is_number, number
from kzoo.augment import describe, policy
from kzoo.augment.arguments import channels_of, is_pair, number_or_pair, pair
from kzoo.augment.pixels.affine import resample
from kzoo.errors import InvalidArgument
from kzoo.layers import RandAugment, RandomColorJitter, TrivialAugment


def test_numbers_and_pairs():
    assert [is_number(value) for value in (1, 0.5, True, "1", None, np.zeros(2))] == [True, True] + [False] * 4
    assert all(is_number(value) for value in (np.float32(0.5), np.float64(0.5), np.int64(1), np.uint8(1)))
    assert not is_number(np.bool_(True))
    assert is_pair((0, 1.5))
    assert is_pair([0, 1])
    assert not any(is_pair(value) for value in ((0,), (0, 1, 2), 0.5, "01", (0, None), np.zeros(2)))


@pytest.mark.parametrize("layer", [RandAugment(), TrivialAugment(), RandomColorJitter(0.5)])
def test_images_without_known_channels_are_refused_in_one_line(layer):
    specification = tf.TensorSpec((None, 8, 8, None), "uint8")
    call = tf.function(lambda x: layer(x, training=True), input_signature=[specification], autograph=False)
    with pytest.raises(InvalidArgument) as caught:
        call.get_concrete_function()
    assert str(caught.value) == (
        "The number of channels of the images must be known. Received: images of shape (None, 8, 8, None). "
        "Set it: `images.set_shape((None, None, None, 3))`."
    )


# Each numeric argument of each layer, as NumPy's scalars, by what the layer then keeps.
NUMPY = {
    "RandomAffine": {
        "rotation_factor": np.float32(0.5),
        "translation_factor": (np.float32(0.25), np.float64(0.5)),
        "zoom_factor": np.float64(0.25),
        "shear_factor": [np.float32(0.0), np.float32(0.5)],
        "fill_value": np.float32(3.5),
    },
    "RandomColorJitter": {
        "brightness_factor": np.float32(0.5),
        "contrast_factor": (np.float32(0.5), np.float64(1.5)),
        "saturation_factor": np.int64(1),
        "hue_factor": np.float32(0.25),
    },
    "RandomCrop": {"height": np.int64(4), "width": np.int32(4), "padding": np.uint8(1), "fill_value": np.float64(0.5)},
    "RandomResizedCrop": {
        "height": np.int64(4),
        "width": np.int64(4),
        "scale": (np.float32(0.5), np.float32(1)),
        "ratio": (np.float64(0.5), np.float32(2)),
        "crop_fraction": np.float32(0.5),
    },
    "RandomErasing": {
        "factor": np.float32(0.5),
        "scale": (np.float32(0.125), np.float64(0.25)),
        "ratio": [np.float32(0.5), np.float32(2)],
        "fill_value": np.float32(0.5),
    },
    "RandAugment": {"num_ops": np.int64(2), "magnitude": np.int32(5), "fill_value": np.float32(0.5)},
    "TrivialAugment": {"fill_value": np.float32(0.5)},
    "MixUp": {"classes": np.int64(3), "alpha": np.float32(0.5)},
    "CutMix": {"classes": np.int64(3), "factor": np.float32(0.5)},
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpys_scalars_are_numbers_in_every_layer(name):
    layer = getattr(layers, name)(**NUMPY[name])
    config = layer.get_config()
    for argument, value in NUMPY[name].items():
        expected = tuple(value) if isinstance(value, list) else value
        assert config[argument] == expected
        kept = config[argument] if isinstance(expected, tuple) else [config[argument]]
        assert all(type(one) in (int, float) for one in kept)
    policy(json.loads(json.dumps(describe(layer))))  # raises unless the config can be written to a file and read


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, a) for name, arguments in NUMPY.items() for a in arguments],
)
@pytest.mark.parametrize("value", [True, np.bool_(True), "1", float("nan"), (0.25, float("nan")), (True, True)])
def test_what_is_no_number_is_refused_by_every_layer(name, argument, value):
    with pytest.raises(InvalidArgument, match=rf"^{argument} must be .*Received: .*\.$"):
        getattr(layers, name)(**{**NUMPY[name], argument: value})


def test_bounds():
    assert integer("n", np.int64(3), 3, 3) == number("x", 3, 3, 3) == 3
    assert pair("p", [np.float32(0.5), 1], 0, 1) == number_or_pair("p", (0.5, 1), 0, 1) == (0.5, 1)
    for check, value, text in (
        (number, 0, "a number above 0 and at most 2"),
        (number, float("inf"), "a number above 0 and at most 2"),
        (pair, (1, 3), r"a pair \(low, high\) above 0 and at most 2"),
        (number_or_pair, (2, 1), r"a number or a pair \(low, high\) above 0 and at most 2"),
    ):
        with pytest.raises(InvalidArgument, match=f"^x must be {text}. Received: "):
            check("x", value, 0, 2, above=True)


@pytest.mark.parametrize("value", [127.6, 126.2])
def test_a_fill_value_is_rounded_by_every_layer(value):
    images, seeds = np.zeros((4, 8, 8, 3), "uint8"), np.array([[i, 1] for i in range(4)], "int32")
    options = {"fill_mode": "constant", "fill_value": value}
    for layer in (
        layers.RandomAffine(translation_factor=(0.5, 0.5), **options),
        layers.RandomCrop(8, 8, padding=8, **options),
        layers.RandomErasing((1, 1), (0.25, 0.25), fill_value=value),
    ):
        filled = np.asarray(layer(images, seeds=seeds))
        assert set(filled.ravel()) == {0, round(value)}, type(layer).__name__
        kept = np.asarray(layer(images.astype("float32"), seeds=seeds))
        assert set(kept.ravel()) == {0, np.float32(value)}, type(layer).__name__


@pytest.mark.parametrize(
    "layer",
    [layers.RandomAffine(0.1), layers.RandomCrop(4, 4), layers.RandomErasing(), RandomColorJitter(0.5), RandAugment()],
)
def test_seeds_of_another_shape_are_refused_in_one_line(layer):
    images = np.zeros((3, 8, 8, 3), "uint8")
    line = "seeds must have the shape {}, two integers for each image. Received: {}."
    for pixels, shape, wanted in (
        (images, (2,), (3, 2)),
        (images, (4, 2), (3, 2)),
        (images, (3, 1), (3, 2)),
        (images[0], (3, 2), (2,)),
        (images[0], (3,), (2,)),
    ):
        with pytest.raises(InvalidArgument) as caught:
            layer(pixels, seeds=np.zeros(shape, "int32"))
        assert str(caught.value) == line.format(wanted, shape)
    signature = [tf.TensorSpec((None, 8, 8, 3), "uint8"), tf.TensorSpec((2,), "int32")]
    call = tf.function(lambda x, s: layer(x, seeds=s), input_signature=signature, autograph=False)
    with pytest.raises(InvalidArgument) as caught:
        call.get_concrete_function()
    assert str(caught.value) == line.format("(batch, 2)", (2,))


@pytest.mark.parametrize(
    ("layer", "largest"), [(layers.RandomAffine(0.1), 16384), (RandAugment(), 8192), (TrivialAugment(), 8192)]
)
def test_images_too_large_to_resample_are_refused_in_one_line(layer, largest):
    seeds = np.array([[1, 2]], "int32")
    for height, width in ((1, largest + 1), (largest + 1, 1)):
        with pytest.raises(InvalidArgument) as caught:
            layer(np.zeros((1, height, width, 1), "uint8"), seeds=seeds)
        assert str(caught.value) == (
            f"Images must be at most {largest} pixels high and wide. Received: height {height}, width {width}. "
            "Resize them first."
        )
    signature = [tf.TensorSpec((None, None, 20000, 1), "uint8")]
    call = tf.function(lambda x: layer(x, training=True), input_signature=signature, autograph=False)
    with pytest.raises(InvalidArgument, match="Received: height None, width 20000"):
        call.get_concrete_function()


SCIPY_MODES = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}


@pytest.mark.parametrize("mode", SCIPY_MODES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(("width", "scale"), [(2049, -1.75), (12000, 2.0), (16384, 1.0), (16384, -2.0)])
def test_wide_images_are_resampled_right(width, scale, interpolation, mode):
    row = np.random.default_rng(0).integers(0, 256, (1, 1, width, 1)).astype("float32")
    shift = 0.75 * width
    offset = (1 - scale) * (width - 1) / 2 - scale * shift
    matrix = np.array([[scale, 0, offset, 0, 1, 0]])
    where = scale * np.arange(width) + offset
    if interpolation == "nearest":
        where = np.floor(where + 0.5)
    expected = scipy.ndimage.map_coordinates(row.ravel().astype("float64"), [where], order=1, mode=SCIPY_MODES[mode])
    outputs = np.asarray(resample(row, matrix, mode, 0.0, interpolation)).ravel()
    # Coordinates are rounded to 2 ** -15 pixels, and neighbours differ by up to 255.
    np.testing.assert_allclose(outputs, expected, atol=0.02)


def test_known_channels():
    assert channels_of(tf.zeros((2, 8, 8, 3))) == 3
