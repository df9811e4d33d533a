"""What `kzoo.search` mends in keras-tuner. Where one of these fails, keras-tuner or TensorFlow has: drop our mend.

kzoo's own behaviour is in tests/search.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    version("keras-tuner") != "1.4.8", reason=f"shows faults of keras-tuner 1.4.8; this is {version('keras-tuner')}"
)


def run(environment, *cases):
    command = [sys.executable, Path(__file__).with_name("keras_tuner_faults.py"), *cases]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def bare(child_environment):
    return run(child_environment, "bare")["bare"]


@pytest.fixture(scope="module")
def found(child_environment):
    return run(child_environment, "objective", "grid")


def test_every_trial_fails_without_tensorboard(bare):
    assert bare["trials"] == {"FAILED": "ModuleNotFoundError: No module named 'tensorboard'"}


def test_a_search_that_failed_returns_as_if_it_had_not(bare):
    assert bare["search"] is None
    assert bare["get_best_models"].startswith("FileNotFoundError")


def test_trials_lose_the_dtype_policy(bare):
    assert (bare["policy before"], bare["policy in trials"]) == ("mixed_bfloat16", "float32")


@pytest.mark.slow
def test_an_objective_that_is_not_known_needs_its_direction(found):
    assert found["objective"].startswith("ValueError: Could not infer optimization direction")


@pytest.mark.slow
def test_a_grid_search_that_was_stopped_ends_at_once_when_it_is_resumed(found):
    assert found["grid"] == {"in one go": 3, "resumed": 1}
