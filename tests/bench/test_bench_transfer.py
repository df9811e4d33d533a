"""Both contenders of `kzoo bench transfer` train on the same data, and the clock stops at the accuracy."""

import json

import pytest

from kzoo.bench.transfer import _seconds_to
from kzoo.cli import run as kzoo_command


def test_the_first_epoch_that_reaches_the_accuracy_counts():
    curve = [(1.0, 0.5), (2.0, 0.9), (3.0, 0.8), (4.0, 0.95)]
    assert [_seconds_to(curve, accuracy) for accuracy in (0.4, 0.9, 0.91, 0.96)] == [1.0, 2.0, 4.0, None]


@pytest.mark.slow
def test_the_command(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    plot = tmp_path / "curves.png"
    command = ["bench", "transfer", "mnist_net", "digits", "--weights", "mnist", "--plot", str(plot), "--json"]
    assert kzoo_command(command) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in result["rows"]] == ["Keras's guide", "Keras's guide", "kzoo"]
    for row in result["rows"]:
        [curve] = row["curves"]
        assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, _ in curve)
        assert row["seconds"] == [_seconds_to(curve, result["accuracy"])]
    for row in result["rows"][:2]:  # the guide's end at the accuracy, after all epochs at the latest
        [curve] = row["curves"]
        assert all(accuracy < 0.93 for _, accuracy in curve[:-1])
        assert curve[-1][1] >= 0.93 or len(curve) == 30
    assert result["rows"][2]["ratio"] == 1
    assert plot.read_bytes()[1:4] == b"PNG"
    assert not (tmp_path / "home" / "features").exists()  # measured with an empty cache, and nothing left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transfer", "mnist_net", "digits"], "--weights"),
        (["transfer", "mnist_net", "digits", "--weights", "mnist", "--images", "5"], "more than these"),
        (["infer", "mnist_net", "digits"], "bench transfer"),
    ],
)
def test_wrong_arguments(arguments, message, capfd):
    assert kzoo_command(["bench", *arguments]) == 2
    assert message in capfd.readouterr().err
