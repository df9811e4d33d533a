"""`resume` checks what this machine needs before it takes a trial. Nothing here needs TensorFlow."""

import pytest

from kzoo.errors import WeightsError
from kzoo.search import resume, store
from kzoo.train import ZooModel


def test_a_machine_without_the_weights_takes_no_trial(tmp_path, make_search, monkeypatch):
    for name in ("KZOO_HOME", "KZOO_WEIGHTS_PATH", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "no_weights"))
    make_search(tmp_path / "run", 2, ZooModel("resnet50", "imagenet"))
    before = store.content(tmp_path / "run")
    with pytest.raises(WeightsError, match="resnet50"):
        resume(tmp_path / "run")
    assert store.content(tmp_path / "run") == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [store.SEARCH]
