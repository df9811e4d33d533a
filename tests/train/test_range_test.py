"""The range test: which rates, which losses, and where the suggestion lies."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from kzoo import create_model, data
from kzoo.backend import keras
from kzoo.errors import InvalidArgument, KzooError
from kzoo.train import TrainConfig, find_learning_rate, fit
from kzoo.train.range_test import _suggest


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def small():
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(32, activation="relu")]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(10)])


CONFIG = TrainConfig(batch_size=32, precision="float32", augment="digits", seed=4)


def test_its_steps_are_those_of_a_training_at_these_rates(digits, monkeypatch):
    """A run of `fit` whose schedule is the same rates: its mean loss is the mean of these losses."""
    found = find_learning_rate(small, digits, CONFIG)
    count = len(found.rates)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-7, 10, 100)[:count], rtol=1e-12)
    assert found.has_diverged
    assert 45 < count < 100  # beyond an epoch of 45 steps
    rates = iter(found.rates)
    monkeypatch.setattr("kzoo.train.trainer.learning_rate", lambda *_: next(rates))
    history = fit(small, digits, config=TrainConfig(**{**vars(CONFIG), "epochs": 1})).history
    # The same steps, with sums in float64 there.
    assert np.mean(found.losses[:45]) == pytest.approx(history["loss"][0], rel=0.01)


def test_it_finds_a_rate_that_trains_and_leaves_nothing(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model = small()
    before = [w.tobytes() for w in model.get_weights()]
    found = find_learning_rate(lambda: model, digits, CONFIG)
    assert [w.tobytes() for w in model.get_weights()] == before
    assert list(Path.cwd().iterdir()) == []
    assert found.config.batch_size == 32
    assert found.default == pytest.approx(0.003 * (32 / 32) ** 0.5)  # few images do not lower it
    best = fit(small, digits, config=TrainConfig(**{**vars(CONFIG), "epochs": 3, "learning_rate": found.suggestion}))
    low = fit(
        small, digits, config=TrainConfig(**{**vars(CONFIG), "epochs": 3, "learning_rate": found.suggestion / 30})
    )
    assert best.history["loss"][-1] < 0.5 * low.history["loss"][-1]
    with pytest.raises(InvalidArgument, match=r"steps must be a whole number of at least 20\. Received: 3"):
        find_learning_rate(small, digits, CONFIG, steps=3)
    with pytest.raises(InvalidArgument, match="build must be a function without arguments"):
        find_learning_rate(small(), digits, CONFIG)  # pyright: ignore[reportArgumentType]


def test_it_repeats_and_takes_accumulation(digits):
    one, again = (find_learning_rate(small, digits, CONFIG) for _ in range(2))
    assert one == again
    several = find_learning_rate(
        small, digits, TrainConfig(**{**vars(CONFIG), "batch_size": 16, "gradient_accumulation_steps": 2})
    )
    # The same 32 images a step.
    np.testing.assert_allclose(several.losses[:10], one.losses[:10], rtol=1e-4)


def test_where_nothing_is_learned_it_says_so(digits):
    def stuck():
        layers = [keras.layers.Flatten(), keras.layers.Rescaling(0.0), keras.layers.Dense(10, use_bias=False)]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers])

    with pytest.raises(
        KzooError, match=r"^The loss fell at no learning rate\. Received: from 1e-07 to 10 in 100 steps"
    ):
        find_learning_rate(stuck, digits, CONFIG)


def test_the_suggestion_is_a_share_of_the_rate_of_the_least_loss():
    rates = np.geomspace(1e-5, 1e-1, 5)
    assert _suggest(rates, np.array([3.0, 2.5, 1.2, 1.0, 9.0]), 0.1) == 1e-3
    assert _suggest(rates, np.array([3.0, 2.5, 1.2, 1.4, 9.0]), 1 / 3) == 3.3e-4
    assert _suggest(rates, np.array([3.0, 2.99, 2.95, 2.9, 9.0]), 0.1) is None  # it fell by less than 5 %
    assert _suggest(rates, np.array([1.0, 2.0, 3.0, 4.0, 9.0]), 0.1) is None


def test_the_model_of_the_zoo_gets_a_rate_near_its_default():
    digits = data.load("digits", image_size=28)
    found = find_learning_rate(lambda: create_model("mnist_net"), digits, TrainConfig(precision="float32"))
    assert 1 / 5 < found.suggestion / found.default < 5
