"""The training configuration: the single source of every default and of every training flag."""

from dataclasses import asdict, dataclass, fields
from typing import Literal

from kzoo import augment as augmentation
from kzoo.errors import InvalidArgument, unknown

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "polynomial", "exponential", "cosine", "one_cycle", "plateau"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Strategy = Literal["auto", "one", "mirrored"]
ClassWeight = Literal["none", "balanced"]

# Rates that train most networks of this zoo from scratch, at the default batch size.
LEARNING_RATES = {"sgd": 0.05, "adam": 0.002, "adamw": 0.002}
WEIGHT_DECAYS = {"sgd": 5e-4, "adam": 0.0, "adamw": 0.05}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Times are in epochs, so that the batch size does not change a schedule.

    >>> TrainConfig(epochs=3, optimizer="sgd").peak_learning_rate
    0.05
    >>> TrainConfig(optimizer="lamb")
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: Unknown optimizer. Received: 'lamb'. Valid: adam, adamw, sgd.
    """

    epochs: int = 12
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step, over all replicas together."""
    optimizer: Optimizer = "adamw"
    """sgd (with Nesterov momentum), adam or adamw."""
    learning_rate: float | None = None
    """The highest learning rate of the schedule [default: 0.05 for sgd, 0.002 for adam and adamw]."""
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    weight_decay: float | None = None
    """Decay of kernels, never of biases and normalization parameters: decoupled in adamw, an L2 term in sgd and adam
    [default: 0.0005 for sgd, 0 for adam, 0.05 for adamw]."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes (Szegedy et al., 2016, section 7)."""
    schedule: Schedule = "cosine"
    """How the learning rate decays."""
    warmup_epochs: float | None = None
    """Epochs of linear rise to the learning rate [default: 30 % of the epochs for one_cycle, else 0]."""
    final_learning_rate: float = 0.0
    """Where polynomial, cosine and one_cycle end, as a fraction of the learning rate."""
    decay_epochs: tuple[float, ...] = ()
    """Epochs at which step decays [default: at 50 % and 75 % of the epochs]."""
    decay_rate: float = 0.1
    """Factor of each step and plateau decay; over all epochs together for exponential."""
    power: float = 1.0
    """Exponent of polynomial."""
    patience: int = 5
    """Epochs without improvement after which plateau decays."""
    early_stopping: int | None = None
    """Stop after this many epochs without improvement on the validation data [default: never]."""
    clip_norm: float | None = None
    """Largest global norm of the gradients [default: no clipping]."""
    class_weight: ClassWeight = "none"
    """balanced weights each example by the inverse frequency of its class."""
    augment: str = "none"
    """Augmentation policy."""
    seed: int = 0
    """Seed of initial weights, shuffling, dropout and augmentation."""
    precision: Precision = "auto"
    """Dtype policy; auto takes mixed_float16 on tensor cores, mixed_bfloat16 on CPUs with bf16 instructions."""
    strategy: Strategy = "auto"
    """one device, or mirrored over several; auto mirrors where several GPUs are there."""
    devices: str | None = None
    """cpu:N makes N logical CPU devices; gpu:N takes the first N GPUs [default: all there are]."""
    checkpoint_seconds: float = 60.0
    """Longest time between two checkpoints within an epoch; each epoch ends with one."""

    def __post_init__(self):
        """Check every value.

        Raises:
            InvalidArgument: A value out of its range.
        """
        choices = (
            ("optimizer", Optimizer),
            ("schedule", Schedule),
            ("precision", Precision),
            ("strategy", Strategy),
            ("class_weight", ClassWeight),
        )
        for name, valid in choices:
            if getattr(self, name) not in valid.__args__:
                raise unknown(name, getattr(self, name), valid.__args__)
        augmentation.check_name(self.augment)
        _check_ranges(self)
        # Lists come from JSON and from the command line.
        object.__setattr__(self, "decay_epochs", tuple(self.decay_epochs))

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate: the given one, or the optimizer's default."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def decay(self) -> float:
        """The weight decay: the given one, or the optimizer's default."""
        return WEIGHT_DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay


# name -> (lowest, highest, what the message calls the range)
_RANGES = {
    "epochs": (1, 10**6, "a whole number of at least 1"),
    "batch_size": (1, 10**7, "a whole number of at least 1"),
    "learning_rate": (1e-12, 1e4, "a number above 0"),
    "momentum": (0, 1 - 1e-9, "a number from 0 up to, not including, 1"),
    "weight_decay": (0, 1e4, "a number of at least 0"),
    "label_smoothing": (0, 1 - 1e-9, "a number from 0 up to, not including, 1"),
    "warmup_epochs": (0, 10**6, "a number of at least 0"),
    "final_learning_rate": (0, 1, "a fraction from 0 to 1"),
    "decay_rate": (1e-12, 1, "a factor above 0 and at most 1"),
    "power": (1e-12, 100, "a number above 0"),
    "patience": (1, 10**6, "a whole number of at least 1"),
    "early_stopping": (1, 10**6, "a whole number of at least 1"),
    "clip_norm": (1e-12, 1e12, "a number above 0"),
    "seed": (0, 2**32 - 1, "a whole number from 0 to 4294967295"),
    "checkpoint_seconds": (0, 10**9, "a number of at least 0"),
}


def _check_ranges(config):
    for name, (lowest, highest, meaning) in _RANGES.items():
        value = getattr(config, name)
        if value is None and getattr(TrainConfig, name) is None:
            continue
        whole = meaning.startswith("a whole number")
        kind = int if whole else int | float
        # `not (a <= b)` is also true for NaN.
        if isinstance(value, bool) or not isinstance(value, kind) or not lowest <= value <= highest:
            raise InvalidArgument(f"{name} must be {meaning}. Received: {value!r}.")
    if config.warmup_epochs is not None and config.warmup_epochs >= config.epochs:
        raise InvalidArgument(
            f"warmup_epochs must be less than epochs={config.epochs}. Received: {config.warmup_epochs!r}."
        )
    if any(isinstance(e, bool) or not isinstance(e, int | float) or not e > 0 for e in config.decay_epochs):
        raise InvalidArgument(f"decay_epochs must be numbers above 0. Received: {config.decay_epochs!r}.")


def to_dict(config: TrainConfig) -> dict:
    """The configuration as plain data, for JSON."""
    return asdict(config)


def from_dict(values: dict) -> TrainConfig:
    """The configuration from plain data.

    Raises:
        InvalidArgument: A name that is no field, or a value out of its range.
    """
    names = [field.name for field in fields(TrainConfig)]
    for name in values:
        if name not in names:
            raise unknown("training option", name, names)
    return TrainConfig(**values)
