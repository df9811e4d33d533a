"""int8: calibrated on training images, and refused where it costs too much."""

import numpy as np
import pytest
from exported_models import name_of, needs

from kzoo import data, deploy
from kzoo.deploy import quantizing
from kzoo.deploy.converting import ExportError
from kzoo.deploy.description import Quantization
from kzoo.errors import DataError, InvalidArgument


@pytest.fixture(scope="module")
def digits_splits():
    return tuple(data.load("digits", split, image_size=28) for split in ("train", "validation"))


@pytest.mark.parametrize("kind", quantizing.FORMATS)
def test_int8_is_small_and_costs_little(kind, mnist, digits_splits, tmp_path):
    needs(kind)
    if kind == "openvino":
        pytest.importorskip("nncf")
    made = deploy.export(mnist, tmp_path / name_of(kind), kind, int8=True, data=digits_splits)
    found = deploy.load(made.path).description.quantization
    assert found == made.description.quantization
    assert found is not None
    # A byte for each of the 0.5 million weights: in float32 they take 2.1 MB.
    assert made.bytes < 700_000
    assert found.images == len(digits_splits[1])
    assert found.calibration_images == quantizing.CALIBRATION_IMAGES
    assert found.loss == pytest.approx(found.float_accuracy - found.accuracy)
    assert found.interval[0] <= found.loss <= found.interval[1]
    assert found.loss < 0.06  # the model is unsure: these are other digits than MNIST's
    assert made.description.check is not None
    assert made.description.check.max_difference > 1e-4  # it is int8 indeed


def test_calibration_sees_training_images_alone(mnist, digits_splits, tmp_path, monkeypatch):
    needs("litert")
    seen = []
    original = quantizing._one_by_one
    monkeypatch.setattr(quantizing, "_one_by_one", lambda images: seen.append(images) or original(images))
    deploy.export(mnist, tmp_path / "model.tflite", "litert", int8=True, data=digits_splits)
    train = {image.tobytes() for image in digits_splits[0].images}
    assert all(image.tobytes() in train for image in seen[0])


def test_the_layers_that_cost_most_stay_in_float(digits_splits, tmp_path):
    """Two features beside one that is thousands of times as large: int8 rounds them to nothing."""
    needs("openvino")
    pytest.importorskip("nncf")
    from kzoo.backend import keras

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400).astype(np.int32)
    images = np.zeros((400, 8, 8, 3), np.uint8)
    images[..., 0] = np.where(labels, 3, 2)[:, None, None]
    images[..., 1] = np.where(labels, 2, 3)[:, None, None]
    images[..., 2] = rng.integers(0, 256, 400)[:, None, None]
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 1, use_bias=False, name="mix")(pixels)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(2, name="classes")(x))
    weights = np.diag([1.0, 1.0, 40.0])[None, None], np.array([[-1, 1], [1, -1], [0, 0]]), np.zeros(2)
    model.set_weights(list(weights))
    train = data.Dataset.from_arrays(images[:200], labels[:200], name="train")
    splits = train, data.Dataset.from_arrays(images[200:], labels[200:], name="validation")
    with pytest.raises(ExportError, match=r"int8 loses too much accuracy, so it was not kept"):
        deploy.export(model, tmp_path / "worse", "openvino", int8=True, data=splits)
    made = deploy.export(model, tmp_path / "better", "openvino", int8=True, data=splits, max_loss=0.005)
    assert made.description.quantization is not None
    assert made.description.quantization.in_float
    assert made.description.quantization.loss <= 0.005
    assert [path.name for path in tmp_path.iterdir()] == ["better"]


def cost(loss, interval):
    return Quantization(300, 0.9 - loss, 0.9, loss, interval, 1000, ())


@pytest.mark.parametrize(
    ("loss", "interval", "max_loss", "fails"),
    [
        (0.003, (-0.001, 0.007), None, False),
        (0.03, (0.01, 0.05), None, False),  # may be chance
        (0.04, (0.021, 0.06), None, True),
        (0.003, (-0.001, 0.007), 0.002, True),
        (0.002, (-0.001, 0.007), 0.002, False),
        (-0.01, (-0.02, 0.0), 0.0, False),
    ],
)
def test_what_int8_may_cost(loss, interval, max_loss, fails):
    if fails:
        with pytest.raises(ExportError, match="int8 loses too much accuracy"):
            quantizing.check_loss(cost(loss, interval), max_loss)
    else:
        quantizing.check_loss(cost(loss, interval), max_loss)


def test_the_interval_is_that_of_paired_images():
    """Of Agresti and Min (2005), by hand: b = 12, c = 4, n = 100; and it covers a known difference."""
    one = np.array([True] * 80 + [False] * 20)
    other = np.concatenate([np.zeros(12, bool), np.ones(68, bool), np.ones(4, bool), np.zeros(16, bool)])
    loss, (low, high) = quantizing.paired_difference(one, other)
    assert loss == pytest.approx(0.08)
    middle, error = 8 / 102, (17 - 64 / 102) ** 0.5 / 102
    assert (low, high) == pytest.approx((middle - 1.96 * error, middle + 1.96 * error))
    rng, covered = np.random.default_rng(0), 0
    for _ in range(500):
        draws = rng.random(300)
        one, other = draws < 0.93, (draws > 0.02) & (draws < 0.94)
        low, high = quantizing.paired_difference(one, other)[1]
        covered += low <= 0.01 <= high
    assert covered / 500 > 0.93


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"int8": True}, "int8 is calibrated on training images"),
        ({"int8": True, "max_loss": 20}, "max_loss must be a share of accuracy"),
    ],
)
def test_wrong_arguments_are_one_line(options, message, mnist, tmp_path):
    needs("onnx")
    with pytest.raises(InvalidArgument, match=message):
        deploy.export(mnist, tmp_path / "model.onnx", "onnx", **options)


def test_a_savedmodel_has_no_quantizer(mnist, digits_splits, tmp_path):
    with pytest.raises(InvalidArgument, match="int8 is for openvino, onnx, litert"):
        deploy.export(mnist, tmp_path / "model", "savedmodel", int8=True, data=digits_splits)


def test_one_split_for_both_is_refused(mnist, digits_splits, tmp_path):
    needs("litert")
    with pytest.raises(DataError, match="calibrated and scored on different images"):
        deploy.export(mnist, tmp_path / "m.tflite", "litert", int8=True, data=(digits_splits[0], digits_splits[0]))
