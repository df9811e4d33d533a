"""A trial is ended by its worker: with its figures, or with why it has none. Nothing here needs TensorFlow."""

import json
import math
import time

import pytest

from kzoo.search import store, worker
from kzoo.search import trials as trials_module
from kzoo.search.forkserver import ForkServer
from kzoo.search.helper import HelperProcess
from kzoo.search.leases import Lease, Observer
from kzoo.search.trials import Trials
from kzoo.train import runs

METRICS = {
    "epochs": 1, "best_epoch": 1, "training_seconds": 1.0,
    "validation": {"accuracy": 0.5, "loss": 0.5, "images": 10, "interval": [0.2, 0.8]},
}  # fmt: skip


@pytest.fixture
def trials(tmp_path, make_search):
    """Of a search of two trials, for a worker in this process."""
    make_search(tmp_path / "run", 2)
    with Lease(tmp_path / "run") as lease, ForkServer() as server:
        yield Trials(tmp_path / "run", lease, Observer(tmp_path / "run"), HelperProcess(server), 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.csv", "epoch,images_per_second\n"),
        ("history.csv", "epoch\n1\n"),
        ("history.csv", "epoch,images_per_second\n1,fast\n"),
        ("metrics.json", "{}"),
        ("metrics.json", '{"epochs": 1, "best_epoch": 1, "training_seconds": 1}'),
        ("metrics.json", json.dumps({**METRICS, "validation": {**METRICS["validation"], "accuracy": math.nan}})),
        ("metrics.json", json.dumps({**METRICS, "validation": {**METRICS["validation"], "loss": None}})),
        ("config.json", "{}"),
    ],
)  # fmt: skip
def test_a_trial_without_figures_has_failed(name, content, trials):
    trial = trials.take()
    run_dir = store.run_dir(trials.folder, trial.number)
    (run_dir / runs.METRICS).write_text(json.dumps(METRICS))
    (run_dir / runs.HISTORY).write_text("epoch,images_per_second\n1,100\n")
    (run_dir / name).write_text(content)
    trials.complete(trial, 1.0)
    [row, _] = store.read(trials.folder).trials
    assert row.status == "failed"
    assert row.reason.startswith("its run has no figures: ")


def test_a_damaged_run_ends_its_trial_and_no_worker(trials, scripted):
    """The process of the trial says what is wrong with its config.json."""
    notes = scripted(**{"0": "error"}, seconds=0)
    run_dir = store.run_dir(trials.folder, 0)
    run_dir.mkdir(parents=True)
    (run_dir / runs.CONFIG).write_text("{")
    worker.run(trials, 1)
    assert [line[:2] for line in notes() if line[0] == "begin"] == [["begin", "0"], ["begin", "1"]]
    assert [row.status for row in store.read(trials.folder).trials] == ["failed", "completed"]
    assert trials.is_finisher


def test_the_time_of_a_search_is_written_while_nothing_else_happens(trials, monkeypatch):
    """A worker that is killed again and again in the middle of trials does not begin anew with its time limit."""
    trials.keep_time()
    assert store.read(trials.folder).seconds == 0
    monkeypatch.setattr(trials_module, "SECONDS_BETWEEN_NOTES", 0.3)
    time.sleep(0.4)
    trials.keep_time()
    assert 0.4 <= store.read(trials.folder).seconds < 10
    before = store.content(trials.folder)
    trials.keep_time()
    assert store.content(trials.folder) == before
