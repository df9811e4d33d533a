"""How to transfer: what there is to choose besides the training configuration, and what is chosen for the data."""

from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from kzoo import augment as augmentation
from kzoo.errors import InvalidArgument, unknown
from kzoo.train.config import TrainConfig, check_ranges, default_batch_size, default_learning_rate

BatchNorm = Literal["frozen", "affine", "train"]

# By what the rates that train a network from scratch are multiplied, at the batch size, however many images there are:
# a new head learns fast what features mean, and pretrained weights are close to where they should be.
HEAD_RATE = 3.0
FINE_TUNING_RATE = 0.3
# Photos that are no smaller are augmented as photos, where nothing else is known of a dataset.
PHOTO_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How to transfer a model; how its second phase is trained is in `kzoo.train.TrainConfig`.

    >>> TransferConfig(batch_norm="thawed")
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: Unknown batch_norm. Received: 'thawed'. Valid: affine, frozen, train.
    """

    head_epochs: int = 60
    """Passes of the first phase, in which only the new head is trained."""
    head_learning_rate: float | None = None
    """The highest learning rate of the first phase [default: 0.009 at a batch size of 256, by its square root]."""
    unfreeze: str | None = None
    """The lowest stage that the second phase trains, by the name in its paper, with all above it [default: the stages
    of the smallest feature map]."""
    layer_decay: float = 0.5
    """By what the learning rate is multiplied from each stage to the one below."""
    batch_norm: BatchNorm = "frozen"
    """Of the unfrozen stages: frozen keeps their statistics, gamma and beta; affine trains gamma and beta; train trains
    them as from scratch."""
    views: int = 8
    """Augmented views of each image that the frozen layers are computed for, once; epochs take them in turn."""

    def __post_init__(self):
        """Check every value.

        Raises:
            InvalidArgument: A value out of its range.
        """
        if self.batch_norm not in get_args(BatchNorm):
            raise unknown("batch_norm", self.batch_norm, get_args(BatchNorm))
        if not (self.unfreeze is None or isinstance(self.unfreeze, str)):
            raise InvalidArgument(f"unfreeze must be the name of a stage. Received: {self.unfreeze!r}.")
        check_ranges(self, _RANGES)


_RANGES = {
    "head_epochs": (1, 10**6, "a whole number of at least 1"),
    "head_learning_rate": (1e-12, 1e4, "a number above 0"),
    "layer_decay": (1e-6, 1, "a factor above 0 and at most 1"),
    "views": (1, 10**4, "a whole number of at least 1"),
}


def to_dict(config: TransferConfig) -> dict:
    """The configuration as plain data, for JSON."""
    return asdict(config)


def settle_fine_tuning(config: TrainConfig, name: str, images: int, image_shape: tuple) -> TrainConfig:
    """Put what fine-tuning takes by default in the places that `kzoo.train` would fill for training from scratch.

    Args:
        config: The configuration; what it states is kept.
        name: The dataset's `public_name`.
        images: Number of training images.
        image_shape: (height, width, channels).

    >>> config = settle_fine_tuning(TrainConfig(), "photos", 220, (224, 224, 3))
    >>> config.batch_size, round(config.learning_rate, 6), config.augment
    (32, 0.000318, ('photos',))
    """
    batch_size = config.batch_size or default_batch_size(images, image_shape)
    config = replace(config, batch_size=batch_size)
    if config.learning_rate is None:
        images_in_a_step = min(batch_size * config.gradient_accumulation_steps, images)
        rate = FINE_TUNING_RATE * default_learning_rate(config.optimizer, images_in_a_step)
        config = replace(config, learning_rate=rate)
    return replace(config, augment=[_policy(name, image_shape) if one == "auto" else one for one in config.augment])


def _policy(name: str, image_shape: tuple) -> str:
    recommended = augmentation.recommended(name)
    height, width, channels = image_shape
    is_photo = channels == 3 and min(height, width) >= PHOTO_SIZE
    return "photos" if recommended == "none" and is_photo else recommended


def head_config(config: TrainConfig, transfer: TransferConfig, images: int) -> TrainConfig:
    """The training configuration of the first phase, from that of the second, settled one.

    Images, precision, devices, seed and loss are the same; how the head is optimized is its own.
    """
    shared = ("batch_size", "label_smoothing", "class_weight", "augment", "seed", "precision", "strategy", "devices")
    own = TrainConfig(epochs=transfer.head_epochs, **{name: getattr(config, name) for name in shared})
    rate = transfer.head_learning_rate
    if rate is None:
        rate = HEAD_RATE * default_learning_rate(own.optimizer, min(config.batch_size or images, images))
    return replace(
        own,
        learning_rate=rate,
        steps_per_execution=config.steps_per_execution,
        checkpoint_seconds=config.checkpoint_seconds,
        weight_decay=own.decay,
        warmup_epochs=own.warmup,
    )
