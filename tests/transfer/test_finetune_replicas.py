"""Two replicas fine-tune as one device does, on features that one device has computed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("replicas_worker.py")


def test_on_two_replicas(child_environment):
    done = subprocess.run(
        [sys.executable, WORKER], capture_output=True, text=True, check=False, env=child_environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["apart"] < 1e-4  # rounding: sums over replicas are taken in another order, over two times 15 steps
    one, two = found["losses"]
    assert one == pytest.approx(two, rel=1e-4)
    assert one[-1] < one[0]
    assert found["kept"][0] == found["kept"][1]
