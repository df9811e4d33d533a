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
        ("decay_rate", [0, 1.1], "a factor above 0 and at most 1"),
        ("power", [0, -1, None], POSITIVE),
        ("patience", [0, 1.5, None], WHOLE),
        ("early_stopping", [0, 1.5], WHOLE),
        ("clip_norm", [0, -1, math.nan], POSITIVE),
        ("epsilon", [0, -1, math.nan, None], POSITIVE),
        ("gradient_accumulation_steps", [0, 1.5, None, True], WHOLE),
        ("ema_momentum", [0, 1, -1, math.nan, True], "a number between 0 and 1"),
        ("swa_epochs", [0, -1, 2.5, True], WHOLE),
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
        ("optimizer", "adam, adamw, schedule_free_adamw, sgd"),
        (
            "schedule",
            "constant, cosine, exponential, googlenet, one_cycle, plateau, polynomial, resnet, resnet110, "
            "resnet_imagenet, step, vgg",
        ),
        ("precision", "auto, float32, mixed_bfloat16, mixed_float16"),
        ("strategy", "auto, mirrored, multiworker, one"),
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
        ("schedule_free_adamw", 64, 0.0015, 0.05),
    ],
)
def test_defaults_follow_the_optimizer_and_the_batch_size(optimizer, batch_size, rate, decay):
    config = TrainConfig(optimizer=optimizer, batch_size=batch_size)
    assert (config.peak_learning_rate, config.decay) == (pytest.approx(rate, rel=1e-12), decay)
    config = TrainConfig(optimizer=optimizer, batch_size=batch_size, learning_rate=3.0, weight_decay=0)
    assert (config.peak_learning_rate, config.decay) == (3.0, 0)


@pytest.mark.parametrize(
    ("schedule", "batch_size", "rate", "decay"),
    [
        ("vgg", 256, 0.01, 5e-4),
        ("googlenet", 32, 0.01, 2e-4),
        ("resnet", 128, 0.1, 1e-4),
        ("resnet110", 128, 0.1, 1e-4),
        ("resnet_imagenet", 256, 0.1, 1e-4),
    ],
)
def test_the_name_of_a_paper_is_its_optimizer_rate_and_decay_at_its_batch_size(schedule, batch_size, rate, decay):
    data = ("mine", 50_000, (32, 32, 3))
    config = with_data_defaults(TrainConfig(schedule=schedule, batch_size=batch_size), *data)
    assert (config.optimizer, config.momentum, config.schedule) == ("sgd", 0.9, schedule)
    assert (config.learning_rate, config.weight_decay) == (pytest.approx(rate, rel=1e-12), decay)
    # A card has rates for the default optimizer alone.
    with_card = with_data_defaults(TrainConfig(schedule=schedule, batch_size=batch_size), *data, rates=(0.0005, 1))
    assert with_card == config
    # What is stated is kept; with another optimizer the paper has nothing to say of its rate and decay.
    given = TrainConfig(schedule=schedule, batch_size=batch_size, learning_rate=0.5, weight_decay=0.25)
    given = with_data_defaults(given, *data)
    assert (given.optimizer, given.learning_rate, given.weight_decay) == ("sgd", 0.5, 0.25)
    other = with_data_defaults(TrainConfig(schedule=schedule, optimizer="adamw", batch_size=256), *data)
    assert (other.optimizer, other.learning_rate, other.weight_decay) == ("adamw", 0.003, 0.05)


def test_what_is_left_open_is_written_down():
    plain = with_data_defaults(TrainConfig(), "mnist", 54_000, (28, 28, 1))
    assert (plain.optimizer, plain.schedule, plain.decay_rate) == ("adamw", "cosine", 0.1)
    free = with_data_defaults(TrainConfig(optimizer="schedule_free_adamw"), "mnist", 54_000, (28, 28, 1))
    assert (free.optimizer, free.schedule, free.warmup_epochs) == ("schedule_free_adamw", "constant", 0.75)
    steps = with_data_defaults(TrainConfig(schedule="googlenet", epochs=25), "mnist", 54_000, (28, 28, 1))
    assert (steps.decay_epochs, steps.decay_rate) == ((8, 16, 24), 0.96)
    given = with_data_defaults(TrainConfig(schedule="googlenet", decay_rate=0.5, decay_epochs=(3,)), "", 9, (9, 9, 1))
    assert (given.decay_epochs, given.decay_rate) == ((3,), 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ema_momentum": 0.9, "swa_epochs": 2}, "averaged in one way. Received: ema_momentum and swa_epochs. Leave"),
        (
            {"optimizer": "schedule_free_adamw", "swa_epochs": 2},
            "in one way. Received: swa_epochs and the optimizer schedule_free_adamw. Leave one out.",
        ),
        (
            {"optimizer": "schedule_free_adamw", "schedule": "vgg"},
            "schedule_free_adamw takes the schedule constant, with a warm-up: it averages the weights instead of "
            "lowering the learning rate. Received: schedule='vgg'. Leave it out, or use adamw.",
        ),
        ({"swa_epochs": 2, "early_stopping": 3}, "Received: early_stopping=3, swa_epochs=2. Leave one out."),
        ({"swa_epochs": 9, "epochs": 9}, "swa_epochs are the last ones of epochs=9, after at least one. Received: 9."),
        (
            {"swa_epochs": 7, "epochs": 9, "warmup_epochs": 2.5},
            "swa_epochs are the last ones of epochs=9, after at least one and 2.5 of warm-up. Received: 7.",
        ),
    ],
)
def test_combinations_that_make_no_sense(arguments, message):
    with pytest.raises(InvalidArgument) as caught:
        TrainConfig(**arguments)
    assert message in str(caught.value)
    assert TrainConfig(optimizer="schedule_free_adamw", schedule="constant", warmup_epochs=2).warmup == 2


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
