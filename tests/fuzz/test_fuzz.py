"""Files that were changed at random: one clear line or a result, in little memory, and nothing is written elsewhere.

The seeds are fixed, so a fault is found again: the worker prints the file and the seed of what it reads.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import kzoo
from kzoo import saving
from kzoo.backend import keras
from kzoo.train import TrainConfig, run_record, start

WORKER = Path(__file__).with_name("fuzz_worker.py")
SAMPLES = Path(__file__).parent.parent / "weights" / "samples"
pytestmark = pytest.mark.slow


def outside_of(folder, parent):
    """When each path below `parent` that is not in `folder` was changed."""
    return {path: path.stat().st_mtime_ns for path in parent.rglob("*") if not path.is_relative_to(folder)}


@pytest.fixture
def fuzz(tmp_path, child_environment):
    """Have the worker read changed files of a folder; returns how many were refused and how many read."""

    def run(kind, folder, count):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        before = outside_of(folder, tmp_path)
        names = sorted(folder.rglob("*"))
        environment = {**child_environment, "TMPDIR": str(elsewhere)}
        command = [sys.executable, str(WORKER), kind, str(folder), str(count)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=elsewhere, timeout=3600, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert not list(elsewhere.iterdir()), "something was left in the temporary or the current folder"
        after = outside_of(folder, tmp_path)
        assert sorted(after) == sorted(before)
        # The temporary folder itself changes where a file in it is made and deleted again.
        assert {**after, elsewhere: None} == {**before, elsewhere: None}
        assert sorted(folder.rglob("*")) == names
        outcomes = json.loads(done.stdout.splitlines()[-1])
        print(kind, folder.name, outcomes)
        assert sum(outcomes.values()) == count
        return outcomes

    return run


@pytest.fixture
def net():
    keras.utils.set_random_seed(0)
    return kzoo.create_model("mnist_net", input_shape=(8, 8, 1), classes=3)


@pytest.mark.parametrize("container", ["zip", "stream"])
def test_pytorch(container, tmp_path, fuzz):
    (tmp_path / "files").mkdir()
    for name in ("plain", "odd"):
        shutil.copy(SAMPLES / f"{name}_{container}.pth", tmp_path / "files")
    assert fuzz("weights", tmp_path / "files", 500)["refused"] > 200


def test_safetensors(tmp_path, fuzz):
    (tmp_path / "files").mkdir()
    tensors = {"a": np.arange(6, dtype="float32").reshape(2, 3), "half": np.ones(3, "float16"), "n": np.array(3)}
    safetensors.numpy.save_file(tensors, tmp_path / "files" / "a.safetensors", metadata={"format": "pt"})
    assert fuzz("weights", tmp_path / "files", 500)["refused"] > 200


def test_hdf5(tmp_path, fuzz, net):
    (tmp_path / "files").mkdir()
    net.save(tmp_path / "files" / "a.h5")
    net.save_weights(tmp_path / "files" / "b.weights.h5")
    assert fuzz("weights", tmp_path / "files", 500)["refused"] > 50


def test_keras(tmp_path, fuzz, net):
    (tmp_path / "files").mkdir()
    saving.save_model(net, tmp_path / "files" / "a.keras", ["a", "b", "c"])
    assert fuzz("model", tmp_path / "files", 500)["refused"] > 200


def test_runs(tmp_path, fuzz):
    run_dir = tmp_path / "run"
    record = run_record("mnist_net", "digits", config=TrainConfig(epochs=1, batch_size=256))
    start(record, run_dir)
    kept = ("config.json", "checkpoint.safetensors", "metrics.json", "best.keras")
    for path in list(run_dir.iterdir()):
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert fuzz("run", run_dir, 200)["refused"] > 80
