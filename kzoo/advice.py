"""How kzoo would train on a dataset, and why: what `kzoo info DATASET` says below what it has found.

The values come from the functions that training calls. Needs neither Keras nor TensorFlow.
"""

from typing import Any

from kzoo import augment as augmentation
from kzoo import paths
from kzoo.augment import PHOTO_SIZE
from kzoo.job import MANY_IMAGES, suits_fine_tuning
from kzoo.train.config import TrainConfig, TransferConfig, with_data_defaults
from kzoo.transfer.defaults import head_config, with_fine_tuning_defaults

# What most pretrained weights take.
_PRETRAINED_SIZE = 224


def advise(found: dict[str, Any]) -> dict[str, Any]:
    """The defaults of kzoo for a dataset.

    Args:
        found: What `kzoo.data.inspect` says of it; it has training images.

    Returns:
        Plain data: `command`, what to train with, and `why`; `augment`, the policies; `choices`, each with its `name`,
        `value` and `why`.

    >>> from kzoo.data import inspect
    >>> advice = advise(inspect("digits"))
    >>> advice["command"], advice["augment"], advice["choices"][1]["value"]
    ('kzoo train MODEL digits', ['digits'], 32)
    """
    images, channels = found["splits"]["train"], 1 if not found["channels"]["colour"] else 3
    height, width = found["sizes"]["median"]
    is_grey = found["channels"]["no_colours"] == found["images"]
    fine_tunes = suits_fine_tuning(images, min(height, width))
    if fine_tunes:
        words = ("finetune", found["name"])
        why = f"{images:,} images of {PHOTO_SIZE} pixels and more suit pretrained weights"
        shape = (_PRETRAINED_SIZE, _PRETRAINED_SIZE, 3)
        transfer = TransferConfig()
        config = with_fine_tuning_defaults(TrainConfig(), found["public_name"], images, shape, is_grey=is_grey)
        head = head_config(config, transfer, images)
        epochs = f"{head.epochs} of a new classifier, then {config.epochs} of the upper layers too"
        rates = f"{head.peak_learning_rate:.3g}, then {config.peak_learning_rate:.3g}"
    else:
        words = ("train", "MODEL", found["name"])
        why = f"pretrained weights are made for images of {PHOTO_SIZE} pixels and more"
        if min(height, width) >= PHOTO_SIZE:
            why = f"from {MANY_IMAGES:,} images on a network learns as much from scratch"
        shape = (height, width, channels)
        config = with_data_defaults(TrainConfig(), found["public_name"], images, shape, is_grey=is_grey)
        epochs, rates = str(config.epochs), f"{config.peak_learning_rate:.3g}"
        if config.passes_per_epoch != 1:
            epochs += f" of {config.passes_per_epoch} passes each"
    size = f"images of {shape[0]}x{shape[1]}"
    why_rates = f"for {config.optimizer_name} and this batch size"
    why_rates += "" if fine_tunes else "; a model's card may differ"
    choices = [
        {"name": "epochs", "value": epochs, "why": f"{images:,} training images"},
        {"name": "batch size", "value": config.batch_size, "why": f"{images:,} {size}"},
        {"name": "learning rate", "value": rates, "why": why_rates},
        {
            "name": "augmentation",
            "value": augmentation.title(config.augment),
            "why": augmentation.suggested(found["public_name"], shape, is_grey=is_grey, fine_tunes=fine_tunes)[1],
        },
    ]
    return {"command": paths.command("kzoo", *words), "why": why, "augment": list(config.augment), "choices": choices}
