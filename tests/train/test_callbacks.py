"""Keras's callbacks on kzoo's loop: they find what they look for, and what they do has its effect."""

import numpy as np
import pytest

from kzoo.backend import keras
from kzoo.saving import load_model
from kzoo.train import TrainConfig, evaluate, fit, load, resume

CONFIG = {"batch_size": 64, "augment": "none", "precision": "float32", "checkpoint_seconds": 1e6}  # 23 steps an epoch
STEPS = 23


def build():
    """A classifier that trains in a moment."""
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


class Recorder(keras.callbacks.Callback):
    """Which hooks were called, with what."""

    def __init__(self):
        super().__init__()
        self.calls, self.logs, self.rates = [], {}, []

    def on_train_begin(self, logs=None):
        self.calls.append("train begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} begin")

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate.numpy()))

    def on_train_batch_end(self, batch, logs=None):
        self.logs[batch] = logs

    def on_test_begin(self, logs=None):
        self.calls.append("test begin")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} end")
        self.logs["epoch"] = logs

    def on_train_end(self, logs=None):
        self.calls.append("train end")


def test_every_hook_in_its_turn(digits):
    recorder = Recorder()
    config = TrainConfig(**CONFIG, epochs=2, steps_per_execution=5)
    result = fit(build, *digits, config=config, callbacks=[recorder])
    epochs = [call for epoch in (0, 1) for call in (f"epoch {epoch} begin", "test begin", f"epoch {epoch} end")]
    assert recorder.calls == ["train begin", *epochs, "train end"]
    assert [b for b in recorder.logs if b != "epoch"] == [4, 9, 14, 19, 22]  # of the last step in an execution
    assert recorder.logs["epoch"]["val_accuracy"] == result.history["val_accuracy"][-1]
    assert recorder.logs[22]["loss"] == pytest.approx(result.history["loss"][-1])
    # The rate of the step that comes: cosine from its peak, over 46 steps.
    expected = [config.peak_learning_rate * (1 + np.cos(np.pi * step / 46)) / 2 for step in (0, 5, 10, 15, 20, 23)]
    assert recorder.rates[:6] == pytest.approx(expected, rel=1e-5)
    assert recorder.params == {"epochs": 2, "steps": STEPS, "verbose": 0}


def test_learning_rate_scheduler_takes_over(digits):
    scheduled = fit(
        build, *digits, config=TrainConfig(**CONFIG, epochs=3, learning_rate=0.01),
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: [0.01, 0.01, 0.002][epoch])],
    )  # fmt: skip
    assert scheduled.history["learning_rate"] == pytest.approx([0.01, 0.01, 0.002])
    stepwise = TrainConfig(**CONFIG, epochs=3, learning_rate=0.01, schedule="step", decay_epochs=(2.0,), decay_rate=0.2)
    steps = fit(build, *digits, config=stepwise)
    for one, other in zip(scheduled.model.get_weights(), steps.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_reduce_on_plateau(digits):
    # Nothing improves by 10.
    reduce = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=10)
    config = TrainConfig(**CONFIG, epochs=4, learning_rate=0.01, schedule="constant")
    result = fit(build, *digits, config=config, callbacks=[reduce])
    # Seen after each epoch, so that the next one has it: the first epoch counts as an improvement.
    assert result.history["learning_rate"] == pytest.approx([0.01, 0.01, 0.005, 0.0025])


def test_early_stopping_stops(digits):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=10)
    result = fit(build, *digits, config=TrainConfig(**CONFIG, epochs=20), callbacks=[stop])
    assert result.history["epoch"] == [1, 2, 3]
    assert stop.stopped_epoch == 2


def test_stopped_within_an_epoch(digits):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch >= 9

    config = TrainConfig(**CONFIG, epochs=20, steps_per_execution=5)
    result = fit(build, *digits, config=config, callbacks=[Stop()])
    assert result.history["epoch"] == [1]
    assert result.metrics["epochs"] == 1


def test_what_model_checkpoint_saves_is_an_ordinary_model(digits, tmp_path):
    path = tmp_path / "saved.keras"
    keep = keras.callbacks.ModelCheckpoint(path, save_best_only=True, monitor="val_loss")
    result = fit(build, *digits, config=TrainConfig(**CONFIG, epochs=2), run_dir=tmp_path / "run", callbacks=[keep])
    saved = load_model(path)
    assert type(saved) is keras.Sequential
    for one, other in zip(saved.get_weights(), load(tmp_path / "run", "last").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # Probabilities: the loss is computed from logits, but the model is as it was built.
    assert evaluate(saved, digits[1])["loss"] == pytest.approx(result.history["val_loss"][-1], rel=1e-5)
    np.testing.assert_allclose(np.sum(saved(digits[1].images[:3]), axis=1), 1, rtol=1e-5)


def test_a_callback_may_change_the_weights(digits):
    class Zero(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights([w * 0 for w in self.model.get_weights()])

    result = fit(build, *digits, config=TrainConfig(**CONFIG, epochs=1), callbacks=[Zero()])
    assert all((w == 0).all() for w in result.model.get_weights())


def test_the_rate_that_a_callback_set_survives_an_interruption(digits, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt
            self.model.optimizer.learning_rate = 0.003

    config = TrainConfig(**CONFIG, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(build, *digits, config=config, run_dir=tmp_path / "run", callbacks=[Interrupt()])
    result = resume(tmp_path / "run")
    assert result.history["learning_rate"] == pytest.approx([0.003, 0.003])
