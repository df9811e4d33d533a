"""What fine-tuning takes by default, in place of the defaults of training from scratch."""

from dataclasses import replace

from kzoo import augment as augmentation
from kzoo.train.config import TrainConfig, TransferConfig, default_batch_size, default_learning_rate

# By what the rates that train a network from scratch are multiplied, at the batch size, however many images there are:
# a new head learns fast what features mean, and pretrained weights are close to where they should be.
HEAD_RATE = 3.0
FINE_TUNING_RATE = 0.3
EPOCHS = 15  # of the second phase, each one pass


def with_fine_tuning_defaults(config: TrainConfig, name: str, images: int, image_shape: tuple) -> TrainConfig:
    """Put what fine-tuning takes by default in the places that `kzoo.train` would fill for training from scratch.

    Args:
        config: The configuration; what it states is kept.
        name: The dataset's `public_name`.
        images: Number of training images.
        image_shape: (height, width, channels).

    >>> config = with_fine_tuning_defaults(TrainConfig(), "photos", 220, (224, 224, 3))
    >>> config.batch_size, round(config.learning_rate, 6), config.augment
    (32, 0.000318, ('photos',))
    """
    batch_size = config.batch_size or default_batch_size(images, image_shape)
    learning_rate = config.learning_rate
    if learning_rate is None:
        images_in_a_step = min(batch_size * config.gradient_accumulation_steps, images)
        learning_rate = FINE_TUNING_RATE * default_learning_rate(config.optimizer, images_in_a_step)
    suggested, _ = augmentation.suggested(name, image_shape)
    policies = [suggested if item == "auto" else item for item in config.augment]
    epochs = config.epochs or EPOCHS
    return replace(config, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, augment=policies)


# What the first phase takes from the configuration of the second: all that is not about how a head is optimized.
SHARED = (
    "batch_size",
    "label_smoothing",
    "class_weight",
    "augment",
    "seed",
    "precision",
    "strategy",
    "devices",
    "steps_per_execution",
    "checkpoint_seconds",
)


def head_config(config: TrainConfig, transfer: TransferConfig, images: int) -> TrainConfig:
    """The training configuration of the first phase, from that of the second, which has a value in every place."""
    head = TrainConfig(epochs=transfer.head_epochs, **{name: getattr(config, name) for name in SHARED})
    rate = transfer.head_learning_rate
    if rate is None:
        rate = HEAD_RATE * default_learning_rate(head.optimizer, min(config.batch_size or images, images))
    return replace(head, learning_rate=rate, weight_decay=head.decay, warmup_epochs=head.warmup)
