"""TransferConfig, and what is chosen for the data."""

from dataclasses import asdict

import numpy as np
import pytest

from kzoo.data import Dataset
from kzoo.errors import InvalidArgument
from kzoo.train import TrainConfig, TransferConfig
from kzoo.transfer.defaults import head_config, held_out_errors, with_fine_tuning_defaults


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
        ("photos", (63, 64, 3), "none"),
        ("scans", (224, 224, 1), "none"),
    ],
)
def test_the_policy_for_the_data(name, shape, policy):
    assert with_fine_tuning_defaults(TrainConfig(), name, 200, shape).augment == (policy,)
    assert with_fine_tuning_defaults(TrainConfig(augment="none"), name, 200, shape).augment == ("none",)


def test_images_without_colours_are_not_mirrored():
    """A network for photos is given them with three channels."""
    grey = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 1), "uint8").repeat(3, -1)
    coloured = grey.copy()
    coloured[99, 63, 63, 2] ^= 1  # of the last image, which is looked at
    for images, expected in ((grey, True), (coloured, False), (grey[..., :1], True)):
        found = Dataset.from_arrays(images, np.arange(100) % 2).is_grey
        assert found is expected
        policy = with_fine_tuning_defaults(TrainConfig(), "scans", 100, images.shape[1:], is_grey=found).augment
        assert policy == ("none" if expected else "photos",)


def test_rates():
    """0.003 at 256 images a step, by the square root for few images too; three times it for the head."""
    tuned = with_fine_tuning_defaults(TrainConfig(batch_size=64, gradient_accumulation_steps=4), "x", 10_000, (8, 8, 1))
    assert tuned.learning_rate == pytest.approx(0.003)
    assert head_config(tuned, TransferConfig(), 10_000).learning_rate == pytest.approx(0.0045)
    few = with_fine_tuning_defaults(
        TrainConfig(batch_size=64), "x", 16, (8, 8, 1)
    )  # a step has no more than all images
    assert few.learning_rate == pytest.approx(0.00075)
    assert head_config(few, TransferConfig(), 16).learning_rate == pytest.approx(0.00225)
    assert with_fine_tuning_defaults(TrainConfig(learning_rate=0.5), "x", 16, (8, 8, 1)).learning_rate == 0.5
    assert head_config(few, TransferConfig(head_learning_rate=0.5), 16).learning_rate == 0.5


def test_the_second_phase_warms_up():
    assert with_fine_tuning_defaults(TrainConfig(epochs=10), "x", 16, (8, 8, 1)).warmup_epochs == 3
    assert with_fine_tuning_defaults(TrainConfig(warmup_epochs=0), "x", 16, (8, 8, 1)).warmup_epochs == 0
    assert head_config(TrainConfig(epochs=10, warmup_epochs=3), TransferConfig(), 16).warmup_epochs == 0


def test_held_out_errors():
    """Of two clouds that overlap: the share that the best line between them gets wrong, which is known."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    features = rng.normal(size=(1000, 8)) + 2.0 * labels[:, None] * np.eye(8)[0]
    expected = 0.1587  # of a normal distribution beyond one standard deviation
    found = held_out_errors(features, labels)
    assert found == pytest.approx(expected, abs=3 * (expected * (1 - expected) / 1000) ** 0.5)
    shuffled = held_out_errors(features, rng.permutation(labels))
    assert shuffled == pytest.approx(0.5, abs=0.06)  # nothing can be known of labels by chance, so nothing leaks
    assert held_out_errors(features.astype("float16"), labels * 3) == pytest.approx(found, abs=0.003)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.zeros((6, 2, 2, 3)), [0, 1] * 3),  # no vectors
        (np.zeros((6, 3)), [0, 0, 0, 0, 0, 1]),  # of class 1 nothing is left when its image is held out
        (np.zeros((6, 3)), [0] * 6),
        (np.zeros((2001, 3)), [0, 1] * 1000 + [0]),
    ],
)
def test_where_errors_cannot_be_counted(features, labels):
    assert held_out_errors(features, np.array(labels)) is None


def test_what_the_phases_share():
    config = TrainConfig(
        epochs=3, batch_size=16, optimizer="sgd", schedule="plateau", early_stopping=2, label_smoothing=0.1, seed=7,
        class_weight="balanced", precision="float32", strategy="mirrored", devices="cpu:2", steps_per_execution=3,
        checkpoint_seconds=1.5, augment="digits", clip_norm=1.0,
    )  # fmt: skip
    head = head_config(with_fine_tuning_defaults(config, "x", 100, (8, 8, 1)), TransferConfig(head_epochs=9), 100)
    for name in (
        "batch_size", "seed", "class_weight", "precision", "strategy", "devices",
        "steps_per_execution", "checkpoint_seconds",
    ):  # fmt: skip
        assert getattr(head, name) == getattr(config, name), name
    assert (head.epochs, head.optimizer, head.schedule, head.early_stopping) == (9, "adamw", "cosine", None)
    assert (head.clip_norm, head.label_smoothing) == (None, 0)
    assert head.augment == ("none",)
