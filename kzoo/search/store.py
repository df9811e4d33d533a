"""The search directory: one file that is the search, and a run directory for each trial.

`search.json` holds settings, facts, the oracle's state and the table of trials together, and is replaced by a rename:
whatever a kill leaves fits together.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kzoo.errors import InvalidArgument, RunError
from kzoo.files import is_temporary, write_json, write_text
from kzoo.models.registry import defaults

SEARCH = "search.json"
TRIALS = "trials.csv"  # a row per trial
PLOT = "search.png"  # best so far, and each hyperparameter against the score
BEST = "best.keras"  # the best model
RUNS = "trials"  # a run directory per trial
LOG = "log.txt"  # in a run directory: what its process said


@dataclass
class Settings:
    """What was asked for; never changes."""

    model: str
    load: dict[str, Any]
    """Arguments of `kzoo.data.load`."""
    search: dict[str, Any]
    """The `SearchConfig` as plain data."""
    train: dict[str, Any]
    """What every trial has where the space says nothing: a `TrainConfig` as plain data, resolved for this machine."""
    requested: dict[str, Any]
    """The precision and the strategy as they were asked for."""
    space: dict[str, dict]
    fingerprint: str
    """Of the data, as `kzoo.data.loading.fingerprint` gives it."""
    transfer: dict[str, Any]
    """As `train`: a `TransferConfig` as plain data."""
    pretrained: dict[str, Any] | None = None
    """The weights that trials fine-tune: `weights` and `like`; None to train from scratch."""

    def image_size(self, model: str) -> list[int]:
        """(height, width) of the images for a model."""
        return list(self.load["image_size"] or defaults(model)[0][:2])


@dataclass
class State:
    """A search, whole: what `search.json` has."""

    settings: Settings
    facts: dict[str, Any]
    """`kzoo.search.space.Facts` as plain data."""
    oracle: dict[str, Any] | None = None
    exhausted: bool = False
    """Whether there is nothing more to propose."""
    seconds: float = 0.0
    """Spent on the search, over all of its processes."""
    trials: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    """Versions, git state and command."""


def new_trial(number: int, values: dict, epochs: int, seed: int, *, rung: dict, repeats: int | None = None) -> dict:
    """A row of the table. `repeats` is the number of the trial that this one repeats with another seed."""
    return {
        "number": number,
        "repeats": repeats,
        "status": "running",  # then completed or failed
        "reason": "",
        "values": values,
        "epochs": epochs,
        "seed": seed,
        "rung": rung,
        "accuracy": None,
        "loss": None,
        "images_per_second": None,
        "parameters": None,
        "seconds": None,
    }


def run_dir(folder: Path, trial: dict) -> Path:
    """The run directory of a trial."""
    return folder / RUNS / f"{trial['number']:04d}"


def check_free(folder: Path) -> None:
    """Raise RunError unless a search can begin in a folder."""
    try:
        inside = list(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise _cannot_write(folder, error) from error
    occupied = [path.name for path in inside if path.name != ".lock" and not is_temporary(path)]
    if SEARCH in occupied:
        raise RunError(
            f"There is a search here already. Received: {str(folder)!r}. Continue it with kzoo search --resume "
            f"{folder}, or name another folder."
        )
    if occupied:
        raise RunError(f"The folder is not empty and holds no search. Received: {str(folder)!r}. Name another folder.")


def make(folder: Path) -> None:
    """Make the folder of a search.

    Raises:
        RunError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> RunError:
    return RunError(f"Cannot write the search directory. Received: {str(folder)!r}: {error}.")


def read(folder: str | Path) -> State:
    """The search in a folder.

    Raises:
        InvalidArgument: There is none.
        RunError: Its file is damaged.
    """
    path = Path(folder).expanduser() / SEARCH
    try:
        content = json.loads(path.read_text())
        return State(**{**content, "settings": Settings(**content["settings"])})
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidArgument(f"Not a search directory: it has no {SEARCH}. Received: {str(folder)!r}.") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"The search's {SEARCH} is damaged. Received: {str(path)!r}: {error}.") from error


def write(folder: Path, state: State) -> None:
    """Write the search."""
    write_json(folder / SEARCH, asdict(state))


def write_table(folder: Path, state: State) -> None:
    """Write trials.csv: a row per trial, a column per hyperparameter."""
    text = io.StringIO()
    rows = [flat(trial) for trial in state.trials]
    if rows:
        names = [*rows[0], *(name for row in rows for name in row if name not in rows[0])]
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(names)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(folder / TRIALS, text.getvalue())


def flat(trial: dict) -> dict[str, Any]:
    """A row for a table: values by their own names."""
    own = {name: value for name, value in trial.items() if name not in ("values", "rung")}
    return {**own, **{name: shown(value) for name, value in trial["values"].items()}}


def shown(value: Any) -> Any:
    """A value for a reader.

    >>> shown(["digits"]), shown([1.5, 2.0]), shown(0.123456789), shown("sgd")
    ('digits', '1.5 + 2.0', 0.1235, 'sgd')
    """
    if isinstance(value, list):
        return " + ".join(
            item["registered_name"].split(">")[-1] if isinstance(item, dict) else str(item) for item in value
        )
    return float(f"{value:.4g}") if isinstance(value, float) else value
