"""Each command, on a run trained once on the embedded digits."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kzoo import data, describe
from kzoo.cli import run as kzoo
from kzoo.models.registry import list_models


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert kzoo(["train", "mnist_net", "digits", "--epochs", "4", "--run-dir", str(path), "--seed", "1"]) == 0
    return path


def save_digits(folder, count=12):
    """Test digits as folders of PNG files by class name; returns (path, label) in the order of the files' names."""
    digits = data.load("digits", "test")
    written = []
    for i in range(count):
        label = digits.class_names[digits.labels[i]]
        (folder / label).mkdir(parents=True, exist_ok=True)
        path = folder / label / f"{i:03d}.png"
        Image.fromarray(digits.images[i, :, :, 0]).save(path)
        written.append((path, label))
    return written


def test_train_writes_a_whole_run(digits_run):
    names = {path.name for path in digits_run.iterdir()} - {".lock"}
    assert names == {
        "config.json", "model.json", "checkpoint.safetensors", "history.csv", "tensorboard", "best.keras", "last.keras",
        "metrics.json", "curves.png", "learning_rate.png",
    }  # fmt: skip
    config = json.loads((digits_run / "config.json").read_text())
    assert config["train"]["precision"] in ("float32", "mixed_bfloat16", "mixed_float16")
    assert config["train"]["strategy"] in ("one", "mirrored")
    assert config["data"]["class_names"] == list("0123456789")
    model = {"name": "mnist_net", "weights": None, "like": None, "dropout": None, "auxiliary_heads": False}
    assert config["model"] == model


def test_evaluate_scores_the_test_split_and_keeps_the_figures(digits_run, last_json):
    assert kzoo(["evaluate", str(digits_run), "--json"]) == 0
    figures = last_json()
    assert figures["split"] == "test"
    assert figures["images"] == 179
    assert figures["accuracy"] > 0.95  # four epochs reach 98 %; a broken label order or preprocessing gives 10 %
    assert np.trace(figures["confusion_matrix"]) == round(figures["accuracy"] * 179)
    kept = json.loads((digits_run / "metrics.json").read_text())
    assert kept["test"]["accuracy"] == figures["accuracy"]
    assert kept["validation"]["images"] == 179


def test_evaluate_matches_the_labels_of_a_folder_by_name(digits_run, tmp_path, last_json):
    folder = tmp_path / "photos"
    written = save_digits(folder, 40)
    shutil.rmtree(folder / "0")  # a class that is absent: positions shift, names do not
    assert kzoo(["evaluate", str(digits_run), str(folder), "--json"]) == 0
    figures = last_json()
    assert figures["images"] == sum(label != "0" for _, label in written)
    assert figures["classes"] == list("0123456789")
    assert figures["accuracy"] > 0.9


def test_evaluate_refuses_a_label_the_model_does_not_know(digits_run, tmp_path, capfd):
    save_digits(tmp_path / "photos")
    (tmp_path / "photos" / "0").rename(tmp_path / "photos" / "zero")
    assert kzoo(["evaluate", str(digits_run), str(tmp_path / "photos")]) == 1
    assert "'zero'" in capfd.readouterr().err.splitlines()[-1]


def test_evaluate_takes_the_test_split_of_the_folder_it_was_trained_on(tmp_path, last_json, capfd):
    folder, moved, path = tmp_path / "photos", tmp_path / "elsewhere", tmp_path / "run"
    save_digits(folder, 179)
    assert kzoo(["train", "mnist_net", str(folder), "--epochs", "1", "--run-dir", str(path)]) == 0
    folder.rename(moved)
    assert kzoo(["evaluate", str(path), str(moved), "--json"]) == 0
    of_the_same = last_json()
    assert of_the_same["split"] == "test"
    assert of_the_same["images"] < 40
    # Another folder is scored as a whole; this one still holds what the run was trained on.
    (moved / "1" / "new.png").write_bytes(next((moved / "2").iterdir()).read_bytes())
    assert kzoo(["evaluate", str(path), str(moved), "--json"]) == 1
    assert "Evaluation images are training images too, by content. Received: 140 of 180" in capfd.readouterr().err


def test_digits_are_the_digits_even_beside_a_folder_of_that_name(digits_run, tmp_path, monkeypatch, last_json):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert kzoo(["evaluate", str(digits_run), "digits", "--json"]) == 0
    figures = last_json()
    assert (figures["split"], figures["images"]) == ("test", 179)


def test_a_finished_run_needs_no_data_to_say_so(tmp_path, capfd):
    folder, path = tmp_path / "photos", tmp_path / "run"
    save_digits(folder, 60)
    assert kzoo(["train", "mnist_net", str(folder), "--epochs", "1", "--run-dir", str(path)]) == 0
    shutil.rmtree(folder)
    assert kzoo(["train", "--resume", str(path)]) == 0
    assert "finished" in capfd.readouterr().err


def test_overwrite_with_bad_data_keeps_the_old_run(digits_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(digits_run, path)
    before = (path / "best.keras").read_bytes()
    assert kzoo(["train", "mnist_net", "no_such_data", "--run-dir", str(path), "--overwrite"]) == 1
    assert (path / "best.keras").read_bytes() == before
    assert kzoo(["evaluate", str(path)]) == 0


def test_predict_prints_json_in_the_order_of_the_arguments(digits_run, tmp_path, last_json):
    written = save_digits(tmp_path / "new", 12)
    order = [11, 3, 7]
    files = [str(written[i][0]) for i in order]
    assert kzoo(["predict", str(digits_run), *files, "--json", "--top", "2"]) == 0
    predictions = last_json()["predictions"]
    assert [p["file"] for p in predictions] == files
    for prediction, i in zip(predictions, order, strict=True):
        best, second = prediction["top"]
        assert best["label"] == written[i][1]
        assert best["index"] == int(best["label"])
        assert best["probability"] > second["probability"]


def test_predict_in_a_pipe_prints_a_line_of_json_per_image(digits_run, tmp_path, capfd):
    written = save_digits(tmp_path / "new", 6)
    folder = written[0][0].parent
    assert kzoo(["predict", str(digits_run), str(folder), f"{tmp_path}/new/*/005.png"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == [*map(str, sorted(folder.iterdir())), str(written[5][0])]


def test_predict_stops_at_a_bad_image_or_skips_it(digits_run, tmp_path, capfd):
    [(good, _)] = save_digits(tmp_path / "new", 1)
    bad = tmp_path / "new" / "bad.png"
    bad.write_bytes(b"not an image")
    assert kzoo(["predict", str(digits_run), str(good), str(bad)]) == 1
    assert str(bad) in capfd.readouterr().err.splitlines()[-1]
    assert kzoo(["predict", str(digits_run), str(bad), str(good), "--on-bad-image", "skip", "--json"]) == 0
    answer = capfd.readouterr()
    assert [p["file"] for p in json.loads(answer.out.splitlines()[-1])["predictions"]] == [str(good)]
    assert str(bad) in answer.err


def test_resuming_a_finished_run_says_so(digits_run, capfd):
    before = (digits_run / "last.keras").read_bytes()
    assert kzoo(["train", "--resume", str(digits_run)]) == 0
    assert "finished" in capfd.readouterr().err
    assert (digits_run / "last.keras").read_bytes() == before


def test_resume_starts_a_run_that_has_no_checkpoint_yet(digits_run, tmp_path, last_json):
    path = tmp_path / "begun"
    path.mkdir()
    shutil.copy(digits_run / "config.json", path)
    assert kzoo(["train", "--resume", str(path), "--json"]) == 0
    assert last_json()["epochs"] == 4
    assert (path / "best.keras").exists()


def test_resume_on_other_devices(digits_run, tmp_path, last_json):
    path = tmp_path / "begun"
    path.mkdir()
    config = json.loads((digits_run / "config.json").read_text())
    config["train"] |= {"strategy": "mirrored", "devices": "cpu:2", "epochs": 1}
    (path / "config.json").write_text(json.dumps(config))
    assert kzoo(["train", "--resume", str(path), "--strategy", "one", "--json"]) == 0
    assert last_json()["epochs"] == 1
    now = json.loads((path / "config.json").read_text())["train"]
    assert (now["strategy"], now["devices"]) == ("one", None)


def test_list(last_json):
    assert kzoo(["list", "--json"]) == 0
    models = last_json()["models"]
    assert [m["name"] for m in models] == list_models()
    assert {"name": "mnist_net", "input_shape": [28, 28, 1], "classes": 10} in models


def test_info_follows_the_input_size(last_json):
    assert kzoo(["info", "mnist_net", "--json", "--image-size", "32x16", "--channels", "3", "--classes", "2"]) == 0
    info = last_json()
    assert info["input_shape"] == [32, 16, 3]
    # 5x5x3x32 + 5x5x32x64 kernels, 8x4x64 x 150 and 150 x 2 + 2 dense, 4 numbers per normalized channel
    assert info["parameters"] == 2400 + 51200 + 8 * 4 * 64 * 150 + 302 + 4 * (32 + 64 + 150)
    assert info["parameters"] - info["trainable_parameters"] == 2 * (32 + 64 + 150)


def test_info_tells_the_stages(capfd, last_json):
    assert kzoo(["info", "resnet18", "--image-size", "64", "--json"]) == 0
    info = last_json()
    assert (info["depth"], info["multiply_adds"]) == (18, describe("resnet18", (64, 64, 3)).multiply_adds)
    assert [stage["name"] for stage in info["stages"]] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert info["stages"][-1] == {
        "name": "conv5", "layer": "conv5_block2_out", "output_shape": [2, 2, 512], "stride": 32, "channels": 512,
        "receptive_field": 435, "depth": 17, "parameters": 8_388_608 + 5 * 4 * 512,
        "multiply_adds": 4 * 8_388_608,
    }  # fmt: skip
    assert kzoo(["info", "mnist_net"]) == 0
    header, *stages = capfd.readouterr().out.splitlines()[1:]
    assert header.split("\t")[:5] == ["stage", "output", "stride", "channels", "receptive field"]
    assert [line.split("\t")[:5] for line in stages] == [
        ["conv1", "28x28x32", "1", "32", "5"],
        ["conv2", "14x14x64", "2", "64", "14"],
        ["predictions", "10", "", "10", ""],
    ]


def test_info_as_markdown_of_a_run(digits_run, capfd):
    assert kzoo(["info", str(digits_run), "--markdown", "--layers"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("mnist_net: 524,894 parameters")
    assert "\n\n| stage | output |" in printed
    assert "\n\n| layer | type |" in printed
    assert "\n| conv2 | Conv2D | 14x14x64 | 51,200 | 10.04 M |\n" in printed
    assert kzoo(["info", str(digits_run), "--image-size", "32"]) == 2
    assert "mnist_net is built for input_shape=(28, 28, 1)" in capfd.readouterr().err


def test_doctor_finds_nothing_wrong_here(last_json):
    assert kzoo(["doctor", "--json"]) == 0
    facts = last_json()
    assert facts["problems"] == []
    assert facts["keras"].startswith("3.15")
    assert facts["precision"] in ("float32", "mixed_bfloat16", "mixed_float16")


@pytest.mark.slow
def test_bench_measures_every_contender(last_json):
    arguments = ["bench", "train-step", "mnist_net", "--images", "256", "--rounds", "1", "--json"]
    assert kzoo(arguments) == 0
    rows = last_json()["rows"]
    own = next(row["precision"] for row in rows if row["name"] == "kzoo.train, its defaults")
    others = [own] if own != "float32" else []
    assert [(row["name"], row["precision"], row["batch_size"], row["augment"]) for row in rows] == [
        *(
            (name, precision, 128, "none")
            for precision in ["float32", *others]
            for name in ("plain Keras", "kzoo, Keras's fit", "kzoo.train")
        ),
        ("plain Keras, its defaults", "float32", 128, "none"),
        ("kzoo.train, its defaults", own, 256, "none"),
        ("kzoo.train, its defaults", own, 256, "digits"),
    ]
    assert {row["ratio"] for row in rows if row["name"].startswith("plain Keras")} == {1}
    # TensorFlow alone takes some 300 MB; the machine has less than 4 TB.
    assert all(3e8 < row["peak_memory_bytes"] < 4e12 for row in rows)


@pytest.mark.slow
def test_bench_of_inference_with_a_list_of_precisions(last_json):
    arguments = ["bench", "infer", "resnet20_cifar", "--images", "32", "--batch-size", "16", "--rounds", "1", "--json"]
    assert kzoo([*arguments, "--precision", "float32", "mixed_bfloat16"]) == 0
    result = last_json()
    assert result["against"] == "plain"
    assert [(row["name"], row["precision"], row["batch_size"]) for row in result["rows"]] == [
        (name, precision, 16) for precision in ("float32", "mixed_bfloat16") for name in ("plain Keras", "kzoo")
    ]


def test_augment_draws_a_picture(tmp_path, last_json, capfd):
    out = tmp_path / "grid.png"
    arguments = ["augment", "digits", "--image-size", "28", "--count", "2", "--draws", "3", "--out", str(out)]
    assert kzoo([*arguments, "--json"]) == 0
    assert last_json() == {
        "out": str(out), "dataset": "digits", "policy": ["digits"], "seed": 0, "images": 2, "draws": 3,
    }  # fmt: skip
    before = out.read_bytes()
    with Image.open(out) as picture:
        assert picture.height == 42 + 2 * 90
    assert kzoo([*arguments, "--policy", "digits", "photos", "--seed", "4"]) == 2
    assert "There is a file here already" in capfd.readouterr().err
    assert out.read_bytes() == before
    assert kzoo([*arguments, "--policy", "digits", "photos", "--seed", "4", "--overwrite"]) == 0
    assert "digits + photos" in capfd.readouterr().out
    assert out.read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_augment_of_a_folder_whose_images_differ_in_size(tmp_path, last_json):
    for i, (label, size) in enumerate([("ants", (300, 200)), ("bees", (100, 150))] * 10):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, 9, 9)).save(tmp_path / "photos" / label / f"{i}.png")
    assert kzoo(["augment", str(tmp_path / "photos"), "--out", str(tmp_path / "grid.png"), "--json"]) == 0
    assert last_json()["policy"] == ["photos"]
