"""Distillation: the loss against NumPy, the same images for both, what is kept of a teacher, and a resumed run."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from kzoo import data
from kzoo.backend import keras
from kzoo.classifier import set_metadata
from kzoo.cli import run as kzoo
from kzoo.ensemble import average
from kzoo.errors import InvalidArgument, RunError
from kzoo.saving import load_model, save_model
from kzoo.train import TrainConfig, fit, resume, runs
from kzoo.train.precision import in_precision
from kzoo.train.record import TeacherRecord
from kzoo.train.step import TrainStep
from kzoo.train.teacher import Teacher

# float32 sums of some dozens of numbers.
CLOSE = 1e-5
CONFIG = TrainConfig(epochs=2, batch_size=32, precision="float32", augment=["digits"], learning_rate=0.01)


def network(*, size=8, classes=10, seed=0, end: str | None = "softmax", rate=0.0):
    keras.utils.set_random_seed(seed)
    images = keras.Input((size, size, 1))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(rate)(keras.layers.Dense(8, activation="relu")(x))
    return keras.Model(images, keras.layers.Dense(classes, activation=end)(x))


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def batch(count=6, size=8):
    draw = np.random.default_rng(1)
    return draw.integers(0, 256, (count, size, size, 1)).astype("uint8"), draw.integers(0, 10, count)


def loss_of_a_step(student, teacher, images, labels, config=CONFIG, class_weights=None):
    """The mean loss that a training step reports, and the student's logits before it."""
    logits = np.asarray(keras.Model(student.input, student.output)(images.astype("float32"), training=False), "f8")
    with tf.distribute.get_strategy().scope():
        step = TrainStep(student, replace(config, weight_decay=0.0), class_weights, teacher=teacher)
    batches = iter(tf.data.Dataset.from_tensors((images, labels.astype("int32"), 1.0)).repeat())
    sums = step.train(batches, tf.constant([0.0]), tf.constant([1])).numpy()[0]
    return sums[0] / sums[2], logits, sums


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("end", ["softmax", None])
def test_the_loss_is_the_cross_entropy_to_the_teachers_probabilities(temperature, end):
    images, labels = batch()
    student, teacher = network(seed=1, end=None), network(seed=2, end=end)
    given = np.asarray(teacher(images.astype("float32")), "f8")
    given = np.log(given) if end == "softmax" else given
    loss, logits, sums = loss_of_a_step(student, Teacher(teacher, "float32", temperature), images, labels)
    targets, predicted = softmax(given / temperature), softmax(logits / temperature)
    expected = -(temperature**2) * (targets * np.log(predicted)).sum(axis=1).mean()
    assert loss == pytest.approx(expected, rel=CLOSE)
    assert sums[1] == (logits.argmax(axis=1) == labels).sum()  # accuracy is of the labels


def test_class_weights_and_smoothing_apply_to_what_the_teacher_says():
    images, labels = batch()
    student, teacher = network(seed=1, end=None), network(seed=2)
    weights, smoothing = np.linspace(0.5, 2, 10).astype("float32"), 0.2
    config = replace(CONFIG, label_smoothing=smoothing)
    loss, logits, _ = loss_of_a_step(student, Teacher(teacher, "float32", 1.0), images, labels, config, weights)
    targets = np.asarray(teacher(images.astype("float32")), "f8") * weights
    smoothed = (1 - smoothing) * targets + smoothing * targets.sum(axis=1, keepdims=True) / 10
    assert loss == pytest.approx(-(smoothed * np.log(softmax(logits))).sum(axis=1).mean(), rel=CLOSE)


def test_the_gradient_is_that_of_keras():
    """One step of sgd moves the weights as Keras's own cross-entropy with the teacher's probabilities does."""
    images, labels = batch()
    student, teacher = network(seed=1), network(seed=2)
    pixels = images.astype("float32")
    before = [tf.identity(v.value) for v in student.trainable_variables]
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.losses.categorical_crossentropy(teacher(pixels), student(pixels)))
    gradients: list = tape.gradient(loss, [v.value for v in student.trainable_variables])
    config = replace(CONFIG, optimizer="sgd", momentum=0.0, weight_decay=0.0)
    step = TrainStep(student, config, teacher=Teacher(teacher, "float32", 1.0))
    taught = teacher.get_weights()
    batches = iter(tf.data.Dataset.from_tensors((images, labels.astype("int32"), 1.0)))
    step.train(batches, tf.constant([0.5]), tf.constant([1]))
    for old, gradient, new in zip(before, gradients, student.trainable_variables, strict=True):
        np.testing.assert_allclose(new.numpy(), old - 0.5 * np.asarray(gradient), atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(taught, teacher.get_weights(), strict=True))


def test_the_teacher_infers_while_the_student_trains():
    """Its dropout is off, and its batch normalization uses and keeps its statistics."""
    images, labels = batch()
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Flatten()(inputs))
    teacher = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(keras.layers.Dropout(0.9)(x)))
    given = np.asarray(teacher(images.astype("float32"), training=False), "f8")
    copied = Teacher(teacher, "float32", 1.0)
    loss, logits, _ = loss_of_a_step(network(seed=1, end=None), copied, images, labels)
    assert loss == pytest.approx(-(given * np.log(softmax(logits))).sum(axis=1).mean(), rel=1e-4)
    np.testing.assert_allclose(copied.probabilities(images), given, atol=CLOSE)


def test_a_teacher_of_another_size_sees_the_same_images():
    images, _ = batch()
    teacher = network(size=4, seed=2)
    smaller = keras.ops.image.resize(images.astype("float32"), (4, 4), antialias=True)
    np.testing.assert_allclose(Teacher(teacher, "float32", 1.0).probabilities(images), teacher(smaller), atol=CLOSE)


def test_in_half_precision_the_logits_of_an_ensemble_are_float32():
    members = [network(seed=seed) for seed in range(2)]
    copy = in_precision(average(members), "mixed_bfloat16")
    heads = [layer.compute_dtype for layer in copy.layers if isinstance(layer, keras.layers.Dense)]
    assert sorted(heads) == ["bfloat16", "bfloat16", "float32", "float32"]


@pytest.fixture(scope="module")
def small_digits():
    train, validation = data.load("digits"), data.load("digits", "validation")
    return [(images.images[:200], images.labels[:200]) for images in (train, validation)]


def test_training_learns_from_the_teacher_alone(small_digits, tmp_path):
    """With labels that are all wrong the student still learns what the teacher knows."""
    train, validation = small_digits
    teacher = fit(lambda: network(seed=3), train, validation, replace(CONFIG, epochs=15), tmp_path / "teacher")
    wrong = train[0], (train[1] + 1) % 10
    config = replace(CONFIG, epochs=15, seed=4)
    result = fit(lambda: network(seed=4), wrong, validation, config, tmp_path / "run", teacher=tmp_path / "teacher")
    assert teacher.metrics["validation"]["accuracy"] > 0.5
    assert result.metrics["validation"]["accuracy"] > 0.3  # from the labels it would learn nearly 0
    record = runs.read_record(tmp_path / "run").teacher
    assert record is not None
    assert record.digest is not None
    assert (record.path, record.temperature, len(record.digest)) == (str(tmp_path / "teacher"), 1.0, 32)
    # Nothing of the teacher is in what is saved: the sizes are those of a run without one.
    fit(lambda: network(seed=4), train, validation, config, tmp_path / "plain")
    for name in ("best.keras", "checkpoint.safetensors"):
        sizes = [(tmp_path / run / name).stat().st_size for run in ("run", "plain")]
        assert abs(sizes[0] - sizes[1]) < 1000  # numbers in the history have other lengths


def test_a_killed_run_ends_in_the_same_bits(small_digits, tmp_path):
    teacher, (train, validation) = network(seed=3), small_digits
    save_model(teacher, tmp_path / "teacher.keras")
    arguments = (lambda: network(seed=4, rate=0.3), train, validation, replace(CONFIG, epochs=3))
    whole = fit(*arguments, tmp_path / "whole", teacher=tmp_path / "teacher.keras")

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyError("killed")

    with pytest.raises(KeyError):
        fit(*arguments, tmp_path / "killed", callbacks=[Stop()], teacher=tmp_path / "teacher.keras")
    again = resume(tmp_path / "killed", train_data=train, validation_data=validation)
    assert again.history["loss"] == whole.history["loss"]
    for one, other in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_another_teacher_is_refused(small_digits, tmp_path):
    train, _ = small_digits

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyError("killed")

    teacher = network(seed=3)
    for given, name in ((teacher, "of Python"), (tmp_path / "teacher.keras", "of a file")):
        save_model(teacher, tmp_path / "teacher.keras")
        with pytest.raises(KeyError):
            fit(lambda: network(seed=4), train, None, CONFIG, tmp_path / name, callbacks=[Stop()], teacher=given)
        save_model(network(seed=5), tmp_path / "teacher.keras")
        given = network(seed=5) if name == "of Python" else None
        with pytest.raises(RunError, match="The teacher is not the one that this run began with"):
            resume(tmp_path / name, train_data=train, teacher=given)
    with pytest.raises(InvalidArgument, match=r"Pass teacher= again\."):
        resume(tmp_path / "of Python", train_data=train)
    resume(tmp_path / "of Python", train_data=train, teacher=teacher)
    # Asked for in another way, it is another run.
    save_model(teacher, tmp_path / "other.keras")
    with pytest.raises(RunError, match="another configuration"):
        fit(
            lambda: network(seed=4), train, None, CONFIG, tmp_path / "of a file", resume=True,
            teacher=tmp_path / "other.keras",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("teacher", "line"),
    [
        (lambda: network(classes=9), "the same classes. Received: 'this run' with 10, 'teacher' with 9."),
        (
            lambda: set_metadata(network(), class_names="1023456789"),
            "class 0 is '0' in 'this run' and '1' in 'teacher'",
        ),
        (lambda: set_metadata(network(), pixel_range=(0, 1)), "'this run' takes 0 to 255, 'teacher' 0 to 1"),
        (lambda: network(end="tanh"), "A classifier must end in softmax or in logits. Received: 'tanh'"),
        (lambda: _wide(), "of the student's shape, of whatever size. Received: 8x16 for images of 8x8."),
    ],
)
def test_teachers_that_do_not_fit(teacher, line, digits, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        fit(network, digits[0], digits[1], CONFIG, tmp_path / "run", teacher=teacher())
    assert line in str(caught.value)
    assert not (tmp_path / "run").exists()


def _wide():
    images = keras.Input((8, 16, 1))
    return keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(images)))


def test_the_command_line(tmp_path, capfd):
    """An ensemble teaches a run; its record is what --config begins another one with."""
    from kzoo.ensemble import save

    keras.utils.set_random_seed(0)
    save([load_model(_untrained(tmp_path, seed)) for seed in range(2)], tmp_path / "all")
    train = ["train", "mnist_net", "digits", "--epochs", "1", "--batch-size", "512", "--precision", "float32"]
    taught = [*train, "--teacher", str(tmp_path / "all"), "--temperature", "2"]
    assert kzoo([*taught, "--run-dir", str(tmp_path / "run")]) == 0
    assert f"taught by {str(tmp_path / 'all')!r}" in capfd.readouterr().err
    assert kzoo(["train", "--config", str(tmp_path / "run"), "--run-dir", str(tmp_path / "again")]) == 0
    one, other = (runs.read_record(tmp_path / name).teacher for name in ("run", "again"))
    assert one is not None
    assert one == other
    assert one == TeacherRecord(str(tmp_path / "all"), 2.0, one.digest)
    capfd.readouterr()
    assert kzoo([*train, "--teacher", str(tmp_path / "none")]) == 2
    assert "No such model file or run directory" in capfd.readouterr().err
    assert kzoo([*train, "--temperature", "2"]) == 2
    assert "temperature is for a teacher" in capfd.readouterr().err
    shutil.rmtree(tmp_path / "all")
    assert kzoo(["train", "--resume", str(tmp_path / "run")]) == 0  # it is finished


def _untrained(folder, seed):
    from kzoo import create_model

    keras.utils.set_random_seed(seed)
    save_model(create_model("mnist_net"), folder / f"{seed}.keras")
    return folder / f"{seed}.keras"
