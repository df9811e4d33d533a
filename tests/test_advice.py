"""The defaults that `kzoo info` shows are those that training takes."""

from kzoo.advice import advise
from kzoo.data import inspect
from kzoo.train import TrainConfig, TransferConfig
from kzoo.train.config import with_data_defaults
from kzoo.transfer.defaults import head_config, with_fine_tuning_defaults


def found(images, size, colour, public_name=""):
    return {
        "name": public_name or "photos",
        "public_name": public_name,
        "splits": {"train": images, "validation": 9, "test": 9},
        "sizes": {"median": list(size)},
        "images": images + 18,
        "channels": {
            "grey": 0 if colour else images + 18,
            "colour": images + 18 if colour else 0,
            "no_colours": 0 if colour else images + 18,
        },
    }


def values(advice):
    return {one["name"]: one["value"] for one in advice["choices"]}


def test_photos_are_fine_tuned():
    advice = advise(found(244, (300, 400), colour=True))
    config = with_fine_tuning_defaults(TrainConfig(), "", 244, (224, 224, 3))
    head = head_config(config, TransferConfig(), 244)
    assert advice["command"] == "kzoo finetune photos"
    assert advice["augment"] == list(config.augment)
    assert values(advice)["batch size"] == config.batch_size
    rates = f"{head.peak_learning_rate:.3g}, then {config.peak_learning_rate:.3g}"
    assert values(advice)["learning rate"] == rates


def test_small_images_are_trained_from_scratch():
    advice = advise(found(54_000, (28, 28), colour=False, public_name="mnist"))
    config = with_data_defaults(TrainConfig(), "mnist", 54_000, (28, 28, 1))
    assert advice["command"] == "kzoo train MODEL mnist"
    assert values(advice) == {
        "epochs": str(config.epochs),
        "batch size": config.batch_size,
        "learning rate": f"{config.peak_learning_rate:.3g}",
        "augmentation": "digits",
    }


def test_every_choice_has_a_reason():
    for choice in advise(inspect("digits"))["choices"]:
        assert choice["why"]
