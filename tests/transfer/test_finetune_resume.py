"""Killed in either phase, or while features are computed, a run ends in the bits of one that was never killed.

The processes are real, and so is kill -9. Not compared: what measures the machine.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors

from kzoo.train import load, runs

WORKER = Path(__file__).with_name("finetune_worker.py")
TIMINGS = ("seconds", "images_per_second", "training_seconds")
# With checkpoint_seconds=0 a checkpoint follows every execution of three steps, within epochs too.
CONFIG = {
    "train": {
        "epochs": 6, "batch_size": 24, "augment": "digits", "schedule": "plateau", "patience": 1, "seed": 5,
        "precision": "float32", "learning_rate": 0.003, "checkpoint_seconds": 0, "steps_per_execution": 3,
    },
    "transfer": {"head_epochs": 6, "views": 3, "unfreeze": "conv2"},
}  # fmt: skip


class Worker:
    """A process that fine-tunes, or resumes, a run, with features of its own."""

    def __init__(self, run_dir, environment):
        self.dir, self.log = run_dir, open(f"{run_dir}.log", "ab")  # noqa: SIM115 - finish closes it
        environment = {**environment, "KZOO_HOME": f"{run_dir}.home"}
        command = [sys.executable, WORKER, run_dir, json.dumps(CONFIG)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)

    def wait_for(self, happened):
        while self.process.poll() is None and not happened():
            time.sleep(0.005)

    def stop(self, number):
        self.process.send_signal(number)
        return self.finish()

    def finish(self):
        output, _ = self.process.communicate(timeout=300)
        self.log.close()
        return self.process.returncode, output

    def ends_well(self):
        status, _ = self.finish()
        assert status == 0, Path(f"{self.dir}.log").read_text()[-3000:]


def written(run_dir):
    """Which checkpoint there is."""
    try:
        return (run_dir / runs.CHECKPOINT).stat().st_ino
    except FileNotFoundError:
        return None


def computes_features(run_dir):
    return any(Path(f"{run_dir}.home").glob("features/*/.*.tmp.npy"))


def kill(run_dir, environment, phase, delay=0.0):
    """Go on with the run, and kill it some time after its next checkpoint in a phase; returns where that was."""
    folder = run_dir / phase
    worker, before = Worker(run_dir, environment), written(folder)
    worker.wait_for(lambda: written(folder) not in (None, before))
    time.sleep(delay)
    status, _ = worker.stop(signal.SIGKILL)
    assert status == -signal.SIGKILL, "the run ended before its kills were spent"
    state = _read(folder)[0]
    return state["epoch"], state["step"]


def _read(folder):
    with safetensors.safe_open(folder / runs.CHECKPOINT, framework="numpy") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - no mapping
        return json.loads(file.metadata()["state"]), tensors


def content(run_dir):
    """What must be equal, to the bit."""
    found = {}
    for phase in (".", runs.HEAD):
        state, tensors = _read(run_dir / phase)
        state["history"] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in state["history"]]
        found |= {f"{phase} {name}": value for name, value in tensors.items()} | {f"{phase} state": state}
        for which in ("best", "last"):
            weights = load(run_dir / phase, which).get_weights()
            found[f"{phase} {which}"] = [np.asarray(weight).tobytes() for weight in weights]
        metrics = json.loads((run_dir / phase / runs.METRICS).read_text())
        metrics.get("head", {}).pop("training_seconds", None)
        found[f"{phase} metrics"] = {key: value for key, value in metrics.items() if key not in TIMINGS}
        found[f"{phase} events"] = sorted(path.name for path in (run_dir / phase / runs.EVENTS).iterdir())
    return found


def assert_same_run(run_dir, reference):
    reference.ends_well()
    found, expected = content(run_dir), content(reference.dir)
    assert found.keys() == expected.keys()
    assert [key for key in expected if found[key] != expected[key]] == []
    assert [path.name for path in run_dir.rglob(".*.tmp*")] == [], "a kill's temporary file stayed"


def test_killed_in_each_phase_and_while_features_are_computed(tmp_path, child_environment):
    reference, run_dir = Worker(tmp_path / "reference", child_environment), tmp_path / "run"
    first = Worker(run_dir, child_environment)
    first.wait_for(lambda: computes_features(run_dir))
    assert first.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    assert _read(run_dir / runs.HEAD)[0]["epoch"] == 0
    kill(run_dir, child_environment, runs.HEAD)
    assert not (run_dir / runs.CHECKPOINT).exists()
    kill(run_dir, child_environment, ".")
    Worker(run_dir, child_environment).ends_well()
    assert_same_run(run_dir, reference)


@pytest.mark.slow
def test_ctrl_c_in_each_phase_says_how_to_go_on(tmp_path, child_environment):
    run_dir = tmp_path / "run"
    for phase in (runs.HEAD, "."):
        worker = Worker(run_dir, child_environment)
        worker.wait_for(lambda phase=phase: written(run_dir / phase) is not None and _read(run_dir / phase)[0]["step"])
        status, output = worker.stop(signal.SIGINT)
        assert status == 130
        assert output.startswith("Interrupted in epoch ")
        assert output.strip().endswith(f"Continue with: kzoo.train.resume({str(run_dir)!r}, ...)")
    assert "Traceback" not in Path(f"{run_dir}.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_many_moments(tmp_path, child_environment):
    rng, run_dir = np.random.default_rng(0), tmp_path / "run"
    reference = Worker(tmp_path / "reference", child_environment)
    places = [kill(run_dir, child_environment, phase, rng.uniform(0, 0.1)) for phase in [runs.HEAD] * 4 + ["."] * 4]
    assert len(set(places[:4])) > 1
    assert len(set(places[4:])) > 1
    Worker(run_dir, child_environment).ends_well()
    assert_same_run(run_dir, reference)
