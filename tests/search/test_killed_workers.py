"""Three workers on one folder, killed again and again: every trial ends once, and the best is that of a quiet search.

Everything is real here: the trials train, and SIGKILL comes at random moments.
"""

import collections
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import psutil
import pytest

from kzoo.train import runs

KILLS = 20
SPACE = {"learning_rate": {"values": [0.02, 0.1, 0.5]}, "label_smoothing": {"values": [0.0, 0.1, 0.2]}}
TRAIN = ("--epochs", 2, "--optimizer", "sgd", "--batch-size", 64, "--precision", "float32", "--checkpoint-seconds", 0)
SEARCH = ("--algorithm", "grid", "--trials", 9, "--seeds", 1)


def rows_of(folder):
    return json.loads((folder / "search.json").read_text())["trials"]


def table_of(folder):
    """What does not depend on time or on who ran a trial."""
    columns = ("number", "status", "values", "epochs", "seed", "accuracy", "loss", "parameters")
    return [{name: row[name] for name in columns} for row in rows_of(folder)]


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture
def start(tmp_path, child_environment):
    """Start a process that searches, with its lines in a log; all of them are killed at the end."""
    processes = []

    def begin(*arguments):
        command = [sys.executable, "-m", "kzoo", "search", *map(str, arguments), "--json"]
        with open(tmp_path / "log", "ab") as log:  # a pipe that nobody reads would fill
            pipe = subprocess.PIPE
            processes.append(subprocess.Popen(command, stdout=pipe, stderr=log, text=True, env=child_environment))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def trial_of(worker):
    """The processes of trials that a worker has."""
    with contextlib.suppress(psutil.Error):
        return [one for one in psutil.Process(worker.pid).children(recursive=True) if one.name() == "kzoo-child"]
    return []


def parts_of(path):
    """A model without the date at which it was saved."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if name != "metadata.json"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_workers_killed_twenty_times(tmp_path, start):
    space, quiet, shared = tmp_path / "space.json", tmp_path / "quiet", tmp_path / "shared"
    space.write_text(json.dumps(SPACE))
    flags = ("mnist_net", "digits", *SEARCH, *TRAIN, "--space", space, "--run-dir")
    began = time.monotonic()
    process = start(*flags, quiet)
    output, _ = process.communicate()
    assert process.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    expected = json.loads(output.splitlines()[-1])["best"]
    quiet_seconds = time.monotonic() - began
    (tmp_path / "log").unlink()

    rng, trial_seconds = np.random.default_rng(17), quiet_seconds / 9
    began = time.monotonic()
    workers = [start(*flags, shared)]
    wait_for((shared / "search.json").exists, 300)
    workers += [start("--resume", shared) for _ in range(2)]

    def moment():
        """When a worker is killed: a third at any moment from its start, the others after they have begun a trial."""
        return time.monotonic() + rng.uniform(1, trial_seconds) if rng.random() < 1 / 3 else None

    moments: list = [moment() for _ in workers]
    ended, victims, kills, in_hand = {}, [], 0, 0
    while kills < KILLS:
        time.sleep(0.1)
        for who, worker in enumerate(workers):
            assert worker.poll() is None, f"the search ended after {kills} kills"
            if moments[who] is None and trial_of(worker):
                moments[who] = time.monotonic() + rng.uniform(0, 1.2 * trial_seconds)
            if moments[who] is None or time.monotonic() < moments[who] or kills == KILLS:
                continue
            victims += trial_of(worker)
            in_hand += bool(trial_of(worker))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            kills += 1
            now = {row["number"]: row for row in rows_of(shared) if row["status"] != "running"}
            assert ended.items() <= now.items(), "a trial that had ended was changed"
            ended = now
            workers[who], moments[who] = start("--resume", shared), moment()
    kill_seconds = time.monotonic() - began
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 3, (tmp_path / "log").read_text()[-3000:]
    seconds = time.monotonic() - began

    # All trials ended, each once, and as in the search that nobody disturbed.
    assert table_of(shared) == table_of(quiet)
    rows = rows_of(shared)
    assert [(row["number"], row["status"]) for row in rows] == [(number, "completed") for number in range(9)]
    assert all(rows[number] == row for number, row in ended.items())
    log = (tmp_path / "log").read_text()
    ends = collections.Counter(re.findall(r"^trial (\d+): [\d.]+ %", log, re.MULTILINE))
    assert max(ends.values()) == 1, "a trial ended twice"
    for row in rows:
        history = runs.read_column(shared / "trials" / f"{row['number']:04d}", "epoch")
        assert history == [1, 2]
    # Every worker says the same best, and its model is the same to the bit.
    best = [json.loads(output.splitlines()[-1])["best"] for output in outputs]
    assert best[0] == best[1] == best[2]
    for name in ("trial", "run", "accuracy", "values", "test", "verified"):
        assert best[0][name] == expected[name], name
    assert parts_of(shared / "best.keras") == parts_of(quiet / "best.keras")
    assert not [victim for victim in victims if victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE]
    taken_over = log.count("goes on here")
    print(
        f"{kills} kills in {kill_seconds:.0f} s, {in_hand} of them with a trial in hand, {taken_over} trials taken "
        f"over; done after {seconds:.0f} s, without kills in one process {quiet_seconds:.0f} s"
    )
