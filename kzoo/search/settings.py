"""What is asked of a search. `SearchConfig` is the single source of the defaults and flags of `kzoo search` alone."""

from dataclasses import dataclass
from typing import Any, Literal

from kzoo.errors import InvalidArgument, unknown
from kzoo.models.registry import defaults
from kzoo.train.config import TrainConfig
from kzoo.transfer.config import TransferConfig

Algorithm = Literal["bayesian", "hyperband", "random", "grid"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How to search.

    >>> SearchConfig(trials=0)
    Traceback (most recent call last):
    kzoo.errors.InvalidArgument: trials must be a whole number of at least 1. Received: 0.
    """

    algorithm: Algorithm = "bayesian"
    """bayesian (a Gaussian process), hyperband (short trainings; the best are done again, longer), random, or grid
    (three values of each range)."""
    trials: int = 20
    """Most trials; repetitions of the best come on top."""
    time_limit: float | None = None
    """Seconds after which no trial is begun; those in progress are finished. The time counts during which at least one
    process is searching [default: none]."""
    trial_time_limit: float | None = None
    """Seconds after which a trial is ended as failed [default: none]."""
    trial_memory_limit: float | None = None
    """Gigabytes (10^9 bytes) of memory above which a trial is ended as failed [default: none]."""
    top: int = 3
    """Configurations that are trained again with other seeds at the end; the best mean wins."""
    seeds: int = 3
    """Trainings of each of those, the first one included; 1 repeats none."""
    workers: int = 1
    """Trials at the same time in this process, each with its share of the cores and GPUs."""

    def __post_init__(self):
        """Check every value.

        Raises:
            InvalidArgument: A value out of its range.
        """
        if self.algorithm not in Algorithm.__args__:
            raise unknown("algorithm", self.algorithm, Algorithm.__args__)
        for name in ("trials", "top", "seeds", "workers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgument(f"{name} must be a whole number of at least 1. Received: {value!r}.")
        for name in ("time_limit", "trial_time_limit", "trial_memory_limit"):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12
            ):
                raise InvalidArgument(f"{name} must be a number above 0. Received: {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Pretrained weights to fine-tune, as `kzoo finetune` names them."""

    weights: str
    like: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that was asked of a search; never changes."""

    model: str
    load: dict[str, Any]
    """Arguments of `kzoo.data.load`."""
    search: SearchConfig
    train: TrainConfig
    """What every trial has where the space says nothing, resolved for the machine that began the search."""
    requested: dict[str, str]
    """The precision and the strategy as they were asked for."""
    space: dict[str, dict[str, Any]]
    fingerprint: str
    """Of the data, as `kzoo.data.loading.fingerprint` gives it."""
    transfer: TransferConfig
    pretrained: Pretrained | None
    """The weights that trials fine-tune; None to train from scratch."""

    def image_size(self, model: str) -> list[int]:
        """(height, width) of the images for a model."""
        return list(self.load["image_size"] or defaults(model)[0][:2])
