"""fine_tune: what stays, what changes, what is kept, and what is refused."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from small_models import KINDS, assert_same_weights, digits, functional

import kzoo
from kzoo.backend import keras
from kzoo.classifier import class_names_of, pixel_range_of, set_metadata
from kzoo.data import Dataset
from kzoo.data.pixels import RAW, SIGNED, UNIT
from kzoo.errors import DataError, InvalidArgument, RunError, WeightsError
from kzoo.layers import MixUp
from kzoo.train import TrainConfig, evaluate, load, resume, runs
from kzoo.transfer import TransferConfig, features, fine_tune
from kzoo.transfer.finetuning import _for_range, _is_worse

CONFIG = TrainConfig(epochs=2, batch_size=48, precision="float32", augment="digits", learning_rate=0.003)
# As many views as epochs, so that each epoch has a view of its own, as it would have without features.
TRANSFER = TransferConfig(head_epochs=4, views=4, layer_decay=0.5)
BATCH_NORM = {"functional": "frozen", "sequential": "affine", "nested": "train"}


def is_statistic(path):
    return path.endswith(("moving_mean", "moving_variance"))


def values(model):
    """Weights by path; nested models and Sequential ones have the same."""
    return {weight.path.removeprefix("sequential/"): weight.numpy().copy() for weight in model.weights}


class Tuned:
    """A fine-tuned model of a kind, and what it was made of."""

    def __init__(self, kind, folder, data):
        self.kind, self.model, self.data = kind, KINDS[kind](), data
        self.model.compile("sgd", "sparse_categorical_crossentropy")
        self.model.get_layer("functional" if kind == "nested" else "conv1_conv").trainable = False  # a user may have
        self.before, self.flags = values(self.model), [layer.trainable for layer in self.model._flatten_layers()]
        self.optimizer = self.model.optimizer
        transfer = replace(TRANSFER, batch_norm=BATCH_NORM[kind])
        self.result = fine_tune(self.model, *data, config=CONFIG, transfer=transfer, run_dir=folder / kind)
        self.dir = folder / kind


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, data):
    """A function that gives the Tuned of a kind, made once."""
    made, folder = {}, tmp_path_factory.mktemp("tuned")
    return lambda kind: made.get(kind) or made.setdefault(kind, Tuned(kind, folder, data))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_keeps_its_bits(kind, tuned):
    found, before = values(load(tuned(kind).dir, "last")), tuned(kind).before
    changed = {path for path in found if path in before and not np.array_equal(found[path], before[path])}
    upper = {path for path in before if path.startswith(("conv2", "conv3"))}
    assert len(upper) == 10
    statistics = {path for path in upper if is_statistic(path)}
    of_batch_norm = {path for path in upper if "_bn/" in path}
    expected = {"frozen": upper - of_batch_norm, "affine": upper - statistics, "train": upper}[BATCH_NORM[kind]]
    assert changed == expected
    assert set(found) - set(before) == {"predictions/kernel", "predictions/bias"}
    assert found["predictions/kernel"].shape[-1] == 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_alone_leaves_all_else(kind, tuned):
    found, before = values(load(tuned(kind).dir / runs.HEAD, "best")), tuned(kind).before
    for path in set(found) & set(before):
        np.testing.assert_array_equal(found[path], before[path], err_msg=path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_user_s_model_is_left_as_it_is(kind, tuned):
    model = tuned(kind).model
    assert [layer.trainable for layer in model._flatten_layers()] == tuned(kind).flags
    assert model.optimizer is tuned(kind).optimizer
    assert model.compiled
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, tuned(kind).before[path], err_msg=path)


def test_a_fresh_process_predicts_the_same(tuned, data, tmp_path, fresh_python):
    images = data[1].images[:5]
    np.save(tmp_path / "images.npy", images)
    results = {kind: tuned(kind) for kind in KINDS}
    code = (
        "import sys, numpy as np, kzoo; images = np.load(sys.argv[1])\n"
        "for run in sys.argv[3:]:\n"
        "    np.save(sys.argv[2] + run[-4:], np.asarray(kzoo.load_model(run)(images, training=False)))"
    )
    fresh_python(code, tmp_path / "images.npy", tmp_path / "out", *(one.dir for one in results.values()))
    for kind, one in results.items():
        found = np.load(tmp_path / f"out{kind[-4:]}.npy")
        np.testing.assert_array_equal(found, one.result.model(images, training=False))


def test_the_run_is_evaluated_and_predicts(tuned, data):
    one = tuned("functional")
    metrics = json.loads((one.dir / "metrics.json").read_text())
    assert metrics == one.result.metrics
    assert metrics["validation"] == evaluate(one.result.model, data[1])
    assert metrics["head"] == json.loads((one.dir / "head" / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["head"]["epochs"], metrics["head"]["best_epoch"]) == (2, 4, 4)
    assert class_names_of(load(one.dir)) == tuple("0123456789")
    assert {p.label for p in kzoo.predict(load(one.dir), data[1].images[:2], top=10)[0]} == set("0123456789")
    # By the model of a file, not by the part of it that was trained on features: sums in another order.
    last = evaluate(load(one.dir, "last"), data[1])
    assert last["loss"] == pytest.approx(one.result.history["val_loss"][-1], rel=1e-5)
    assert last["accuracy"] == pytest.approx(one.result.history["val_accuracy"][-1], abs=1e-9)


def test_training_on_features_is_training_the_whole(data, monkeypatch, tmp_path):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    one = fine_tune(functional(), *data, config=CONFIG, transfer=TRANSFER, run_dir=tmp_path / "features")
    monkeypatch.setattr(features, "LARGEST", 0)
    whole = fine_tune(functional(), *data, config=CONFIG, transfer=TRANSFER, run_dir=tmp_path / "whole")
    for which in ("head", "."):
        expected, found = load(tmp_path / "whole" / which, "last"), load(tmp_path / "features" / which, "last")
        for a, b in zip(found.weights, expected.weights, strict=True):
            # The same images, shuffles and dropout: rounding alone differs, since in another graph convolutions and
            # normalizations are computed by other kernels. Adam's first steps divide by it: some 1e-6 was seen.
            np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max(), rtol=0, err_msg=b.path)
    np.testing.assert_allclose(one.history["loss"], whole.history["loss"], rtol=1e-4)


def test_features_found_on_disk_and_arrays_give_the_same_bits(tuned, data, features_home):
    one = tuned("functional")
    before = {path: path.stat().st_mtime_ns for path in (features_home / "features").rglob("*.npy")}
    assert before
    train = (data[0].images, data[0].labels)
    validation = tf.data.Dataset.from_tensor_slices((data[1].images, data[1].labels))
    again = fine_tune(functional(), train, validation, config=CONFIG, transfer=TRANSFER)
    assert again.run_dir is None
    assert again.history["loss"] == one.result.history["loss"]
    assert_same_weights(again.model, one.result.model)
    assert {path: path.stat().st_mtime_ns for path in (features_home / "features").rglob("*.npy")} == before


def test_the_head_is_kept_where_fine_tuning_does_harm(data, tmp_path, capsys):
    config = replace(CONFIG, learning_rate=30.0, optimizer="sgd", epochs=1, warmup_epochs=0, clip_norm=1.0)
    transfer = replace(TRANSFER, head_epochs=30)
    result = fine_tune(functional(), *data, config=config, transfer=transfer, run_dir=tmp_path / "run")
    assert (result.metrics["kept"], result.metrics["best_epoch"]) == ("head", 0)
    assert (tmp_path / "run" / "best.keras").read_bytes() == (tmp_path / "run/head/best.keras").read_bytes()
    assert result.metrics["validation"] == result.metrics["head"]["validation"]
    assert result.metrics["validation"]["accuracy"] > result.history["val_accuracy"][0] + 0.1
    assert_same_weights(result.model, load(tmp_path / "run/head"))
    assert "fine-tuning made it worse than the new head alone, which is kept" in capsys.readouterr().err


@pytest.mark.parametrize(("after", "kept"), [(0.90, "fine_tuned"), (0.869, "fine_tuned"), (0.867, "head")])
def test_a_standard_error_less_is_no_worse(after, kept):
    """Of 0.9 in 100 images it is 0.032."""
    tuning = SimpleNamespace(validation=range(100))
    trainer = SimpleNamespace(keeps_last=True, state=SimpleNamespace(history=[{"val_accuracy": after}], best_epoch=1))
    is_worse = _is_worse(tuning, trainer, {"validation": {"accuracy": 0.9}})  # pyright: ignore[reportArgumentType]
    assert is_worse == (kept == "head")


def test_the_last_epoch_is_kept_unless_validation_is_trusted(data, tmp_path):
    for schedule, best in (("cosine", 3), ("plateau", None)):
        config = replace(CONFIG, epochs=3, schedule=schedule)
        result = fine_tune(functional(), *data, config=config, transfer=TRANSFER, run_dir=tmp_path / schedule)
        scores = [result.metrics["head"]["validation"]["accuracy"], *result.history["val_accuracy"]]
        if best is None:
            best = scores.index(max(scores))
        assert result.metrics["best_epoch"] == best


def separable(count, seed):
    """Images of two classes that any features tell apart: bright above, or bright below."""
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).integers(0, 60, (count, 8, 8, 1))
    images[labels == 0, :4] += 190
    images[labels == 1, 4:] += 190
    return images.astype("uint8"), labels


def test_fine_tuning_is_left_out_where_it_cannot_pay(tmp_path, capsys):
    pairs, run_dir = (separable(40, 0), separable(20, 1)), tmp_path / "run"
    result = fine_tune(functional(), *pairs, config=CONFIG, transfer=TransferConfig(), run_dir=run_dir)
    said = capsys.readouterr().err
    assert (
        "in cross-validation a classifier of the pretrained features is wrong about 0.0 % of the training images"
        in said
    )
    assert "layers above" not in said
    assert (result.metrics["kept"], result.metrics["epochs"], result.history) == ("head", 0, {})
    assert result.metrics["validation"]["accuracy"] == 1
    for which in ("best", "last"):
        assert_same_weights(load(run_dir, which), load(run_dir / runs.HEAD))
    # Killed between the phases, it knows that the second is left out.
    for name in (runs.CHECKPOINT, runs.METRICS, runs.BEST, runs.LAST):
        (run_dir / name).unlink()
    again = resume(run_dir, train_data=pairs[0], validation_data=pairs[1])
    assert again.metrics == result.metrics
    assert_same_weights(again.model, result.model)
    # That it was left out was not asked for: the same call goes on with it.
    given: dict = {"config": CONFIG, "transfer": TransferConfig(), "run_dir": run_dir}
    assert fine_tune(functional(), *pairs, **given, resume=True).metrics == result.metrics
    # A stage that is named is trained.
    named = fine_tune(functional(), *pairs, config=CONFIG, transfer=TransferConfig(unfreeze="conv3"))
    assert (named.metrics["kept"], named.metrics["epochs"]) == ("fine_tuned", 2)


def test_without_validation_data_the_last_is_kept(data, capsys):
    result = fine_tune(functional(), data[0], config=replace(CONFIG, epochs=1), transfer=replace(TRANSFER, views=1))
    assert (result.metrics["kept"], result.metrics["best_epoch"]) == ("fine_tuned", 1)
    assert "validation" not in result.metrics
    assert "val_loss" not in result.history
    assert "without validation data nobody knows" in capsys.readouterr().err


def flipped_at_first():
    """A random layer before all others, as in Keras's guide: no part of it can be computed once."""
    model, inputs = functional(top=False), keras.Input((8, 8, 1))
    return keras.Model(inputs, model(keras.layers.RandomFlip(seed=1)(inputs)))


def of_any_size():
    """As keras.applications' are without input_shape."""
    return functional(top=False, size=None)


def calls_operations():
    x = inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, name="conv1_conv")(x / 255.0)
    return keras.Model(inputs, keras.ops.mean(keras.ops.relu(x), axis=(1, 2)))


@pytest.mark.parametrize("make", [flipped_at_first, of_any_size, calls_operations])
def test_models_that_are_unlike_the_zoo_s(make, data):
    model = make()
    before = values(model)
    transfer = replace(TRANSFER, head_epochs=1, views=1)
    # Without validation data the fine-tuned model is kept, not the better one.
    result = fine_tune(model, data[0], config=replace(CONFIG, epochs=1), transfer=transfer)
    assert result.metrics["kept"] == "fine_tuned"
    found = values(result.model)
    changed = {path for path in before if path in found and not np.array_equal(before[path], found[path])}
    if make is of_any_size:  # the stages of the smallest feature map
        assert changed == {"conv2_conv/kernel", "conv3_conv/kernel"}
    assert result.model.output_shape == (None, 10)


def refused(error, *arguments, **options):
    with pytest.raises(error) as caught:
        fine_tune(*arguments, **{"config": CONFIG, "transfer": TRANSFER, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_that_are_in_both(data, tmp_path):
    images = np.concatenate([data[1].images, data[0].images[7:9]])
    labels = np.concatenate([data[1].labels, data[0].labels[7:9]])
    said = refused(DataError, functional(), data[0], (images, labels), run_dir=tmp_path / "run")
    assert "Validation images are training images too, by content. Received: 2 of 102" in said
    assert "first arrays #100 = some digits #7" in said
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_is_one_line(data, tmp_path, monkeypatch):
    large = (np.zeros((4, 9, 9, 1), np.uint8), np.arange(4))
    assert "Leave MixUp and CutMix out" in refused(
        InvalidArgument, functional(), *data, config=replace(CONFIG, augment=[MixUp(10)])
    )
    assert "Unknown stage of functional. Received: 'conv9'" in refused(
        InvalidArgument, functional(), *data, transfer=replace(TRANSFER, unfreeze="conv9")
    )
    assert "The model takes images of shape (8, 8, 1). Received: training images of shape (9, 9, 1)" in refused(
        InvalidArgument, functional(), large
    )
    assert "A keras.Model has its weights. Received: weights='imagenet'" in refused(
        InvalidArgument, functional(), *data, weights="imagenet"
    )
    assert "a keras.Model or None. Received: 3." in refused(InvalidArgument, 3, *data)
    assert "Unknown model. Received: 'mnist_ned'" in refused(InvalidArgument, "mnist_ned", *data, weights="mnist")
    assert "Without: kzoo.train.fit trains from scratch" in refused(InvalidArgument, "plain18", *data)
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(tmp_path))
    assert "vgg16" in refused(WeightsError, "vgg16", *data, weights="imagenet")


def test_class_imbalance_is_warned_of(data, capsys):
    few = np.concatenate([np.flatnonzero(data[0].labels != 3), np.flatnonzero(data[0].labels == 3)[:2]])
    given = Dataset.from_arrays(data[0].images[few], data[0].labels[few], data[0].class_names)
    config = replace(CONFIG, epochs=1)
    fine_tune(functional(), given, config=config, transfer=replace(TRANSFER, head_epochs=1, views=1))
    assert "the classes are imbalanced: 2 training images of '3'" in capsys.readouterr().err


def begun(tuned, folder):
    """A run as it is before its first phase has begun: only the pretrained weights are known."""
    folder.mkdir()
    shutil.copy(tuned("functional").dir / runs.CONFIG, folder)
    return folder


def test_resume_needs_the_same_model_and_data(tuned, data, tmp_path):
    run_dir = begun(tuned, tmp_path / "run")
    given = {"train_data": data[0], "validation_data": data[1]}
    for error, line, options in (
        (InvalidArgument, "stopped in its first phase", given),
        (InvalidArgument, "Pass train_data and validation_data again", {"model": functional()}),
        (RunError, "The train data is not what this run began with", {"train_data": data[1], "model": functional()}),
    ):
        with pytest.raises(error, match=line) as caught:
            resume(run_dir, **options)
        assert "\n" not in str(caught.value)
    other = functional()
    other.get_layer("conv3_bn").beta.assign(np.ones(6))
    with pytest.raises(RunError, match="The pretrained weights are not what this run began with"):
        resume(run_dir, model=other, **given)
    with pytest.raises(InvalidArgument, match="Not a run directory"):
        resume(run_dir / "absent")
    with pytest.raises(InvalidArgument, match="This is the first phase of a run that fine-tunes"):
        resume(tuned("functional").dir / runs.HEAD)


def test_a_finished_run_is_not_trained_again(tuned):
    one = tuned("functional")
    given = {"config": CONFIG, "transfer": replace(TRANSFER, batch_norm="frozen"), "run_dir": one.dir, "resume": True}
    for again in (resume(one.dir), fine_tune(functional(), *one.data, **given)):
        assert again.history == one.result.history
        assert again.metrics == one.result.metrics
        assert_same_weights(again.model, one.result.model)
    with pytest.raises(RunError, match=r"Received: transfer.views = 2, recorded: 4"):
        fine_tune(functional(), *one.data, **{**given, "transfer": replace(TRANSFER, views=2)})


@pytest.mark.slow
def test_a_model_of_keras_applications(data):
    """Features at both cuts, frozen weights to the bit, and the user's model as it was."""
    images = [np.repeat(one.images.repeat(4, 1).repeat(4, 2), 3, -1) for one in data]
    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    before = [w.numpy().copy() for w in backbone.weights]
    pairs = [(pixels, one.labels) for pixels, one in zip(images, data, strict=True)]
    result = fine_tune(backbone, *pairs, config=replace(CONFIG, augment="none"), transfer=TRANSFER)
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights(), strict=True))
    assert result.model.output_shape == (None, 10)
    found = {w.path: w.numpy() for w in result.model.weights}
    statistics = [w.path for w in backbone.weights if is_statistic(w.path)]
    assert statistics
    expected = dict(zip([w.path for w in backbone.weights], before, strict=True))
    assert all(np.array_equal(found[path], expected[path]) for path in statistics)


def of_a_range():
    """A model whose input is used twice, once in a list, and by an operation."""
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, padding="same")(images)
    x = keras.layers.Concatenate()([x, images]) + keras.ops.relu(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(10, name="predictions")(x))


@pytest.mark.parametrize("trained_on", [UNIT, SIGNED])
def test_images_are_scaled_for_a_model_of_another_range(trained_on, data):
    model, images = of_a_range(), data[0].images
    low, high = trained_on
    expected = model(images / np.float32(255) * (high - low) + low)
    # float32
    np.testing.assert_allclose(_for_range(model, RAW, trained_on)(images), expected, atol=1e-5)
    for given in (trained_on, None):
        assert _for_range(model, given, trained_on) is model


def test_a_model_of_another_range_is_fine_tuned_on_what_it_knows(data, tmp_path, caplog):
    model = set_metadata(of_a_range(), pixel_range=SIGNED)
    config = replace(CONFIG, epochs=1, augment="none")
    result = fine_tune(model, *data, config=config, transfer=TransferConfig(head_epochs=1), run_dir=tmp_path / "run")
    assert "images of 0 to 255 are scaled to -1 to 1, which the pretrained model was trained on" in caplog.text
    tuned = load(tmp_path / "run")
    assert pixel_range_of(tuned) == RAW
    caplog.clear()
    figures = evaluate(tuned, data[1])
    assert figures["accuracy"] == pytest.approx(result.metrics["validation"]["accuracy"])
    assert not caplog.messages
