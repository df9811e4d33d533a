"""Whatever happens to trials, to the search and to its helper: the others go on, and nothing is lost or done twice.

The trials are scripted (scripted/sitecustomize.py), all processes and signals are real.
"""

import contextlib
import csv
import json
import logging
import os
import re
import signal
import time
from dataclasses import asdict

import numpy as np
import psutil
import pytest
from PIL import Image

from kzoo import console
from kzoo.errors import DataError, RunError
from kzoo.search import SearchConfig, resume, search
from kzoo.search.forkserver import ForkServer
from kzoo.search.helper import HelperProcess
from kzoo.train import TrainConfig, runs
from kzoo.train.record import DataSource

FLAGS = ("mnist_net", "digits", "--algorithm", "random", "--seeds", "1")
SPACE = {"momentum": {"min": 0.5, "max": 0.99}}


def trials(folder):
    return json.loads((folder / "search.json").read_text())["trials"]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Sizes(logging.Handler):
    """Notes how large this process is whenever a trial has ended."""

    def __init__(self):
        super().__init__()
        self.found = []

    def emit(self, record):
        if record.getMessage().startswith("trial "):
            self.found.append(psutil.Process().memory_info().rss)


def test_a_bad_trial_ends_alone_and_the_search_stays_small(tmp_path, scripted):
    what = {"1": "crash", "2": "killed", "3": "memory", "4": "hang", "6": "error", "7": "bug"}
    notes = scripted(**what, seconds=0.1)
    config = SearchConfig(
        algorithm="random", trials=32, workers=2, top=1, seeds=2, trial_time_limit=3, trial_memory_limit=0.4
    )
    sizes = Sizes()
    console.logger.addHandler(sizes)
    result = search("mnist_net", "digits", tmp_path / "run", config=config, space=SPACE)
    console.logger.removeHandler(sizes)
    assert len(sizes.found) == 33
    assert sizes.found[-1] - sizes.found[0] < 50e6
    rows = {row["number"]: row for row in result.trials}
    assert sorted(rows) == list(range(33))
    reasons = {number: row["reason"] for number, row in rows.items() if row["status"] == "failed"}
    assert reasons.pop(1) == "crashed: SIGABRT"
    assert reasons.pop(2) == "killed: by the system for lack of memory, or by someone"
    memory = re.fullmatch(r"memory: (\d+) MB, more than the limit of 400 MB", reasons.pop(3))
    assert memory
    assert int(memory[1]) > 400
    assert reasons.pop(4) == "time: more than 3 s"
    assert reasons.pop(6) == "Something is wrong. Received: this."
    assert reasons.pop(7) == "crashed: ZeroDivisionError: a mistake"
    assert reasons == {}
    begun = [line for line in notes() if line[0] == "begin"]
    assert sorted(int(line[1]) for line in begun) == list(range(33))
    if len(os.sched_getaffinity(0)) == 2:
        assert {line[3] for line in begun} == {"[0]", "[1]"}

    best = max(
        (row for row in result.trials if row["repeats"] is None and row["accuracy"]), key=lambda r: r["accuracy"]
    )
    assert result.best["trial"] == best["number"]
    assert rows[32]["repeats"] == best["number"]
    assert rows[32]["values"] == best["values"]
    assert [row["seed"] for row in result.trials] == [0] * 32 + [1]
    assert result.model_path.read_text() == f"model of trial {result.best['run']}"
    with open(tmp_path / "run" / "trials.csv") as file:
        table = list(csv.DictReader(file))
    assert [row["number"] for row in table] == [str(number) for number in range(33)]
    assert float(table[0]["momentum"]) == 0.9
    assert (tmp_path / "run" / "search.png").stat().st_size > 10_000


def test_killed_and_resumed(tmp_path, scripted, searching):
    notes = scripted(seconds=0.3)
    space = tmp_path / "space.json"
    space.write_text(json.dumps(SPACE))
    folder = tmp_path / "run"
    process = searching(*FLAGS, "--trials", 8, "--workers", 2, "--space", space, "--run-dir", folder)
    wait_for(lambda: sum(line[0] == "end" for line in notes()) >= 3)
    process.kill()
    finished = {row["number"]: row for row in trials(folder) if row["status"] == "completed"}
    assert finished
    begun = [int(line[2]) for line in notes() if line[0] == "begin"]
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in begun), 5)  # no trial outlives its search

    process = searching("--resume", folder, "--json")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    rows = json.loads(output.splitlines()[-1])["trials"]
    assert [row["number"] for row in rows] == list(range(8))
    assert {row["status"] for row in rows} == {"completed"}
    assert all(rows[number] == row for number, row in finished.items())
    # Only those that were in progress began twice.
    counts = [sum(line[:2] == ["begin", str(number)] for line in notes()) for number in range(8)]
    assert [count for number, count in enumerate(counts) if number in finished] == [1] * len(finished)
    assert sum(counts) <= 8 + 2

    process = searching("--resume", folder)
    _, errors = process.communicate(timeout=60)
    assert "this search is finished: 8 trials" in errors
    assert len(notes()) == sum(counts) + len([line for line in notes() if line[0] == "end"])


def test_other_seeds_are_trained_at_the_same_time(tmp_path, scripted):
    notes = scripted(seconds=0.5)
    config = SearchConfig(algorithm="random", trials=2, workers=2, top=2, seeds=3)
    result = search("mnist_net", "digits", tmp_path / "run", config=config, space=SPACE)
    assert [row["repeats"] is None for row in result.trials] == [True] * 2 + [False] * 4
    best = result.trials[2]["repeats"]
    assert [row["repeats"] for row in result.trials[2:]] == [best, best, 1 - best, 1 - best]
    assert [row["seed"] for row in result.trials] == [0, 0, 1, 2, 1, 2]
    order = [(line[0], int(line[1])) for line in notes()]
    # The first repetition begins when both trials have ended, the second before the first repetition ends.
    assert max(order.index(("end", 0)), order.index(("end", 1))) < order.index(("begin", 2))
    assert order.index(("begin", 3)) < min(order.index(("end", 2)), order.index(("end", 3)))


def test_values_that_change_how_long_a_trial_trains(tmp_path, scripted):
    """Epochs can be searched, and a schedule by epochs is that of the trial's own."""
    scripted(seconds=0)
    space = {"epochs": {"values": [2, 8]}, "schedule": {"values": ["step"]}}
    config = SearchConfig(algorithm="grid", trials=2, workers=2, seeds=1)
    result = search("mnist_net", "digits", tmp_path / "run", config=config, train=TrainConfig(epochs=4), space=space)
    for row in result.trials:
        record = runs.read_record(tmp_path / "run" / "trials" / f"{row['number']:04d}").train
        assert record.epochs == row["epochs"] == row["values"]["epochs"]
        assert record.decay_epochs == (0.5 * row["epochs"], 0.75 * row["epochs"])
    assert {row["epochs"] for row in result.trials} == {2, 8}


def test_lists_of_numbers_are_values(tmp_path, scripted):
    scripted(seconds=0)
    space = {"decay_epochs": {"values": [[1.0], [1.0, 2.0]]}, "schedule": {"values": ["step"]}, **SPACE}
    config = SearchConfig(algorithm="grid", trials=2, seeds=1)
    result = search("mnist_net", "digits", tmp_path / "run", config=config, space=space)
    assert [row["status"] for row in result.trials] == ["completed"] * 2
    with open(tmp_path / "run" / "trials.csv") as file:
        assert {row["decay_epochs"] for row in csv.DictReader(file)} <= {"1.0", "1.0 + 2.0"}


def test_a_search_whose_data_has_changed_is_not_resumed(tmp_path, scripted, searching):
    scripted(seconds=60)
    for split, count in (("train", 8), ("val", 4)):
        for index in range(count):
            path = tmp_path / "photos" / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([index, len(split)]).integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(path)
    folder, space = tmp_path / "run", tmp_path / "space.json"
    space.write_text(json.dumps(SPACE))
    process = searching("mnist_net", tmp_path / "photos", "--trials", 2, "--space", space, "--run-dir", folder)
    wait_for(lambda: (folder / "search.json").exists() and trials(folder))
    process.kill()
    process.wait()
    (tmp_path / "photos" / "train" / "a" / "0.png").unlink()
    with pytest.raises(RunError, match="The data of this search has changed"):
        resume(folder)


def kill_a_child(pid, kind):
    """Kill the helper, a trial or the fork server of a search; returns how many were there to be killed."""
    for child in psutil.Process(pid).children(recursive=kind != "server"):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if kind == "server" or child.name() == {"helper": "kzoo-helper", "trial": "kzoo-child"}[kind]:
                child.kill()
                return 1
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["random", "grid", "hyperband", "bayesian"])
def test_killed_at_many_moments(algorithm, tmp_path, scripted, searching):
    """The search, its trials, its helper and its fork server are killed; what was finished stays, and all is done."""
    notes = scripted(seconds=0.2)
    rng = np.random.default_rng(len(algorithm))
    space, folder = tmp_path / "space.json", tmp_path / "run"
    space.write_text(json.dumps({**SPACE, "label_smoothing": {"min": 0.0, "max": 0.3}}))
    flags = ("--algorithm", algorithm, "--trials", 9, "--seeds", 1, "--workers", 2, "--epochs", 9)
    process = searching("mnist_net", "digits", *flags, "--space", space, "--run-dir", folder)
    finished, killed = {}, []

    def ended():
        return sum(line[0] == "end" for line in notes())

    for kind in ["search", *rng.permutation(["search", "helper", "trial", "server"])]:
        before = ended()
        wait_for(lambda: ended() > before)  # noqa: B023 - called here
        time.sleep(rng.uniform(0, 0.4))
        if kind == "search":
            process.kill()
            process.wait()
            now = {row["number"]: row for row in trials(folder) if row["status"] != "running"}
            assert finished.items() <= now.items()
            finished = now
            process = searching("--resume", folder)
        else:
            killed += [kind] * kill_a_child(process.pid, kind)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    rows = trials(folder)
    assert [row["number"] for row in rows] == list(range(9))
    assert all(rows[number] == row for number, row in finished.items())
    failed = [row["reason"] for row in rows if row["status"] == "failed"]
    assert len(failed) <= killed.count("trial")
    assert set(failed) <= {"killed: by the system for lack of memory, or by someone"}
    values = [json.dumps([row["values"], row["epochs"]]) for row in rows]
    assert len(set(values)) == 9, "a trial was proposed twice"


@pytest.mark.slow
def test_interrupted_and_resumed(tmp_path, scripted, searching):
    scripted(seconds=1)
    space, folder = tmp_path / "space.json", tmp_path / "run"
    space.write_text(json.dumps(SPACE))
    process = searching(*FLAGS, "--trials", 4, "--space", space, "--run-dir", folder)
    wait_for(lambda: (folder / "search.json").exists() and len(trials(folder)) == 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"kzoo: Interrupted after 1 trials. Continue with: kzoo search --resume {folder}"
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_search_without_a_completed_trial_says_why(tmp_path, scripted):
    scripted(**{"0": "error", "1": "error"})
    config = SearchConfig(algorithm="random", trials=2)
    with pytest.raises(RunError, match=r"No trial of the search completed\. Received: Something is wrong"):
        search("mnist_net", "digits", tmp_path / "run", config=config, space=SPACE)


def test_a_helper_that_was_killed_is_started_again():
    load = asdict(DataSource("no_such_dataset"))
    with ForkServer() as server:
        helper = HelperProcess(server)
        for _ in range(2):
            with pytest.raises(DataError, match="no_such_dataset"):
                helper.ask("inspect", models=["mnist_net"], load=load)
            os.kill(helper._process.pid, signal.SIGKILL)
        helper.close()


def test_the_fork_server_is_killed_and_no_trial_is_lost(tmp_path, scripted, searching):
    notes = scripted(seconds=1)
    space, folder = tmp_path / "space.json", tmp_path / "run"
    space.write_text(json.dumps(SPACE))
    process = searching(*FLAGS, "--trials", 3, "--workers", 2, "--space", space, "--run-dir", folder)
    wait_for(lambda: sum(line[0] == "begin" for line in notes()) == 2)
    assert kill_a_child(process.pid, "server") == 1
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.count("goes on from its checkpoint: the fork server was killed") == 2
    assert [row["status"] for row in trials(folder)] == ["completed"] * 3
    assert sum(line[0] == "end" for line in notes()) == 3  # those of before have ended with it


def test_nothing_of_the_current_folder_is_imported(tmp_path, scripted, searching, monkeypatch):
    """A search beside a json.py: it would be run by the helper and by each trial."""
    scripted(seconds=0)
    (tmp_path / "json.py").write_text("raise SystemExit('this is not the json of Python')")
    space = tmp_path / "space.json"
    space.write_text(json.dumps(SPACE))
    monkeypatch.chdir(tmp_path)
    process = searching(*FLAGS, "--trials", 1, "--space", space, "--run-dir", "run", python_flags=["-P"])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert [row["status"] for row in trials(tmp_path / "run")] == ["completed"]
