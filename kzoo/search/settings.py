"""What is asked of a search. `SearchConfig` is the single source of the defaults and flags of `kzoo search` alone."""

from dataclasses import dataclass
from typing import Any, Literal

from kzoo import arguments
from kzoo.errors import unknown
from kzoo.train.record import DataSource, RunRecord, ZooModel

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
        if self.algorithm not in Algorithm.__args__:
            raise unknown("algorithm", self.algorithm, Algorithm.__args__)
        for name in ("trials", "top", "seeds", "workers"):
            arguments.integer(name, getattr(self, name), 1)
        for name in ("time_limit", "trial_time_limit", "trial_memory_limit"):
            if getattr(self, name) is not None:
                arguments.number(name, getattr(self, name), 0, 1e12, above=True, valid="a number above 0")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that was asked of a search; never changes."""

    search: SearchConfig
    base: RunRecord
    """The run of every trial where the space says nothing. Without an image size each model has its default."""
    space: dict[str, dict[str, Any]]
    fingerprint: str
    """Of the data, as `kzoo.data.loading.fingerprint` gives it."""

    def __post_init__(self):
        if not isinstance(self.base.model, ZooModel) or self.base.data.load is None:
            raise arguments.refused("base", "a model and data by name", (self.base.model, self.base.data.load))

    @property
    def model(self) -> ZooModel:
        """The model of every trial where the space says nothing, with the weights that trials fine-tune."""
        assert isinstance(self.base.model, ZooModel)  # noqa: S101 - for the type checker
        return self.base.model

    @property
    def load(self) -> DataSource:
        """How every trial loads its data."""
        assert self.base.data.load is not None  # noqa: S101 - for the type checker
        return self.base.data.load
