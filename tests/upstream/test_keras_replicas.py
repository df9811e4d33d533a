"""What `kzoo.train` mends in Keras's training on several replicas. Where one of these fails, Keras has: drop our mend.

kzoo's own behaviour is in tests/train/test_replicas.py and tests/layers/test_batch_normalization.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

pytestmark = pytest.mark.skipif(
    not keras.__version__.startswith("3.15"), reason=f"shows a fault of Keras 3.15; this is {keras.__version__}"
)

CASES = [
    "overflow_on_the_second_replica", "float16_in_one_layer", "synchronized_normalization",
    "normalization_is_not_fused", "dropout_masks", "uneven_first_batch", "uneven_tail", "not_supported", "clipping",
    "model_made_before_the_scope",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(child_environment):
    command = [sys.executable, Path(__file__).with_name("keras_replicas.py"), *CASES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_overflow_on_the_second_replica_reaches_the_weights(found):
    # The first replica's gradients decide for both.
    assert found["overflow_on_the_second_replica"] == {"finite": False, "scale": 2.0**15}


def test_no_loss_scaling_for_a_single_layer_in_float16(found):
    assert found["float16_in_one_layer"] == "SGD"


def test_synchronized_normalization_takes_five_reductions_and_cancels(found):
    assert found["synchronized_normalization"]["reductions"] == 5
    # E[x^2] - E[x]^2 of values near 3,000 with a variance of 1
    assert found["synchronized_normalization"]["relative error of the variance"] > 0.1


def test_normalization_is_not_fused(found):
    assert found["normalization_is_not_fused"] == 0


def test_dropout_is_the_same_on_both_replicas(found):
    assert found["dropout_masks"]


def test_first_batch_that_does_not_divide(found):
    assert found["uneven_first_batch"].startswith("InvalidArgumentError")


def test_uneven_tail_changes_the_gradient(found):
    # The mean of the replicas' means: 3 where the mean over the images is 2.
    assert found["uneven_tail"] == pytest.approx([0.2, 0.3], rel=1e-6)


def test_not_supported(found):
    assert found["not_supported"]["steps_per_execution"].startswith("InvalidArgumentError")
    assert "merge_call" in found["not_supported"]["gradient_accumulation_steps"]
    assert found["not_supported"]["ema_overwrite_frequency"] is not None


def test_each_replica_clips_for_itself(found):
    # Gradients of 8 and -10 on four weights: their mean, clipped to a norm of 1, is -1/2; clipped before, they cancel.
    assert found["clipping"] == pytest.approx([0.5, 0.0], abs=1e-6)


def test_model_made_before_the_scope_fails_without_a_word(found):
    assert found["model_made_before_the_scope"].strip() == "AssertionError:"
