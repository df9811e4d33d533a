"""A process of the fork server is as good as a new one: what it is given, how it ends, whom it outlives."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import psutil
import pytest
from ended import has_ended

from kzoo.errors import KzooError
from kzoo.hardware import probe
from kzoo.search.forkserver import ForkedProcess, ForkServer
from kzoo.search.processes import CommandProcess
from kzoo.train import TrainConfig, run_record, runs
from kzoo.train.precision import resolve

ECHO = """
import json, os, signal, sys, threading
found = {
    "arguments": sys.argv[1:],
    "said": sys.stdin.readline().strip(),
    "variable": os.environ.get("KZOO_TEST_VARIABLE"),
    "threads": os.environ.get("OPENBLAS_NUM_THREADS"),
    "files": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],  # the last one is of this reading
    "handlers": [signal.getsignal(one) == default for one, default in (
        (signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))],
    "session": os.getsid(0) == os.getpid(),
    "seen": getattr(sys, "seen", 0),
}
sys.seen = 1  # the next process must not know of it
print(json.dumps(found), flush=True)
print("and this is an error", file=sys.stderr)
status = int(sys.stdin.readline() or 1)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


@pytest.fixture
def modules(tmp_path, scripted, monkeypatch):
    """A folder for modules that processes of a fork server can be; the server imports nothing."""
    scripted()
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "echo.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(folder)]))
    return folder


def talk(process, status):
    """Have an echo end with a status; returns what it found."""
    process.stdin.write(f"hello\n{status}\n".encode())
    process.stdin.flush()
    with process:
        found = json.loads(process.stdout.readline())
        found["status"] = process.wait()
        assert process.poll() == found["status"]
    return found


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("status", [0, 3, -signal.SIGKILL, -signal.SIGSEGV])
def test_what_a_process_is_given_and_how_it_ends(status, tmp_path, modules, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    with ForkServer() as server, open(tmp_path / "log", "wb") as log:
        for _ in range(2):
            process = server.start("echo", "a", "b c", environment={"KZOO_TEST_VARIABLE": "x y"}, stderr=log)
            assert isinstance(process, ForkedProcess)
            assert talk(process, status) == {
                "arguments": ["a", "b c"], "said": "hello", "variable": "x y", "threads": "7", "files": [0, 1, 2],
                "handlers": [True, True], "session": True, "seen": 0, "status": status,
            }  # fmt: skip
            assert not process.is_lost
    assert (tmp_path / "log").read_text() == "and this is an error\n" * 2


def test_a_signal_reaches_a_process_and_nobody_after_its_end(modules):
    with ForkServer() as server:
        process, other = server.start("echo"), server.start("echo")
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.kill()
        assert other.poll() is None
        assert talk(other, 0)["status"] == 0
        process.__exit__(None, None, None)


def test_a_server_that_was_killed_ends_its_processes_and_is_started_again(modules):
    with ForkServer() as server:
        process = server.start("echo")
        server._process.kill()
        assert process.wait() == -signal.SIGKILL
        assert isinstance(process, ForkedProcess)
        assert process.is_lost
        assert process.stdout is not None
        process.stdout.read()  # to the end of the process, whose input has ended
        assert talk(server.start("echo"), 5)["status"] == 5
        process.__exit__(None, None, None)


def test_a_server_that_cannot_import_is_an_error(modules, monkeypatch, capfd):
    (modules / "sitecustomize.py").write_text("import sys\nsys.modules['runpy'] = None")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    with ForkServer() as server, pytest.raises(KzooError, match="imports TensorFlow for all trials ended, twice"):
        server.start("echo")


def test_where_an_import_starts_a_thread_processes_start_anew(modules, monkeypatch, capfd):
    (modules / "sitecustomize.py").write_text(
        "import sys, threading, types\n"
        "sys.modules['kzoo.search.preloaded'] = types.ModuleType('preloaded')\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(modules))
    with ForkServer() as server:
        process = server.start("echo", environment={"KZOO_TEST_VARIABLE": "x"})
        assert isinstance(process, subprocess.Popen)
        found = talk(process, 4)
        assert (found["variable"], found["status"], found["said"]) == ("x", 4, "hello")
        assert server._process is None
    assert capfd.readouterr().err.count("each trial starts TensorFlow anew: an import has started a thread") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_a_scheduler_sends_to_all_is_for_the_trials(number, modules):
    """They save their state; the server stays to tell how they end."""
    with ForkServer() as server:
        process = server.start("echo")
        os.kill(server._process.pid, number)
        assert talk(process, 6)["status"] == 6


def test_nothing_outlives_the_searching_process(modules):
    code = """
import sys, time
from kzoo.search.forkserver import ForkServer
with ForkServer() as server:
    process = server.start("kzoo.child", "-", "train", "9999")
    print(server._process.pid, process.pid, flush=True)
    time.sleep(60)
"""
    script = {**json.loads(os.environ["KZOO_SCRIPT"]), "9999": "hang"}
    environment = {**os.environ, "KZOO_SCRIPT": json.dumps(script)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as searching:
        assert searching.stdout is not None
        pids = list(map(int, searching.stdout.readline().split()))
        assert all(map(psutil.pid_exists, pids))
        searching.kill()
    wait_for(lambda: all(map(has_ended, pids)))


def parts_of(path):
    """A model without the date at which it was saved."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if name != "metadata.json"}


def test_a_trial_ends_in_the_bits_of_kzoo_train(tmp_path, child_environment):
    """And what trials import leaves one thread and no device: else each would start TensorFlow anew."""
    record = run_record("mnist_net", "digits", config=TrainConfig(epochs=1, batch_size=128, seed=5))
    record = replace(record, train=resolve(record.train, probe())[0])
    for name in ("trial", "train"):
        (tmp_path / name).mkdir()
        runs.create(tmp_path / name, record)
    with ForkServer() as server:
        process = CommandProcess(server, ["train", "--resume", str(tmp_path / "trial")], tmp_path / "log")
        assert isinstance(process._process, ForkedProcess)
        command = [sys.executable, "-P", "-m", "kzoo", "train", "--resume", str(tmp_path / "train")]
        subprocess.run(command, check=True, capture_output=True, env=child_environment)
        assert process.finish() == 0
    assert parts_of(tmp_path / "trial" / runs.BEST) == parts_of(tmp_path / "train" / runs.BEST)
