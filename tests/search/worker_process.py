"""A worker of a search without TensorFlow: takes trials and does with them what the test says.

    python worker_process.py MODE SEARCH_DIR [MACHINE]

hold: waits. take: takes a trial, waits for a line on standard input, then writes its end. all: takes and ends trials
until there are none. finish: takes nothing, and waits. run: is a worker as any other.
"""

import json
import sys
from pathlib import Path

from kzoo.search import store, worker
from kzoo.search.forkserver import ForkServer
from kzoo.search.helper import HelperProcess
from kzoo.search.leases import Lease, Observer
from kzoo.search.trials import Trials


def end(trials, trial):
    run_dir = store.run_dir(trials.folder, trial.number)
    (run_dir / "history.csv").write_text("epoch,images_per_second\n1,100\n")
    figures = {"accuracy": 0.5, "loss": 0.5, "images": 10, "interval": [0.2, 0.8]}
    (run_dir / "metrics.json").write_text(
        json.dumps({"epochs": 1, "best_epoch": 1, "training_seconds": 1.0, "validation": figures})
    )
    trials.complete(trial, 1.0)


if __name__ == "__main__":
    mode, folder, *machine = sys.argv[1:]
    with Lease(Path(folder), machine=machine[0] if machine else None) as lease, ForkServer() as server:
        trials = Trials(Path(folder), lease, Observer(Path(folder)), HelperProcess(server), 1)
        print(lease.worker, flush=True)
        if mode == "hold":
            sys.stdin.readline()
        elif mode == "take":
            trial = trials.take()
            assert trial is not None
            print(trial.number, flush=True)
            sys.stdin.readline()
            end(trials, trial)
        elif mode == "all":
            sys.stdin.readline()  # all workers begin at the same moment
            while (trial := trials.take()) is not None:
                print(trial.number, flush=True)
                end(trials, trial)
        elif mode == "finish":
            assert trials.take() is None
            print(f"finisher: {trials.is_finisher}", flush=True)
            sys.stdin.readline()
        elif mode == "run":
            worker.run(trials, 1)
