"""TrivialAugment and RandAugment: the papers' magnitudes, Pillow's pixels, and draws by the seeds alone."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kzoo.augment.random_operation import OPERATIONS
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import RandAugment, TrivialAugment

LAYERS = {"trivial": TrivialAugment, "rand": RandAugment}


def images(batch=6, height=13, width=17, channels=3, dtype="uint8"):
    return np.random.default_rng(height).integers(0, 256, (batch, height, width, channels)).astype(dtype)


def seeds(batch=6, start=0):
    return np.array([[start + i, 7 * i - 3] for i in range(batch)], "int32")


def test_magnitudes_are_torchvisions():
    """Of torchvision 0.28, `_augmentation_space`: its tables are float32 too, and differ by at most 6e-8."""
    trivial, rand = (
        {name: np.round(row, 6).tolist() for name, row in zip(OPERATIONS, layer.space, strict=True)}
        for layer in (TrivialAugment, RandAugment)
    )
    for table, shear, angle, change in ((trivial, 0.99, 135, 0.99), (rand, 0.3, 30, 0.9)):
        for name, top in (("ShearX", shear), ("ShearY", shear), ("Rotate", angle), ("Brightness", change)):
            np.testing.assert_allclose(table[name], np.linspace(0, top, 31), atol=1e-6)
        assert table["Brightness"] == table["Color"] == table["Contrast"] == table["Sharpness"]
        assert table["Solarize"] == [255 - 8.5 * i for i in range(31)]
    assert trivial["Posterize"] == [8] * 3 + [7] * 5 + [6] * 5 + [5] * 5 + [4] * 5 + [3] * 5 + [2] * 3
    assert rand["Posterize"] == [8] * 4 + [7] * 8 + [6] * 7 + [5] * 8 + [4] * 4


def test_translations_are_torchvisions():
    steps = np.arange(31)
    np.testing.assert_array_equal(TrivialAugment().translation(steps, 224), [32 * i // 30 for i in steps])
    for size in (7, 28, 224, 331):
        expected = [int(np.float32(150 / 331 * size * i / 30) + 1e-4) for i in steps]
        np.testing.assert_array_equal(RandAugment().translation(steps, size), expected)


def moved_by_pillow(image, name, amount):
    size = image.shape[1], image.shape[0]
    picture = PIL.Image.fromarray(image)
    if name == "Rotate":
        return np.asarray(picture.rotate(amount))
    rows = {
        "ShearX": (1, amount, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, amount, 1, 0),
        "TranslateX": (1, 0, -amount, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, -amount),
    }
    return np.asarray(picture.transform(size, PIL.Image.Transform.AFFINE, rows[name]))


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"])
def test_movements_are_pillows(name, negative):
    layer, steps = TrivialAugment(), np.array([1, 4, 11, 17, 29, 30], "int32")
    pixels = images(height=41, width=53)
    operation = OPERATIONS.index(name)
    results = layer.operate(pixels, np.full(6, operation, "int32"), steps, np.full(6, negative)).numpy()
    amounts = layer.translation(steps, 53) if name.startswith("Translate") else layer.space[operation][steps]
    for result, image, amount in zip(results, pixels, amounts, strict=True):
        expected = moved_by_pillow(image, name, float(-amount if negative else amount))
        # Pillow counts positions in 65536ths: a lookup halfway between two pixels can fall to the other one.
        assert (result != expected).any(-1).mean() < 0.02
        assert (result[0, 0] == expected[0, 0]).all()


@pytest.mark.parametrize("name", LAYERS)
def test_operations_are_drawn_evenly(name):
    """Each operation, step and sign as often as chance has it, and the second operation whatever the first is."""
    count = 20_000
    choices = [[np.asarray(x) for x in choice] for choice in LAYERS[name]().choices(seeds(count))]
    assert len(choices) == {"trivial": 1, "rand": 2}[name]
    even = [(values, levels) for choice in choices for values, levels in ((choice[0], 14), (choice[2].astype(int), 2))]
    if name == "trivial":
        even += [(choices[0][1], 31), (choices[0][0] * 2 + choices[0][2], 28)]
    else:
        assert all((choice[1] == 9).all() for choice in choices)
        even += [(choices[0][0] * 14 + choices[1][0], 196), (choices[1][0] * 2 + choices[1][2], 28)]
    for values, levels in even:
        counts = np.bincount(values, minlength=levels)
        assert len(counts) == levels
        share = 1 / levels
        assert np.abs(counts / count - share).max() < 5 * np.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_an_image_does_not_depend_on_its_batch(name, channels):
    layer = LAYERS[name]()
    pixels, rows = images(40, channels=channels), seeds(40)
    together = np.asarray(layer(pixels, seeds=rows))
    assert together.dtype == "uint8"
    assert (together != pixels).any((1, 2, 3)).mean() > 0.6
    order = [5, 0, 37, 2]
    np.testing.assert_array_equal(layer(pixels[order], seeds=rows[order]), together[order])
    np.testing.assert_array_equal(layer(pixels[7], seeds=rows[7]), together[7])
    unknown = tf.data.Dataset.from_tensor_slices((pixels, rows)).map(
        lambda x, s: (tf.ensure_shape(tf.identity(x), (None, None, channels)), s)
    )
    mapped = unknown.batch(9).map(lambda x, s: layer(x, seeds=s), num_parallel_calls=4)
    assert next(mapped.as_numpy_iterator()).shape == (9, 13, 17, channels)
    np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), together)
    floats = np.asarray(layer(pixels.astype("float32"), seeds=rows))
    assert floats.dtype == "float32"


def test_rand_augment_does_its_operations_one_after_the_other():
    layer, pixels, rows = RandAugment(num_ops=3, magnitude=20), images(30), seeds(30)
    expected = pixels
    for choice in layer.choices(rows):
        before, expected = expected, np.asarray(layer.operate(expected, *choice))
        assert (expected != before).any((1, 2, 3)).mean() > 0.6
    np.testing.assert_array_equal(layer(pixels, seeds=rows), expected)


def test_filling_and_interpolation():
    pixels, rows = np.full((60, 9, 9, 3), 90, "uint8"), seeds(60)
    plain = np.asarray(TrivialAugment()(pixels, seeds=rows))
    assert (plain == 0).any()
    # An image of one level can be brightened or inverted, but is never black at its edges.
    kept = np.asarray(TrivialAugment(fill_mode="reflect", interpolation="bilinear")(pixels, seeds=rows))
    assert (kept == kept[:, :1, :1]).all()
    filled = np.asarray(TrivialAugment(fill_value=7.0)(pixels, seeds=rows))
    assert (filled[(plain != filled)] == 7).all()


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_is_done_at_inference(name):
    layer, pixels = LAYERS[name](), images()
    for outputs in (layer(pixels), layer(pixels, training=False), layer(pixels, seeds=seeds(), training=False)):
        np.testing.assert_array_equal(outputs, pixels)
    assert not np.array_equal(layer(pixels, training=True), pixels)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_model_that_is_fitted(jit_compile):
    inputs = keras.Input((12, 12, 3), dtype="uint8")
    outputs = keras.layers.GlobalAveragePooling2D()(RandAugment(seed=1)(TrivialAugment(seed=2)(inputs)) / 255)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(outputs))
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    assert model.jit_compile is jit_compile
    history = model.fit(images(8, 12, 12), np.arange(8) % 2, batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert model.predict(images(3, 12, 12), verbose=0).shape == (3, 2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pixels_stay_exact_under_a_half_precision_policy(policy):
    pixels = images(dtype="float32")
    expected = RandAugment()(pixels, seeds=seeds())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        outputs = RandAugment()(pixels, seeds=seeds())
    finally:
        keras.config.set_dtype_policy(before)
    assert outputs.dtype == "float32"
    np.testing.assert_array_equal(outputs, expected)


def test_config_roundtrip():
    options = {"interpolation": "bilinear", "fill_mode": "wrap", "fill_value": 3.0, "seed": 9, "name": "shake"}
    for layer in (TrivialAugment(**options), RandAugment(3, 12, **options)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer)
        assert again.get_config() == layer.get_config()
        np.testing.assert_array_equal(again(images(), seeds=seeds()), layer(images(), seeds=seeds()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandAugment(num_ops=0), "num_ops must be a whole number from 1 to 100. Received: 0."),
        (lambda: RandAugment(magnitude=31), "magnitude must be a whole number from 0 to 30. Received: 31."),
        (lambda: RandAugment(magnitude=0.5), "magnitude must be a whole number from 0 to 30. Received: 0.5."),
        (lambda: RandAugment(fill_value=-1), "fill_value must be a number from 0 to 255. Received: -1."),
        (
            lambda: TrivialAugment(interpolation="cubic"),
            "Unknown interpolation. Received: 'cubic'. Valid: bilinear, nearest.",
        ),
        (
            lambda: TrivialAugment(fill_mode="reflct"),
            "Unknown fill_mode. Received: 'reflct'. Did you mean 'reflect'? Valid: constant, nearest, reflect, wrap.",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert str(caught.value) == message
