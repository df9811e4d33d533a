"""TransferConfig, and what is chosen for the data."""

from dataclasses import asdict

import pytest

from kzoo.errors import InvalidArgument
from kzoo.train import TrainConfig, TransferConfig
from kzoo.transfer.defaults import head_config, with_fine_tuning_defaults


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("head_epochs", 0, "head_epochs must be a whole number of at least 1. Received: 0."),
        ("head_learning_rate", 0.0, "head_learning_rate must be a number above 0. Received: 0.0."),
        ("unfreeze", 4, "unfreeze must be the name of a stage. Received: 4."),
        ("layer_decay", 1.5, "layer_decay must be a factor above 0 and at most 1. Received: 1.5."),
        ("layer_decay", float("nan"), "layer_decay must be a factor above 0 and at most 1. Received: nan."),
        ("batch_norm", "on", "Unknown batch_norm. Received: 'on'. Valid: affine, frozen, train."),
        ("views", True, "views must be a whole number of at least 1. Received: True."),
    ],
)
def test_values_out_of_range(name, value, line):
    with pytest.raises(InvalidArgument) as caught:
        TransferConfig(**{name: value})
    assert str(caught.value) == line


def test_plain_data_and_back():
    config = TransferConfig(unfreeze="conv4", batch_norm="affine", layer_decay=1)
    assert TransferConfig(**asdict(config)) == config


@pytest.mark.parametrize(
    ("name", "shape", "policy"),
    [
        ("mnist", (28, 28, 1), "digits"),
        ("cifar10", (32, 32, 3), "cifar"),
        ("photos", (64, 64, 3), "photos"),
        ("photos", (63, 64, 3), "cifar"),
        ("scans", (224, 224, 1), "digits"),
    ],
)
def test_the_policy_for_the_data(name, shape, policy):
    assert with_fine_tuning_defaults(TrainConfig(), name, 200, shape).augment == (policy,)
    assert with_fine_tuning_defaults(TrainConfig(augment="none"), name, 200, shape).augment == ("none",)


def test_rates():
    """0.3 times that from scratch, 0.003 at 256 images a step, by the square root; three times it for the head."""
    tuned = with_fine_tuning_defaults(TrainConfig(batch_size=64, gradient_accumulation_steps=4), "x", 10_000, (8, 8, 1))
    assert tuned.learning_rate == pytest.approx(0.0009)
    assert head_config(tuned, TransferConfig(), 10_000).learning_rate == pytest.approx(0.0045)
    few = with_fine_tuning_defaults(
        TrainConfig(batch_size=64), "x", 16, (8, 8, 1)
    )  # a step has no more than all images
    assert few.learning_rate == pytest.approx(0.000225)
    assert head_config(few, TransferConfig(), 16).learning_rate == pytest.approx(0.00225)
    assert with_fine_tuning_defaults(TrainConfig(learning_rate=0.5), "x", 16, (8, 8, 1)).learning_rate == 0.5
    assert head_config(few, TransferConfig(head_learning_rate=0.5), 16).learning_rate == 0.5


def test_what_the_phases_share():
    config = TrainConfig(
        epochs=3, batch_size=16, optimizer="sgd", schedule="plateau", early_stopping=2, label_smoothing=0.1, seed=7,
        class_weight="balanced", precision="float32", strategy="mirrored", devices="cpu:2", steps_per_execution=3,
        checkpoint_seconds=1.5, augment="digits", clip_norm=1.0,
    )  # fmt: skip
    head = head_config(with_fine_tuning_defaults(config, "x", 100, (8, 8, 1)), TransferConfig(head_epochs=9), 100)
    for name in (
        "batch_size", "label_smoothing", "seed", "class_weight", "precision", "strategy", "devices",
        "steps_per_execution", "checkpoint_seconds", "augment",
    ):  # fmt: skip
        assert getattr(head, name) == getattr(config, name), name
    assert (head.epochs, head.optimizer, head.schedule, head.early_stopping) == (9, "adamw", "cosine", None)
    assert head.clip_norm is None
