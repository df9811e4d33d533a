"""The end of a search, when all trials have ended. Nothing here needs TensorFlow."""

import os
import signal
import subprocess
import sys
import time

from kzoo import console
from kzoo.search import resume, store


def test_an_interruption_while_the_best_model_is_scored_says_how_to_go_on(tmp_path, make_search, scripted):
    notes = scripted(seconds=0, evaluation_seconds=60)
    folder = tmp_path / "run"
    make_search(folder, 2)
    command = [sys.executable, "-m", "kzoo", "search", "--resume", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        deadline = time.monotonic() + 60
        while not any(line[0] == "evaluate" for line in notes()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"kzoo: Interrupted after 2 trials. Continue with: kzoo search --resume {folder}"
    assert store.read(folder).result is None


def test_a_search_whose_plot_fails_has_its_result(tmp_path, make_search, scripted):
    scripted(seconds=0)
    folder = tmp_path / "run"
    make_search(folder, 2)
    (folder / store.PLOT).mkdir()  # where the file should be
    lines = []
    console.logger.addFilter(lambda record: lines.append(record.getMessage()) or True)
    try:
        result = resume(folder)
    finally:
        console.logger.filters.pop()
    assert result.best["verified"] is True
    assert store.read(folder).result is not None
    assert [line for line in lines if "no plot: plot failed: IsADirectoryError" in line]
