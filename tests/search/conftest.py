"""What the tests of the search share: processes that search, and trials that do what a test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kzoo.data.loading import fingerprint
from kzoo.search import SearchConfig, store
from kzoo.search.settings import Settings
from kzoo.search.space import Task
from kzoo.search.store import State, Trial
from kzoo.train import TrainConfig, TransferConfig
from kzoo.train.record import DataRecord, DataSource, RunRecord, ZooModel

collect_ignore = ["scripted", "worker_process.py"]  # for processes of their own
SCRIPTED = Path(__file__).with_name("scripted")


@pytest.fixture
def scripted(tmp_path, monkeypatch, child_environment):
    """Have trials do what a script says; returns a function that reads what they noted, a list of words a line."""
    notes = tmp_path / "notes"
    notes.touch()

    def script(**what):
        monkeypatch.setenv("KZOO_SCRIPT", json.dumps({"notes": str(notes), **what}))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPTED), child_environment["PYTHONPATH"]]))
        return lambda: [line.split(" ", 3) for line in notes.read_text().splitlines()]

    return script


@pytest.fixture
def searching():
    """Start a process that searches; all of them are killed at the end."""
    processes = []

    def start(*arguments, python_flags=()):
        command = [sys.executable, *python_flags, "-m", "kzoo", "search", *map(str, arguments)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def make_search():
    """Write a search whose trials are all in the table, and whose worker has died."""

    def make(folder, count, model=ZooModel("mnist_net")):  # noqa: B008 - frozen
        base = RunRecord(
            model=model,
            data=DataRecord(DataSource("digits")),
            train=TrainConfig(precision="float32"),
            transfer=None if model.weights is None else TransferConfig(),
        )
        settings = Settings(
            search=SearchConfig(seeds=1),
            base=base,
            space={"momentum": {"min": 0.5, "max": 0.99, "scale": "linear", "start": 0.9}},
            fingerprint=fingerprint("digits", None),
        )
        task = Task("digits", 1439, 179, (28, 28, 1), 10, 0.25, {model.name: 524_894})
        rows = [
            Trial(number=n, worker="dead", values={"momentum": 0.5 + n / 100}, epochs=1, seed=n) for n in range(count)
        ]
        folder.mkdir()
        store.write(folder, State(settings=settings, task=task, exhausted=True, trials=rows))

    return make
