"""What the tests share: fresh processes, the digits, and real data where this machine has it."""

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A shell starts a job in the background with Ctrl-C ignored, and its processes inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A script for a process of its own: it makes logical devices when it is imported, before TensorFlow has started.
collect_ignore = [
    "fuzz/fuzz_worker.py",
    "train/replicas.py",
    "train/workers_script.py",
    "upstream/keras_tuner_faults.py",
]
# Two files of one name cannot both be collected for doctests, when folders of tests are named together.
collect_ignore_glob = ["*/conftest.py"]


@pytest.fixture(scope="session")
def child_environment():
    """Environment variables of a process that imports the same kzoo as this one."""
    import kzoo

    found_in = str(Path(kzoo.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [found_in, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture(scope="session")
def fresh_python(child_environment):
    """Run Python code in a process of its own; fails with its standard error unless it exits with `status`."""

    def run(code, *arguments, status=0, **options):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        options = {"timeout": 240, "env": child_environment, **options}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == status, done.stderr[-4000:]
        return done

    return run


@pytest.fixture
def last_json(capfd):
    """The last line of standard output, as JSON."""
    return lambda: json.loads(capfd.readouterr().out.splitlines()[-1])


@pytest.fixture(scope="session")
def digits():
    """The training and validation split of the digits, 8x8."""
    from kzoo import data

    return data.load("digits"), data.load("digits", "validation")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images and weights."""
    folder = Path(os.environ.get("KZOO_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs the real data: no folder {folder}; set KZOO_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def tfds_folder(request, child_environment):
    """A folder with MNIST as a TFDS dataset: the user's own, or one prepared, once, from the real data."""
    own = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if (own / "mnist").is_dir():
        return own
    prepare = request.getfixturevalue("real_data") / "prepare.py"
    folder = request.config.cache.mkdir("tfds")
    command = [sys.executable, str(prepare), "--data-dir", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=child_environment, timeout=600)
    return folder


@pytest.fixture(autouse=True, scope="session")
def _lines_on_standard_error():
    """As in a program that has not configured logging: pytest's own handlers on the root logger look like it had."""
    from kzoo import console

    console.logger.addHandler(console._StandardError())
    console.logger.setLevel("INFO")


@pytest.fixture(autouse=True, scope="module")
def _without_garbage():
    """Free what the tests of a file leave: models hold themselves in cycles, which Python finds too late by itself."""
    yield
    gc.collect()
