"""How to train and how to fine-tune: the single source of every default and of every flag of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from kzoo import arguments
from kzoo import augment as augmentation
from kzoo.errors import InvalidArgument, unknown
from kzoo.plain import number_fields

Optimizer = Literal["sgd", "adam", "adamw", "schedule_free_adamw"]
Schedule = Literal[
    "constant", "step", "polynomial", "exponential", "cosine", "one_cycle", "plateau",
    "vgg", "googlenet", "resnet", "resnet110", "resnet_imagenet",
]  # fmt: skip
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Strategy = Literal["auto", "one", "mirrored", "multiworker"]
ClassWeight = Literal["none", "balanced"]
BatchNorm = Literal["frozen", "affine", "train"]

# Rates that train most networks of this zoo from scratch, at this batch size, in about so many steps an epoch.
REFERENCE_BATCH_SIZE = 256
STEPS_PER_EPOCH = 200
LEARNING_RATES = {"sgd": 0.1, "adam": 0.003, "adamw": 0.003, "schedule_free_adamw": 0.003}
WEIGHT_DECAYS = {"sgd": 5e-4, "adam": 0.0, "adamw": 0.05, "schedule_free_adamw": 0.05}
# These take what a model's card says of the default optimizer, and decay weights apart from the gradient.
ADAMW = ("adamw", "schedule_free_adamw")

# A run is this many epochs. Where images are few, each is several passes over them, so that a run takes enough steps:
# 1,900 of 32 images. With 100 digits that are 600 passes; more bring no more. Of larger images a run sees a quarter:
# on the 2 cores of a laptop their steps take seconds.
EPOCHS = 15
IMAGES_PER_EPOCH = 4000
IMAGES_PER_EPOCH_OF_LARGE = 1000
MOST_PASSES_PER_EPOCH = 40
# AdamW's weight decay grows with the passes of an epoch, up to so many times: what is seen often is learned by heart.
MOST_DECAY = 10
LONGEST_WARMUP = 0.3  # of the epochs, by default
SCHEDULE_FREE_WARMUP = 0.05  # of the epochs: Defazio et al., 2024, section 4.1
LARGE = 64 * 64  # pixels above which images are large


@dataclass(frozen=True)
class PaperSchedule:
    """A schedule as a paper has it: a generic one with its numbers. All of these papers train by SGD, momentum 0.9."""

    generic: Literal["step", "plateau"]
    learning_rate: float
    """At the paper's batch size."""
    batch_size: int
    weight_decay: float
    decay_rate: float = 0.1
    decay_every: float | None = None
    """Epochs between two steps; None has the two of the generic schedule."""
    warmup_epochs: float = 0.0
    warmup_rate: float | None = None
    """The share of the learning rate that is held during the warm-up; None rises to it."""


PAPER_SCHEDULES = {
    # Simonyan & Zisserman, 2015, section 3.1.
    "vgg": PaperSchedule("plateau", 0.01, 256, 5e-4),
    # Szegedy et al., 2015, section 6, has the momentum and the steps alone; rate, batch size and weight decay are those
    # of the authors of Caffe's GoogLeNet (models/bvlc_googlenet/solver.prototxt).
    "googlenet": PaperSchedule("step", 0.01, 32, 2e-4, decay_rate=0.96, decay_every=8),
    # He et al., 2015, section 4.2: 64,000 steps on CIFAR-10, divided by 10 after 32,000 and 48,000 of them.
    "resnet": PaperSchedule("step", 0.1, 128, 1e-4),
    # The same section, for 110 layers: "about 400 iterations" at a tenth of the rate, of batches of 45,000 images.
    "resnet110": PaperSchedule("step", 0.1, 128, 1e-4, warmup_epochs=400 * 128 / 45_000, warmup_rate=0.1),
    # The same paper, section 3.4.
    "resnet_imagenet": PaperSchedule("plateau", 0.1, 256, 1e-4),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Times are in epochs, so that neither the batch size nor the number of images changes a schedule.

    >>> TrainConfig(optimizer="sgd", batch_size=128).peak_learning_rate
    0.05
    >>> TrainConfig(optimizer="lamb")
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: Unknown optimizer. Received: 'lamb'. Valid: adam, adamw, schedule_free_adamw, sgd.
    """

    epochs: int | None = None
    """How often the model is validated and saved. An epoch is a pass over the training images [default: 15, each of
    several passes where images are few: 15 times 40 for 100 small images]."""
    passes_per_epoch: int | None = None
    """Passes over the training images in an epoch, each with its order and augmentation [default: 1 to fine-tune and
    where epochs are given, else as many as make 4,000 images an epoch (1,000 above 64x64 pixels), at most 40]."""
    batch_size: int | None = None
    """Images per batch, over all replicas together [default: 32 to 256, by the number and size of the images]."""
    optimizer: Optimizer | None = None
    """sgd (with Nesterov momentum), adam, adamw, or schedule_free_adamw, which averages the weights instead of lowering
    the learning rate (Defazio et al., 2024) [default: adamw; sgd with the schedule of a paper]."""
    learning_rate: float | None = None
    """The highest learning rate of the schedule [default: 0.1 for sgd, 0.003 for the others, at a batch size of 256, or
    what the schedule's paper or the model's card says; scaled with the batch size: linearly for sgd, by the square root
    for the others. From scratch, few images do not lower it]."""
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    epsilon: float = 1e-7
    """What all but sgd add to the root of the second moment, so as not to divide by zero."""
    weight_decay: float | None = None
    """Decay of kernels, never of biases and normalization parameters: decoupled in adamw and schedule_free_adamw, an L2
    term in sgd and adam [default: 0.0005 for sgd or what the schedule's paper says, 0 for adam, 0.05 for the others,
    from scratch times the passes of an epoch, up to 10]."""
    label_smoothing: float | None = None
    """Share of the target spread evenly over all classes (Szegedy et al., 2016, section 7) [default: 0; 0.1 for the
    second phase of fine-tuning]."""
    auxiliary_weight: float = 0.3
    """Weight of the loss of each auxiliary head, if the model has any (Szegedy et al., 2015, section 5)."""
    schedule: Schedule | None = None
    """How the learning rate decays. Five are those of papers, with their optimizer, learning rate and weight decay
    where these are left open: vgg divides by 10 when validation stops improving, googlenet takes off 4 % every 8
    epochs, resnet (CIFAR) divides by 10 at 50 % and 75 % of the epochs, resnet110 too, after a start at a tenth of the
    rate, and resnet_imagenet does as vgg [default: cosine; constant for schedule_free_adamw]."""
    warmup_epochs: float | None = None
    """Epochs of linear rise to the learning rate, which resnet110 starts at a tenth of it instead [default: 30 % of the
    epochs for one_cycle and to fine-tune, 5 % for schedule_free_adamw, else what the schedule or the model's card says
    or 0]."""
    final_learning_rate: float = 0.0
    """Where polynomial, cosine and one_cycle end, as a fraction of the learning rate."""
    decay_epochs: tuple[float, ...] = ()
    """Epochs at which step decays [default: at 50 % and 75 % of the epochs; every 8 for googlenet]."""
    decay_rate: float | None = None
    """Factor of each step and plateau decay; over all epochs together for exponential [default: 0.1; 0.96 for
    googlenet]."""
    power: float = 1.0
    """Exponent of polynomial."""
    patience: int = 5
    """Epochs without improvement after which plateau decays."""
    early_stopping: int | None = None
    """Stop after this many epochs without improvement on the validation data [default: never]."""
    clip_norm: float | None = None
    """Largest global norm of the gradients [default: no clipping]."""
    gradient_accumulation_steps: int = 1
    """Batches whose gradients make one step: as a batch so many times as large, in the memory of one."""
    ema_momentum: float | None = None
    """Validate and save a moving average of the weights with this momentum, for example 0.999 [default: none]."""
    swa_epochs: int | None = None
    """Validate and save the mean of the weights at the ends of the last so many epochs, for example a quarter of them,
    in which the learning rate stays what it is when they begin (stochastic weight averaging, Izmailov et al., 2018)
    [default: none]."""
    class_weight: ClassWeight = "none"
    """balanced weights each example by the inverse frequency of its class."""
    augment: Sequence[str | Any] = ("auto",)
    """Augmentation, in order: policies, and in Python also layers; none turns it off. auto is the policy for the
    dataset, by its name or by what its images are."""
    seed: int = 0
    """Seed of initial weights, shuffling, dropout and augmentation."""
    precision: Precision = "auto"
    """Dtype policy; auto takes mixed_float16 on tensor cores, mixed_bfloat16 on CPUs with bf16 instructions."""
    strategy: Strategy = "auto"
    """one device; mirrored over several; or multiworker, over several processes, as TF_CONFIG or SLURM says. auto
    takes the workers of TF_CONFIG, else mirrors where several GPUs are there."""
    devices: str | None = None
    """cpu:N makes N logical CPU devices; gpu:N takes the first N GPUs [default: all there are]."""
    sync_batch_norm: bool = False
    """Normalize by the statistics of the batches of all replicas together, not of each replica's part."""
    steps_per_execution: int | None = None
    """Steps that TensorFlow takes in one call; results do not depend on it [default: as many as take half a second,
    measured while running]."""
    checkpoint_seconds: float = 60.0
    """Longest time between two checkpoints within an epoch; epochs end with one too, except those that follow each
    other within five seconds."""

    def __post_init__(self):
        _check_fields(self)
        object.__setattr__(self, "augment", augmentation.describe(self.augment))
        for item in self.augment:
            if isinstance(item, str) and item != "auto":
                augmentation.check_name(item)
        if not isinstance(self.sync_batch_norm, bool):
            raise InvalidArgument(f"sync_batch_norm must be true or false. Received: {self.sync_batch_norm!r}.")
        _check_times(self)
        _check_averages(self)
        object.__setattr__(self, "decay_epochs", tuple(map(float, self.decay_epochs)))

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate: the given one, or the optimizer's default for the images in a step.

        A larger batch has a less noisy gradient and takes a larger step: in proportion with sgd (Goyal et al., 2017,
        section 2.1), by the square root with optimizers that divide by the gradient's size (Malladi et al., 2022).
        `with_data_defaults` also looks at the number of training images.
        """
        if self.learning_rate is not None:
            return self.learning_rate
        images = (self.batch_size or REFERENCE_BATCH_SIZE) * self.gradient_accumulation_steps
        return default_learning_rate(self, images)

    @property
    def optimizer_name(self) -> Optimizer:
        """The optimizer: the given one, or that of the schedule's paper, or the default."""
        return self.optimizer or ("sgd" if self.schedule in PAPER_SCHEDULES else "adamw")

    @property
    def schedule_name(self) -> Schedule:
        """The schedule: the given one, or the optimizer's default."""
        return self.schedule or ("constant" if self.optimizer == "schedule_free_adamw" else "cosine")

    @property
    def generic_schedule(self) -> str:
        """The schedule, or of a paper's the one that it is by its numbers."""
        paper = PAPER_SCHEDULES.get(self.schedule_name)
        return self.schedule_name if paper is None else paper.generic

    @property
    def paper(self) -> PaperSchedule | None:
        """The paper whose optimizer, learning rate and weight decay are the defaults."""
        return PAPER_SCHEDULES.get(self.schedule_name) if self.optimizer_name == "sgd" else None

    @property
    def averages(self) -> Literal["ema", "swa", "schedule_free"] | None:
        """How the weights that are validated and saved are averaged, if they are."""
        if self.ema_momentum is not None:
            return "ema"
        if self.swa_epochs is not None:
            return "swa"
        return "schedule_free" if self.optimizer_name == "schedule_free_adamw" else None

    @property
    def decay(self) -> float:
        """The weight decay: the given one, or the default of the schedule's paper or of the optimizer."""
        if self.weight_decay is not None:
            return self.weight_decay
        return self.paper.weight_decay if self.paper else WEIGHT_DECAYS[self.optimizer_name]

    @property
    def decay_factor(self) -> float:
        """The factor of each decay: the given one, or the schedule's."""
        if self.decay_rate is not None:
            return self.decay_rate
        paper = PAPER_SCHEDULES.get(self.schedule_name)
        return 0.1 if paper is None else paper.decay_rate

    @property
    def total_epochs(self) -> int:
        """The number of epochs: the given one, or the default."""
        return self.epochs or EPOCHS

    @property
    def step_epochs(self) -> tuple[float, ...]:
        """Where the step schedule decays: unless given at 50 % and 75 %, or as often as its paper says."""
        if self.decay_epochs or self.generic_schedule != "step":
            return self.decay_epochs
        paper = PAPER_SCHEDULES.get(self.schedule_name)
        if paper is None or paper.decay_every is None:
            return 0.5 * self.total_epochs, 0.75 * self.total_epochs
        return tuple(paper.decay_every * i for i in range(1, math.ceil(self.total_epochs / paper.decay_every)))

    @property
    def warmup(self) -> float:
        """The length of the warm-up, in epochs: the given one, or the schedule's default."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        if self.schedule_name == "one_cycle":
            return LONGEST_WARMUP * self.total_epochs
        if self.optimizer_name == "schedule_free_adamw":
            return SCHEDULE_FREE_WARMUP * self.total_epochs
        paper = PAPER_SCHEDULES.get(self.schedule_name)
        return 0.0 if paper is None else min(paper.warmup_epochs, LONGEST_WARMUP * self.total_epochs)

    @property
    def swa_start(self) -> int:
        """The epochs before those at whose ends the weights are averaged."""
        return self.total_epochs - (self.swa_epochs or 0)


_CHOICES = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "strategy": Strategy,
    "class_weight": ClassWeight,
    "batch_norm": BatchNorm,
}
# name -> (lowest, highest, what the message calls the range)
_RANGES = {
    "epochs": (1, 10**6, "a whole number of at least 1"),
    "passes_per_epoch": (1, 10**6, "a whole number of at least 1"),
    "batch_size": (1, 10**7, "a whole number of at least 1"),
    "learning_rate": (1e-12, 1e4, "a number above 0"),
    "momentum": (0, 1 - 1e-9, "a number from 0 up to, not including, 1"),
    "epsilon": (1e-30, 1e4, "a number above 0"),
    "weight_decay": (0, 1e4, "a number of at least 0"),
    "label_smoothing": (0, 1 - 1e-9, "a number from 0 up to, not including, 1"),
    "auxiliary_weight": (0, 1e4, "a number of at least 0"),
    "warmup_epochs": (0, 10**6, "a number of at least 0"),
    "final_learning_rate": (0, 1, "a fraction from 0 to 1"),
    "decay_rate": (1e-12, 1, "a factor above 0 and at most 1"),
    "power": (1e-12, 100, "a number above 0"),
    "patience": (1, 10**6, "a whole number of at least 1"),
    "early_stopping": (1, 10**6, "a whole number of at least 1"),
    "clip_norm": (1e-12, 1e12, "a number above 0"),
    "gradient_accumulation_steps": (1, 10**6, "a whole number of at least 1"),
    "ema_momentum": (1e-9, 1 - 1e-9, "a number between 0 and 1"),
    "swa_epochs": (1, 10**6, "a whole number of at least 1"),
    "steps_per_execution": (1, 10**6, "a whole number of at least 1"),
    "seed": (0, 2**32 - 1, "a whole number from 0 to 4294967295"),
    "checkpoint_seconds": (0, 10**9, "a number of at least 0"),
    "head_epochs": (1, 10**6, "a whole number of at least 1"),
    "head_learning_rate": (1e-12, 1e4, "a number above 0"),
    "layer_decay": (1e-6, 1, "a factor above 0 and at most 1"),
    "views": (1, 10**4, "a whole number of at least 1"),
}


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How to transfer a model; how its second phase is trained is in `kzoo.train.TrainConfig`.

    >>> TransferConfig(batch_norm="thawed")
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: Unknown batch_norm. Received: 'thawed'. Valid: affine, frozen, train.
    """

    head_epochs: int = 20
    """Passes of the first phase, in which only the new head is trained, on images as they are."""
    head_learning_rate: float | None = None
    """The highest learning rate of the first phase [default: 0.009 at a batch size of 256, by its square root]."""
    unfreeze: str | None = None
    """The lowest stage that the second phase trains, by the name in its paper, with all above it [default: the stages
    of the smallest feature map, and no second phase where the new head alone makes too few mistakes]."""
    layer_decay: float = 0.85
    """By what the learning rate is multiplied from each stage to the one below."""
    batch_norm: BatchNorm = "frozen"
    """Of the unfrozen stages: frozen keeps their statistics, gamma and beta; affine trains gamma and beta; train trains
    them as from scratch."""
    views: int = 4
    """Augmented views of each image for the second phase, of which the frozen layers are computed once; epochs take
    them in turn."""

    def __post_init__(self):
        _check_fields(self)
        if not (self.unfreeze is None or isinstance(self.unfreeze, str)):
            raise InvalidArgument(f"unfreeze must be the name of a stage. Received: {self.unfreeze!r}.")


def _check_fields(config) -> None:
    """Raise InvalidArgument for a value that is none of the choices or out of its range.

    Each number gets the type of its field: Keras takes an integer 1 for another thing than 1.0.
    """
    kinds = number_fields(type(config))
    for field in fields(config):
        name, value = field.name, getattr(config, field.name)
        is_open = value is None and field.default is None
        if name in _CHOICES and not is_open and value not in get_args(_CHOICES[name]):
            raise unknown(name, value, get_args(_CHOICES[name]))
        if name in _RANGES and not is_open:
            lowest, highest, meaning = _RANGES[name]
            check = arguments.integer if kinds[name] is int else arguments.number
            object.__setattr__(config, name, kinds[name](check(name, value, lowest, highest, valid=meaning)))


def _check_times(config):
    if config.warmup_epochs is not None and config.warmup_epochs >= config.total_epochs:
        raise InvalidArgument(
            f"warmup_epochs must be less than epochs={config.total_epochs}. Received: {config.warmup_epochs:g}."
        )
    if not isinstance(config.decay_epochs, tuple | list) or any(
        not arguments.is_number(e) or not e > 0 for e in config.decay_epochs
    ):
        raise InvalidArgument(f"decay_epochs must be numbers above 0. Received: {config.decay_epochs!r}.")
    if config.swa_epochs is not None and config.swa_start < max(1, config.warmup):
        before = f" and {config.warmup:g} of warm-up" if config.warmup else ""
        raise InvalidArgument(
            f"swa_epochs are the last ones of epochs={config.total_epochs}, after at least one{before}. "
            f"Received: {config.swa_epochs}."
        )


def _check_averages(config):
    """Refuse combinations of which one takes away what the other is for."""
    is_schedule_free = config.optimizer_name == "schedule_free_adamw"
    ways = {
        "ema_momentum": config.ema_momentum is not None,
        "swa_epochs": config.swa_epochs is not None,
        "the optimizer schedule_free_adamw": is_schedule_free,
    }
    asked = [way for way, is_asked in ways.items() if is_asked]
    if len(asked) > 1:
        raise InvalidArgument(f"Weights are averaged in one way. Received: {' and '.join(asked)}. Leave one out.")
    if is_schedule_free and config.schedule_name != "constant":
        raise InvalidArgument(
            "schedule_free_adamw takes the schedule constant, with a warm-up: it averages the weights instead of "
            f"lowering the learning rate. Received: schedule={config.schedule!r}. Leave it out, or use adamw."
        )
    if config.swa_epochs is not None and config.early_stopping is not None:
        raise InvalidArgument(
            "early_stopping can end a run before its last epochs, which swa_epochs averages. Received: "
            f"early_stopping={config.early_stopping}, swa_epochs={config.swa_epochs}. Leave one out."
        )


def with_data_defaults(
    config: TrainConfig,
    name: str,
    images: int,
    image_shape: tuple,
    *,
    is_grey: bool = False,
    is_raw: bool = True,
    rates: tuple[float | None, float | None] = (None, None),
) -> TrainConfig:
    """Put a value in every place that the configuration leaves open, for this data.

    What a run was trained with can so be read, and does not change with kzoo's defaults when the run is resumed.

    Args:
        config: The configuration; what it states is kept.
        name: The dataset's `public_name`.
        images: Number of training images.
        image_shape: (height, width, channels).
        is_grey: Whether images of three channels have no colour.
        is_raw: Whether pixels are 0 to 255.
        rates: The model's learning rate, at a batch size of 256, and epochs of warm-up, of its card; they are those of
            the default optimizer. None takes the default.

    >>> config = with_data_defaults(TrainConfig(), "mnist", 54_000, (28, 28, 1))
    >>> config.epochs, config.passes_per_epoch, config.batch_size, config.learning_rate, config.augment
    (15, 1, 256, 0.003, ('digits',))
    >>> config = with_data_defaults(TrainConfig(), "", 100, (28, 28, 1), rates=(0.0005, 1))
    >>> config.epochs, config.passes_per_epoch, config.batch_size, config.learning_rate, config.warmup_epochs
    (15, 40, 32, 0.0005, 1.0)
    """
    batch_size = config.batch_size or default_batch_size(images, image_shape)
    passes = config.passes_per_epoch or (1 if config.epochs is not None else default_passes(images, image_shape))
    card_rate, card_warmup = rates if config.optimizer_name in ADAMW else (None, None)
    learning_rate = config.learning_rate
    if learning_rate is None:
        images_in_a_step = min(batch_size * config.gradient_accumulation_steps, images * passes)
        learning_rate = default_learning_rate(config, images_in_a_step, images, card_rate)
    warmup = config.warmup
    if config.warmup_epochs is None and config.schedule_name != "one_cycle" and card_warmup is not None:
        warmup = min(card_warmup, LONGEST_WARMUP * config.total_epochs)
    weight_decay = config.decay
    if config.weight_decay is None and config.optimizer_name in ADAMW:
        weight_decay *= min(passes, MOST_DECAY)
    suggested, _ = augmentation.suggested(name, image_shape, is_grey=is_grey, is_raw=is_raw)
    return replace(
        config,
        epochs=config.total_epochs,
        passes_per_epoch=passes,
        batch_size=batch_size,
        optimizer=config.optimizer_name,
        schedule=config.schedule_name,
        learning_rate=learning_rate,
        augment=[suggested if item == "auto" else item for item in config.augment],
        weight_decay=weight_decay,
        label_smoothing=config.label_smoothing or 0.0,
        warmup_epochs=warmup,
        decay_epochs=config.step_epochs,
        decay_rate=config.decay_factor,
    )


def default_passes(images: int, image_shape: tuple) -> int:
    """Passes in an epoch, so that few images make as many steps as 4,000 do, or 1,000 of more than 64x64 pixels.

    >>> [default_passes(n, (28, 28, 1)) for n in (20, 100, 640, 54_000)], default_passes(244, (224, 224, 3))
    ([40, 40, 6, 1], 4)
    """
    wanted = IMAGES_PER_EPOCH_OF_LARGE if _is_large(image_shape) else IMAGES_PER_EPOCH
    return max(1, min(MOST_PASSES_PER_EPOCH, round(wanted / images)))


def default_learning_rate(
    config: TrainConfig, images_in_a_step: int, images: int | None = None, reference: float | None = None
) -> float:
    """The highest learning rate for a number of images in a step; see `TrainConfig.peak_learning_rate`.

    Where the number of training images is given, a batch that is small because they are few does not lower the rate of
    optimizers other than sgd: by the square root, an epoch of fewer images would also get less far. `reference` is the
    rate at the reference batch size, by default that of the schedule's paper or of the optimizer.

    >>> default_learning_rate(TrainConfig(schedule="vgg"), 128)
    0.005
    """
    ratio = images_in_a_step / REFERENCE_BATCH_SIZE
    if reference is None:
        paper = config.paper
        in_paper = paper and paper.learning_rate * REFERENCE_BATCH_SIZE / paper.batch_size
        reference = in_paper or LEARNING_RATES[config.optimizer_name]
    if config.optimizer_name == "sgd":
        return reference * ratio
    if images is not None and ratio < 1:
        ratio = min(1.0, images_in_a_step / min(images, _suitable_batch_size(images)))
    return reference * ratio**0.5


def default_batch_size(images: int, image_shape: tuple) -> int:
    """The power of two, from 32 to 256, that leaves about 200 steps in an epoch; 32 for images above 64x64 pixels.

    >>> [default_batch_size(n, (32, 32, 3)) for n in (500, 13_000, 54_000)], default_batch_size(45_000, (224, 224, 3))
    ([32, 64, 256], 32)
    """
    return 32 if _is_large(image_shape) else _suitable_batch_size(images)


def _is_large(image_shape: tuple) -> bool:
    height, width = image_shape[:2]
    return (height or 224) * (width or 224) > LARGE


def _suitable_batch_size(images: int) -> int:
    return max(32, min(REFERENCE_BATCH_SIZE, 2 ** (max(1, images // STEPS_PER_EPOCH).bit_length() - 1)))
