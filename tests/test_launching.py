"""`kzoo launch` with real workers: interrupted and killed it goes on to the same bits, and leaves no process behind."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from kzoo import launching
from kzoo.errors import InvalidArgument, RunError
from kzoo.train import load, runs
from kzoo.train.checkpoint import read_state

TRAIN = [
    "mnist_net",
    "digits",
    "--epochs",
    "3",
    "--batch-size",
    "48",
    "--steps-per-execution",
    "2",
    "--precision",
    "float32",
    "--checkpoint-seconds",
    "0",
]


def test_only_trainings_are_launched():
    for arguments in ([], ["predict", "x"], ["--epochs", "3"]):
        with pytest.raises(InvalidArgument, match=r"kzoo launch starts train or finetune\. Received: "):
            launching.launch(arguments, count=2, restarts=0)
    with pytest.raises(InvalidArgument, match=r"Received: 'search'\. Its own --workers try"):
        launching.launch(["search", "mnist_net", "digits"], count=2, restarts=0)
    with pytest.raises(InvalidArgument, match="workers"):
        launching.launch(["train"], count=0, restarts=0)


@contextmanager
def launched(arguments, environment, log):
    """`kzoo launch`; when the context ends, its processes are ended too."""
    with open(log, "ab") as file:
        command = [sys.executable, "-P", "-m", "kzoo", "launch", *map(str, arguments)]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def workers_of(process):
    """The processes of the workers, when both are there."""
    deadline = time.monotonic() + 60
    while len(found := psutil.Process(process.pid).children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) == 2
    return sorted(found, key=lambda one: one.create_time())


def state(run_dir):
    try:
        return read_state(run_dir / runs.CHECKPOINT)
    except RunError:
        return None


def wait_for_step(run_dir, process, epoch, step):
    while process.poll() is None:
        found = state(run_dir)
        if found is not None and (found.epoch, found.step) >= (epoch, step):
            return
        time.sleep(0.02)
    raise AssertionError("it ended before it was to be disturbed")


def assert_gone(processes):
    _, left = psutil.wait_procs(processes, timeout=20)
    assert left == []


def content(run_dir):
    """What must be equal, to the bit."""
    found = state(run_dir)
    assert found is not None
    rows = [{key: row[key] for key in row if key not in ("seconds", "images_per_second")} for row in found.history]
    return rows, [np.asarray(w).tobytes() for which in ("best", "last") for w in load(run_dir, which).get_weights()]


@pytest.mark.slow
def test_interrupted_and_killed_it_ends_in_the_same_bits(tmp_path, child_environment):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    with launched(["--workers", 2, "train", *TRAIN, "--run-dir", run_dir], child_environment, log) as process:
        processes = workers_of(process)
        wait_for_step(run_dir, process, 0, 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
        assert_gone(processes)
    lines = log.read_text().splitlines()
    assert sum(line.startswith("kzoo: ") for line in lines) == 1
    assert lines[-1].startswith("kzoo: Interrupted in epoch ")
    assert lines[-1].endswith(f"Continue with: kzoo train --resume {run_dir}")

    again = ["--workers", 2, "--restarts", 1, "train", "--resume", run_dir, "--json"]
    with launched(again, child_environment, log) as process:
        processes = workers_of(process)
        wait_for_step(run_dir, process, 1, 2)
        processes[1].kill()
        assert process.wait(timeout=240) == 0, log.read_text()[-3000:]
        assert_gone(processes)
    text = log.read_text()
    assert "kzoo: worker 1 was ended by SIGKILL; the others were ended too" in text
    assert "warning: all 2 workers are started again; restarts left: 0" in text
    assert sum(line.startswith('{"run_dir"') for line in text.splitlines()) == 1  # the chief's

    reference = tmp_path / "reference"
    with launched(["--workers", 2, "train", *TRAIN, "--run-dir", reference], child_environment, log) as process:
        assert process.wait(timeout=240) == 0
    assert content(run_dir) == content(reference)


def test_without_restarts_a_killed_worker_ends_it(tmp_path, child_environment):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    with launched(["--workers", 2, "train", *TRAIN, "--run-dir", run_dir], child_environment, log) as process:
        processes = workers_of(process)
        processes[0].kill()
        assert process.wait(timeout=60) == 1
        assert_gone(processes)
    assert log.read_text().splitlines() == ["kzoo: worker 0 was ended by SIGKILL; the others were ended too"]
    assert not run_dir.exists() or not runs.has_checkpoint(run_dir)


def test_a_killed_launcher_leaves_nothing_behind(tmp_path, child_environment):
    with launched(
        ["--workers", 2, "train", *TRAIN, "--run-dir", tmp_path / "run"], child_environment, tmp_path / "log"
    ) as process:
        processes = workers_of(process)
        process.kill()
        assert_gone(processes)


def test_what_all_workers_say_is_said_once(tmp_path, child_environment):
    with launched(
        ["--workers", 2, "train", "mnist_net", tmp_path / "nothing"], child_environment, tmp_path / "log"
    ) as process:
        assert process.wait(timeout=60) == 1
    assert [line[:6] for line in (tmp_path / "log").read_text().splitlines()].count("kzoo: ") == 1
