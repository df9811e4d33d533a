"""fit, resume and load: what goes in, what comes out, and how a run ends."""

import csv
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import scipy.special
import tensorflow as tf

import kzoo
from kzoo.augment.image_augmentation import ImageAugmentation
from kzoo.backend import keras
from kzoo.classifier import class_names_of, metadata, set_metadata
from kzoo.data import Dataset
from kzoo.data.pixels import RAW
from kzoo.errors import DataError, InvalidArgument, RunError, TrainingDiverged
from kzoo.layers import BatchNormalization, MixUp, RandomCrop
from kzoo.train import RunRecord, TrainConfig, evaluate, fit, load, resume, runs
from kzoo.train.precision import in_float32

FAST = {"batch_size": 64, "precision": "float32", "augment": "none", "checkpoint_seconds": 1e6}


def build():
    return kzoo.create_model("mnist_net", input_shape=(8, 8, 1))


def small(classes=10):
    """A classifier that trains in a moment."""
    return keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(classes)]
    )


def arrays(dataset):
    return np.array(dataset.images), np.array(dataset.labels)


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A run of three epochs on the digits, and what fit returned."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    return run_dir, fit(build, *digits, config=TrainConfig(**FAST, epochs=3), run_dir=run_dir)


def test_it_learns_and_reports(finished, digits):
    run_dir, result = finished
    assert result.run_dir == run_dir
    # Seen with seeds 0 to 2: 0.95 to 0.98.
    assert result.metrics["validation"]["accuracy"] > 0.9
    assert result.metrics["validation"] == evaluate(result.model, digits[1])
    assert result.history["epoch"] == [1, 2, 3]
    assert result.history["loss"][0] > result.history["loss"][-1]
    assert json.loads((run_dir / "metrics.json").read_text()) == result.metrics
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}


def test_the_run_directory_is_complete(finished, digits):
    run_dir, result = finished
    files = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file()}
    assert files == {
        ".lock", "config.json", "model.json", "checkpoint.safetensors", "history.csv", "best.keras", "last.keras",
        "metrics.json", "curves.png", "learning_rate.png",
        *(f"tensorboard/events.out.tfevents.{e:010d}.kzoo" for e in (1, 2, 3)),
    }  # fmt: skip
    with (run_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {key: [float(row[key]) for row in rows] for key in rows[0]} == result.history
    record = json.loads((run_dir / "config.json").read_text())
    assert record["train"]["precision"] == "float32"
    assert record["train"]["strategy"] == "one"
    load = {
        "name": "digits", "data_dir": None, "image_size": None, "channels": None, "crop_fraction": 1.0,
        "interpolation": None, "range_16_bit": None, "download": False, "on_bad_image": "stop",
    }  # fmt: skip
    assert record["data"] == {
        part: {
            "load": load,
            "split": part,
            "fingerprint": dataset.fingerprint,
            "images": len(dataset),
            "image_shape": [8, 8, 1],
        }
        for part, dataset in zip(("train", "validation"), digits, strict=True)
    } | {"class_names": [str(i) for i in range(10)], "load": None, "all_data": False}


def test_history_matches_the_models(finished, digits):
    run_dir, result = finished
    last, best = load(run_dir, "last"), load(run_dir)
    history = result.history
    best_epoch = result.metrics["best_epoch"]
    assert history["val_accuracy"][best_epoch - 1] == max(history["val_accuracy"])
    # Sums of 179 float32 losses, in another order.
    assert evaluate(last, digits[1])["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert evaluate(best, digits[1])["accuracy"] == pytest.approx(history["val_accuracy"][best_epoch - 1], abs=1e-9)
    assert class_names_of(best) == tuple("0123456789")


def test_a_finished_run_is_not_trained_again(finished, digits):
    run_dir, result = finished
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    again = resume(run_dir, train_data=digits[0], validation_data=digits[1])
    assert again.history == result.history
    assert again.metrics == result.metrics
    for one, other in zip(again.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()} == before


def unfinished(run_dir, copy, change=lambda state: None):
    """The run as it was before its last checkpoint, with its state changed."""
    shutil.copytree(run_dir, copy)
    path = copy / runs.CHECKPOINT
    with safetensors.safe_open(path, framework="numpy") as file:
        state = {**json.loads(file.metadata()["state"]), "finished": False}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    change(state)
    safetensors.numpy.save_file(tensors, path, metadata={"state": json.dumps(state)})
    return copy


def test_other_data_is_refused_on_resume(finished, digits, tmp_path):
    run_dir = unfinished(finished[0], tmp_path / "run")
    images, labels = arrays(digits[0])
    images[0, 0, 0] ^= 1
    changed = Dataset.from_arrays(images, labels, digits[0].class_names)
    for train, validation in ((changed, digits[1]), (digits[1], digits[0]), (digits[0], None)):
        with pytest.raises(RunError, match="data is not what this run began with"):
            resume(run_dir, train_data=train, validation_data=validation)
    # A dataset of kzoo is loaded again by itself.
    assert resume(run_dir).metrics["epochs"] == 3


def test_begin_or_go_on_with_what_is_there(finished, digits, tmp_path):
    config = TrainConfig(**FAST, epochs=3)
    begun = fit(small, *digits, config=replace(config, epochs=1), run_dir=tmp_path / "new", resume=True)
    assert (begun.history["epoch"], begun.run_dir) == ([1], tmp_path / "new")
    run_dir, result = finished
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    again = fit(build, *digits, config=config, run_dir=run_dir, resume=True)
    assert (again.history, again.metrics, again.run_dir) == (result.history, result.metrics, run_dir)
    assert {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()} == before
    with pytest.raises(RunError, match="The train data is not what this run began with"):
        fit(build, *reversed(digits), config=config, run_dir=run_dir, resume=True)
    copy = unfinished(run_dir, tmp_path / "unfinished")
    assert fit(build, *digits, config=config, run_dir=copy, resume=True).metrics == result.metrics
    for other in (run_dir, unfinished(run_dir, tmp_path / "other")):
        with pytest.raises(RunError) as caught:
            fit(build, *digits, config=replace(config, seed=1), run_dir=other, resume=True)
        assert str(caught.value) == (
            f"The run in {str(other)!r} was begun with another configuration. Received: train.seed = 1, recorded: 0. "
            "Ask for the same, or name another folder."
        )
    with pytest.raises(InvalidArgument, match=r"resume=True goes on with the run in run_dir. Received: run_dir=None"):
        fit(build, *digits, config=config, resume=True)


def test_it_goes_on_with_the_strategy_that_is_asked_for(finished, digits, tmp_path):
    copy = unfinished(finished[0], tmp_path / "run")
    asked = TrainConfig(**FAST, epochs=3, strategy="one")
    fit(build, *digits, config=asked, run_dir=copy, resume=True)
    assert (runs.read_record(finished[0]).requested.strategy, runs.read_record(copy).requested) == ("auto", asked)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda state: state.pop("epoch"), "no state.epoch. Expected: a whole number."),
        (lambda state: state.update(history=5), "state.history = 5. Expected: a list."),
        (lambda state: state.update(more=1), "state.more = 1. Expected: no entries other than epoch, "),
        (lambda state: state.clear(), "no state.epoch."),
    ],
)
def test_a_damaged_state_is_one_line(change, line, finished, digits, tmp_path):
    copy = unfinished(finished[0], tmp_path / "run", change)
    with pytest.raises(RunError) as caught:
        resume(copy)
    assert str(caught.value).startswith(f"The checkpoint is damaged. Received: {str(copy / runs.CHECKPOINT)!r}: {line}")
    assert "\n" not in str(caught.value)


def test_a_run_on_arrays_needs_them_again(digits, tmp_path):
    run_dir = tmp_path / "run"
    fit(small, arrays(digits[0]), config=TrainConfig(**FAST, epochs=1), run_dir=run_dir)
    assert resume(run_dir).metrics["epochs"] == 1  # it is finished: no data is needed
    with pytest.raises(InvalidArgument, match="This run was not given its data by name"):
        resume(unfinished(run_dir, tmp_path / "again"))


def test_validation_labels_are_matched_by_name(digits):
    """The same images with the classes in another order are the same validation data."""
    train, validation = digits
    order = np.roll(np.arange(10), 3)
    names = [validation.class_names[i] for i in order]
    shuffled = Dataset.from_arrays(validation.images, np.argsort(order)[validation.labels], names)
    config = TrainConfig(**FAST, epochs=2)
    one, other = (fit(build, train, data, config=config) for data in (validation, shuffled))
    assert other.history["val_accuracy"] == one.history["val_accuracy"]
    assert other.metrics["validation"]["accuracy"] == one.metrics["validation"]["accuracy"] > 0.5


def test_arrays_may_lack_the_last_classes(digits):
    train, validation = (arrays(data) for data in digits)
    few = validation[1] < 5
    result = fit(build, train, (validation[0][few], validation[1][few]), config=TrainConfig(**FAST, epochs=1))
    assert result.metrics["validation"]["images"] == few.sum()
    with pytest.raises(InvalidArgument, match="Received: the label 10 in the validation data"):
        fit(build, train, (validation[0], validation[1] + 1), config=TrainConfig(**FAST, epochs=1))


@pytest.mark.parametrize(
    ("built", "line"),
    [
        (lambda: None, "A classifier must be a keras.Model. Received: NoneType"),
        (lambda: keras.Sequential([keras.layers.Dense(10)]), "is not built"),
    ],
)
def test_build_that_gives_no_model(built, line, digits):
    with pytest.raises(InvalidArgument, match=line):
        fit(built, digits[0], config=TrainConfig(**FAST, epochs=1))


def test_an_existing_run_is_not_overwritten_unasked(finished, digits):
    run_dir, _ = finished
    before = (run_dir / "best.keras").read_bytes()
    with pytest.raises(RunError, match="There is a run here already"):
        fit(build, *digits, config=TrainConfig(**FAST, epochs=1), run_dir=run_dir)
    assert (run_dir / "best.keras").read_bytes() == before


def test_overwrite_starts_anew(digits, tmp_path):
    fit(small, *digits, config=TrainConfig(**FAST, epochs=2), run_dir=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    result = fit(small, *digits, config=TrainConfig(**FAST, epochs=1), run_dir=tmp_path, overwrite=True)
    assert result.history["epoch"] == [1]
    assert [p.name for p in (tmp_path / "tensorboard").iterdir()] == ["events.out.tfevents.0000000001.kzoo"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_same_seed_gives_the_same_bits(digits, tmp_path):
    def weights(seed):
        config = TrainConfig(**{**FAST, "augment": "digits"}, epochs=1, seed=seed)
        return [w.tobytes() for w in fit(build, *digits, config=config).model.get_weights()]

    assert weights(3) == weights(3) != weights(4)


@keras.saving.register_keras_serializable(package="tests")
class Rolled(ImageAugmentation):
    """Rows and columns of each image shifted by half its size: nothing can be learned of the images as they are."""

    def augment(self, images, seeds):
        return tf.roll(images, shift=(4, 4), axis=(1, 2))


def test_validation_and_test_images_are_never_augmented(digits, tmp_path):
    config = TrainConfig(**{**FAST, "augment": [Rolled()]}, epochs=2, learning_rate=0.05)
    result = fit(small, *digits, config=config, run_dir=tmp_path / "run")
    images, labels = arrays(digits[1])

    def loss(images):
        logits = np.asarray(load(tmp_path / "run", "last")(images), "float64")
        return -scipy.special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()

    as_they_are, augmented = loss(images), loss(np.roll(images, (4, 4), (1, 2)))
    assert as_they_are > augmented + 1  # it has learned what the training images were made into
    assert result.history["val_loss"][-1] == pytest.approx(as_they_are, rel=1e-5)
    assert evaluate(load(tmp_path / "run", "last"), digits[1])["loss"] == pytest.approx(as_they_are, rel=1e-5)
    # A stream likewise.
    streams = [tf.data.Dataset.from_tensor_slices(arrays(part)).batch(64) for part in digits]
    again = fit(small, *streams, config=config, run_dir=tmp_path / "stream")
    model = load(tmp_path / "stream", "last")
    assert again.history["val_loss"][-1] == pytest.approx(evaluate(model, digits[1])["loss"], rel=1e-5)


def test_training_on_mixed_images(digits, tmp_path):
    config = TrainConfig(**{**FAST, "augment": ["digits", MixUp(classes=10, alpha=1.0)]}, epochs=6, learning_rate=0.05)
    images, labels = arrays(digits[0])
    stream = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(2000, seed=1).batch(64)
    for data in (digits[0], stream):
        result = fit(small, data, digits[1], config)
        # Half of each target belongs to another class: its loss cannot come near to zero, that of whole images does.
        assert result.history["loss"][-1] > 0.5
        assert result.history["val_loss"][-1] < result.history["loss"][-1]
        assert result.history["val_accuracy"][-1] > 0.8
    with pytest.raises(InvalidArgument, match=r"MixUp must make labels of the model's 10 classes. Received: classes=9"):
        fit(small, *digits, config=replace(config, augment=[MixUp(classes=9)]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arrays_datasets_and_streams_give_the_same(digits):
    images, labels = arrays(digits[0])
    # A stream of the batches that the first epoch would make is the same run.
    stream = digits[0].batches(64, shuffle=True, seed=0, epoch=0)
    config = TrainConfig(**FAST, epochs=1)
    results = [fit(small, data, digits[1], config) for data in (digits[0], (images, labels), stream)]
    for result in results[1:]:
        assert result.run_dir is None
        for one, other in zip(result.model.get_weights(), results[0].model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_unbatched_stream_with_unknown_length(digits):
    images, labels = arrays(digits[0])
    stream = tf.data.Dataset.from_tensor_slices((images, labels)).filter(lambda *pair: pair[1] < 10)
    result = fit(small, stream, stream.batch(50), TrainConfig(**FAST, epochs=2))
    assert result.metrics["validation"]["images"] == 1439
    assert result.history["loss"][1] < result.history["loss"][0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).repeat(), DataError, "never ends"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).take(0), DataError, "no elements"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices(x), DataError, "must give pairs"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y / 2)), DataError, "class indices, whole numbers"),
        (lambda x, y: [x], InvalidArgument, "Data must be a kzoo Dataset, a pair of arrays"),
        (lambda x, y: (x, y[:-1]), DataError, "differ in length"),
        (lambda x, y: (x[:, :4], y), InvalidArgument, "The model takes images of shape"),
        (lambda x, y: (x, y + 3), InvalidArgument, "The model has 10 outputs"),
    ],
)
def test_data_that_cannot_be_used_leaves_no_run(digits, tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        fit(small, make(*arrays(digits[0])), config=TrainConfig(**FAST, epochs=1), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_a_run_directory_no_files_stay(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = fit(small, *digits, config=TrainConfig(**FAST, epochs=1))
    assert result.run_dir is None
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    assert result.metrics["validation"]["images"] == len(digits[1])


def test_without_validation_data_the_last_epoch_is_the_best(digits, tmp_path):
    result = fit(small, digits[0], config=TrainConfig(**FAST, epochs=2), run_dir=tmp_path)
    assert result.metrics["best_epoch"] == 2
    assert "validation" not in result.metrics
    assert "val_loss" not in result.history
    for one, other in zip(load(tmp_path, "best").get_weights(), load(tmp_path, "last").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("arguments", [{"early_stopping": 2}, {"schedule": "plateau"}])
def test_what_needs_validation_data_says_so(digits, tmp_path, arguments):
    with pytest.raises(InvalidArgument, match="need validation data"):
        fit(small, digits[0], config=TrainConfig(**FAST, **arguments), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def unlearnable(digits):
    """Validation data on which training makes things worse: every label is wrong."""
    validation = digits[1]
    return Dataset.from_arrays(validation.images, (validation.labels + 1) % 10, validation.class_names)


def test_early_stopping_keeps_the_best(digits, tmp_path):
    config = TrainConfig(**FAST, epochs=30, early_stopping=3, optimizer="adam", schedule="constant")
    validation = unlearnable(digits)
    result = fit(small, digits[0], validation, config, tmp_path)
    accuracies = result.history["val_accuracy"]
    best = result.metrics["best_epoch"]
    assert len(accuracies) < 30
    assert len(accuracies) == best + 3
    assert accuracies[best - 1] == max(accuracies)
    assert evaluate(load(tmp_path, "best"), validation)["accuracy"] == pytest.approx(accuracies[best - 1], abs=1e-9)
    assert evaluate(load(tmp_path, "last"), validation)["accuracy"] == pytest.approx(accuracies[-1], abs=1e-9)


def test_plateau_lowers_the_learning_rate(digits):
    config = TrainConfig(
        **FAST, epochs=9, schedule="plateau", patience=2, decay_rate=0.5, optimizer="adam", learning_rate=0.01
    )
    result = fit(small, digits[0], unlearnable(digits), config)
    scores = list(zip(result.history["val_accuracy"], [-x for x in result.history["val_loss"]], strict=True))
    expected, rate, best, stale = [], 0.01, None, 0
    for score in scores:
        expected.append(rate)
        if best is None or score > best:
            best, stale = score, 0
        else:
            stale += 1
            if stale == 2:
                rate, stale = rate / 2, 0
    assert result.history["learning_rate"] == pytest.approx(expected, rel=1e-12)
    assert expected[-1] < 0.01


def test_a_diverging_run_stops_and_keeps_the_last_good_model(digits, tmp_path):
    config = TrainConfig(**FAST, epochs=5, optimizer="sgd", learning_rate=1e4, schedule="constant")
    with pytest.raises(TrainingDiverged) as caught:
        fit(build, *digits, config=config, run_dir=tmp_path)
    message = str(caught.value)
    assert " at step " in message
    assert "learning rate 1e+04" in message
    assert str(tmp_path / "last.keras") in message
    assert "\n" not in message
    assert all(np.isfinite(w).all() for w in load(tmp_path, "last").get_weights())


def test_weights_that_overflow_after_a_finite_loss_are_not_saved(digits, tmp_path):
    # One step an epoch, whose loss is finite and whose update is not.
    config = TrainConfig(
        **{**FAST, "batch_size": 2000}, epochs=3, optimizer="sgd", learning_rate=1e4, weight_decay=1e4, momentum=0.0
    )

    def large():
        model = small()
        model.set_weights([np.full(w.shape, 1e36, "float32") * (w.ndim > 1) for w in model.get_weights()])
        return model

    with pytest.raises(TrainingDiverged, match=r"The weights became NaN or infinite at step 1 of epoch 1"):
        fit(large, *digits, config=config, run_dir=tmp_path)
    assert all(np.isfinite(w).all() for w in load(tmp_path, "last").get_weights())
    assert not (tmp_path / "best.keras").exists()


@pytest.mark.parametrize(("class_weight", "expected"), [("none", 0.05), ("balanced", 0.5)])
def test_class_weights_move_the_prior(class_weight, expected, tmp_path):
    # Twenty in four hundred, and nothing to tell them by: the best answer is the prior.
    images, labels = np.zeros((400, 8, 8, 1), "uint8"), np.array([0] * 380 + [1] * 20)
    # Gradient descent on a convex function of one number, which each step brings to half its distance or less.
    config = TrainConfig(
        **{**FAST, "batch_size": 400},
        epochs=20,
        class_weight=class_weight,
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0,
        learning_rate=5.0,
        schedule="constant",
    )
    fit(lambda: small(2), (images, labels), config=config, run_dir=tmp_path)
    logits = np.asarray(load(tmp_path, "last")(images[:1]))[0]
    assert 1 / (1 + np.exp(logits[0] - logits[1])) == pytest.approx(expected, abs=1e-3)


def test_balanced_weights_need_the_labels_in_advance(digits):
    stream = tf.data.Dataset.from_tensor_slices(arrays(digits[0]))
    with pytest.raises(InvalidArgument, match="needs the labels in advance"):
        fit(small, stream, config=TrainConfig(**FAST, class_weight="balanced"))


def test_a_trained_model_wants_images_as_its_data_was_scaled(digits):
    own = {"class_names": list("abcdefghij"), "crop_fraction": 0.5, "interpolation": "bicubic"}

    def named():
        return set_metadata(small(), **own)

    config = TrainConfig(**FAST, epochs=1)
    assert metadata(fit(named, *digits, config=config).model) == {
        "class_names": list("0123456789"),
        "pixel_range": RAW,
    }
    assert metadata(fit(named, *map(arrays, digits), config=config).model) == {**own, "pixel_range": RAW}


def test_augmentation_must_make_images_of_the_model_s_size(digits):
    """So training images may be larger than the model's; the shape is known before the first step."""
    config = TrainConfig(**{**FAST, "epochs": 1, "augment": [RandomCrop(8, 8)]})
    large = Dataset.from_arrays(np.repeat(np.repeat(digits[0].images, 2, 1), 2, 2)[:128], digits[0].labels[:128])
    fit(small, large, digits[1], config=config)
    for data in (large, (tf.data.Dataset.from_tensor_slices(arrays(large)))):
        with pytest.raises(InvalidArgument, match=r"\(8, 8, 1\). Received: .* shape \(6, 6, 1\) after augmentation"):
            fit(small, data, config=replace(config, augment=[RandomCrop(6, 6)]))


def test_weights_given_by_build_are_trained_from(digits, tmp_path):
    # A learning rate too small to move them: what comes out is what went in.
    given = [
        np.random.default_rng(i).normal(size=w.shape).astype("float32") for i, w in enumerate(small().get_weights())
    ]

    def trained():
        model = small()
        model.set_weights(given)
        return model

    config = TrainConfig(**FAST, epochs=1, optimizer="sgd", learning_rate=1e-12, weight_decay=0)
    # As if the process had died between model.json and the first checkpoint.
    with runs.new(tmp_path / "run", RunRecord(train=config)) as run_dir:
        (run_dir / runs.CHECKPOINT).touch()
    (run_dir / runs.CHECKPOINT).unlink()
    runs.write_json(run_dir / runs.ARCHITECTURE, keras.saving.serialize_keras_object(trained()))
    with pytest.raises(InvalidArgument, match="stopped before its first step"):
        resume(run_dir, train_data=digits[0])
    for result in (fit(trained, digits[0], config=config), resume(run_dir, build=trained, train_data=digits[0])):
        for one, other in zip(result.model.get_weights(), given, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_description_of_more_than_the_checkpoint_has(finished, digits, tmp_path):
    """A kilobyte of units 60,000,000 took three gigabytes before the checkpoint was read."""
    path = unfinished(finished[0], tmp_path / "run") / runs.ARCHITECTURE
    text = path.read_text()
    for change, reason in (
        (lambda: text.replace('"units": 10', '"units": 60000000'), "its weights together are larger than the file"),
        (lambda: text.replace("{", '{"note": "' + "x" * 2**23 + '", ', 1), "it has more than 8,388,608 bytes"),
    ):
        path.write_text(change())
        assert path.read_text() != text
        with pytest.raises(RunError, match=rf"^The run's model.json is damaged\. Received: .*{reason}$"):
            resume(tmp_path / "run", train_data=digits[0], validation_data=digits[1])


def test_a_damaged_description_is_one_line(finished, digits, tmp_path):
    unfinished(finished[0], tmp_path / "run")
    (tmp_path / "run" / "model.json").write_text("{")
    with pytest.raises(RunError) as caught:
        resume(tmp_path / "run", train_data=digits[0], validation_data=digits[1])
    assert "model.json is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mixed_precision_run_gives_a_float32_model(digits):
    result = fit(build, *digits, config=TrainConfig(**{**FAST, "precision": "mixed_bfloat16"}, epochs=2))
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    assert result.metrics["validation"]["accuracy"] > 0.85
    assert keras.config.dtype_policy().name == "float32"
    copy = in_float32(result.model)
    np.testing.assert_array_equal(copy(digits[1].images[:5]), result.model(digits[1].images[:5]))


def with_auxiliary_head():
    """A small classifier with batch normalization and a head at its first layer."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(32, activation="relu")(x)
    early = keras.layers.Dense(10, activation="softmax", name="early")(keras.layers.Dropout(0.5)(x))
    x = BatchNormalization()(keras.layers.Dense(32, activation="relu")(x))
    return keras.Model(inputs, {"predictions": keras.layers.Dense(10, activation="softmax")(x), "early": early})


def test_auxiliary_heads_train_and_are_not_saved(digits, tmp_path):
    config = TrainConfig(**FAST, epochs=3)
    result = fit(with_auxiliary_head, *digits, config=config, run_dir=tmp_path / "run")
    assert result.history["early_loss"][0] > result.history["early_loss"][-1]
    assert "early_loss" in (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    for which in ("best", "last"):
        model = load(tmp_path / "run", which)
        assert model.output_shape == (None, 10)
        assert all("early" not in layer.name for layer in model.layers)
    # The saved model is the one that was validated, and the head made a difference to its weights.
    assert evaluate(load(tmp_path / "run", "last"), digits[1])["loss"] == pytest.approx(
        result.history["val_loss"][-1], rel=1e-5
    )
    without = fit(with_auxiliary_head, *digits, config=replace(config, auxiliary_weight=0.0))
    assert not np.allclose(result.model.get_weights()[0], without.model.get_weights()[0], atol=1e-3)


def test_a_head_cannot_take_the_name_of_the_validation_loss(digits):
    def build():
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        return keras.Model(inputs, {"predictions": keras.layers.Dense(10)(x), "val": keras.layers.Dense(10)(x)})

    with pytest.raises(InvalidArgument, match="An auxiliary head cannot be called 'val'"):
        fit(build, digits[0], config=TrainConfig(**FAST, epochs=1))


def test_a_run_with_auxiliary_heads_resumes_to_the_same_bits(digits, tmp_path, monkeypatch):
    config = TrainConfig(**FAST, epochs=2)
    whole = fit(with_auxiliary_head, *digits, config=config, run_dir=tmp_path / "whole")
    monkeypatch.setattr(
        "kzoo.train.trainer.Trainer._update_best", lambda *_: 1 / 0
    )  # dies at the end of the first epoch
    with pytest.raises(ZeroDivisionError):
        fit(with_auxiliary_head, *digits, config=replace(config, checkpoint_seconds=0), run_dir=tmp_path / "half")
    monkeypatch.undo()
    resumed = resume(tmp_path / "half", train_data=digits[0], validation_data=digits[1])
    assert resumed.history["loss"] == whole.history["loss"]
    assert resumed.history["early_loss"] == whole.history["early_loss"]
    for a, b in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_with_auxiliary_heads_is_scored_and_used_without_them(digits):
    model = with_auxiliary_head()
    alone = keras.Model(model.input, model.output["predictions"])
    assert evaluate(model, digits[1]) == evaluate(alone, digits[1])
    images = digits[1].images[:3]
    assert kzoo.predict(model, images, top=10) == kzoo.predict(alone, images, top=10)


MIRRORED = """
import json, sys
import kzoo
from kzoo import data
from kzoo.classifier import class_names_of, metadata, set_metadata
from kzoo.train import RunRecord, TrainConfig, evaluate, fit, load, resume

train, validation = data.load("digits"), data.load("digits", "validation")
build = lambda: kzoo.create_model("mnist_net", input_shape=(8, 8, 1))
config = TrainConfig(
    epochs=2, batch_size=64, augment="digits", precision="float32", devices="cpu:2", checkpoint_seconds=0
)
result = fit(build, train, validation, config, sys.argv[1])
import tensorflow as tf
assert len(tf.config.list_logical_devices("CPU")) == 2
again = resume(sys.argv[1], train_data=train, validation_data=validation)
last = evaluate(load(sys.argv[1], "last"), validation)
print(json.dumps([result.history, last["loss"], last["accuracy"], again.history == result.history]))
"""


def test_two_replicas_train_and_save_what_they_validated(fresh_python, tmp_path):
    done = fresh_python(MIRRORED, tmp_path / "run")
    history, loss, accuracy, same = json.loads(done.stdout.splitlines()[-1])
    assert history["val_accuracy"][-1] > 0.9
    # Keras would save the first replica's normalization statistics and lose this equality.
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-4)
    assert accuracy == pytest.approx(history["val_accuracy"][-1], abs=1e-9)
    assert same
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["strategy"] == "mirrored"


def test_an_image_that_changes_during_training_is_one_line(tmp_path, monkeypatch):
    from PIL import Image

    for name in ("dark", "light"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.full((8, 8), i + 200 * (name == "light"), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    monkeypatch.setattr("kzoo.data.decoding.available_memory", lambda: 0)  # images are decoded on the way
    train = kzoo.data.load(tmp_path / "images")
    broken = Path(train.where(0))
    broken.write_bytes(b"no image any more")
    with pytest.raises(DataError, match="An image has changed since it was checked") as caught:
        fit(lambda: kzoo.create_model("mnist_net", input_shape=(8, 8, 1), classes=2), train)
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_average_of_the_weights_is_what_is_validated_and_saved(digits, tmp_path):
    config = TrainConfig(**FAST, epochs=2, schedule="constant", learning_rate=0.05)
    averaged = replace(config, ema_momentum=0.99)
    result = fit(small, *digits, config=averaged, run_dir=tmp_path / "averaged")
    plain = fit(small, *digits, config=config, run_dir=tmp_path / "plain")
    assert np.abs(result.model.get_weights()[0] - plain.model.get_weights()[0]).max() > 0.01
    last = load(tmp_path / "averaged", "last")
    # It is the average, by the validation of the run and by that of its file.
    assert evaluate(last, digits[1])["loss"] == pytest.approx(result.history["val_loss"][-1], rel=1e-5)
    # Training itself is not changed by it.
    assert result.history["loss"] == plain.history["loss"]


def test_a_run_with_accumulation_and_averages_resumes_to_the_same_bits(digits, tmp_path, monkeypatch):
    config = TrainConfig(**FAST, epochs=2, gradient_accumulation_steps=4, ema_momentum=0.99)
    whole = fit(small, *digits, config=config, run_dir=tmp_path / "whole")
    checkpoints = []

    def die(trainer, *_):
        checkpoints.append(trainer.state.step)
        if len(checkpoints) > 4:
            raise ZeroDivisionError

    monkeypatch.setattr("kzoo.train.trainer.Trainer._check_weights", die)  # before each checkpoint
    with pytest.raises(ZeroDivisionError):
        half = replace(config, checkpoint_seconds=0, steps_per_execution=1)
        fit(small, *digits, config=half, run_dir=tmp_path / "half")
    monkeypatch.undo()
    assert checkpoints == [1, 2, 3, 4, 5]
    resumed = resume(tmp_path / "half")
    assert resumed.history["loss"] == whole.history["loss"]
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()


def test_steps_of_several_batches(digits):
    """1,439 images in 23 batches of 64, four a step: six steps, the last of three batches."""
    result = fit(small, digits[0], config=TrainConfig(**FAST, epochs=1, gradient_accumulation_steps=4))
    large = fit(small, digits[0], config=TrainConfig(**{**FAST, "batch_size": 256}, epochs=1))
    for one, other in zip(result.model.get_weights(), large.model.get_weights(), strict=True):
        # The same steps, the same learning rates, summed in another order.
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_float16_overflows_are_counted(digits, capsys, tmp_path):
    bright = (np.full((8, 8, 8, 1), 255, "uint8"), np.arange(8) % 2)

    def build():
        # Beyond float16 before the scale is low enough.
        layers = [keras.layers.Flatten(), keras.layers.Dense(4, kernel_initializer="ones", dtype="mixed_float16")]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(2, dtype="float32")])

    config = TrainConfig(**{**FAST, "batch_size": 2}, epochs=2, learning_rate=1e-6)
    result = fit(build, bright, config=config, run_dir=tmp_path / "run")
    skipped, scales = result.history["skipped_steps"], result.history["loss_scale"]
    assert skipped[0] > 0
    assert scales[0] == 2.0 ** (15 - skipped[0])
    assert (
        f"float16 overflowed in {skipped[0]} of 4 steps, which were skipped; scale {scales[0]:g}"
        in capsys.readouterr().err
    )
    assert (
        (tmp_path / "run" / "history.csv")
        .read_text()
        .splitlines()[0]
        .endswith("skipped_steps,loss_scale,seconds,images_per_second")
    )
