"""Runs on disks and in folders that do not take them: a full disk, another user's folder; and a run of 200 epochs."""

import json
import os
import subprocess
import sys

import pytest

from kzoo.files import is_temporary

ANOTHER_USER = 65534  # "nobody" on Linux

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts and changes users as on Linux")


def kzoo(*arguments, environment, user=None):
    """Run a command; returns its exit status and the lines that it printed on standard error."""
    command = [sys.executable, "-P", "-m", "kzoo", *map(str, arguments)]
    options = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    environment = {**environment, "HOME": "/nonexistent"} if user is not None else environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300, **options)
    return done.returncode, done.stderr.splitlines()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of so many kilobytes; returns the function that makes or resizes it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(kilobytes, *options):
        mount = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kilobytes}k"]), "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a disk")
        return folder

    yield resize
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


TRAIN = ("train", "mnist_net", "digits", "--epochs", 2, "--precision", "float32")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 200, 2000, 8000])
def test_a_full_disk(kilobytes, small_disk, child_environment):
    """At the record, at the models, at the checkpoint: one line; with more room the run goes on."""
    folder = small_disk(kilobytes)
    status, lines = kzoo(*TRAIN, "--run-dir", folder / "run", environment=child_environment)
    assert status == 1
    assert lines[-1].startswith("kzoo: ")
    assert "No space left on device" in lines[-1]
    assert not [line for line in lines if "Traceback" in line]
    assert not [path for path in (folder / "run").rglob("*") if is_temporary(path)]
    small_disk(40_000, "remount")
    again = ("--resume", folder / "run") if (folder / "run" / "config.json").exists() else ("--run-dir", folder / "run")
    command = ("train", *again) if again[0] == "--resume" else (*TRAIN, *again)
    status, lines = kzoo(*command, environment=child_environment)
    assert status == 0, lines
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["epochs"] == 2


@pytest.mark.slow
def test_another_users_folder(tmp_path, child_environment):
    """A user who may read it but not write there."""
    if os.getuid() != 0:
        pytest.skip("needs the right to change the user")
    status, lines = kzoo(*TRAIN, "--run-dir", tmp_path / "run", environment=child_environment)
    assert status == 0, lines
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    for arguments in (
        (*TRAIN, "--run-dir", tmp_path / "other"),
        (*TRAIN, "--run-dir", tmp_path / "run", "--overwrite"),
    ):
        status, lines = kzoo(*arguments, environment=child_environment, user=ANOTHER_USER)
        assert status == 1
        assert [line for line in lines if line.startswith("kzoo: ")] == lines[-1:]
        assert "Permission denied" in lines[-1]
        assert not [line for line in lines if "Traceback" in line]
    status, lines = kzoo("evaluate", tmp_path / "run", environment=child_environment, user=ANOTHER_USER)
    assert not [line for line in lines if "Traceback" in line], lines
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


LONG = """
import json, os, sys
import numpy as np
from kzoo.backend import keras
from kzoo.train import TrainConfig, fit

seen = {}

class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pages = int(open("/proc/self/statm").read().split()[1])
        seen[epoch] = (pages * os.sysconf("SC_PAGESIZE"), len(os.listdir("/proc/self/fd")))

def build():
    layers = keras.layers
    return keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(8, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)
    ])

random = np.random.default_rng(0)
data = random.integers(0, 256, (96, 8, 8, 1), "uint8"), random.integers(0, 3, 96)
config = TrainConfig(epochs=200, batch_size=16, augment=("digits",), precision="float32")
fit(build, data, data, config, sys.argv[1], callbacks=[Watch()])
print(json.dumps([seen[50], seen[199]]))
"""


@pytest.mark.slow
def test_two_hundred_epochs_take_no_more_memory_or_files(fresh_python, tmp_path):
    (memory, files), (memory_at_end, files_at_end) = json.loads(fresh_python(LONG, tmp_path / "run").stdout)
    assert files_at_end <= files
    # 150 epochs of history, events and TensorFlow's own caches: a leak of one model or one dataset an epoch, of about
    # a megabyte, would be 150.
    assert memory_at_end - memory < 40e6
