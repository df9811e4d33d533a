"""Learning rates by stage: their factors, and what becomes of them in training."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from small_models import digits, functional, nested

import kzoo
from kzoo.backend import keras
from kzoo.train import TrainConfig, runs
from kzoo.train.config import Schedule
from kzoo.train.fitting import set_up
from kzoo.train.record import RunRecord
from kzoo.train.schedules import learning_rate
from kzoo.train.step import TrainStep
from kzoo.transfer import freeze, unfreeze
from kzoo.transfer.layerwise import lowest_of_last_size, rate_factors


def by_path(model, decay=0.5):
    factors = rate_factors(model, decay)
    assert factors.keys() == {id(weight) for weight in model.weights}
    return {weight.path: factors[id(weight)] for weight in model.weights}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist_net", {"predictions": 0, "fc1": 1, "fc1_bn": 1, "conv2": 2, "conv1_bn": 3}),
        ("vgg11", {"predictions": 0, "fc2": 1, "fc1": 1, "block5_conv2": 2, "block1_conv1": 6}),
        ("inception_v1", {"predictions": 0, "inception_5b_1x1": 1, "inception_5a_1x1": 2, "conv1_7x7_s2": 11}),
        ("resnet18", {"predictions": 0, "conv5_block1_1_conv": 1, "conv2_block1_1_conv": 4, "conv1_bn": 5}),
        ("resnet50_v2", {"predictions": 0, "conv5_block3_3_conv": 1, "conv1_conv": 5}),
    ],
)
def test_factors_of_the_zoo(name, expected):
    found = by_path(kzoo.create_model(name, input_shape=(64, 64, 3)))
    for layer, exponent in expected.items():
        assert {value for path, value in found.items() if path.startswith(f"{layer}/")} == {0.5**exponent}, layer


def test_factors_of_models_without_stages_and_of_models_within():
    found = by_path(nested(), 0.1)
    expected = {"before": 1e-4, "conv1": 1e-3, "conv2": 1e-2, "conv3": 0.1, "old": 1.0}
    assert {path: pytest.approx(expected[path.split("/")[0].split("_")[0]]) for path in found} == found
    plain = keras.Sequential(
        [keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in "abc")]  # no stage is known
    )
    assert {path[-8]: value for path, value in by_path(plain).items() if "kernel" in path} == {
        "a": 0.5,
        "b": 0.5,
        "c": 1,
    }


def test_the_lowest_stage_of_the_smallest_size():
    assert lowest_of_last_size(functional()) == "conv2"
    assert lowest_of_last_size(nested()) == "conv2"
    assert lowest_of_last_size(functional(top=False, size=None)) == "conv2"
    assert lowest_of_last_size(kzoo.create_model("vgg11")) == "block5"
    assert lowest_of_last_size(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])) is None


def tuned_step(config):
    """A step on a model with two stages frozen, and the factors of its trainable variables."""
    model = unfreeze(freeze(functional(dropout=0)), "conv2", batch_norm="train")
    factors = rate_factors(model, 0.5)
    factors = [factors[id(weight)] for weight in model.trainable_variables]
    return TrainStep(model, config, None, factors), factors


def take(step, rates, images):
    batch = (tf.constant(images.images[:32], tf.float32), tf.constant(images.labels[:32] % 7), tf.constant(1.0))
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    step.train(batches, tf.constant(rates, tf.float32), tf.ones(len(rates), tf.int32))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_each_variable_moves_by_its_factor(optimizer):
    """One step at a rate times the factor, against one at the rate without factors."""
    data, moved = digits(32, 1)[0], []
    config = TrainConfig(optimizer=optimizer, precision="float32", learning_rate=0.01, weight_decay=0.5)
    step, factors = tuned_step(config)
    assert sorted(set(factors)) == [0.25, 0.5, 1]
    for given in (factors, [1.0] * len(factors)):
        step, _ = tuned_step(config)
        step.optimizer.rate_factors = tuple(given)
        before = [v.numpy().copy() for v in step.model.trainable_variables]
        take(step, [0.01], data)
        moved.append([v.numpy() - b for v, b in zip(step.model.trainable_variables, before, strict=True)])
    for found, whole, factor in zip(*moved, factors, strict=True):
        # AdamW shrinks kernels first and moves them then, both by the same rate: the sum is linear in it. float32 of
        # differences of numbers near 1.
        np.testing.assert_allclose(found, factor * whole, atol=2e-6)
        assert np.abs(found).max() > 1e-4


@pytest.mark.parametrize(
    "schedule",
    [
        name if name in ("cosine", "plateau") else pytest.param(name, marks=pytest.mark.slow)
        for name in Schedule.__args__
    ],
)
def test_rates_follow_every_schedule_and_survive_a_checkpoint(schedule, tmp_path):
    """What each variable moves by in an epoch of a real Trainer is its factor times the sum of the schedule's rates.

    With momentum-free sgd and a constant gradient: the loss of a linear layer whose inputs are all the same would need
    a softmax, so the gradient is put in the place of the model's by the optimizer itself.
    """
    config = TrainConfig(
        epochs=3, batch_size=50, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.01, schedule=schedule,
        precision="float32", strategy="one", patience=1, decay_rate=0.5, checkpoint_seconds=0, augment="none",
    )  # fmt: skip
    data = digits(100, 20)

    def trainer_of(run_dir):
        setup = set_up(run_dir, *data)
        model = unfreeze(freeze(functional(dropout=0)), "conv2", batch_norm="frozen")
        model = keras.Model(model.inputs[0], keras.layers.Dense(10, name="new")(model.layers[-1].input))
        factors = rate_factors(model, 0.5)
        factors = [factors[id(weight)] for weight in model.trainable_variables]
        final = functional(dropout=0)
        final = keras.Model(final.inputs[0], keras.layers.Dense(10, name="new")(final.layers[-1].input))
        made = setup.trainer(model, final, rate_factors=factors, how_to_resume="")
        ones = made.step.optimizer.apply
        # Gradients of ones, whatever the loss: the weights then tell the sum of the rates.
        made.step.optimizer.apply = lambda gradients, variables: ones([tf.ones_like(g) for g in gradients], variables)
        return made, factors

    with runs.new(tmp_path / "run", RunRecord(train=config)) as run_dir:
        trainer, factors = trainer_of(run_dir)
        before = [v.numpy().copy() for v in trainer.step.model.trainable_variables]
        trainer._update_best = lambda row: stop(trainer, row)  # after the first epoch, before its checkpoint
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        again, factors = trainer_of(run_dir)  # from the checkpoint
        again.train()
    rates = [learning_rate(again.config, epoch + step / 2) for epoch in range(3) for step in range(2)]
    lowered = [1.0]
    for row in again.state.history[:-1]:
        best = max(again.state.history[: int(row["epoch"])], key=lambda r: (r["val_accuracy"], -r["val_loss"]))
        lowered.append(lowered[-1] * (0.5 if schedule == "plateau" and best["epoch"] < row["epoch"] else 1.0))
    total = sum(rate * lowered[i // 2] for i, rate in enumerate(rates))
    for variable, start, factor in zip(again.step.model.trainable_variables, before, factors, strict=True):
        np.testing.assert_allclose(start - variable.numpy(), factor * total, rtol=1e-3, atol=1e-6)  # float32 near 1
    if schedule == "plateau":
        assert lowered[-1] < 1, "it was to be lowered"


def stop(trainer, row):
    """A stand-in for the power that goes off."""
    raise KeyboardInterrupt


def test_a_rate_that_is_set_sets_all_of_them():
    config = replace(TrainConfig(optimizer="sgd", momentum=0.0, weight_decay=0.0), precision="float32")
    step, factors = tuned_step(config)
    step.optimizer.learning_rate = 0.5
    for variable, factor in zip(step.model.trainable_variables, factors, strict=True):
        assert float(step.optimizer.rate_of(variable, step.optimizer.learning_rate)) == pytest.approx(0.5 * factor)
