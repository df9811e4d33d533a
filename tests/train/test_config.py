"""The configuration: every range, the defaults that depend on the optimizer, and JSON."""

import dataclasses
import json
import math
from typing import Any

import pytest

from kzoo.errors import InvalidArgument
from kzoo.plain import EntryError, read
from kzoo.train import TrainConfig
from kzoo.train.config import with_data_defaults

WHOLE, NOT_NEGATIVE, POSITIVE = "a whole number of at least 1", "a number of at least 0", "a number above 0"
BELOW_ONE = "a number from 0 up to, not including, 1"


@pytest.mark.parametrize(
    ("name", "values", "meaning"),
    [
        ("epochs", [0, -1, 1.5, "3", True, math.nan], WHOLE),
        ("passes_per_epoch", [0, 1.5, "3", True], WHOLE),
        ("batch_size", [0, 2.0, False], WHOLE),
        ("learning_rate", [0, -1.0, math.nan, math.inf, "fast", True], POSITIVE),
        ("momentum", [-0.1, 1, 1.5, None], BELOW_ONE),
        ("weight_decay", [-1e-9, math.nan, math.inf, "x"], NOT_NEGATIVE),
        ("label_smoothing", [-0.1, 1, "x"], BELOW_ONE),
        ("warmup_epochs", [-1, math.nan, "1"], NOT_NEGATIVE),
        ("final_learning_rate", [-0.1, 1.1, None], "a fraction from 0 to 1"),
        ("decay_rate", [0, 1.1, None], "a factor above 0 and at most 1"),
        ("power", [0, -1, None], POSITIVE),
        ("patience", [0, 1.5, None], WHOLE),
        ("early_stopping", [0, 1.5], WHOLE),
        ("clip_norm", [0, -1, math.nan], POSITIVE),
        ("epsilon", [0, -1, math.nan, None], POSITIVE),
        ("gradient_accumulation_steps", [0, 1.5, None, True], WHOLE),
        ("ema_momentum", [0, 1, -1, math.nan, True], "a number between 0 and 1"),
        ("steps_per_execution", [0, 2.5, True], WHOLE),
        ("seed", [-1, 2**32, 0.5, None], "a whole number from 0 to 4294967295"),
        ("checkpoint_seconds", [-1, None, math.nan], NOT_NEGATIVE),
    ],
)
def test_ranges(name, values, meaning):
    for value in values:
        arguments: dict[str, Any] = {name: value}
        with pytest.raises(InvalidArgument) as caught:
            TrainConfig(**arguments)
        assert str(caught.value) == f"{name} must be {meaning}. Received: {value!r}."


def test_every_number_has_a_range():
    numbers = {
        field.name for field in dataclasses.fields(TrainConfig) if str(field.type).split(" |")[0] in ("int", "float")
    }
    for name in numbers | {f.name for f in dataclasses.fields(TrainConfig) if f.type in (int, float)}:
        arguments: dict[str, Any] = {name: "text"}
        with pytest.raises(InvalidArgument):
            TrainConfig(**arguments)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("optimizer", "adam, adamw, sgd"),
        ("schedule", "constant, cosine, exponential, one_cycle, plateau, polynomial, step"),
        ("precision", "auto, float32, mixed_bfloat16, mixed_float16"),
        ("strategy", "auto, mirrored, one"),
        ("class_weight", "balanced, none"),
    ],
)
def test_choices(name, valid):
    arguments: dict[str, Any] = {name: "qqqqq"}
    with pytest.raises(InvalidArgument) as caught:
        TrainConfig(**arguments)
    assert str(caught.value) == f"Unknown {name}. Received: 'qqqqq'. Valid: {valid}."
    for choice in valid.split(", "):
        arguments = {name: choice}
        assert getattr(TrainConfig(**arguments), name) == choice


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_synchronized_or_not(value):
    with pytest.raises(InvalidArgument, match=f"sync_batch_norm must be true or false. Received: {value!r}."):
        TrainConfig(sync_batch_norm=value)


def test_learning_rate_follows_the_images_in_a_step():
    one = TrainConfig(batch_size=256).peak_learning_rate
    assert TrainConfig(batch_size=64, gradient_accumulation_steps=4).peak_learning_rate == one


def test_augmentation_is_checked():
    with pytest.raises(
        InvalidArgument, match=r"Unknown augmentation policy. Received: 'photo'. Did you mean 'photos'\?"
    ):
        TrainConfig(augment="photo")


def test_warmup_must_end_before_the_training():
    with pytest.raises(InvalidArgument) as caught:
        TrainConfig(epochs=3, warmup_epochs=3)
    assert str(caught.value) == "warmup_epochs must be less than epochs=3. Received: 3."
    assert TrainConfig(epochs=3, warmup_epochs=2.9).warmup_epochs == 2.9


@pytest.mark.parametrize("epochs", [(0,), (1, -2), ("3",), (True,), (math.nan,), 3, None])
def test_decay_epochs(epochs):
    with pytest.raises(InvalidArgument, match="decay_epochs must be numbers above 0"):
        TrainConfig(decay_epochs=epochs)


@pytest.mark.parametrize(
    ("optimizer", "batch_size", "rate", "decay"),
    [
        ("sgd", 256, 0.1, 5e-4),
        ("sgd", 128, 0.05, 5e-4),  # in proportion
        ("adam", 256, 0.003, 0),
        ("adamw", 256, 0.003, 0.05),
        ("adamw", 64, 0.0015, 0.05),  # by the square root
    ],
)
def test_defaults_follow_the_optimizer_and_the_batch_size(optimizer, batch_size, rate, decay):
    config = TrainConfig(optimizer=optimizer, batch_size=batch_size)
    assert (config.peak_learning_rate, config.decay) == (pytest.approx(rate, rel=1e-12), decay)
    config = TrainConfig(optimizer=optimizer, batch_size=batch_size, learning_rate=3.0, weight_decay=0)
    assert (config.peak_learning_rate, config.decay) == (3.0, 0)


@pytest.mark.parametrize(
    ("arguments", "data", "batch_size", "augment"),
    [
        ({}, ("digits", 1_439, (28, 28, 1)), 32, "digits"),
        ({}, ("mnist", 54_000, (28, 28, 1)), 256, "digits"),
        ({}, ("", 12_800, (64, 64, 3)), 64, "photos"),
        ({}, ("", 12_800, (65, 64, 3)), 32, "photos"),
        ({}, ("", 12_800, (64, 63, 3)), 64, "cifar"),
        ({}, ("", 100, (105, 105, 1)), 32, "digits"),
        ({}, ("", 100, (64, 64, 4)), 32, "none"),
        ({"batch_size": 7, "augment": "photos"}, ("mnist", 54_000, (28, 28, 1)), 7, "photos"),
        ({"augment": "none"}, ("mnist", 54_000, (28, 28, 1)), 256, "none"),
    ],
)
def test_what_is_left_to_the_data(arguments, data, batch_size, augment):
    config = with_data_defaults(TrainConfig(**arguments), *data)
    assert (config.batch_size, config.augment) == (batch_size, (augment,))
    assert with_data_defaults(config, *data) == config


@pytest.mark.parametrize(
    ("arguments", "images", "image_shape", "epochs", "passes"),
    [
        ({}, 54_000, (28, 28, 1), 15, 1),
        ({}, 2_667, (28, 28, 1), 15, 1),
        ({}, 2_666, (28, 28, 1), 15, 2),
        ({}, 640, (64, 64, 3), 15, 6),
        ({}, 640, (65, 64, 3), 15, 2),
        ({}, 100, (28, 28, 1), 15, 40),
        ({}, 3, (28, 28, 1), 15, 40),  # no more, however few
        ({}, 244, (None, None, 3), 15, 4),
        ({"epochs": 600}, 100, (28, 28, 1), 600, 1),  # an epoch that is asked for is one pass
        ({"epochs": 15}, 100, (28, 28, 1), 15, 1),
        ({"passes_per_epoch": 3}, 100, (28, 28, 1), 15, 3),
        ({"epochs": 2, "passes_per_epoch": 3}, 54_000, (28, 28, 1), 2, 3),
    ],
)
def test_few_images_are_passed_over_more_often(arguments, images, image_shape, epochs, passes):
    config = with_data_defaults(TrainConfig(**arguments), "", images, image_shape)
    assert (config.epochs, config.passes_per_epoch) == (epochs, passes)
    assert with_data_defaults(config, "", images, image_shape) == config


@pytest.mark.parametrize(
    ("arguments", "images", "decay"),
    [
        ({}, 54_000, 0.05),
        ({}, 1_000, 0.2),  # 4 passes
        ({}, 100, 0.5),  # 40 passes: no more than 10 times
        ({"epochs": 600}, 100, 0.05),
        ({"epochs": 15, "passes_per_epoch": 40}, 100, 0.5),
        ({"weight_decay": 0.01}, 100, 0.01),
        ({"optimizer": "sgd"}, 100, 5e-4),
    ],
)
def test_weight_decay_follows_the_passes(arguments, images, decay):
    config = with_data_defaults(TrainConfig(**arguments), "", images, (28, 28, 1))
    assert config.weight_decay == pytest.approx(decay)


@pytest.mark.parametrize(
    ("arguments", "images", "rate", "warmup"),
    [
        ({}, 640, 0.0005, 1),  # batches of 32, small since images are few
        ({"batch_size": 32}, 45_000, 0.00025, 1),  # of 128, the default
        ({"learning_rate": 0.1}, 640, 0.1, 1),
        ({"warmup_epochs": 0}, 640, 0.0005, 0),
        ({"epochs": 2}, 640, 0.0005, 0.6),  # not all of a short run
        ({"schedule": "one_cycle"}, 640, 0.0005, 4.5),
        ({"optimizer": "sgd"}, 640, 0.0125, 0),  # the card's are those of the default optimizer
    ],
)
def test_a_card_has_the_rate_for_256_images(arguments, images, rate, warmup):
    config = with_data_defaults(TrainConfig(**arguments), "", images, (32, 32, 3), rates=(0.0005, 1))
    assert (config.learning_rate, config.warmup_epochs) == (pytest.approx(rate), pytest.approx(warmup))


@pytest.mark.parametrize(
    ("arguments", "data", "rate"),
    [
        ({}, ("mnist", 54_000, (28, 28, 1)), 0.003),
        ({}, ("digits", 1_439, (28, 28, 1)), 0.003),  # batches of 32, since there are few images
        ({"batch_size": 8}, ("digits", 1_439, (28, 28, 1)), 0.0015),
        ({"optimizer": "adam", "batch_size": 128}, ("digits", 1_439, (28, 28, 1)), 0.003),
        ({"batch_size": 1024}, ("digits", 1_439, (28, 28, 1)), 0.006),
        ({}, ("mine", 20, (28, 28, 1)), 0.003),
        ({}, ("cifar10", 45_000, (32, 32, 3)), 0.003),  # batches of 128
        ({}, ("photos", 45_000, (224, 224, 3)), 0.0015),  # batches of 32, since they are large
        ({}, ("photos", 244, (224, 224, 3)), 0.003),
        ({"optimizer": "sgd"}, ("digits", 1_439, (28, 28, 1)), 0.0125),
        ({"learning_rate": 0.5}, ("digits", 1_439, (28, 28, 1)), 0.5),
    ],
)
def test_a_batch_that_is_small_because_images_are_few_keeps_the_learning_rate(arguments, data, rate):
    assert with_data_defaults(TrainConfig(**arguments), *data).learning_rate == pytest.approx(rate, rel=1e-12)


def test_json_roundtrip():
    config = TrainConfig(epochs=7, decay_epochs=(1.5, 3), learning_rate=0.1, devices="cpu:2", early_stopping=4)
    again = read(TrainConfig, json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert read(TrainConfig, dataclasses.asdict(TrainConfig())) == TrainConfig()


def test_unknown_option():
    message = r"^epoch = 3\. Did you mean 'epochs'\? Expected: no entries other than epochs, passes_per_epoch, "
    with pytest.raises(EntryError, match=message):
        read(TrainConfig, {**dataclasses.asdict(TrainConfig()), "epoch": 3})


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_step_has_no_more_images_than_there_are():
    config = TrainConfig(optimizer="sgd", batch_size=32, gradient_accumulation_steps=1000, epochs=15)
    assert with_data_defaults(config, "mine", 64, (32, 32, 3)).learning_rate == 0.1 * 64 / 256
    several = dataclasses.replace(config, epochs=None)  # 40 passes in an epoch, over whose ends batches run
    assert with_data_defaults(several, "mine", 64, (32, 32, 3)).learning_rate == 0.1 * 64 * 40 / 256
