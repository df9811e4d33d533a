"""Pixels that are not of 0 to 255, in streams, arrays and files: said, remembered with the model, and put right."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kzoo
from kzoo.backend import keras
from kzoo.classifier import pixel_range_of, set_metadata
from kzoo.data import Dataset
from kzoo.data.pixels import RAW, SIGNED, UNIT
from kzoo.errors import DataError, InvalidArgument, RunError
from kzoo.saving import load_model, save_model
from kzoo.train import TrainConfig, evaluate, fit
from kzoo.train.inputs import Stream, check_pixels, range_of_training

CONFIG = TrainConfig(epochs=6, batch_size=20, learning_rate=0.02, precision="float32")
LABELS = np.arange(60) % 2
# Class 0 is dark, class 1 is bright; both use the whole range.
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1))
IMAGES[:, :3] = np.where(LABELS == 0, 20, 230)[:, None, None, None]
IMAGES = IMAGES.astype("uint8")


def net(classes=2, size=4, channels=1):
    """A classifier that sees the brightness of its images, at any scale of them."""
    return keras.Sequential([keras.Input((size, size, channels)), keras.layers.Flatten(), keras.layers.Dense(classes)])


def stream(images, labels=LABELS, batch=20):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)


def threshold(at):
    """Says 1 for images that are brighter than `at`, with a margin of 10 at the end of the range."""
    model = net()
    model.set_weights([np.concatenate([np.zeros((16, 1)), np.full((16, 1), 1 / 16)], axis=1), np.array([0.0, -at])])
    return model


SCALINGS = {"divided": (lambda x: x / np.float32(255), UNIT), "signed": (lambda x: x / np.float32(127.5) - 1, SIGNED)}


@pytest.mark.parametrize("name", SCALINGS)
def test_a_model_trained_on_scaled_pixels_is_right_on_files(name, tmp_path, caplog):
    scaled, expected = SCALINGS[name]
    result = fit(net, stream(scaled(IMAGES)), stream(scaled(IMAGES)), CONFIG, tmp_path / "run")
    assert sum("the training images hold values" in line for line in caplog.messages) == 1
    assert result.metrics["validation"]["accuracy"] == 1.0
    model = load_model(tmp_path / "run")
    assert pixel_range_of(model) == expected
    caplog.clear()
    for images in (IMAGES, IMAGES.astype("float32")):
        assert evaluate(model, Dataset.from_arrays(images, LABELS))["accuracy"] == 1.0
    assert (
        caplog.messages
        == [f"images of 0 to 255 are scaled to {expected[0]:.0f} to 1, which the model was trained on"] * 2
    )
    caplog.clear()
    assert evaluate(model, stream(scaled(IMAGES)))["accuracy"] == 1.0
    assert evaluate(model, (scaled(IMAGES), LABELS))["accuracy"] == 1.0
    assert not caplog.messages
    paths = []
    for row, size in ((0, 4), (1, 4), (0, 9), (1, 9)):
        paths.append(tmp_path / f"{row}{size}.png")
        Image.fromarray(IMAGES[row, ..., 0]).resize((size, size), Image.Resampling.NEAREST).save(paths[-1])
    assert [best.index for [best] in kzoo.predict(model, paths, top=1)] == [0, 1, 0, 1]
    assert [best.index for [best] in kzoo.predict(model, IMAGES, top=1)] == LABELS.tolist()
    assert len(caplog.messages) == 2
    caplog.clear()
    assert [best.index for [best] in kzoo.predict(model, scaled(IMAGES), top=1)] == LABELS.tolist()
    enlarged = [np.repeat(np.repeat(image, 2, 0), 2, 1) for image in scaled(IMAGES)]
    assert [best.index for [best] in kzoo.predict(model, enlarged, top=1)] == LABELS.tolist()
    assert not caplog.messages


def test_standardized_pixels_are_said_and_remembered(tmp_path, caplog):
    pixels = (IMAGES / 255 - 0.4) / 0.3
    fit(net, stream(pixels.astype("float32")), config=CONFIG, run_dir=tmp_path / "run")
    assert "hold values -1.32 to 2; kzoo expects 0 to 255. This model will be wrong on image files" in caplog.text
    model = load_model(tmp_path / "run")
    caplog.clear()
    evaluate(model, stream(pixels))
    assert not caplog.messages
    evaluate(model, (IMAGES, LABELS))
    kzoo.predict(model, IMAGES)
    assert sum("the model was trained on -1.32 to 2: expect wrong answers" in line for line in caplog.messages) == 2
    with pytest.raises(InvalidArgument, match=r"Only images of 0 to 255 are resized. Received: values -1.07 to 1.91"):
        kzoo.predict(model, [pixels[1].repeat(2, 0), pixels[0].repeat(2, 0)])


@pytest.mark.parametrize("given", ["array", "list", "stream", "Dataset"])
def test_divided_pixels_for_a_model_of_0_to_255(given, caplog):
    divided = IMAGES / np.float32(255)
    if given in ("array", "list"):
        kzoo.predict(threshold(127), divided if given == "array" else list(divided))
    else:
        evaluate(threshold(127), stream(divided) if given == "stream" else (divided, LABELS))
    [line] = caplog.messages
    assert "the images hold values 0 to 1; kzoo takes images as 0 to 255. If this model was trained on such" in line


def test_divided_pixels_for_a_model_that_kzoo_trained_on_0_to_255(tmp_path, caplog):
    fit(net, (IMAGES, LABELS), config=TrainConfig(epochs=1), run_dir=tmp_path / "run")
    model = load_model(tmp_path / "run")
    caplog.clear()
    kzoo.predict(model, IMAGES / np.float32(255))
    [line] = caplog.messages
    assert "hold values 0 to 1, but the model was trained on 0 to 255: expect wrong answers" in line


def test_one_signed_image_of_weak_contrast_for_a_model_of_such(caplog):
    model = set_metadata(threshold(0), pixel_range=SIGNED)
    for sign in (-1, 1):
        image = np.random.default_rng(0).uniform(-0.7, 0.5, (4, 4, 1)) * -sign
        for given in ([image], image[np.newaxis], [image.repeat(2, 0).repeat(2, 1)]):
            [[best]] = kzoo.predict(model, given, top=1)
            assert best.index == (sign > 0)
    assert not caplog.messages


@pytest.mark.parametrize(("low", "high", "known"), [(-48, 207, RAW), (-0.2, 1.2, UNIT), (-1.3, 0.9, SIGNED)])
def test_images_after_a_change_of_brightness_for_a_model_of_their_range(low, high, known, caplog):
    model = set_metadata(threshold(0), pixel_range=known)
    images = np.random.default_rng(0).uniform(low, high, (20, 4, 4, 1))
    evaluate(model, stream(images, LABELS[:20]))
    kzoo.predict(model, images)
    kzoo.predict(model, [image.repeat(2, 0) for image in images])
    assert not caplog.messages


@pytest.mark.parametrize("images", [IMAGES, np.zeros_like(IMAGES), np.minimum(IMAGES, 3).astype("float32")])
def test_pixels_of_0_to_255_are_used_without_a_word(images, caplog):
    kzoo.predict(threshold(127), images)
    kzoo.predict(threshold(127), list(images))
    evaluate(threshold(127), stream(images))
    evaluate(threshold(127), (images, LABELS))
    assert not caplog.messages


def test_training_and_validation_of_two_ranges():
    with pytest.raises(InvalidArgument, match="training images of 0 to 1, validation images of 0 to 255"):
        fit(net, stream(IMAGES / np.float32(255)), (IMAGES, LABELS), CONFIG)


def augmented(images, change):
    return stream(images.astype("float32")).map(lambda x, y: (change(x), y))


CHANGES = {
    "contrast": (IMAGES / np.float32(255), lambda x: x * 1.2 - 0.1, UNIT),
    "more contrast": (IMAGES / np.float32(255), lambda x: x * 1.4 - 0.2, UNIT),
    "brightness": (IMAGES, lambda x: x - 48, RAW),
    "less contrast": (IMAGES / np.float32(127.5) - 1, lambda x: x * 0.93, SIGNED),
}


@pytest.mark.parametrize("name", CHANGES)
def test_augmented_training_images_are_of_the_range_of_the_validation_images(name, caplog):
    images, change, expected = CHANGES[name]
    train, validation = Stream(augmented(images, change), None), Stream(stream(images), None)
    check_pixels(train, validation)
    assert not any("prepared alike" in line for line in caplog.messages)
    assert range_of_training(train, validation) == expected
    check_pixels(validation, train)


def test_validation_images_that_are_weak_in_contrast_are_no_reason_to_refuse_training():
    signed = IMAGES / np.float32(127.5) - 1
    check_pixels(Stream(stream(signed), None), Stream(stream(signed * np.float32(0.9)), None))


def test_standardized_training_images_and_others_for_validation(caplog):
    check_pixels(Stream(stream((IMAGES / 255 - 0.4) / 0.3), None), Dataset.from_arrays(IMAGES, LABELS))
    assert "hold values -1.32 to 2, the validation images 0 to 255: both must be prepared alike" in caplog.text


def test_a_new_run_forgets_the_range_of_an_old_one(tmp_path):
    model = set_metadata(threshold(0.5), pixel_range=UNIT)
    fit(lambda: model, (IMAGES, LABELS), config=TrainConfig(epochs=1), run_dir=tmp_path / "run")
    assert pixel_range_of(load_model(tmp_path / "run")) == (0, 255)


@pytest.mark.parametrize("wrong", [[0], [0, "1"], [1, 0], "01", [0, 1, 2], [0, float("nan")], {"0": 1}])
def test_a_file_with_a_wrong_range_is_refused(wrong, tmp_path):
    model = threshold(0.5)
    model._kzoo_metadata = {"pixel_range": wrong}
    save_model(model, tmp_path / "net.keras")
    with pytest.raises(RunError, match="pixel_range"):
        load_model(tmp_path / "net.keras")


@pytest.mark.parametrize("row", [3, 45])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_not_blamed_on_the_learning_rate(row, value):
    images = IMAGES.astype("float32")
    images[row, 1, 1] = value
    message = f"holds NaN or infinity. Received: image {row % 20} of batch {row // 20}, counted from 0"
    with pytest.raises(DataError, match=message):
        fit(net, stream(images), config=CONFIG)
    with pytest.raises(DataError, match=message):
        evaluate(net(), stream(images))
    with pytest.raises(DataError, match=f"An image holds NaN or infinity. Received: image {row}"):
        kzoo.predict(net(), images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 1, "none of the model's 2 classes. Received: 2 in batch 0.*subtract 1"),
        (LABELS - 1, "class indices that count from 0. Received: -1"),
        (LABELS * 7, "none of the model's 2 classes. Received: 7 in batch 0.*Correct"),
    ],
)
def test_labels_of_a_stream_that_no_class_has(labels, message):
    for run in (
        lambda: fit(net, stream(IMAGES, labels), config=CONFIG),
        lambda: fit(net, stream(IMAGES), stream(IMAGES, labels), CONFIG),
        lambda: evaluate(net(), stream(IMAGES, labels)),
    ):
        with pytest.raises(DataError, match=message):
            run()


def test_the_first_batches_are_looked_at_until_the_range_is_clear():
    images = np.zeros((60, 4, 4, 1), "float32")
    images[40:] = IMAGES[40:] / 255
    assert Stream(stream(images, batch=4), None).pixel_range == UNIT
    assert Stream(stream(np.zeros_like(images)), None).pixel_range is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (threshold(0.5), "Received: the model 'sequential"),
        ("mnist_net", r"Received: 'mnist_net'. For a model of the zoo pass lambda: kzoo.create_model\('mnist_net'\)"),
        (None, "Received: None"),
        (lambda size: net(), "missing a required argument: 'size'"),
        ([net], "Received: list"),
    ],
)
def test_a_model_where_a_function_is_wanted(build, message):
    with pytest.raises(InvalidArgument, match="build must be a function without arguments") as caught:
        fit(build, (IMAGES, LABELS), config=CONFIG)
    assert caught.match(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("channels", "images", "message"),
    [
        (
            4,
            ["photo.png"],
            r"Image files have 1 or 3 channels. Received: a model of 4. Pass arrays of shape \(4, 4, 4\)",
        ),
        (2, [np.zeros((9, 9, 2))], r"takes images of shape \(4, 4, 2\). Received: shape \(9, 9, 2\)"),
        (4, [np.zeros((9, 9))], r"takes images of shape \(4, 4, 4\). Received: shape \(9, 9\)"),
        (4, np.zeros((2, 9, 9, 4)), r"Received: shape \(2, 9, 9, 4\). Bring the images to that shape"),
        (3, np.zeros((2, 9, 9, 3)), r"Received: shape \(2, 9, 9, 3\). Pass a list of images to have them resized"),
        (3, [np.zeros((9, 9, 4))], r"Leave the fourth channel out: image\[..., :3\]"),
        (3, [np.zeros((0, 9, 3))], r"Received: shape \(0, 9, 3\)"),
        (1, [[[1.0], [2.0, 3.0]]], "rows of several lengths, image 0"),
        (1, np.full((2, 4, 4, 1), "a"), "Pixels must be numbers"),
        (1, None, "Received: NoneType"),
        (1, np.array(5), r"or a list of paths and arrays. Received: a single number"),
        (1, [IMAGES[0], IMAGES[1] / 255], "one range. Received: integers of 0 to 255 and floats of 0 to 1"),
        (1, [IMAGES[0] / 127.5 - 1, IMAGES[1]], "one range. Received: integers of 0 to 255 and floats of -1 to 1"),
    ],
)
def test_images_that_predict_cannot_take(channels, images, message):
    with pytest.raises(InvalidArgument, match=message) as caught:
        kzoo.predict(net(channels=channels), images)
    assert "\n" not in str(caught.value)


def test_predict_on_what_is_no_model_of_images():
    with pytest.raises(InvalidArgument, match=r"must take images \(height, width, channels\)"):
        kzoo.predict(keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]), np.zeros((2, 8)))
    with pytest.raises(InvalidArgument, match=r"must be a keras.Model. Received: str"):
        kzoo.predict("mnist_net", np.zeros((2, 8, 8, 1)))


def test_bytes_and_dark_floats_in_one_list():
    images = [IMAGES[1], np.full((4, 4, 1), 0.4), IMAGES[3].astype("float32"), IMAGES[0].astype("int64")]
    assert [best.index for [best] in kzoo.predict(threshold(127), images, top=1)] == [1, 0, 1, 0]


def test_signed_arrays_are_trained_on_as_a_stream_of_them_is(tmp_path, caplog):
    signed = IMAGES / np.float32(127.5) - 1
    fit(net, (signed[:40], LABELS[:40]), (signed[40:], LABELS[40:]), CONFIG, tmp_path / "run")
    assert "the training images hold values -1 to 1; kzoo expects 0 to 255" in caplog.text
    assert pixel_range_of(load_model(tmp_path / "run")) == SIGNED
    with pytest.raises(DataError, match=r"images must hold values 0 to 255. Received: -0.992157 to 1"):
        Dataset.from_arrays(signed, LABELS)
    with pytest.raises(DataError, match=r"images must hold values 0 to 255. Received: -1 to 1"):
        fit(net, (np.sign(signed).astype("int64"), LABELS), config=CONFIG)
