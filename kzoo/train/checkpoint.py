"""Checkpoints: the whole state of a training run in one file, so that it is there or not, never half."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from kzoo import console, plain
from kzoo.arguments import integer, refused
from kzoo.errors import RunError, reason_of
from kzoo.files import write_bytes
from kzoo.weights import safetensors_file


@dataclass
class State:
    """Where a run stands, besides its variables: plain data, saved with every checkpoint."""

    epoch: int = 0  # epochs completed
    step: int = 0  # steps done of the current epoch
    # Of the current epoch: loss, correct, examples, skipped steps, and the loss of each auxiliary head. Empty before
    # its first step.
    sums: list[float] = field(default_factory=list)
    learning_rate: float = 0.0  # of the last step
    seconds: float = 0.0  # spent on the current epoch
    history: list[dict[str, int | float]] = field(default_factory=list)
    best: list[float] | None = None  # validation accuracy and minus the loss of the best epoch
    best_epoch: int = 0
    stale: int = 0  # epochs since the best
    plateau_stale: int = 0  # epochs since the best or the last decay by plateau
    plateau_factor: float = 1.0
    averaged: int = 0  # epochs at whose ends the weights were averaged, for swa_epochs
    callback_rate: float | None = None  # the learning rate that a callback has set, instead of the schedule's
    stopped: bool = False  # by a callback
    finished: bool = False

    def __post_init__(self):
        rows = self.history
        integer("epoch", self.epoch, len(rows), len(rows), valid="the number of rows in history")
        integer("best_epoch", self.best_epoch, 0, self.epoch)
        integer("step", self.step, 0)
        integer("averaged", self.averaged, 0, self.epoch + 1)  # one more, if it was interrupted in its validation
        if self.sums and len(self.sums) < 4:
            raise refused("sums", "empty or of at least 4 numbers", self.sums)
        if self.best is not None and len(self.best) != 2:
            raise refused("best", "null or of 2 numbers", self.best)
        names = {"epoch", "loss", "accuracy", "seconds"}.union(*rows[:1])
        for row in rows:
            if row.keys() != names:
                raise refused("a row of history", f"an object with {', '.join(sorted(names))}", row)


def save(path: Path, variables: list, state: State) -> None:
    """Write the values of `variables`, by position, and the state."""
    tensors = {f"{position:05d}": np.asarray(v.numpy(), order="C") for position, v in enumerate(variables)}
    write_bytes(path, safetensors.numpy.save(tensors, metadata={"state": json.dumps(asdict(state))}))


def read_state(path: Path) -> State | None:
    """The state in a checkpoint, without its variables; None where there is no checkpoint. Needs no TensorFlow."""
    return _read(path, with_values=False)[0] if path.exists() else None


def finished_state(path: Path) -> State | None:
    """The state in a checkpoint if its run is finished, after saying so; None otherwise."""
    state = read_state(path)
    if state is None or not state.finished:
        return None
    epochs = f": {state.epoch} epochs" if state.epoch else ""  # none where the new head alone is kept
    console.log(f"this run is finished{epochs} in {path.parent}")
    return state


def restore(path: Path, variables: list) -> State:
    """Assign what `save` wrote to the same variables, all or, after an error, none; returns the state."""
    state, values = _read(path, with_values=True)
    shapes, expected = [v.shape for v in values], [tuple(v.shape) for v in variables]
    if shapes != expected:
        raise RunError(
            f"The checkpoint is of another model or optimizer: {len(shapes)} tensors for {len(expected)} variables, or "
            f"other shapes. Received: {str(path)!r}. Start a new run."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


def _read(path: Path, *, with_values: bool) -> tuple[State, list[np.ndarray]]:
    try:
        with safetensors_file.opened(path) as file:
            names = sorted(file.keys()) if with_values else []
            state = plain.read(State, json.loads(file.metadata()["state"]), "state")
            return state, [file.get_tensor(name) for name in names]
    except (safetensors.SafetensorError, OSError, TypeError, KeyError, ValueError, RecursionError) as error:
        reason = reason_of(error)
        raise RunError(f"The checkpoint is damaged. Received: {str(path)!r}: {reason}. Start a new run.") from error
