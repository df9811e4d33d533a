"""search.json changed at random: one clear line, or a search."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent.parent / "fuzz" / "fuzz_worker.py"


@pytest.mark.slow
def test_a_changed_search_is_refused_in_one_line(tmp_path, make_search, child_environment):
    make_search(tmp_path / "search", 3)
    command = [sys.executable, str(WORKER), "search", str(tmp_path / "search"), "200"]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["refused"] > 80
    assert [path.name for path in tmp_path.iterdir()] == ["search"]
    assert [path.name for path in (tmp_path / "search").iterdir()] == ["search.json"]
