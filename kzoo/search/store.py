"""The search directory: one file that is the search, and a run directory for each trial.

`search.json` holds the settings, the state of the algorithm and the table of trials together. It is replaced by a
rename, so whatever a kill leaves fits together; it is changed under the lock of the folder only.
"""

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kzoo import arguments, files, paths, plain
from kzoo.errors import InvalidArgument, RunError, reason_of
from kzoo.files import is_temporary, write_bytes, write_text
from kzoo.search import space as spaces
from kzoo.search.settings import Settings
from kzoo.search.space import Task
from kzoo.train import runs

SEARCH = paths.SEARCH
TRIALS = "trials.csv"  # a row per trial
PLOT = "search.png"  # best so far, and each hyperparameter against the score
BEST = "best.keras"  # the best model
RUNS = "trials"  # a run directory per trial
LOCK = ".lock"
LOG = "log.txt"  # in a run directory: what its process said
# How often a worker tries to get the lock of the folder.
SECONDS_BETWEEN_TRIES = 0.02


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A row of the table: one training with one choice of values."""

    number: int
    repeats: int | None = None
    """The number of the trial that this one repeats with another seed."""
    status: Literal["running", "completed", "failed"] = "running"
    reason: str = ""
    """Why it failed."""
    worker: str
    """The worker that runs it, or ran it last; no other may write its end."""
    values: dict[str, Any]
    epochs: int
    seed: int
    rung: dict[str, Any] = field(default_factory=dict)
    """What hyperband noted."""
    accuracy: float | None = None
    """On the validation split, as all figures here."""
    loss: float | None = None
    images_per_second: float | None = None
    parameters: int | None = None
    seconds: float | None = None

    def __post_init__(self):
        if self.status == "completed":
            arguments.number("accuracy", self.accuracy, 0, 1)
            for name in ("loss", "images_per_second", "parameters", "seconds"):
                arguments.number(name, getattr(self, name), 0)


class CompletedTrial(Trial):
    """A trial whose status is completed: all figures are there."""

    accuracy: float
    loss: float
    images_per_second: float
    parameters: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The best configuration of a finished search."""

    trial: int
    """The number of the first trial with these values."""
    run: int
    """The number of the best trial with these values; the best model is its."""
    accuracy: float
    """Mean over seeds."""
    loss: float
    accuracies: list[float]
    """Of each seed."""
    values: dict[str, Any]
    epochs: int
    verified: bool = False
    """Whether the model, loaded in a fresh process, has the score that its trial reported."""
    test: dict[str, Any] | None = None
    """Figures of the test split, which no trial has seen."""
    pareto: list[int] = field(default_factory=list)
    """The numbers of the trials that no other one beats in accuracy, speed and size together."""


@dataclass(kw_only=True)
class State:
    """A search, whole: the content of `search.json`."""

    settings: Settings
    task: Task
    oracle: dict[str, Any] | None = None
    """What keras-tuner knows besides the table."""
    exhausted: bool = False
    """Whether there is nothing more to propose."""
    seconds: float = 0.0
    """During which at least one worker was at the search, up to the last change of this file."""
    trials: list[Trial] = field(default_factory=list)
    finisher: str | None = None
    """The worker that scores the best model once all trials have ended."""
    result: BestTrial | None = None

    def __post_init__(self):
        space, known = self.settings.space, self.task.parameters
        if spaces.check(space) != space:
            raise arguments.refused("settings.space", f"complete, as {spaces.check(space)}", space)
        if missing := set(spaces.models(space, self.settings.model.name)) - known.keys():
            raise arguments.refused("task.parameters", f"of each model, also {', '.join(missing)}", known)
        for place, trial in enumerate(self.trials):
            arguments.integer(f"trials[{place}].number", trial.number, place, place)
            if trial.repeats is not None:
                arguments.integer(f"trials[{place}].repeats", trial.repeats, 0, place - 1)
        for row in (*self.trials, *([self.result] if self.result else [])):
            if row.values.keys() != space.keys():
                raise arguments.refused("the values of a trial", f"of {', '.join(space)}", row.values)

    def values_of(self, row: "Trial | BestTrial") -> dict[str, Any]:
        """The values of a trial as a reader takes them: its rates, not the multiples that are searched."""
        settings = self.settings
        train = replace(settings.base.train, epochs=row.epochs)
        return spaces.with_rates(row.values, settings.space, train, settings.model.name, self.task)

    @property
    def running(self) -> list[Trial]:
        """The trials in progress."""
        return [trial for trial in self.trials if trial.status == "running"]


def run_dir(folder: Path, number: int) -> Path:
    """The run directory of a trial."""
    return folder / RUNS / f"{number:04d}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other workers from changing `search.json`; they wait, so be quick."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(files.locked(folder / LOCK, wait=False))
                break
            except BlockingIOError:
                time.sleep(SECONDS_BETWEEN_TRIES)
        yield


def check_free(folder: Path) -> None:
    """Raise RunError unless a search can begin in a folder."""
    try:
        inside = list(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise _cannot_write(folder, error) from error
    occupied = [path.name for path in inside if path.name != LOCK and not is_temporary(path)]
    if SEARCH in occupied:
        raise RunError(
            f"There is a search here already. Received: {str(folder)!r}. Continue it with "
            f"{paths.command('kzoo', 'search', '--resume', folder)}, or name another folder."
        )
    if occupied:
        raise RunError(f"The folder is not empty and holds no search. Received: {str(folder)!r}. Name another folder.")


def make(folder: Path) -> None:
    """Make the folder of a search; raises RunError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> RunError:
    return RunError(f"Cannot write the search directory. Received: {str(folder)!r}: {error}.")


def content(folder: Path) -> bytes:
    """The content of `search.json`.

    Raises:
        InvalidArgument: There is none.
        RunError: It cannot be read.
    """
    path = paths.expand(folder) / SEARCH
    try:
        return files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        if (path.parent / paths.RUN).exists():
            resume = runs.read_record(folder).how_to_resume(folder)
            raise InvalidArgument(
                f"This is a run, not a search. Received: {str(folder)!r}. Continue it with {resume}"
            ) from None
        raise InvalidArgument(f"Not a search directory: it has no {SEARCH}. Received: {str(folder)!r}.") from None
    except OSError as error:
        raise RunError(f"Cannot read the search. Received: {str(path)!r}: {error}.") from error


def parse(folder: Path, content: bytes) -> State:
    """The search, from the content of `search.json`.

    Raises:
        RunError: An entry is missing, unknown or of another type.
    """
    try:
        return plain.read(State, json.loads(content))
    except (ValueError, RecursionError) as error:
        where = str(folder / SEARCH)
        raise RunError(f"The search's {SEARCH} is damaged. Received: {where!r}: {reason_of(error)}") from error


def read(folder: str | Path) -> State:
    """The search in a folder; raises as `content` and `parse` do."""
    folder = Path(folder)
    return parse(folder, content(folder))


def write(folder: Path, state: State) -> bytes:
    """Write the search; returns the content of `search.json`."""
    written = json.dumps(asdict(state), indent=2).encode()
    write_bytes(folder / SEARCH, written)
    return written


def write_table(folder: Path, state: State) -> None:
    """Write trials.csv: a row per trial, a column per hyperparameter."""
    text = io.StringIO()
    rows = [_flat(trial, state.values_of(trial)) for trial in state.trials]
    if rows:
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(folder / TRIALS, text.getvalue())


def _flat(trial: Trial, values: dict[str, Any]) -> dict[str, Any]:
    """A row of trials.csv: each hyperparameter in a column."""
    row = {name: value for name, value in vars(trial).items() if name not in ("values", "rung")}
    return {**row, **{name: shown(value) for name, value in values.items()}}


def shown(value: Any) -> Any:
    """A value for a reader.

    >>> shown(["digits"]), shown([1.5, 2.0]), shown(0.123456789), shown("sgd"), shown(None)
    ('digits', '1.5 + 2.0', 0.1235, 'sgd', 'default')
    """
    if value is None:
        return "default"
    if isinstance(value, list):
        return " + ".join(
            item["registered_name"].split(">")[-1] if isinstance(item, dict) else str(item) for item in value
        )
    return float(f"{value:.4g}") if isinstance(value, float) else value
