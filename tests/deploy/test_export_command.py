"""`kzoo export`, as a user types it."""

import json

import pytest
from exported_models import name_of, needs

from kzoo.cli import run as kzoo


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert kzoo(["train", "mnist_net", "digits", "--epochs", "2", "--run-dir", str(path), "--seed", "1"]) == 0
    return path


def test_a_run_is_checked_on_its_validation_images(digits_run, tmp_path, last_json):
    needs("onnx")
    path = tmp_path / "model.onnx"
    assert kzoo(["export", str(digits_run), "--format", "onnx", "--out", str(path), "--json"]) == 0
    made = last_json()
    assert made["path"] == str(path)
    assert made["format"] == "onnx"
    assert made["max_difference"] < 1e-5
    assert made["agreement"] == 1.0
    assert made["images_per_second"] > 0
    assert made["bytes"] == path.stat().st_size
    source = json.loads((tmp_path / "model.onnx.json").read_text())["source"]
    assert (source["file"], source["dataset"], source["all_data"]) == ("digits", "digits", False)
    # What the run was trained on is scored as of the run: its test split.
    assert kzoo(["evaluate", str(path), "digits", "--json"]) == 0
    scored = last_json()
    assert kzoo(["evaluate", str(digits_run), "--json"]) == 0
    of_run = last_json()
    assert scored["accuracy"] == of_run["accuracy"]
    assert (scored["split"], scored["used_for"]) == (of_run["split"], of_run["used_for"]) == ("test", None)
    assert kzoo(["evaluate", str(path), "digits", "--split", "validation", "--json"]) == 0
    assert last_json()["used_for"] == "selection"


def test_pretrained_weights_are_quantized_with_a_dataset(tmp_path, last_json):
    needs("litert")
    path = tmp_path / name_of("litert")
    words = ["export", "mnist_net", "--weights", "mnist", "--format", "litert", "--out", str(path)]
    assert kzoo([*words, "--int8", "--data", "digits", "--max-loss", "10", "--json"]) == 0
    made = last_json()
    assert made["int8"]["images"] == 179
    assert made["int8"]["interval"][0] <= made["int8"]["loss"] <= made["int8"]["interval"][1]


def test_an_engine_is_exported_to_once(digits_run, photos, tmp_path, last_json, monkeypatch, capfd):
    needs("litert")
    monkeypatch.setenv("KZOO_HOME", str(tmp_path))
    words = ["predict", str(digits_run), str(photos), "--json"]
    assert kzoo(words) == 0
    by_keras = last_json()["predictions"]
    assert kzoo([*words, "--engine", "litert"]) == 0
    captured = capfd.readouterr()
    assert "exporting" in captured.err
    ours = json.loads(captured.out.splitlines()[-1])["predictions"]
    assert [[one["label"] for one in found["top"]] for found in ours] == [
        [one["label"] for one in found["top"]] for found in by_keras
    ]
    assert kzoo([*words, "--engine", "litert"]) == 0
    captured = capfd.readouterr()
    assert "exporting" not in captured.err
    assert json.loads(captured.out.splitlines()[-1])["predictions"] == ours
    assert len(list((tmp_path / "engines").glob("*.tflite"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mnist_net", "--weights", "mnist"], "An export is checked on real images"),
        (["mnist_net"], "needs --weights|no weights|--weights"),
        (["{run}", "--max-loss", "1"], "--max-loss is for --int8"),
        (["{run}", "--out", "model.txt"], "must end in .onnx"),
        (["{run}", "--int8", "--max-loss", "101"], "max_loss must be a share of accuracy"),
        (["{run}", "--images", "no_such_folder"], "No such file, folder or pattern"),
    ],
)
def test_wrong_words_are_one_line(words, message, digits_run, tmp_path, monkeypatch, capfd):
    import re

    needs("onnx")
    monkeypatch.chdir(tmp_path)
    words = [word.format(run=digits_run) for word in words]
    out = [] if "--out" in words else ["--out", "model.onnx"]
    capfd.readouterr()
    assert kzoo(["export", *words, "--format", "onnx", *out]) == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("kzoo: ")]
    assert re.search(message, line)
    assert list(tmp_path.iterdir()) == []
