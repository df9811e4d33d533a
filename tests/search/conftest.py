"""What the tests of the search share: processes that search, and trials that do what a test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
