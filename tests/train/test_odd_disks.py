"""Runs on disks and in folders that do not take them: a full disk, another user's folder; and a run of 200 epochs."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from kzoo.files import is_temporary

ANOTHER_USER = 65534  # "nobody" on Linux

# Root without the right to write where a user may not.
AS_A_USER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner,-chown"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts and changes users as on Linux")


def kzoo(*arguments, environment, prefix=()):
    """Run a command; returns its exit status and the lines that it printed on standard error."""
    command = [*prefix, sys.executable, "-P", "-m", "kzoo", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
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
@pytest.mark.parametrize("whose", ["another user's", "read-only"])
def test_a_folder_that_may_only_be_read(whose, tmp_path, child_environment):
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs the right to change what a process may do")
    run, other = tmp_path / "run", tmp_path / "other"
    status, lines = kzoo(*TRAIN, "--run-dir", run, environment=child_environment)
    assert status == 0, lines
    other.mkdir()
    for path in (run, *run.rglob("*"), other):
        if whose == "read-only":
            path.chmod(0o555 if path.is_dir() else 0o444)
        else:
            os.chown(path, ANOTHER_USER, ANOTHER_USER)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    for arguments in (
        (*TRAIN, "--run-dir", other / "run"),
        (*TRAIN, "--run-dir", run, "--overwrite"),
    ):
        status, lines = kzoo(*arguments, environment=child_environment, prefix=AS_A_USER)
        said = [line for line in lines if line.startswith("kzoo: ")]
        assert (status, said) == (1, lines[-1:]), (arguments, lines)
        assert "Permission denied" in lines[-1]
    # The figures are shown, and cannot be kept.
    status, lines = kzoo("evaluate", run, environment=child_environment, prefix=AS_A_USER)
    assert status == 0, lines
    assert lines[-1].startswith("warning: the figures")
    assert "Permission denied" in lines[-1]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


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
data, validation = ((random.integers(0, 256, (n, 8, 8, 1), "uint8"), random.integers(0, 3, n)) for n in (96, 40))
config = TrainConfig(epochs=200, batch_size=16, augment=("digits",), precision="float32")
fit(build, data, validation, config, sys.argv[1], callbacks=[Watch()])
print(json.dumps([seen[50], seen[199]]))
"""


@pytest.mark.slow
def test_two_hundred_epochs_take_no_more_memory_or_files(fresh_python, tmp_path):
    (memory, files), (memory_at_end, files_at_end) = json.loads(
        fresh_python(LONG, tmp_path / "run", timeout=1200).stdout
    )
    assert files_at_end <= files
    # 150 epochs of history, events and TensorFlow's own caches: a leak of one model or one dataset an epoch, of about
    # a megabyte, would be 150.
    assert memory_at_end - memory < 40e6
