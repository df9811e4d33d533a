"""A worker of a search: takes trials, and has a process for each of them."""

import time
from dataclasses import dataclass
from pathlib import Path

from kzoo import console
from kzoo.hardware import probe
from kzoo.search import store
from kzoo.search.processes import TrialProcess, share_of_cores, share_of_gpus
from kzoo.search.settings import Settings
from kzoo.search.store import Trial
from kzoo.search.trials import Trials

SECONDS_BETWEEN_TURNS = 0.1
# What a trial gets to save its state after Ctrl-C.
SECONDS_TO_SAVE = 20.0


@dataclass(frozen=True)
class RunningTrial:
    """A trial of this worker in progress."""

    trial: Trial
    process: TrialProcess


def run(trials: Trials, slots: int) -> None:
    """Run trials until the search has its result, or this worker is the one to find it.

    Args:
        trials: Of the search.
        slots: How many trials to run at the same time.

    Raises:
        KeyboardInterrupt: Ctrl-C; trials in progress have saved their state.
    """
    gpus = len(probe().gpus)
    running: dict[int, RunningTrial] = {}
    try:
        while True:
            for slot, one in list(running.items()):
                if not trials.is_mine(one.trial):
                    console.warn(f"trial {one.trial.number} has gone to another worker")
                    one.process.kill("another worker has it")
                    one.process.finish()
                    del running[slot]
                elif not one.process.running:
                    del running[slot]
                    _end(trials, one)
            for slot in range(slots):
                if slot not in running and (trial := trials.take()) is not None:
                    run_dir = store.run_dir(trials.folder, trial.number)
                    process = _start(run_dir, trials.look().settings, slot, slots, gpus)
                    running[slot] = RunningTrial(trial, process)
            trials.keep_time()
            if trials.look().result is not None or trials.is_finisher:
                return
            time.sleep(SECONDS_BETWEEN_TURNS)
    except KeyboardInterrupt:
        _interrupt([one.process for one in running.values()])
        raise
    finally:
        for one in running.values():
            one.process.kill("the search ended")


def _start(run_dir: Path, settings: Settings, slot: int, slots: int, gpus: int) -> TrialProcess:
    """Begin a trial's process, or go on with it."""
    limit = settings.search.trial_memory_limit
    return TrialProcess(
        [settings.base.command, "--resume", str(run_dir)],
        run_dir / store.LOG,
        cores=share_of_cores(slot, slots),
        gpus=share_of_gpus(slot, slots, gpus),
        time_limit=settings.search.trial_time_limit,
        memory_limit=None if limit is None else round(limit * 10**9),
    )


def _end(trials: Trials, one: RunningTrial) -> None:
    """Write down what became of a trial."""
    status = one.process.finish()
    seconds = round(time.monotonic() - one.process.started, 1)
    if status == 0:
        trials.complete(one.trial, seconds)
    else:
        trials.fail(one.trial, one.process.reason(status), seconds)


def _interrupt(processes: list[TrialProcess]) -> None:
    """Have processes of trials save their state and end."""
    for process in processes:
        process.interrupt()
    deadline = time.monotonic() + SECONDS_TO_SAVE
    while any(process.running for process in processes) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_TURNS)
