"""Keras's callbacks on kzoo's loop: they find what they look for, and what they do has its effect."""

from typing import Any

import numpy as np
import pytest

from kzoo.backend import keras
from kzoo.errors import InvalidArgument
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
    config = TrainConfig(**CONFIG, epochs=2, learning_rate=0.002, steps_per_execution=5)
    result = fit(build, *digits, config=config, callbacks=[recorder])
    epochs = [call for epoch in (0, 1) for call in (f"epoch {epoch} begin", "test begin", f"epoch {epoch} end")]
    assert recorder.calls == ["train begin", *epochs, "train end"]
    assert [b for b in recorder.logs if b != "epoch"] == [4, 9, 14, 19, 22]  # of the last step in an execution
    assert recorder.logs["epoch"]["val_accuracy"] == result.history["val_accuracy"][-1]
    assert recorder.logs[22]["loss"] == pytest.approx(result.history["loss"][-1])
    # The rate of the step that comes: cosine from its peak, over 46 steps.
    expected = [0.002 * (1 + np.cos(np.pi * step / 46)) / 2 for step in (0, 5, 10, 15, 20, 23)]
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

    config = TrainConfig(**{**CONFIG, "checkpoint_seconds": 0}, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(build, *digits, config=config, run_dir=tmp_path / "run", callbacks=[Interrupt()])
    result = resume(tmp_path / "run")
    assert result.history["learning_rate"] == pytest.approx([0.003, 0.003])


@pytest.mark.parametrize("hook", ["on_train_begin", "on_test_end", "on_epoch_end", "on_train_batch_end"])
@pytest.mark.parametrize("assign", [False, True])
def test_a_rate_set_anywhere_holds_from_there_on(digits, hook, assign):
    class SetRate(keras.callbacks.Callback):
        pass

    def set_rate(self, *_, logs=None):
        if assign:
            self.model.optimizer.learning_rate.assign(0.001)
        else:
            self.model.optimizer.learning_rate = 0.001

    setattr(SetRate, hook, set_rate)
    config = TrainConfig(**CONFIG, epochs=2, learning_rate=0.01, schedule="constant", steps_per_execution=5)
    rates = fit(build, *digits, config=config, callbacks=[SetRate()]).history["learning_rate"]
    at_once = hook in ("on_train_begin", "on_train_batch_end")
    assert rates == pytest.approx([0.001 if at_once else 0.01, 0.001])


def test_stopped_at_an_epochs_beginning(digits):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    result = fit(build, *digits, config=TrainConfig(**CONFIG, epochs=9), callbacks=[Stop()])
    assert result.history["epoch"] == [1, 2]  # the second after one execution


def test_stopped_within_an_epoch_and_killed_before_its_end(digits, tmp_path, monkeypatch):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch >= 9

    config = TrainConfig(**{**CONFIG, "checkpoint_seconds": 0}, epochs=9, steps_per_execution=5)
    monkeypatch.setattr("kzoo.train.trainer.Trainer._validate", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(build, *digits, config=config, run_dir=tmp_path / "run", callbacks=[Stop()])
    monkeypatch.undo()
    result = resume(tmp_path / "run")
    assert result.history["epoch"] == [1]
    assert result.history["learning_rate"][0] > 0
    assert (tmp_path / "run" / "best.keras").exists()


def test_weights_put_back_at_the_end_are_saved(digits, tmp_path):
    keep = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e6, restore_best_weights=True)
    fit(build, digits[0], config=TrainConfig(**CONFIG, epochs=5), run_dir=tmp_path / "run", callbacks=[keep])
    for which in ("best", "last"):
        for found, kept in zip(load(tmp_path / "run", which).get_weights(), keep.best_weights, strict=True):
            np.testing.assert_array_equal(found, kept)


def test_an_epochs_beginning_is_told_again_after_a_resume(digits, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 14:
                raise KeyboardInterrupt

    config = TrainConfig(**{**CONFIG, "checkpoint_seconds": 0}, epochs=1, steps_per_execution=5)
    with pytest.raises(KeyboardInterrupt):
        fit(build, *digits, config=config, run_dir=tmp_path / "run", callbacks=[Interrupt()])
    recorder = Recorder()
    resume(tmp_path / "run", callbacks=[recorder])
    assert recorder.calls == ["train begin", "epoch 0 begin", "test begin", "epoch 0 end", "train end"]


def test_one_callback_will_do_and_anything_else_will_not(digits):
    recorder: Any = Recorder()
    fit(build, *digits, config=TrainConfig(**CONFIG, epochs=1), callbacks=recorder)
    assert recorder.calls[-1] == "train end"
    with pytest.raises(InvalidArgument, match=r"callbacks must be of keras.callbacks.Callback. Received: 'CSVLogger'"):
        fit(build, *digits, config=TrainConfig(**CONFIG), callbacks=["CSVLogger"])
