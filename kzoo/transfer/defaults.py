"""What fine-tuning takes by default, in place of the defaults of training from scratch."""

from dataclasses import replace
from typing import Any

import numpy as np

from kzoo import augment as augmentation
from kzoo.errors import InvalidArgument
from kzoo.train.config import (
    LONGEST_WARMUP,
    TrainConfig,
    TransferConfig,
    default_batch_size,
    default_learning_rate,
)

# By what the rate that trains a network from scratch is multiplied for a new head: it learns fast what features mean.
HEAD_RATE = 3.0
# Of the second phase, which learns few images by heart without it (docs/finetune_photos.md).
LABEL_SMOOTHING = 0.1
# Where a classifier of the features is wrong about a smaller share of images that it has not seen, fine-tuning the
# stages below has not made it better (docs/finetune_photos.md).
ENOUGH_ERRORS = 0.05
# Of more images fine-tuning has enough to learn from, whatever a classifier of the features makes of them.
FEW_IMAGES = 2000


def with_fine_tuning_defaults(
    config: TrainConfig,
    name: str,
    images: int,
    image_shape: tuple,
    *,
    is_grey: bool = False,
    is_raw: bool = True,
) -> TrainConfig:
    """Put what fine-tuning takes by default in the places that `kzoo.train` would fill for training from scratch.

    Args:
        config: The configuration; what it states is kept.
        name: The dataset's `public_name`.
        images: Number of training images.
        image_shape: (height, width, channels).
        is_grey: Whether the images have no colours, however many channels they have.
        is_raw: Whether pixels are 0 to 255.

    Raises:
        InvalidArgument: Several passes in an epoch.

    >>> config = with_fine_tuning_defaults(TrainConfig(), "photos", 220, (224, 224, 3))
    >>> config.batch_size, round(config.learning_rate, 6), config.augment
    (32, 0.001061, ('photos',))
    """
    if config.passes_per_epoch not in (None, 1):  # epochs take the augmented views in turn
        raise InvalidArgument(
            f"An epoch of fine-tuning is one pass. Received: passes_per_epoch={config.passes_per_epoch}. Ask for more "
            "epochs instead."
        )
    batch_size = config.batch_size or default_batch_size(images, image_shape)
    learning_rate = config.learning_rate
    smoothing = LABEL_SMOOTHING if config.label_smoothing is None else config.label_smoothing
    epochs = config.total_epochs
    # Adam's first steps are the largest of all.
    warmup = LONGEST_WARMUP * epochs if config.warmup_epochs is None else config.warmup_epochs
    if learning_rate is None:
        images_in_a_step = min(batch_size * config.gradient_accumulation_steps, images)
        # However many images there are: fewer of them are no reason for larger steps.
        learning_rate = default_learning_rate(config, images_in_a_step)
    suggested, _ = augmentation.suggested(name, image_shape, is_grey=is_grey, is_raw=is_raw, fine_tunes=True)
    policies = [suggested if item == "auto" else item for item in config.augment]
    return replace(
        config,
        epochs=epochs,
        passes_per_epoch=1,
        batch_size=batch_size,
        learning_rate=learning_rate,
        label_smoothing=smoothing,
        warmup_epochs=warmup,
        augment=policies,
    )


# What the first phase takes from the configuration of the second: all that is not about how a head is optimized.
SHARED = (
    "batch_size",
    "class_weight",
    "seed",
    "precision",
    "strategy",
    "devices",
    "steps_per_execution",
    "checkpoint_seconds",
)


def head_config(config: TrainConfig, transfer: TransferConfig, images: int) -> TrainConfig:
    """The training configuration of the first phase, from that of the second, which has a value in every place."""
    head = TrainConfig(epochs=transfer.head_epochs, augment="none", **{name: getattr(config, name) for name in SHARED})
    rate = transfer.head_learning_rate
    if rate is None:
        rate = HEAD_RATE * default_learning_rate(head, min(config.batch_size or images, images))
    return replace(
        head,
        optimizer=head.optimizer_name,
        learning_rate=rate,
        weight_decay=head.decay,
        label_smoothing=0.0,
        schedule=head.schedule_name,
        warmup_epochs=head.warmup,
    )


def held_out_errors(features: Any, labels: np.ndarray) -> float | None:
    """The share of images that a linear classifier of their features is wrong about, each one held out once.

    Ridge regression of the classes, which is solved in closed form, in a cross-validation of five parts: another answer
    than that of the new head, but one from all training images, where a tenth for validation has few mistakes to count.

    Args:
        features: (N, channels) or (N, 1, 1, channels), any float.
        labels: (N,), whole numbers.

    Returns:
        A number from 0 to 1; None where the features are no vectors, a class has one image alone, or the images are
        more than `FEW_IMAGES`.

    >>> held_out_errors(np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1]))
    0.0
    """
    features = np.asarray(features, np.float32)
    if features.shape[1:-1] == (1, 1):  # pooled, with its dimensions kept
        features = features.reshape(len(features), -1)
    counts = np.bincount(labels)
    fewest = counts[counts > 0].min()
    if np.ndim(features) != 2 or fewest < 2 or len(counts[counts > 0]) < 2 or len(labels) > FEW_IMAGES:
        return None
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=features.shape[1]))
    parts = StratifiedKFold(min(5, int(fewest)), shuffle=True, random_state=0)
    return float(np.mean(cross_val_predict(classifier, features, labels, cv=parts) != labels))
