"""Killed and resumed, a run ends in the bits of one that was never killed. The processes are real, and so is kill -9.

Not compared: seconds and images_per_second, which measure the machine.
"""

import csv
import functools
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

WORKER = Path(__file__).with_name("resume_worker.py")
TIMINGS = ("seconds", "images_per_second", "training_seconds")

# Everything that a checkpoint must carry: dropout (in the model), augmentation, optimizer moments, the counters of the
# plateau and of early stopping. With checkpoint_seconds=0 a checkpoint follows every execution, within epochs too.
# Augmentation is by a list of a policy and of layers, which mix images, so that the labels are soft.
CONFIG = {
    "batch_size": 24,  # 59 full batches and a tail of 23 images
    "augment": [
        "digits",
        {"registered_name": "kzoo>MixUp", "config": {"classes": 10}},
        {"registered_name": "kzoo>CutMix", "config": {"classes": 10}},
    ],
    "optimizer": "adamw",
    "schedule": "plateau",
    "patience": 2,
    "decay_rate": 0.5,
    "early_stopping": 50,
    "label_smoothing": 0.1,
    "seed": 5,
    "precision": "float32",
    "checkpoint_seconds": 0,
}


class Trainer:
    """A process that trains, or resumes, a run."""

    def __init__(self, run_dir, config, environment, model="mnist_net", *strategy):
        self.dir = run_dir
        command = [sys.executable, WORKER, run_dir, json.dumps(config), model, *strategy]
        self.log = open(f"{run_dir}.log", "ab")  # noqa: SIM115 - finish closes it
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)

    def wait_for_training(self, written_before):
        """Wait until the process has written a checkpoint of its own, the first of a new run or a later one."""
        while self.process.poll() is None and _written(self.dir) == written_before:
            time.sleep(0.005)

    def wait_for_write(self):
        """Return the temporary file as soon as the process is writing a checkpoint."""
        while self.process.poll() is None:
            for path in self.dir.glob(".checkpoint.*.tmp*"):
                return path
        return None

    def stop(self, number):
        self.process.send_signal(number)
        return self.finish()

    def finish(self):
        output, _ = self.process.communicate(timeout=300)
        self.log.close()
        return self.process.returncode, output


def _written(run_dir):
    try:
        return (run_dir / runs.CHECKPOINT).stat().st_ino
    except FileNotFoundError:
        return None


def kill_and_finish(run_dir, config, environment, kills, inside, rng, longest_delay):
    """Train with kills at random moments, at least `inside` of them inside a checkpoint write; return their places."""
    moments = []
    while len(moments) < kills:
        trainer = Trainer(run_dir, config, environment)
        trainer.wait_for_training(_written(run_dir))
        time.sleep(rng.uniform(0, longest_delay))
        wants_write = sum(written for _, written in moments) < inside
        if wants_write:
            trainer.wait_for_write()
        status, _ = trainer.stop(signal.SIGKILL)
        assert status == -signal.SIGKILL, "the run ended before its kills were spent"
        left_behind = [p.name for p in run_dir.glob(".checkpoint.*.tmp*")]
        if not wants_write or left_behind:  # else the write was over before the kill: this one does not count
            moments.append((_position(run_dir), bool(left_behind)))
    status, _ = Trainer(run_dir, config, environment).finish()
    assert status == 0, Path(f"{run_dir}.log").read_text()[-3000:]
    return moments


def _position(run_dir):
    """(epoch, step) that the checkpoint holds."""
    with safetensors.safe_open(run_dir / runs.CHECKPOINT, framework="numpy") as file:
        state = json.loads(file.metadata()["state"])
    return state["epoch"], state["step"]


def content(run_dir):
    """What must be equal, to the bit."""
    with safetensors.safe_open(run_dir / runs.CHECKPOINT, framework="numpy") as file:
        state = json.loads(file.metadata()["state"])
        found = {f"variable {name}": file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    for row in state["history"]:
        for name in TIMINGS[:2]:
            del row[name]
    found["state"] = state
    for which in ("best", "last"):
        weights = load(run_dir, which).get_weights()
        found |= {f"{which} {i}": np.asarray(w).tobytes() for i, w in enumerate(weights)}
    with (run_dir / runs.HISTORY).open() as file:
        found["history"] = [
            {key: value for key, value in row.items() if key not in TIMINGS} for row in csv.DictReader(file)
        ]
    metrics = json.loads((run_dir / runs.METRICS).read_text())
    found["metrics"] = {key: value for key, value in metrics.items() if key not in TIMINGS}
    found["events"] = sorted(path.name for path in (run_dir / runs.EVENTS).iterdir())
    return found


def assert_same_run(run_dir, reference):
    found = content(run_dir)
    assert found.keys() == reference.keys()
    assert [key for key in reference if found[key] != reference[key]] == []
    assert [path.name for path in run_dir.rglob(".*.tmp*")] == [], "a kill's temporary file stayed"


class NeverKilled:
    """A run of the same configuration that is left alone, beside the others."""

    def __init__(self, folder, config, environment, model="mnist_net"):
        self.trainer = Trainer(folder / "reference", config, environment, model)

    @functools.cached_property
    def content(self):
        status, _ = self.trainer.finish()
        assert status == 0, Path(f"{self.trainer.dir}.log").read_text()[-3000:]
        return content(self.trainer.dir)


def test_interrupted_once_and_killed_three_times(tmp_path, child_environment):
    config = {**CONFIG, "epochs": 9}
    run_dir, reference = tmp_path / "run", NeverKilled(tmp_path, config, child_environment)

    trainer = Trainer(run_dir, config, child_environment)
    trainer.wait_for_training(None)
    while _position(run_dir) < (0, 1):
        time.sleep(0.005)
    status, output = trainer.stop(signal.SIGINT)  # Ctrl-C
    epoch, step = _position(run_dir)
    assert status == 130
    assert output.strip() == (
        f"Interrupted in epoch {epoch + 1} of 9, step {step} of 60. Continue with: kzoo.train.resume({str(run_dir)!r})"
    )
    assert "Traceback" not in Path(f"{run_dir}.log").read_text()
    assert 0 < epoch * 60 + step < 9 * 60

    moments = kill_and_finish(
        run_dir, config, child_environment, kills=3, inside=1, rng=np.random.default_rng(1), longest_delay=0.6
    )
    assert sum(written for _, written in moments) >= 1
    assert_same_run(run_dir, reference.content)


REPLICAS = {"strategy": "mirrored", "devices": "cpu:2", "batch_size": 33, "epochs": 4}  # a tail of 20 images


def test_killed_on_two_replicas(tmp_path, child_environment):
    config = {**CONFIG, **REPLICAS}
    reference = NeverKilled(tmp_path, config, child_environment)
    kill_and_finish(
        tmp_path / "run", config, child_environment, kills=2, inside=1, rng=np.random.default_rng(3), longest_delay=0.3
    )
    assert_same_run(tmp_path / "run", reference.content)


def test_begun_on_two_replicas_and_ended_on_one(tmp_path, child_environment):
    """No image is repeated or left out: the weights would differ by far more than rounding."""
    config = {**CONFIG, **REPLICAS, "schedule": "cosine", "optimizer": "sgd", "steps_per_execution": 7}
    on_one = {**config, "strategy": "one", "devices": None}
    reference = NeverKilled(tmp_path, on_one, child_environment, "linear")
    run_dir = tmp_path / "run"
    trainer = Trainer(run_dir, config, child_environment, "linear")
    trainer.wait_for_training(None)
    while _position(run_dir) < (1, 14):
        time.sleep(0.005)
    status, _ = trainer.stop(signal.SIGKILL)
    _, step = _position(run_dir)
    assert status == -signal.SIGKILL
    assert 0 < step < 44, "it was to be killed within an epoch"
    status, _ = Trainer(run_dir, config, child_environment, "linear", "one").finish()
    assert status == 0, Path(f"{run_dir}.log").read_text()[-3000:]
    assert runs.read_record(run_dir).train.strategy == "one"
    _ = reference.content  # waits for it
    found, expected = (load(run, "last").get_weights() for run in (run_dir, reference.trainer.dir))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())  # rounding, over 176 steps


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("precision", "kills", "inside"), [("float32", 20, 5), ("mixed_bfloat16", 5, 1)])
def test_killed_at_many_moments(precision, kills, inside, tmp_path, child_environment):
    config = {**CONFIG, "epochs": 40 if kills > 5 else 12, "precision": precision}
    reference = NeverKilled(tmp_path, config, child_environment)
    moments = kill_and_finish(
        tmp_path / "run", config, child_environment, kills, inside, np.random.default_rng(2), longest_delay=1.0
    )
    assert sum(written for _, written in moments) >= inside
    # They fell at different places, within epochs too.
    assert len({position for position, _ in moments}) > kills // 2
    assert any(step for (_, step), _ in moments)
    assert_same_run(tmp_path / "run", reference.content)
