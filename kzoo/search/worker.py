"""A worker of a search: takes trials, and has a process for each of them."""

import time

from kzoo import console
from kzoo.hardware import probe, share_of_cores, share_of_gpus
from kzoo.search import store
from kzoo.search.processes import CommandProcess
from kzoo.search.store import Trial
from kzoo.search.trials import Trials

SECONDS_BETWEEN_TURNS = 0.1
# What a trial gets to save its state after Ctrl-C.
SECONDS_TO_SAVE = 20.0


def run(trials: Trials, slots: int) -> None:
    """Run trials, `slots` at the same time, until the search has its result or this worker is the one to find it.

    Raises:
        KeyboardInterrupt: Ctrl-C; trials in progress have saved their state.
    """
    gpus = len(probe().gpus)
    running: dict[int, tuple[Trial, CommandProcess]] = {}

    def start(trial: Trial, slot: int) -> CommandProcess:
        return _start(trials, trial, share_of_cores(slot, slots), share_of_gpus(slot, slots, gpus))

    try:
        while True:
            for slot, (trial, process) in list(running.items()):
                if not trials.is_mine(trial):
                    console.warn(f"trial {trial.number} has gone to another worker")
                    process.kill("another worker has it")
                    process.finish()
                    del running[slot]
                elif not process.running:
                    del running[slot]
                    if _end(trials, trial, process):
                        continue
                    console.warn(f"trial {trial.number} goes on from its checkpoint: the fork server was killed")
                    running[slot] = trial, start(trial, slot)
            for slot in range(slots):
                if slot not in running and (trial := trials.take()) is not None:
                    running[slot] = trial, start(trial, slot)
            trials.keep_time()
            if trials.look().result is not None or trials.is_finisher:
                return
            time.sleep(SECONDS_BETWEEN_TURNS)
    except KeyboardInterrupt:
        _interrupt([process for _, process in running.values()])
        raise
    finally:
        for _, process in running.values():
            process.kill("the search ended")


def _start(trials: Trials, trial: Trial, cores: list[int], gpus: list[int] | None) -> CommandProcess:
    """Begin a trial's process, or go on with it."""
    run_dir, settings = store.run_dir(trials.folder, trial.number), trials.look().settings
    limit = settings.search.trial_memory_limit
    return CommandProcess(
        trials.helper.server,
        [settings.base.command, "--resume", str(run_dir)],
        run_dir / store.LOG,
        cores=cores,
        gpus=gpus,
        time_limit=settings.search.trial_time_limit,
        memory_limit=None if limit is None else round(limit * 10**9),
    )


def _end(trials: Trials, trial: Trial, process: CommandProcess) -> bool:
    """Write down what became of a trial, if its process tells."""
    status = process.finish()
    if process.is_lost:
        return False
    seconds = round(time.monotonic() - process.started, 1)
    if status == 0:
        trials.complete(trial, seconds)
    else:
        trials.fail(trial, process.reason(status), seconds)
    return True


def _interrupt(processes: list[CommandProcess]) -> None:
    """Have processes of trials save their state and end."""
    for process in processes:
        process.interrupt()
    deadline = time.monotonic() + SECONDS_TO_SAVE
    while any(process.running for process in processes) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_TURNS)
