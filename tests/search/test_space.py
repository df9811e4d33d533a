"""The space is checked before anything is trained, starts where it was told to, and its values land in their places."""

import json
from dataclasses import asdict, replace

import pytest

from kzoo import augment
from kzoo.errors import InvalidArgument
from kzoo.search.helper import inspect
from kzoo.search.space import (
    Task,
    check,
    check_suits,
    default_space,
    default_values,
    read,
    starts,
    trial_config,
    with_epochs,
)
from kzoo.train import TrainConfig
from kzoo.train.record import DataSource
from kzoo.transfer import TransferConfig

DIGITS = Task("digits", 1439, 179, (28, 28, 1), 10, 0.25, {"mnist_net": 524_894})
PRETRAINED = Task(
    "/data/photos", 220, 24, (256, 256, 3), 2, 0.4, {"inception_v1": 6_000_000},
    stages=("conv1", "conv2", "inception_3a", "inception_4a", "inception_4e", "inception_5a", "inception_5b"),
    unfreeze="inception_5a", batch_norms=True,
)  # fmt: skip
PHOTOS = Task("/data/photos", 50_000, 5_000, (224, 224, 3), 5, 0.0, {"resnet50": 25_000_000})


@pytest.mark.parametrize("task", [DIGITS, PHOTOS, PRETRAINED], ids=["digits", "photos", "pretrained"])
def test_the_first_trial_of_the_default_space_is_kzoos_default(task):
    space = check(json.loads(json.dumps(default_space(task, TrainConfig()))))
    trial = trial_config(starts(space), space, with_epochs(TrainConfig(), task), "any", task)
    own = trial_config({}, {}, TrainConfig(), "any", task)
    assert trial.train == own.train
    assert trial.transfer == own.transfer
    assert trial.arguments["dropout"] in (None, task.dropout)


def test_a_poor_configuration_is_where_the_search_starts():
    poor = TrainConfig(optimizer="adam", learning_rate=3e-7, label_smoothing=0.4, augment=("trivial", "digits"))
    space = check(default_space(DIGITS, poor))
    trial = trial_config(starts(space), space, poor, "mnist_net", DIGITS)
    assert trial.train.optimizer == "adam"
    assert trial.train.learning_rate == pytest.approx(3e-7, rel=1e-9)
    assert (trial.train.label_smoothing, trial.train.augment) == (0.4, ("trivial", "digits"))
    # And it can be left: kzoo's own rate is in the range.
    assert space["learning_rate"]["min"] < 1e-3
    assert space["learning_rate"]["max"] == 10


@pytest.mark.parametrize("task", [DIGITS, PHOTOS, PRETRAINED], ids=["digits", "photos", "pretrained"])
def test_what_kzoo_does_by_itself_is_in_the_space_of_a_poor_start(task):
    poor = TrainConfig(optimizer="sgd", learning_rate=1e-5, label_smoothing=0.2, augment=("none",))
    space = check(default_space(task, poor, TransferConfig(layer_decay=0.2, batch_norm="train")))
    trial = trial_config(default_values(space, task), space, with_epochs(TrainConfig(), task), "any", task)
    assert trial.train == trial_config({}, {}, TrainConfig(), "any", task).train
    assert trial.transfer == TransferConfig()
    assert default_values(space, task) != starts(space)
    # What a space does not have, or has in another unit, is the start's.
    edited = {**space, "optimizer": {"values": ["sgd", "adam"], "start": "adam"}}
    edited["learning_rate"] = {"min": 1e-4, "max": 2, "start": 0.01, "scale": "log"}
    found = default_values(check(edited), task)
    smoothing = 0.1 if task.fine_tunes else 0
    assert (found["optimizer"], found["learning_rate"], found["label_smoothing"]) == ("adam", 0.01, smoothing)


def test_epochs_are_searched_from_a_third_of_the_default_to_the_double():
    assert default_space(DIGITS, TrainConfig(epochs=60))["epochs"] == {
        "min": 20, "max": 120, "scale": "log", "start": 60,
    }  # fmt: skip
    # A trial lasts longer than its warm-up.
    assert default_space(DIGITS, TrainConfig(epochs=6, warmup_epochs=4.5))["epochs"]["min"] == 5
    assert default_space(DIGITS, TrainConfig(epochs=1))["epochs"]["min"] == 1


def test_what_has_no_multiples_or_no_halves_is_left_out():
    none = default_space(DIGITS, TrainConfig(weight_decay=0.0, batch_size=1))
    assert "weight_decay" not in none
    assert none["batch_size"]["values"] == [1, 2]
    assert trial_config(starts(none), none, TrainConfig(weight_decay=0.0), "any", DIGITS).train.decay == 0
    # Adam has no decay of its own that could be multiplied.
    adam = TrainConfig(optimizer="adam", weight_decay=0.1)
    space = default_space(DIGITS, adam)
    assert trial_config(starts(space), space, adam, "any", DIGITS).train.decay == 0.1


def test_how_far_down_to_fine_tune_is_searched():
    space = default_space(PRETRAINED, TrainConfig(), TransferConfig(layer_decay=0.1))
    assert space["unfreeze"] == {
        "values": [None, "conv1", "inception_3a", "inception_4e", "inception_5b"],
        "start": None,
    }
    started = default_space(PRETRAINED, TrainConfig(), TransferConfig(unfreeze="inception_5a"))
    assert started["unfreeze"] == {
        "values": [None, "conv1", "inception_3a", "inception_4e", "inception_5a", "inception_5b"],
        "start": "inception_5a",
    }
    assert "augment_strength" not in space  # each strength would have features of its own
    assert (space["layer_decay"]["min"], space["layer_decay"]["start"]) == (0.1, 0.1)
    assert space["batch_norm"]["values"] == ["frozen", "affine", "train"]
    assert space["augment"]["start"] == ["photos"]
    values = {**starts(check(space)), "unfreeze": "conv1", "layer_decay": 0.7, "batch_norm": "affine"}
    trial = trial_config(values, space, TrainConfig(), "inception_v1", PRETRAINED, TransferConfig(views=2))
    assert trial.transfer == TransferConfig(unfreeze="conv1", layer_decay=0.7, batch_norm="affine", views=2)
    assert trial.arguments == {"dropout": 0.4}
    # 0.3 times the rate for training from scratch with batches of 32.
    assert trial.train.learning_rate == pytest.approx(0.003 * (32 / 256) ** 0.5)


@pytest.mark.parametrize(
    ("space", "task", "line"),
    [
        ({"layer_decay": {"min": 0.1, "max": 1}}, DIGITS, "layer_decay cannot be searched here: it is for pretrained"),
        ({"model": {"values": ["vgg16"]}}, PRETRAINED, "model cannot be searched here: the weights are those of one"),
        ({"unfreeze": {"values": ["inception_5c"]}}, PRETRAINED, "Did you mean 'inception_5b'?"),
        ({"dropout": {"min": 0, "max": 0.5}}, replace(PRETRAINED, dropout=None), "these weights have no classifier"),
    ],
)
def test_a_space_that_does_not_suit_what_is_searched(space, task, line):
    with pytest.raises(InvalidArgument) as caught:
        check_suits(check(space), task)
    assert line in str(caught.value)


def test_relative_numbers_are_multiples_of_what_kzoo_takes_with_the_other_choices():
    space = check(
        {
            "optimizer": {"values": ["adamw", "sgd"]},
            "batch_size": {"values": [16, 128]},
            "learning_rate": {"min": 0.1, "max": 10, "relative": True},
            "weight_decay": {"min": 0.1, "max": 10, "relative": True},
        }
    )
    values = {"optimizer": "sgd", "batch_size": 128, "learning_rate": 3, "weight_decay": 2}
    config = trial_config(values, space, TrainConfig(), "mnist_net", DIGITS).train
    assert config.learning_rate == pytest.approx(3 * 0.1 * 128 / 256)
    assert config.weight_decay == pytest.approx(2 * 5e-4)
    config = trial_config(
        {**values, "optimizer": "adamw", "batch_size": 16}, space, TrainConfig(), "mnist_net", DIGITS
    ).train
    assert config.learning_rate == pytest.approx(3 * 0.003 * (16 / 32) ** 0.5)


def test_the_strength_of_augmentation_scales_factors_alone():
    space = check({"augment": {"values": [["photos"], ["trivial"]]}, "augment_strength": {"min": 0.5, "max": 2}})
    strong = trial_config({"augment": ["photos"], "augment_strength": 2}, space, TrainConfig(), "any", PHOTOS).train
    affine, colors = (item["config"] for item in asdict(strong)["augment"])
    assert affine["rotation_factor"] == pytest.approx(20 / 360)
    assert (affine["horizontal_flip"], affine["fill_mode"]) == (True, "reflect")
    assert colors["hue_factor"] == pytest.approx(0.04)
    made = augment.policy(strong.augment)
    assert made is not None
    assert [type(layer).__name__ for layer in made._layers((32, 32))] == ["RandomAffine", "RandomColorJitter"]
    same = trial_config({"augment": ["trivial"], "augment_strength": 2}, space, TrainConfig(), "any", PHOTOS).train
    assert same.augment == ("trivial",)


def test_a_model_can_be_searched_for():
    space = check({"model": {"values": ["mnist_net", "resnet20_cifar"]}, "dropout": {"min": 0, "max": 0.5}})
    trial = trial_config({"model": "resnet20_cifar", "dropout": 0.1}, space, TrainConfig(), "mnist_net", DIGITS)
    assert (trial.model, trial.arguments["dropout"]) == ("resnet20_cifar", 0.1)
    # What kzoo does by itself is by the images that the trial's model takes.
    shapes = {"mnist_net": (28, 28, 1), "vgg16": (224, 224, 1)}
    task = Task("any", 54_000, 6_000, (28, 28, 1), 10, 0.25, {"mnist_net": 1, "vgg16": 2}, image_shapes=shapes)
    space = check({"model": {"values": ["mnist_net", "vgg16"]}})
    placed = [trial_config({"model": name}, space, TrainConfig(), "mnist_net", task).train for name in shapes]
    assert [(one.batch_size, one.peak_learning_rate) for one in placed] == [
        (256, 0.003),
        (32, pytest.approx(0.0005 * (32 / 256) ** 0.5)),  # of its card
    ]


def test_the_task_has_the_images_of_each_model():
    task = inspect(["mnist_net", "resnet20_cifar"], asdict(DataSource("digits")))
    assert task.image_shapes == {"mnist_net": (28, 28, 1), "resnet20_cifar": (32, 32, 1)}
    assert (task.image_shape, task.dropout, task.validation_images) == ((28, 28, 1), 0.25, 179)
    assert list(task.parameters) == ["mnist_net", "resnet20_cifar"]


@pytest.mark.parametrize(
    ("space", "line"),
    [
        ({}, "must be an object of hyperparameters"),
        ({"batch_size": {"min": 8, "max": 64, "start": "32"}}, "Received: '32'"),
        ({"batch_size": {"min": 8, "max": 64, "start": float("nan")}}, "Received: nan"),
        ({"learning_rate": {"min": 1, "max": 10**400}}, "'learning_rate' must have"),
        ([], "must be an object of hyperparameters"),
        ({"learning_rat": {"values": [1]}}, "Did you mean 'learning_rate'?"),
        ({"seed": {"values": [1, 2]}}, "Unknown hyperparameter. Received: 'seed'"),
        ({"momentum": [0.1, 0.2]}, "must have either values"),
        ({"momentum": {"min": 0.1}}, "must have either values"),
        ({"momentum": {"values": [0.1], "min": 0, "max": 0.1}}, "must have either values"),
        ({"momentum": {"values": []}}, "must have either values"),
        ({"momentum": {"values": [0.1, 0.1]}}, "must have either values"),
        ({"momentum": {"min": 0.9, "max": 0.1}}, "must have either values"),
        ({"momentum": {"min": 0, "max": 0.5, "scale": "log"}}, "must have either values"),
        ({"momentum": {"min": 0.1, "max": 0.5, "scale": "cubic"}}, "Unknown scale"),
        ({"momentum": {"min": 0.1, "max": 0.5, "step": 1}}, "Unknown key of the hyperparameter 'momentum'"),
        ({"momentum": {"min": 0.1, "max": 0.5, "start": 0.7}}, "must be from 0.1 to 0.5. Received: 0.7"),
        ({"momentum": {"values": [0.1, 0.5], "start": 0.7}}, "must be one of its values. Received: 0.7"),
        ({"momentum": {"min": 0.1, "max": 1.5}}, "momentum must be a number from 0"),
        ({"momentum": {"min": 0.1, "max": 0.5, "relative": True}}, "Only learning_rate and weight_decay"),
        ({"optimizer": {"values": ["adm"]}}, "Unknown optimizer. Received: 'adm'"),
        ({"dropout": {"min": 0, "max": 1}}, "dropout must be a number from 0 up to 1"),
        ({"model": {"values": ["mnist_nett"]}}, "Did you mean 'mnist_net'?"),
        ({"augment": {"values": [["digit"]]}}, "Unknown augmentation policy"),
        ({"batch_size": {"values": [0.5, 1]}}, "batch_size must be a whole number"),
        ({"decay_epochs": {"values": [3]}}, "decay_epochs must be numbers above 0. Received: 3"),
        ({"model": {"values": [["mnist_net"]]}}, "Unknown model"),
        ({"model": {"values": [None]}}, "Unknown model. Received: 'None'"),
        ({"learning_rate": {"values": [None, 1.0], "relative": True}}, "learning_rate must be a number from 0"),
    ],
)
def test_a_space_that_cannot_be_searched(space, line, tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(space))
    with pytest.raises(InvalidArgument, match=r"space\.json") as caught:
        read(path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_file_that_is_no_json(text, tmp_path):
    path = tmp_path / "space.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match="Cannot read the search space"):
        read(path)
