"""What the process of a trial is given."""

import psutil
import pytest

from kzoo.search.processes import CommandProcess


@pytest.mark.parametrize(("gpus", "visible"), [(None, None), ([1, 3], "1,3")])
def test_no_trial_reserves_a_whole_gpu(gpus, visible, tmp_path, scripted, monkeypatch):
    """Trials of another searching process may be on the same one."""
    scripted(seconds=60)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    process = CommandProcess(["train", "--resume", str(tmp_path / "0000")], tmp_path / "log.txt", gpus=gpus)
    environment = psutil.Process(process._process.pid).environ()
    process.kill("seen")
    process.finish()
    assert environment.get("TF_FORCE_GPU_ALLOW_GROWTH") == "true"
    assert environment.get("CUDA_VISIBLE_DEVICES") == visible
