"""What the process of a trial is given."""

import pytest

from kzoo.search.forkserver import ForkServer
from kzoo.search.processes import CommandProcess


@pytest.mark.parametrize(("gpus", "visible"), [(None, None), ([1, 3], "1,3")])
def test_no_trial_reserves_a_whole_gpu(gpus, visible, tmp_path, scripted, monkeypatch):
    """Trials of another searching process may be on the same one."""
    scripted(**{"0": "environment"})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with ForkServer() as server:
        process = CommandProcess(server, ["train", "--resume", str(tmp_path / "0000")], tmp_path / "log.txt", gpus=gpus)
        assert process.finish() == 0
    environment = dict(line.split("=", 1) for line in (tmp_path / "log.txt").read_text().splitlines() if "=" in line)
    assert environment.get("TF_FORCE_GPU_ALLOW_GROWTH") == "true"
    assert environment.get("CUDA_VISIBLE_DEVICES") == visible
