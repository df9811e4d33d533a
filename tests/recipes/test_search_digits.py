"""The recipe searches from its poor start, says what came of it, and does nothing twice."""

import sys

import pytest
from PIL import Image

import search_digits as recipe
from kzoo.search import SearchResult
from kzoo.train import runs


def test_the_lines_are_of_the_search_and_of_the_defaults(tmp_path):
    trials = [{"accuracy": 0.25}, {"accuracy": 0.99}]
    best = {"accuracy": 0.985, "trial": 1, "accuracies": [0.99, 0.98], "values": {"optimizer": "sgd"}}
    result = SearchResult({**best, "test": {"accuracy": 0.97}}, trials, tmp_path / "best.keras", tmp_path, "train")
    assert recipe.lines(result, 0.96) == [
        "validation accuracy: 25.00 % at the start, 98.50 % at the end (trial 1, mean of 2 seeds)",
        "test accuracy: 97.00 %, of kzoo's defaults 96.00 %",
        "best: optimizer sgd",
    ]


@pytest.mark.slow
def test_a_second_call_searches_no_more(monkeypatch, tmp_path, capfd):
    search = tmp_path / "search"
    arguments = ["--runs", str(search), "--output", str(tmp_path), "--algorithm", "random", "--trials", "2"]
    monkeypatch.setattr(sys, "argv", ["search_digits.py", *arguments])
    recipe.main()
    first = runs.read_record(search / "trials" / "0000").train
    assert (first.optimizer, first.momentum, first.epochs) == ("sgd", 0, 5)
    assert first.learning_rate == pytest.approx(1e-5)
    picture = tmp_path / "search_digits.png"
    assert Image.open(picture).format == "PNG"
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("test accuracy: ")]
    before = {path: path.stat().st_mtime_ns for path in search.rglob("*") if path.is_file() and path.name != ".lock"}
    recipe.main()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("test accuracy: ")] == said
