"""Both contenders of the benchmark train on the same data, and the clock stops at the accuracy."""

import sys

import pytest

import transfer


def test_the_first_epoch_that_reaches_the_accuracy_counts():
    curve = [(1.0, 0.5), (2.0, 0.9), (3.0, 0.8), (4.0, 0.95)]
    assert [transfer.seconds_to(curve, accuracy) for accuracy in (0.4, 0.9, 0.91, 0.96)] == [1.0, 2.0, 4.0, None]


@pytest.mark.slow
def test_the_measurement(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    plot, measure, results = tmp_path / "curves.png", transfer.measure, []
    monkeypatch.setattr(transfer, "measure", lambda *arguments: results.append(measure(*arguments)) or results[-1])
    monkeypatch.setattr(sys, "argv", ["transfer.py", "mnist_net", "digits", "--weights", "mnist", "--plot", str(plot)])
    transfer.main()
    [result] = results
    assert [row["name"] for row in result["rows"]] == ["Keras's guide", "Keras's guide", "kzoo"]
    for row in result["rows"]:
        [curve] = row["curves"]
        assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, _ in curve)
        assert row["seconds"] == [transfer.seconds_to(curve, result["accuracy"])]
    for row in result["rows"][:2]:  # the guide's end at the accuracy, after all epochs at the latest
        [curve] = row["curves"]
        assert all(accuracy < 0.93 for _, accuracy in curve[:-1])
        assert curve[-1][1] >= 0.93 or len(curve) == 30
    assert result["rows"][2]["ratio"] == 1
    assert plot.read_bytes()[1:4] == b"PNG"
    assert not (tmp_path / "home" / "features").exists()  # measured with an empty cache, and nothing left
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| kzoo |")]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist_net", "digits"], "--weights"),
        (["mnist_net", "digits", "--weights", "mnist", "--images", "5"], "--images"),
    ],
)
def test_wrong_arguments(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["transfer.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        transfer.main()
    assert message in capsys.readouterr().err
