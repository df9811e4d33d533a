"""A trial belongs to one worker at a time: a dead worker's goes to another, and a live worker's to none.

The processes, the locks and the signals are real. No trial trains, so nothing here needs TensorFlow.
"""

import builtins
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ended import has_ended

from kzoo import files
from kzoo.errors import RunError
from kzoo.search import leases, store
from kzoo.search.forkserver import ForkServer
from kzoo.search.helper import HelperProcess
from kzoo.search.leases import Lease, Observer
from kzoo.search.trials import SECONDS_BETWEEN_LOOKS, Trials
from kzoo.train import runs

WORKER = Path(__file__).with_name("worker_process.py")


@pytest.fixture
def worker(child_environment):
    """Start a worker in a process of its own; gives the process and the worker's name."""
    processes = []

    def start(mode, folder, *machine):
        command = [sys.executable, WORKER, mode, folder, *machine]
        pipe = subprocess.PIPE
        path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), child_environment["PYTHONPATH"]])
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def here(tmp_path):
    """Be a worker of the search in this process, which sees other machines' workers die after half a second."""
    entered = []

    def enter(folder):
        entered.append(Lease(folder).__enter__())
        return Trials(folder, entered[-1], Observer(folder, seconds_to_expire=0.5), HelperProcess(ForkServer()), 1)

    yield enter
    for lease in entered:
        lease.__exit__()


def wait_for(get, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := get()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def test_a_worker_that_was_killed_is_dead_at_once(tmp_path, worker, make_search):
    make_search(tmp_path / "run", 0)
    process, name = worker("hold", tmp_path / "run")
    observer = Observer(tmp_path / "run")
    assert observer.is_alive(name)
    process.send_signal(signal.SIGSTOP)  # a pause is no death
    assert observer.is_alive(name)
    process.kill()
    process.wait()
    assert not observer.is_alive(name)


def test_a_worker_that_has_left_is_dead_for_every_machine(tmp_path, worker, make_search):
    make_search(tmp_path / "run", 0)
    process, name = worker("hold", tmp_path / "run", "elsewhere")
    observer = Observer(tmp_path / "run")
    assert observer.is_alive(name)
    process.communicate("\n")
    assert not observer.is_alive(name)
    assert list((tmp_path / "run" / leases.FOLDER).iterdir()) == []


def test_a_worker_of_another_machine_is_dead_when_its_file_has_not_changed_for_a_minute(tmp_path):
    folder = tmp_path / leases.FOLDER
    folder.mkdir()
    assert leases.SECONDS_TO_EXPIRE == 60 >= 3 * leases.SECONDS_BETWEEN_RENEWALS
    observer = Observer(tmp_path, seconds_to_expire=1)

    def renew(number):
        (folder / "far.json").write_text(json.dumps({"machine": "elsewhere", "pid": 1, "renewals": number}))

    for number in range(4):  # longer than that in all
        renew(number)
        assert observer.is_alive("far")
        time.sleep(0.4)
        assert observer.is_alive("far")
    wait_for(lambda: not observer.is_alive("far"), 3)
    # Another observer has not looked for so long, whatever the time of the file.
    os.utime(folder / "far.json", (0, 0))
    assert Observer(tmp_path, seconds_to_expire=1).is_alive("far")
    renew(9)
    assert observer.is_alive("far")


def test_locks_that_do_not_hold_between_machines_are_noticed(tmp_path, make_search, here):
    """A worker elsewhere renews its file, and its lock can be taken here: so can the folder's, by both at once."""
    make_search(tmp_path / "run", 1)
    trials = here(tmp_path / "run")
    folder = tmp_path / "run" / leases.FOLDER

    def renew(number):  # by the worker of the trial
        (folder / "dead.json").write_text(json.dumps({"machine": "elsewhere", "pid": 1, "renewals": number}))
        time.sleep(1.1 * SECONDS_BETWEEN_LOOKS)
        trials.look()

    with files.locked(folder / "dead.lock", wait=False):
        renew(0)
        renew(1)
    renew(2)  # and killed before it was looked at
    trials.look()
    with pytest.raises(RunError, match=r"do not hold between the machines of this search\. Received: dead "):
        renew(3)


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, make_search, monkeypatch):
    """On NFS the old file can be gone."""
    make_search(tmp_path / "run", 1)
    expected = store.read(tmp_path / "run")
    real, times = builtins.open, []

    def lose_the_first(path, mode="r", *arguments, **options):
        if mode == "rb":
            times.append(path)
            if len(times) == 1:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(builtins, "open", lose_the_first)
    assert store.read(tmp_path / "run") == expected
    assert len(times) == 2
    times.clear()
    with Lease(tmp_path / "run", machine="elsewhere") as lease:
        assert Observer(tmp_path / "run").is_alive(lease.worker)
    assert len(times) == 2


def test_leases_are_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "SECONDS_BETWEEN_RENEWALS", 0.05)
    with Lease(tmp_path, machine="elsewhere") as lease:
        observer = Observer(tmp_path, seconds_to_expire=0.3)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert observer.is_alive(lease.worker)
            time.sleep(0.05)


def test_the_trial_of_a_killed_worker_goes_to_another(tmp_path, worker, here, make_search):
    make_search(tmp_path / "run", 1)
    process, name = worker("take", tmp_path / "run")
    assert process.stdout.readline() == "0\n"
    trials = here(tmp_path / "run")
    assert trials.take() is None
    assert not trials.is_finisher
    process.kill()
    process.wait()
    taken = wait_for(trials.take)
    assert (taken.number, taken.worker != name) == (0, True)
    trials.fail(taken, "no reason", 1.0)
    [row] = store.read(tmp_path / "run").trials
    assert (row.status, row.reason, row.worker) == ("failed", "no reason", taken.worker)


def test_a_trial_whose_process_has_not_ended_goes_to_nobody(tmp_path, here, make_search):
    make_search(tmp_path / "run", 1)
    run_dir = store.run_dir(tmp_path / "run", 0)
    run_dir.mkdir(parents=True)
    trials = here(tmp_path / "run")
    with runs.lock(run_dir):
        assert trials.take() is None
        assert not trials.is_finisher
    assert wait_for(trials.take).number == 0


def test_a_suspended_worker_that_has_lost_its_trial_writes_nothing(tmp_path, worker, here, make_search):
    make_search(tmp_path / "run", 2)
    process, _ = worker("take", tmp_path / "run", "elsewhere")
    assert process.stdout.readline() == "0\n"
    process.send_signal(signal.SIGSTOP)
    trials = here(tmp_path / "run")
    assert trials.take().number == 1
    taken = wait_for(trials.take)
    assert (taken.number, store.read(tmp_path / "run").trials[0].worker) == (0, taken.worker)
    process.send_signal(signal.SIGCONT)
    process.communicate("\n")  # it has an end to write
    assert process.returncode == 0
    assert store.read(tmp_path / "run").trials[0] == taken
    trials.fail(taken, "of the new worker", 1.0)
    assert store.read(tmp_path / "run").trials[0].reason == "of the new worker"


def test_a_suspended_worker_ends_the_process_of_a_trial_that_it_has_lost(tmp_path, scripted, worker, here, make_search):
    notes = scripted(seconds=60)
    make_search(tmp_path / "run", 1)
    process, _ = worker("run", tmp_path / "run", "elsewhere")
    pid = int(wait_for(notes)[0][2])
    process.send_signal(signal.SIGSTOP)
    trials = here(tmp_path / "run")
    taken = wait_for(trials.take)
    trials.fail(taken, "of the new worker", 1.0)
    assert psutil.pid_exists(pid)
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: has_ended(pid), 5)
    assert process.wait(30) == 0
    assert store.read(tmp_path / "run").trials[0].reason == "of the new worker"


def test_workers_share_out_the_trials(tmp_path, worker, make_search):
    make_search(tmp_path / "run", 40)
    processes = [worker("all", tmp_path / "run")[0] for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    taken = [[int(line) for line in process.communicate()[0].splitlines()] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    assert sorted(number for some in taken for number in some) == list(range(40))
    assert {row.status for row in store.read(tmp_path / "run").trials} == {"completed"}


def test_one_worker_finishes_and_another_takes_over(tmp_path, here, worker, make_search):
    make_search(tmp_path / "run", 0)
    process, name = worker("finish", tmp_path / "run")
    assert process.stdout.readline() == "finisher: True\n"
    trials, other = here(tmp_path / "run"), here(tmp_path / "run")
    assert trials.take() is None
    assert not trials.is_finisher
    process.kill()
    process.wait()
    wait_for(lambda: trials.take() is None and trials.is_finisher)
    time.sleep(SECONDS_BETWEEN_LOOKS)
    assert other.take() is None
    assert not other.is_finisher
    assert store.read(tmp_path / "run").finisher != name


RESULT = {
    "trial": 2, "run": 0, "accuracy": 0.5, "loss": 0.5, "accuracies": [0.5], "values": {}, "epochs": 1,
    "verified": True, "test": None, "pareto": [],
}  # fmt: skip
DAMAGED = [
    (lambda search: search.pop("seconds"), "no seconds"),
    (lambda search: search.update(oracel=None), "oracel = None"),
    (lambda search: search.update(trials={}), "trials = {}"),
    (lambda search: search["trials"][1].update(status="ended"), "trials[1].status = 'ended'"),
    (lambda search: search["trials"][0].pop("worker"), "no trials[0].worker"),
    (lambda search: search["settings"]["base"].update(train=7), "settings.base.train = 7"),
    (lambda search: search["settings"]["search"].update(seeds="3"), "settings.search.seeds = '3'"),
    (lambda search: search["settings"]["search"].update(seeds=0), "settings.search: seeds must be a whole number"),
    (lambda search: search["task"].update(image_shape=[28, 28]), "task.image_shape = [28, 28]"),
    (lambda search: search["task"]["parameters"].update(mnist_net=None), "task.parameters.mnist_net = None"),
    (lambda search: search["task"]["parameters"].pop("mnist_net"), "task.parameters must be of each model"),
    (lambda search: search["task"].update(validation_images=0), "task: validation_images must be a whole number"),
    (lambda search: search["trials"][1].update(status="completed"), "trials[1]: accuracy must be a number from 0 to 1"),
    (lambda search: search["trials"][1].update(number=0), "trials[1].number must be"),
    (lambda search: search["trials"][1].update(repeats=1), "trials[1].repeats must be"),
    (lambda search: search["trials"][0]["values"].update(momentun=0.5), "the values of a trial must be of momentum"),
    (lambda search: search["settings"]["space"]["momentum"].pop("start"), "settings.space must be complete"),
    (lambda search: search["settings"]["space"].update(momentun={}), "Unknown hyperparameter. Received: 'momentun'"),
    (
        lambda search: search["settings"]["base"].update(model=None),
        "settings: base must be a model and data by name. Received: (None",
    ),
    (
        lambda search: search["settings"]["base"]["data"].update(load=None),
        "settings: base must be a model and data by name. Received: (ZooModel",
    ),
    (lambda search: search.update(result=RESULT), "the values of a trial must be of momentum. Received: {}"),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGED, ids=[line for _, line in DAMAGED])
def test_a_damaged_file_is_told_by_its_entry(damage, line, tmp_path, make_search):
    make_search(tmp_path / "run", 2)
    path = tmp_path / "run" / "search.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"search\.json is damaged") as caught:
        store.read(tmp_path / "run")
    assert line in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
