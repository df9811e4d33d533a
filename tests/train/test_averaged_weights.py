"""Averaged weights (ema_momentum, swa_epochs, schedule_free_adamw) and the batch statistics that belong to them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kzoo.backend import keras
from kzoo.data.order import permutation
from kzoo.errors import TrainingDiverged, TrainingInterrupted
from kzoo.layers import BatchNormalization
from kzoo.train import TrainConfig, evaluate, fit, load, resume
from kzoo.train.checkpoint import read_state

CLASSES, COUNT, BATCH = 3, 40, 16
WAYS = {
    "ema": {"ema_momentum": 0.9},
    "swa": {"swa_epochs": 2},
    "schedule-free": {"optimizer": "schedule_free_adamw"},
}
CONFIG = TrainConfig(epochs=4, passes_per_epoch=2, batch_size=BATCH, learning_rate=0.05, augment="none",
                     precision="float32", seed=3)  # fmt: skip


def arrays(count=COUNT, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    return np.clip(random.normal(60 + 60 * labels[:, None, None, None], 40, (count, 4, 4, 1)), 0, 255), labels


def build(normalization=BatchNormalization, dropout=0.0):
    """Two normalizations, the second of what the first gives, so that its statistics depend on how that normalizes."""
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    for width in (6, 5):
        layers += [keras.layers.Dense(width), normalization(), keras.layers.Activation("relu")]
        layers += [keras.layers.Dropout(dropout)] if dropout else []
    return keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(CLASSES, activation="softmax")])


class Ends(keras.callbacks.Callback):
    """The weights in training at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


def statistics_of(weights, images, epoch):
    """Means and variances of the inputs of both normalizations over the images of an epoch, in float64.

    In each batch an image is normalized by the batch, as in training.
    """
    kernel, bias, gamma, beta, _, _, kernel2, bias2, *_ = [w.astype("float64") for w in weights]
    passes = [permutation(CONFIG.seed, 2 * epoch + i, COUNT) for i in range(2)]
    rows = images.reshape(COUNT, -1)[np.concatenate(passes)] / 255
    first, second = [], []
    for start in range(0, len(rows), BATCH):
        values = rows[start : start + BATCH] @ kernel + bias
        first.append(values)
        values = (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-3) * gamma + beta
        second.append(np.maximum(values, 0) @ kernel2 + bias2)
    return [f(np.concatenate(values), axis=0) for values in (first, second) for f in (np.mean, np.var)]


def statistics_in(model):
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [np.asarray(v) for layer in layers for v in (layer.moving_mean, layer.moving_variance)]


@pytest.mark.parametrize("normalization", [BatchNormalization, keras.layers.BatchNormalization])
@pytest.mark.parametrize("way", WAYS)
def test_batch_statistics_are_those_of_the_averaged_weights(way, normalization, tmp_path):
    images, labels = arrays()
    ends = Ends()
    config = replace(CONFIG, **WAYS[way])
    fit(lambda: build(normalization), (images, labels), config=config, run_dir=tmp_path / "run", callbacks=[ends])
    model = load(tmp_path / "run", "last")
    found, expected = statistics_in(model), statistics_of(model.get_weights(), images, epoch=3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)  # float32 forward passes
    # The moving ones of the weights in training are others, and so are their average.
    raw = ends.weights[-1]
    differences = [np.abs(raw[i] - e).max() for i, e in zip((4, 5, 10, 11), expected, strict=True)]
    assert max(differences) > 0.05


def test_stochastic_weight_averaging_is_the_mean_of_the_last_ends(tmp_path):
    images, labels = arrays()
    ends, config = Ends(), replace(CONFIG, epochs=6, swa_epochs=3)
    result = fit(build, (images, labels), arrays(30, 1), config, tmp_path / "run", callbacks=[ends])
    trained = [i for i in range(14) if i not in (4, 5, 10, 11)]
    last = load(tmp_path / "run", "last").get_weights()
    for i in trained:
        np.testing.assert_allclose(last[i], np.mean([w[i] for w in ends.weights[3:]], axis=0), atol=1e-6)
    assert max(np.abs(last[i] - ends.weights[-1][i]).max() for i in trained) > 1e-3
    # The rate is held, and what was validated is what is saved.
    rates = result.history["learning_rate"]
    assert rates[3] == rates[4] == rates[5] == pytest.approx(0.05 / 2)  # cosine's, half-way
    figures = evaluate(load(tmp_path / "run", "last"), arrays(30, 1))
    assert figures["loss"] == pytest.approx(result.history["val_loss"][-1], rel=1e-5)
    state: Any = read_state(tmp_path / "run" / "checkpoint.safetensors")
    assert state.averaged == 3


def test_until_its_epochs_begin_the_model_in_training_is_validated(tmp_path):
    """To the bit: stochastic weight averaging adds nothing to a run before."""
    config = replace(CONFIG, epochs=6, schedule="constant")
    plain, averaged = (
        fit(build, arrays(), arrays(30, 1), replace(config, swa_epochs=epochs)).history for epochs in (None, 2)
    )
    assert averaged["val_loss"][:4] == plain["val_loss"][:4]
    assert averaged["loss"] == plain["loss"]
    assert averaged["val_loss"][5] != plain["val_loss"][5]


@pytest.mark.parametrize("way", WAYS)
def test_a_model_without_batch_normalization_is_not_run_through_the_images_again(way, monkeypatch):
    monkeypatch.setattr("kzoo.train.step.TrainStep._observe", lambda *_: 1 / 0)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    result = fit(
        lambda: keras.Sequential([keras.Input((4, 4, 1)), *layers]), arrays(), arrays(30, 1),
        replace(CONFIG, **WAYS[way]),
    )  # fmt: skip
    assert result.history["val_loss"][-1] < result.history["val_loss"][0]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_interrupted_in_its_validation_and_within_an_epoch_ends_in_the_same_bits(
    way, tmp_path, monkeypatch
):
    """Interrupted in the validation of an epoch that is averaged, that epoch counts once all the same."""
    config = replace(CONFIG, epochs=5, **WAYS[way])
    data: Any = {"train_data": arrays(), "validation_data": arrays(30, 1)}
    whole = fit(lambda: build(dropout=0.3), **data, config=config, run_dir=tmp_path / "whole")
    from kzoo.train import trainer

    original, moments = trainer.Trainer._validate, []

    def interrupted(self):
        loss, accuracy = original(self)
        if self.state.epoch == 3 and not moments:
            moments.append((self.state.step, self.state.averaged))
            raise trainer.interrupts.Interrupted
        return loss, accuracy

    monkeypatch.setattr(trainer.Trainer, "_validate", interrupted)
    half = replace(config, checkpoint_seconds=0, steps_per_execution=1)
    with pytest.raises(TrainingInterrupted):
        fit(lambda: build(dropout=0.3), **data, config=half, run_dir=tmp_path / "half")
    assert moments == [(5, 1 if way == "swa" else 0)]
    saved = trainer.Trainer.save_checkpoint

    def die(self):
        saved(self)
        if (self.state.epoch, self.state.step) == (4, 2):
            raise ZeroDivisionError

    monkeypatch.setattr(trainer.Trainer, "save_checkpoint", die)
    with pytest.raises(ZeroDivisionError):
        resume(tmp_path / "half", build=lambda: build(dropout=0.3), **data)
    monkeypatch.undo()
    resumed = resume(tmp_path / "half", build=lambda: build(dropout=0.3), **data)
    assert resumed.history["val_loss"] == whole.history["val_loss"]
    for which in ("best", "last"):
        ours, theirs = (load(tmp_path / run, which).get_weights() for run in ("half", "whole"))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


def test_a_run_that_diverges_before_its_average_leaves_its_weights(tmp_path):
    """Not the ones that the average was made with, which nothing has moved yet."""
    images, labels = arrays()

    class Blow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = 1e30

    ends, config = (
        Ends(),
        replace(CONFIG, swa_epochs=2, optimizer="sgd", learning_rate=0.1, checkpoint_seconds=0, steps_per_execution=10),
    )
    with pytest.raises(TrainingDiverged):
        fit(build, (images, labels), config=config, run_dir=tmp_path / "run", callbacks=[ends, Blow()])
    for one, other in zip(load(tmp_path / "run", "last").get_weights(), ends.weights[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_statistics_that_fine_tuning_keeps_stay(tmp_path):
    """With batch_norm "affine" gamma and beta are trained, and the statistics are those of the pretrained model."""
    from kzoo.train import TransferConfig
    from kzoo.transfer import fine_tune

    images, labels = arrays(120)
    pretrained = fit(build, (images, labels), config=CONFIG).model
    kept = statistics_in(pretrained)
    first, second = (layer.name for layer in pretrained.layers if isinstance(layer, keras.layers.BatchNormalization))
    for way, arguments in WAYS.items():
        fine_tune(
            pretrained, (images, labels), arrays(60, 1),
            config=TrainConfig(epochs=3, augment="none", precision="float32", warmup_epochs=0, **arguments),
            transfer=TransferConfig(head_epochs=1, unfreeze=first, batch_norm="affine"), run_dir=tmp_path / way,
        )  # fmt: skip
        last = load(tmp_path / way, "last")
        for one, other in zip(statistics_in(last), kept, strict=True):
            np.testing.assert_array_equal(one, other)
        assert np.abs(last.get_layer(second).gamma.numpy() - pretrained.get_layer(second).gamma.numpy()).max() > 0
        assert (tmp_path / way / "learning_rate.png").exists()
