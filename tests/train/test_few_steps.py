"""Few images and few steps: epochs of several passes, rates of cards, moving statistics, a loss that stays."""

import csv
import logging
import math
import signal
from dataclasses import replace

import numpy as np
import pytest

from kzoo import create_model
from kzoo.backend import keras, tf
from kzoo.errors import TrainingInterrupted
from kzoo.models.registry import CARDS
from kzoo.train import TrainConfig, fit, resume, runs

CONFIG = TrainConfig(epochs=3, passes_per_epoch=5, batch_size=16, precision="float32", seed=2, steps_per_execution=1)


@pytest.fixture(scope="module")
def few():
    """36 greyscale images of 8 x 8 pixels, of which the mean says the class."""
    noise = np.random.default_rng(0).integers(0, 60, (36, 8, 8, 1), "uint8")
    labels = np.arange(36) % 3
    return (noise + 80 * labels[:, None, None, None]).astype("uint8"), labels.astype("int32")


def small(momentum=0.99, norm=True):
    x = images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(keras.layers.Rescaling(1 / 255)(x))
    if norm:
        x = keras.layers.BatchNormalization(momentum=momentum)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.Dropout(0.2)(x)))


class InterruptAt(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            signal.raise_signal(signal.SIGINT)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("kzoo"), "propagate", True)
    caplog.set_level("INFO", "kzoo")
    return caplog


def test_a_run_interrupted_in_a_later_pass_ends_in_the_same_bits(few, tmp_path):
    whole = fit(small, few, few, CONFIG, tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match="in epoch 2 of 3, step 9 of 12"):  # 5 * 36 / 16 steps an epoch
        fit(small, few, few, CONFIG, tmp_path / "run", callbacks=[InterruptAt(1, 8)])
    again = resume(tmp_path / "run", train_data=few, validation_data=few)
    for one, other in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with (tmp_path / "run" / runs.HISTORY).open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_the_default_for_few_images(few, tmp_path, heard):
    fit(small, few, config=TrainConfig(batch_size=32, precision="float32"), run_dir=tmp_path / "run")
    train = runs.read_record(tmp_path / "run").train
    assert (train.epochs, train.passes_per_epoch, train.augment) == (15, 40, ("digits",))
    assert (
        "15 epochs of 40 passes each, batch size 32, augmentation digits (greyscale images, never mirrored)"
        in lines(heard)
    )
    assert runs.read_record(tmp_path / "run").requested.epochs is None


def test_a_stream_is_passed_over_too(few, tmp_path):
    data = tf.data.Dataset.from_tensor_slices(few).batch(10)
    result = fit(small, data, config=TrainConfig(epochs=1, passes_per_epoch=3), run_dir=tmp_path / "run")
    assert result.metrics["epochs"] == 1
    assert runs.read_record(tmp_path / "run").train.augment == ("digits",)
    counted = fit(small, data, config=TrainConfig(epochs=1, passes_per_epoch=3, steps_per_execution=100))
    assert counted.history["loss"] == result.history["loss"]


def test_augmentation_by_what_arrays_hold(few, tmp_path):
    images, labels = few
    grey = np.repeat(images, 3, axis=-1)
    coloured = grey.copy()
    coloured[..., 1] //= 2

    def net():
        return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])

    for name, data, expected in (
        ("grey", grey, "digits"),
        ("coloured", coloured, "cifar"),
        ("divided", coloured / 255, "cifar"),
    ):
        fit(net, (data, labels), config=TrainConfig(epochs=1), run_dir=tmp_path / name)
        assert runs.read_record(tmp_path / name).train.augment == (expected,), name


@pytest.mark.parametrize(("given", "kept"), [(0.99, 1 - 5 / 36), (0.5, 0.5)])
def test_moving_statistics_forget_what_they_began_with(given, kept, few, tmp_path):
    result = fit(lambda: small(given), few, config=CONFIG, run_dir=tmp_path / "run")
    [norm] = [layer for layer in result.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norm.momentum == pytest.approx(kept)
    if given == 0.99:  # a variance of 1 to begin with would still be 0.99 ** 36 = 70 % of that
        assert np.asarray(norm.moving_variance).max() < 0.3


def test_a_model_without_trainable_normalization_stays_as_it_is(few):
    def frozen():
        model = small()
        model.layers[3].trainable = False
        return model

    assert isinstance(frozen().layers[3], keras.layers.BatchNormalization)
    assert fit(frozen, few, config=CONFIG).model.layers[3].momentum == 0.99


@pytest.mark.parametrize("asked", [{}, {"learning_rate": 0.01}, {"optimizer": "sgd"}])
def test_fit_takes_the_rate_of_the_card(asked, few, tmp_path, monkeypatch, heard):
    monkeypatch.setitem(CARDS, "mnist_net", _gentle())
    config = TrainConfig(epochs=2, batch_size=32, **asked)
    fit(lambda: create_model("mnist_net", classes=3, input_shape=(8, 8, 1)), few, config=config, run_dir=tmp_path)
    train = runs.read_record(tmp_path).train
    expected = {"learning_rate": 0.0002, "warmup_epochs": 0.5, **asked}
    if "optimizer" in asked:
        expected |= {"learning_rate": 0.1 * 32 / 256, "warmup_epochs": 0}
    assert {name: getattr(train, name) for name in expected} == pytest.approx(expected)
    if not asked:
        words = "learning rate of adamw by the schedule cosine: up to 0.0002 in 0.5 epochs, down to 0 along a cosine"
        assert words in lines(heard)


def _gentle():
    return replace(CARDS["mnist_net"], learning_rate=0.0002, warmup_epochs=0.5)


def stuck():
    """A net whose features are all zero: it can learn the shares of the classes, no more."""
    x = images = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(0.0)(keras.layers.Conv2D(2, 3)(x))
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def guessed(caplog):
    return [line for line in lines(caplog) if line.startswith("nothing learned")]


def test_a_loss_that_stays_is_said_once(few, heard):
    fit(stuck, few, config=TrainConfig(epochs=160, batch_size=12, learning_rate=0.03))
    [line] = guessed(heard)
    assert line == (
        "nothing learned in 300 steps: the loss is 1.099, that of guessing 1.099. Try a lower learning rate "
        "(--learning-rate 0.005), or a warm-up (--warmup-epochs 1), or a model with batch normalization, and look "
        "whether the labels are right"
    )


def test_at_the_end_of_a_short_run_and_by_the_shares_of_the_classes(few, heard):
    images, labels = few
    rare = (images, np.minimum(labels, 1))
    fit(stuck, rare, config=TrainConfig(epochs=20, batch_size=36, learning_rate=0.05, warmup_epochs=2))
    [line] = guessed(heard)
    entropy = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    assert line.startswith("nothing learned in 20 steps: ")
    assert f"that of guessing {entropy:.3f}. " in line
    assert "warm-up" not in line


def test_what_learns_hears_nothing(few, heard):
    fit(small, few, config=TrainConfig(epochs=30, batch_size=12))
    assert not guessed(heard)
