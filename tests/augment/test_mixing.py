"""MixUp and CutMix: labels that match the pixels, partners and shares by the seeds of the batch alone."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kzoo.augment.image_augmentation import uniform
from kzoo.augment.mixing import beta_quantile, partners_of
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import CutMix, MixUp

LAYERS = (MixUp, CutMix)


def seeds(batch, start=0):
    return np.array([[start + i, 7 * i - 3] for i in range(batch)], "int32")


def levels(batch, height=12, width=20, channels=1, dtype="float32"):
    """Image i is i everywhere, and so is its label."""
    column = np.arange(batch).astype(dtype).reshape(-1, 1, 1, 1)
    return np.tile(column, (1, height, width, channels)), np.arange(batch)


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
@pytest.mark.parametrize("make", LAYERS)
def test_labels_match_the_pixels(make, batch):
    pixels, labels = levels(batch)
    mixed, soft = (np.asarray(x) for x in make(classes=50)((pixels, labels), seeds=seeds(batch)))
    assert mixed.dtype == soft.dtype == "float32"
    assert soft.shape == (batch, 50)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    # The mean of the pixels is the mean of the two levels, by their shares.
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), soft @ np.arange(50), atol=1e-4)
    own = soft[np.arange(batch), labels]
    partners = np.array([np.flatnonzero(row)[np.flatnonzero(row) != i] for i, row in enumerate(soft)], dtype=object)
    if batch == 1:
        np.testing.assert_array_equal(mixed, pixels)
        assert own[0] == 1
    else:
        assert all(len(partner) <= 1 for partner in partners)
        assert (own < 1).mean() > 0.4


def test_cut_boxes_are_rectangles_of_the_images_proportions():
    pixels, labels = levels(300, height=40, width=80)
    mixed, soft = (np.asarray(x) for x in CutMix(classes=300)((pixels, labels), seeds=seeds(300)))
    draws = np.asarray(uniform(seeds(300), 4), "float64")
    clipped = 0
    for i in range(300):
        pasted = mixed[i, :, :, 0] != i
        assert len(np.unique(mixed[i][pasted])) <= 1
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns)
        # The paper's box: sides sqrt(1 - s) of the image's, around a centre, cut off at the edges.
        for covered, size, centre in ((rows, 40, draws[i, 2]), (columns, 80, draws[i, 3])):
            length = int(np.float32(np.sqrt(1 - draws[i, 1])) * size)
            start = int(centre * size) - length // 2
            expected = np.arange(max(start, 0), min(start + length, size))
            np.testing.assert_array_equal(np.flatnonzero(covered), expected)
            clipped += len(expected) < length
        np.testing.assert_allclose(soft[i, i], 1 - pasted.mean(), atol=1e-6)
    assert clipped > 100, "no box was cut off"


def test_mixed_bytes_are_the_rounded_floats():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3)).astype("uint8")
    labels = np.arange(20) % 4
    layer = MixUp(classes=4, alpha=1.0)
    mixed, soft = layer((pixels, labels), seeds=seeds(20))
    exact, same = layer((pixels.astype("float32"), labels), seeds=seeds(20))
    assert mixed.dtype == "uint8"
    np.testing.assert_array_equal(mixed, np.round(exact).astype("uint8"))
    np.testing.assert_array_equal(soft, same)
    order = np.argsort(np.asarray(uniform(seeds(20), 2))[:, 0])
    partners = np.empty(20, int)
    partners[order] = np.roll(order, -1)
    share = np.asarray(uniform(seeds(20), 2), "float64")[:, 1].reshape(-1, 1, 1, 1)  # Beta(1, 1) is uniform
    np.testing.assert_allclose(exact, pixels * share + pixels[partners] * (1 - share), atol=1e-4)


def test_every_image_has_another_partner():
    for count in (2, 3, 64):
        partners = np.asarray(partners_of(uniform(seeds(count), 1)[:, 0]))
        assert sorted(partners) == list(range(count))
        assert (partners != np.arange(count)).all()
    assert np.asarray(partners_of(tf.constant([0.5]))).tolist() == [0]
    assert sorted(np.asarray(partners_of(tf.constant([0.5, 0.5, 0.5]))).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    shares = np.asarray(beta_quantile(uniform(seeds(20_000), 1)[:, 0], alpha), "float64")
    assert shares.min() >= 0
    assert shares.max() <= 1
    # For the smallest, float32 rounds so many shares to 1 that the test would see it.
    assert alpha < 0.4 or scipy.stats.kstest(shares, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    points = np.linspace(0, 1, 997, endpoint=False, dtype="float32")
    quantiles = scipy.stats.beta(alpha, alpha).ppf(points.astype("float64"))
    # A straight line within each cell of the table: what the tails of a peaked distribution bend there.
    np.testing.assert_allclose(beta_quantile(tf.constant(points), alpha), quantiles, atol=2e-3)


@pytest.mark.parametrize("make", LAYERS)
def test_a_batch_is_a_function_of_images_labels_and_seeds(make):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 9, 7, 3)).astype("uint8")
    labels = np.arange(10)
    layer = MixUp(classes=10, alpha=1.0) if make is MixUp else CutMix(classes=10, factor=1.0)
    mixed, soft = (np.asarray(x) for x in layer((pixels, labels), seeds=seeds(10)))
    assert mixed.dtype == "uint8"
    assert (mixed != pixels).any((1, 2, 3)).sum() >= 8
    order = np.random.default_rng(1).permutation(10)
    again = layer((pixels[order], labels[order]), seeds=seeds(10)[order])
    np.testing.assert_array_equal(again[0], mixed[order])
    np.testing.assert_array_equal(again[1], soft[order])
    # Labels that are soft already mix alike.
    np.testing.assert_array_equal(layer((pixels, np.eye(10)), seeds=seeds(10))[1], soft)
    dataset = tf.data.Dataset.from_tensor_slices((pixels, labels, seeds(10))).batch(10).repeat(3)
    for x, y in dataset.map(lambda x, y, s: layer((x, y), seeds=s), num_parallel_calls=3).as_numpy_iterator():
        np.testing.assert_array_equal(x, mixed)
        np.testing.assert_array_equal(y, soft)
    other = layer((pixels, labels), seeds=seeds(10, start=100))
    assert not np.array_equal(other[0], mixed)


@pytest.mark.parametrize("make", LAYERS)
def test_at_inference_labels_become_soft(make):
    pixels, labels = levels(4, dtype="uint8")
    layer = make(classes=5)
    for outputs, soft in (layer((pixels, labels)), layer((pixels, labels), seeds=seeds(4), training=False)):
        np.testing.assert_array_equal(outputs, pixels)
        np.testing.assert_array_equal(soft, np.eye(5)[:4])
    image, soft = layer((pixels[2], labels[2]))
    np.testing.assert_array_equal(image, pixels[2])
    assert np.asarray(soft).tolist() == [0, 0, 1, 0, 0]
    image, soft = layer((pixels[2], labels[2]), seeds=seeds(1)[0])
    np.testing.assert_array_equal(image, pixels[2])
    assert np.asarray(soft).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("make", LAYERS)
def test_a_dict_as_keras_has_it(make):
    pixels, labels = levels(4, dtype="uint8")
    layer = make(classes=5)
    mixed, soft = layer((pixels, labels), seeds=seeds(4))
    outputs = layer({"images": pixels, "labels": labels}, seeds=seeds(4))
    assert outputs.keys() == {"images", "labels"}
    np.testing.assert_array_equal(outputs["images"], mixed)
    np.testing.assert_array_equal(outputs["labels"], soft)
    dataset = tf.data.Dataset.from_tensors({"images": pixels, "labels": labels})
    (outputs,) = dataset.map(lambda batch: layer(batch, seeds=seeds(4))).as_numpy_iterator()
    np.testing.assert_array_equal(outputs["images"], mixed)
    inputs = {"images": keras.Input((12, 20, 1), dtype="uint8"), "labels": keras.Input((), dtype="int32")}
    symbolic = layer(inputs)
    assert (symbolic["images"].shape, symbolic["labels"].shape) == ((None, 12, 20, 1), (None, 5))


@pytest.mark.parametrize("make", LAYERS)
def test_labels_of_no_class_stop_a_pipeline(make):
    pixels, layer = levels(2)[0], make(classes=3)
    good, bad = np.array([2, 0]), np.array([2, 3])
    for seed in (None, seeds(2)):  # at inference and in training
        dataset = tf.data.Dataset.from_tensors((pixels, bad)).map(lambda x, y, s=seed: layer((x, y), seeds=s))
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"labels must be integers, 0 to 2\. Received:\] \[2 3\]"
        ):
            next(iter(dataset))
    mapped = tf.data.Dataset.from_tensors((pixels, good)).map(lambda x, y: layer((x, y)))
    np.testing.assert_array_equal(next(iter(mapped))[1], np.eye(3)[good])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("make", LAYERS)
def test_in_a_model_that_is_fitted(make, jit_compile):
    images, labels = keras.Input((12, 12, 3), dtype="uint8"), keras.Input((), dtype="int32")
    mixed, soft = make(classes=4, seed=1)((images, labels))
    assert (mixed.shape, mixed.dtype, soft.shape) == ((None, 12, 12, 3), "uint8", (None, 4))
    scores = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(mixed))
    loss = -keras.ops.sum(soft * keras.ops.log(scores + 1e-6), axis=-1)
    model = keras.Model([images, labels], loss)
    model.compile("sgd", lambda _, value: value, jit_compile=jit_compile)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype("uint8")
    history = model.fit([pixels, np.arange(8) % 4], np.zeros(8), batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(("make", "name"), [(MixUp, "alpha"), (CutMix, "factor")])
def test_config_roundtrip(make, name):
    layer = make(7, **{name: 0.4}, seed=9, name="mix")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is make
    assert again.get_config() == layer.get_config()
    assert (again.classes, getattr(again, name), again.seed) == (7, 0.4, 9)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("make", LAYERS)
def test_pixels_stay_exact_under_a_half_precision_policy(make, policy):
    pixels, labels = levels(6)
    expected = make(classes=6)((pixels, labels), seeds=seeds(6))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        outputs = make(classes=6)((pixels, labels), seeds=seeds(6))
    finally:
        keras.config.set_dtype_policy(before)
    for output, exact in zip(outputs, expected, strict=True):
        assert output.dtype == "float32"
        np.testing.assert_array_equal(output, exact)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixUp(0), "classes must be a whole number of at least 1. Received: 0."),
        (lambda: MixUp(2.5), "classes must be a whole number of at least 1. Received: 2.5."),
        (lambda: CutMix(3, factor=0), "factor must be a number above 0. Received: 0."),
        (lambda: MixUp(3, alpha="1"), "alpha must be a number above 0. Received: '1'."),
        (
            lambda: MixUp(3)(np.zeros((2, 4, 4, 1))),
            'MixUp takes (images, labels) or {"images": images, "labels": labels}. Received: EagerTensor.',
        ),
        (
            lambda: CutMix(3)({"images": np.zeros((2, 4, 4, 1)), "label": np.zeros(2, "int32")}),
            "CutMix takes (images, labels) or {\"images\": images, \"labels\": labels}. Received: ['images', 'label'].",
        ),
        (
            lambda: MixUp(3)((np.zeros((3, 4, 4, 1)), np.array([0, 7, -1]))),
            "labels must be integers, 0 to 2. Received: 7.",
        ),
        (
            lambda: CutMix(3)((np.zeros((3, 4, 4, 1)), np.array([0, -1, 1]))),
            "labels must be integers, 0 to 2. Received: -1.",
        ),
        (
            lambda: MixUp(3)((np.zeros((3, 4, 4, 1)), np.zeros(3, "int32")), seeds=seeds(2)),
            "seeds must have the shape (3, 2), two integers for each image. Received: (2, 2).",
        ),
        (
            lambda: MixUp(3)((np.zeros((2, 4, 4, 1)), np.zeros((2, 4), "float32"))),
            "labels must be integers (batch,) or floats (batch, 3). Received: float32 (2, 4).",
        ),
        (
            lambda: MixUp(3)((np.zeros((2, 4, 4, 1)), np.zeros((2, 1), "int32"))),
            "labels must be integers (batch,) or floats (batch, 3). Received: int32 (2, 1).",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert str(caught.value) == message
