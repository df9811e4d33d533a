"""Epochs that follow each other fast are written together, and lose nothing by it."""

import csv
import signal
from dataclasses import replace

import numpy as np
import pytest

from kzoo.backend import keras
from kzoo.errors import TrainingDiverged, TrainingInterrupted
from kzoo.train import TrainConfig, checkpoint, fit, load, resume, runs

CONFIG = TrainConfig(
    epochs=6, batch_size=256, precision="float32", augment="none", optimizer="sgd", learning_rate=0.3, seed=2
)  # fmt: skip


def small():
    layers = [keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


class At(keras.callbacks.Callback):
    """Do something when the fourth epoch begins; keep the weights and scores of the end of each."""

    def __init__(self, act=lambda model: None):
        super().__init__()
        self.act, self.weights, self.scores = act, [], []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            self.act(self.model)

    def on_epoch_end(self, epoch, logs=None):
        assert logs is not None
        self.weights.append(self.model.get_weights())
        self.scores.append((logs["val_accuracy"], -logs["val_loss"]))


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """However slow the machine: no epoch counts as slow."""
    monkeypatch.setattr("kzoo.train.trainer.SECONDS_BETWEEN_SAVES", 1e6)


def epochs_written(run_dir):
    with (run_dir / runs.HISTORY).open() as file:
        rows = [int(row["epoch"]) for row in csv.DictReader(file)]
    assert sorted(path.name for path in (run_dir / runs.EVENTS).iterdir()) == [
        f"events.out.tfevents.{epoch:010d}.kzoo" for epoch in rows
    ]
    return rows


def assert_models(run_dir, seen, epochs):
    best = max(range(epochs), key=lambda epoch: seen.scores[epoch])
    for which, epoch in (("best", best), ("last", epochs - 1)):
        for found, expected in zip(load(run_dir, which).get_weights(), seen.weights[epoch], strict=True):
            np.testing.assert_array_equal(found, expected)


def config(**changes):
    return replace(CONFIG, checkpoint_seconds=1e6, **changes)


def test_every_epoch_is_written_at_the_end(digits, tmp_path, monkeypatch):
    saved, save = [], checkpoint.save

    def counted(path, variables, state):
        saved.append((state.epoch, state.finished))
        save(path, variables, state)

    monkeypatch.setattr(checkpoint, "save", counted)
    seen = At()
    result = fit(small, *digits, config=config(), run_dir=tmp_path / "run", callbacks=[seen])
    assert saved == [(0, False), (6, False), (6, True)]
    assert epochs_written(tmp_path / "run") == [1, 2, 3, 4, 5, 6]
    assert_models(tmp_path / "run", seen, 6)
    each = fit(small, *digits, config=config(), run_dir=tmp_path / "each")
    assert each.history["loss"] == result.history["loss"]


def test_ctrl_c_writes_them(digits, tmp_path):
    seen = At(lambda model: signal.raise_signal(signal.SIGINT))
    with pytest.raises(TrainingInterrupted):
        fit(small, *digits, config=config(), run_dir=tmp_path / "run", callbacks=[seen])
    written = epochs_written(tmp_path / "run")
    assert written in ([1, 2, 3], [1, 2, 3, 4])
    assert_models(tmp_path / "run", seen, len(written))
    resumed = resume(tmp_path / "run")
    whole = fit(small, *digits, config=config())
    assert resumed.history["val_loss"] == whole.history["val_loss"]
    assert epochs_written(tmp_path / "run") == [1, 2, 3, 4, 5, 6]


def test_divergence_writes_them(digits, tmp_path):
    """The checkpoint is the first one still, so that the run can be resumed from there."""
    seen = At(lambda model: model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()]))
    with pytest.raises(TrainingDiverged, match=r"The last good model \(epoch 4, step 0\) is "):
        fit(small, *digits, config=config(), run_dir=tmp_path / "run", callbacks=[seen])
    assert epochs_written(tmp_path / "run") == [1, 2, 3]
    assert_models(tmp_path / "run", seen, 3)
    whole = fit(small, *digits, config=config())
    assert resume(tmp_path / "run").history["val_loss"] == whole.history["val_loss"]


def test_a_callback_that_fails_leaves_a_run_that_resumes(digits, tmp_path):
    def fail(model):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(small, *digits, config=config(), run_dir=tmp_path / "run", callbacks=[At(fail)])
    whole = fit(small, *digits, config=config())
    assert resume(tmp_path / "run").history["val_loss"] == whole.history["val_loss"]
    assert epochs_written(tmp_path / "run") == [1, 2, 3, 4, 5, 6]
