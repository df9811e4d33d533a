"""`kzoo lr-find`: what it prints, draws and leaves."""

import json

from PIL import Image

from kzoo.cli import run as kzoo

COMMAND = ["lr-find", "mnist_net", "digits", "--precision", "float32", "--batch-size", "64"]


def test_a_table_a_picture_and_the_next_command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert kzoo([*COMMAND, "--out", "found.png", "--augment", "none", "--sync-batch-norm"]) == 0
    said = capfd.readouterr()
    rows = dict(line.split("\t") for line in said.out.splitlines())
    assert rows["optimizer and batch size"] == "adamw, 64"
    assert rows["rates tried"].startswith("1e-07 to ")
    assert rows["rates tried"].endswith(", where it rose")
    rate = rows["suggestion"]
    assert 1e-4 < float(rate) < 0.1
    then = f"kzoo train mnist_net digits --learning-rate {rate} --batch-size 64 --augment none --precision float32"
    assert f"next: {then} --sync-batch-norm" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["found.png"]
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.size == (840, 432)
    assert kzoo([*COMMAND, "--out", "found.png"]) == 2
    assert "There is a file here already" in capfd.readouterr().err


def test_json(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert kzoo([*COMMAND, "--schedule", "vgg", "--image-size", "20", "--json"]) == 0
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert found["optimizer"] == "sgd"
    assert found["default"] == 0.01 * 64 / 256
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert found["has_diverged"]
    assert found["out"] is None
    assert "--schedule vgg" in found["next"]
    assert found["next"].endswith("--image-size 20")
    assert list(tmp_path.iterdir()) == []
