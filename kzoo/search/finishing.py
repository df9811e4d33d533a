"""What is left to do when all trials have ended: the best model, loaded again and scored, and the picture."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from kzoo import console
from kzoo.errors import KzooError, RunError
from kzoo.files import atomic_path
from kzoo.search import ranking, store
from kzoo.search.forkserver import ForkServer
from kzoo.search.helper import HelperProcess
from kzoo.search.processes import CommandProcess
from kzoo.search.store import BestTrial, State, Trial
from kzoo.train import runs


def finish(folder: Path, state: State, helper: HelperProcess) -> BestTrial:
    """Find the best trial, export its model, and score it in fresh processes.

    Raises:
        RunError: No trial has completed.
    """
    if not ranking.completed(state.trials):
        reasons = [trial.reason for trial in state.trials] or ["no trial was begun"]
        raise RunError(f"No trial of the search completed. Received: {reasons[-1]} See {folder / store.TRIALS}.")
    best = ranking.winner(state.trials, state.task.validation_images)
    run_dir = store.run_dir(folder, best.run)
    with atomic_path(folder / store.BEST) as temporary:
        shutil.copyfile(run_dir / runs.BEST, temporary)
    best = replace(
        best,
        verified=_is_verified(run_dir, state.trials[best.run], helper.server),
        test=_evaluate(run_dir, "test", helper.server),
        pareto=sorted(ranking.pareto(state.trials)),
    )
    try:
        helper.ask("plot", folder=str(folder), best=asdict(best))
    except KzooError as error:
        console.warn(f"no plot: {error}")
    return best


def _is_verified(run_dir: Path, trial: Trial, server: ForkServer) -> bool:
    """Whether the best model, loaded in a fresh process, has the score that its trial reported."""
    figures = _evaluate(run_dir, "validation", server)
    # The same images in the same precision: rounding may differ by the number of cores, so that a tie tips over.
    same = figures is not None and abs(figures["accuracy"] - trial.accuracy) * figures["images"] < 1.5
    if not same:
        found = "nothing" if figures is None else figures["accuracy"]
        console.warn(f"loaded again, the best model scores {found}, not {trial.accuracy}: {run_dir}")
    return same


def _evaluate(run_dir: Path, split: str, server: ForkServer) -> dict | None:
    """Figures of a run's best model by `kzoo evaluate`, in a fresh process; None, and a line why, if it fails."""
    command = ["evaluate", str(run_dir), "--split", split, "--json"]
    while True:
        process = CommandProcess(server, command, run_dir / store.LOG)
        try:
            status = process.finish()
        except KeyboardInterrupt:
            process.kill("Ctrl-C")
            process.finish()
            raise
        if not process.is_lost:
            break
    if status != 0:
        console.log(f"no {split} figures: {process.reason(status)}")
        return None
    return json.loads(process.last_line())
