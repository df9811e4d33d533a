"""Chief and workers of a search: a death of either is noticed, and no trial is lost or done twice.

The processes, the network (loopback) and the signals are real; the trials are scripted. The silence that means death
is shortened from 40 s by the script for those processes, so that the tests are short.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from kzoo.errors import InvalidArgument
from kzoo.search import cluster

SPACE = {"momentum": {"min": 0.5, "max": 0.99}}
CODE = """
import sys
from kzoo.cli import main
from kzoo.search import cluster
cluster.SECONDS_BETWEEN_CALLS, cluster.SECONDS_OF_SILENCE = 0.5, float(sys.argv[1])
cluster.SECONDS_TO_START = max(30, cluster.SECONDS_OF_SILENCE) if cluster.SECONDS_OF_SILENCE > 2 else 2
main(sys.argv[2:])
"""


@pytest.fixture
def machines(tmp_path, scripted):
    """Start a process of a role; all of them are killed at the end."""
    processes = []
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (tmp_path / "space.json").write_text(json.dumps(SPACE))

    def start(name, *arguments, silence=15):
        environment = {
            **os.environ,
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
        }
        arguments = arguments or ("--resume", tmp_path / "run")
        command = [sys.executable, "-c", CODE, str(silence), "search", *map(str, arguments)]
        with open(tmp_path / f"{name}.log", "a") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def begin(tmp_path, trials):
    flags = ("--algorithm", "random", "--trials", trials, "--seeds", 1, "--space", tmp_path / "space.json")
    return ("mnist_net", "digits", *flags, "--run-dir", tmp_path / "run")


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def rows(tmp_path):
    return json.loads((tmp_path / "run" / "search.json").read_text())["trials"]


def test_a_part_of_the_variables_is_a_mistake(monkeypatch):
    assert cluster.role() is None
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker")
    with pytest.raises(InvalidArgument, match="Received: no KERASTUNER_ORACLE_IP"):
        cluster.role()


@pytest.mark.slow
def test_a_dead_worker_and_a_dead_chief(tmp_path, scripted, machines):
    notes = scripted(seconds=0.7)
    chief = machines("chief", *begin(tmp_path, 10))
    workers = [machines(name, *begin(tmp_path, 10)) for name in ("one", "two")]
    ended = lambda: [int(line[1]) for line in notes() if line[0] == "end"]  # noqa: E731
    wait_for(lambda: len(ended()) >= 2)
    workers[0].send_signal(signal.SIGKILL)  # with a trial in its hands, most of the time
    wait_for(lambda: len(ended()) >= 4)
    chief.send_signal(signal.SIGKILL)
    chief.wait()
    finished = {row["number"]: row for row in rows(tmp_path) if row["status"] == "completed"}
    chief = machines("chief")  # the other worker goes on with it
    assert chief.wait(120) == 0, (tmp_path / "chief.log").read_text()[-3000:]
    assert workers[1].wait(60) == 0, (tmp_path / "two.log").read_text()[-3000:]
    found = rows(tmp_path)
    assert [(row["number"], row["status"]) for row in found] == [(number, "completed") for number in range(10)]
    assert all(found[number] == row for number, row in finished.items())
    assert sorted(ended()) == list(range(10)), "a trial was done twice"


@pytest.mark.slow
def test_a_worker_gives_up_on_a_chief_that_stays_dead(tmp_path, scripted, machines):
    notes = scripted(seconds=60)
    chief = machines("chief", *begin(tmp_path, 3))
    worker = machines("one", *begin(tmp_path, 3), silence=4)
    wait_for(lambda: notes())
    chief.kill()
    died = time.monotonic()
    assert worker.wait(60) == 1
    # Half a second between calls, 4 s of silence, 10 s at most for the last call to give up.
    assert time.monotonic() - died < 16
    last = (tmp_path / "one.log").read_text().splitlines()[-1]
    assert last.startswith("kzoo: The chief has not answered for 4 s. Received: nothing from 127.0.0.1:")
    assert rows(tmp_path)[0]["status"] == "running"


@pytest.mark.slow
def test_a_worker_without_a_chief_says_so(tmp_path, machines):
    worker = machines("one", *begin(tmp_path, 3), silence=2)
    assert worker.wait(60) == 1
    assert "kzoo: The chief has not answered for 2 s." in (tmp_path / "one.log").read_text()
