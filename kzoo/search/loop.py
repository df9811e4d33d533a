"""A search on one machine: its workers, each with a trial's process."""

import time
from dataclasses import dataclass
from pathlib import Path

from kzoo.errors import RunError, TrainingInterrupted
from kzoo.hardware import probe
from kzoo.search import ranking, store
from kzoo.search.processes import Child, share_of_cores, share_of_gpus
from kzoo.search.trials import Trials
from kzoo.train import runs

SECONDS_BETWEEN_LOOKS = 0.1
# What a trial gets to save its state after Ctrl-C.
SECONDS_TO_SAVE = 20.0


@dataclass
class Busy:
    """A worker's trial in progress."""

    trial: dict
    child: Child


def run(trials: Trials, workers: int) -> None:
    """Do what is left to do.

    Raises:
        TrainingInterrupted: Ctrl-C; trials in progress have saved their state.
    """
    gpus = len(probe().gpus)
    busy: dict[int, Busy] = {}
    try:
        while True:
            for worker in range(workers):
                if worker not in busy and (trial := trials.next(len(busy), workers)) is not None:
                    run_dir = store.run_dir(trials.folder, trial)
                    busy[worker] = Busy(trial, start(run_dir, trials.config, worker, workers, gpus))
            if not busy:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for worker, one in list(busy.items()):
                if not one.child.running:
                    del busy[worker]
                    _end(trials, one)
    except KeyboardInterrupt:
        interrupt([one.child for one in busy.values()])
        trials.write()
        done = len(ranking.completed(trials.state.trials))
        raise TrainingInterrupted(
            f"Interrupted after {done} trials. Continue with: kzoo search --resume {trials.folder}"
        ) from None
    finally:
        for one in busy.values():
            one.child.kill("the search ended")


def start(run_dir: Path, config, worker: int = 0, workers: int = 1, gpus: int = 0) -> Child:
    """Begin a trial's process, or go on with it.

    Args:
        run_dir: The trial's run directory, with its config.json.
        config: The `SearchConfig`, for its limits.
        worker: Which one of several workers.
        workers: How many they are.
        gpus: Of this machine.
    """
    _wait_until_free(run_dir)
    limit = config.trial_memory_limit
    command = "train" if runs.read_record(run_dir).transfer is None else "finetune"
    return Child(
        [command, "--resume", str(run_dir)],
        run_dir / store.LOG,
        cores=share_of_cores(worker, workers),
        gpus=share_of_gpus(worker, workers, gpus),
        time_limit=config.trial_time_limit,
        memory_limit=None if limit is None else round(limit * 10**9),
    )


def _end(trials: Trials, one: Busy) -> None:
    """Write down what became of a trial."""
    status = one.child.finish()
    seconds = round(time.monotonic() - one.child.started, 1)
    if status == 0:
        trials.complete(one.trial, seconds)
    else:
        trials.fail(one.trial, one.child.reason(status), seconds)


def interrupt(children: list[Child]) -> None:
    """Have processes of trials save their state and end."""
    for child in children:
        child.interrupt()
    deadline = time.monotonic() + SECONDS_TO_SAVE
    while any(child.running for child in children) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _wait_until_free(run_dir: Path) -> None:
    """Wait for the process of a search that was killed: it ends by itself, but not before its parent."""
    deadline = time.monotonic() + SECONDS_TO_SAVE
    while True:
        try:
            with runs.lock(run_dir):
                return
        except RunError:
            if time.monotonic() > deadline:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)
