"""`kzoo evaluate`: an answer for every run, several runs in one table, and what it saves."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kzoo import create_model, data
from kzoo.cli import run as kzoo
from kzoo.train import TrainConfig, fit

HEAVY = "{'tensorflow', 'keras'}"


def save_digits(folder, split, rows):
    digits = data.load("digits", split)
    for row in rows:
        path = folder / digits.class_names[digits.labels[row]] / f"{split}-{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[row, :, :, 0]).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder {train,val} of digits, and a run on it that is not perfect."""
    place = tmp_path_factory.mktemp("evaluate")
    save_digits(place / "digits" / "train", "train", range(300))
    save_digits(place / "digits" / "val", "validation", range(60))
    train = ["train", "mnist_net", str(place / "digits"), "--epochs", "2", "--batch-size", "32", "--run-dir"]
    assert kzoo([*train, str(place / "run")]) == 0
    return place


def test_without_a_test_split_the_validation_split_is_scored(place, last_json, capfd):
    assert kzoo(["evaluate", str(place / "run"), "--json"]) == 0
    captured = capfd.readouterr()
    figures = json.loads(captured.out.splitlines()[-1])
    assert (figures["split"], figures["used_for"], figures["images"]) == ("validation", "selection", 60)
    assert "has no test split: the validation split is scored" in captured.err
    validation = json.loads((place / "run" / "metrics.json").read_text())["validation"]
    assert {name: figures[name] for name in validation} == validation
    low, high = figures["interval"]
    assert low < figures["accuracy"] < high
    assert sum(one["images"] for one in figures["per_class"].values()) == 60
    assert "test" not in json.loads((place / "run" / "metrics.json").read_text())
    # A split that is asked for is not replaced by another.
    assert kzoo(["evaluate", str(place / "run"), "--split", "test"]) == 1
    assert "There is no test split" in capfd.readouterr().err


def test_mistakes_are_files(place, last_json):
    assert kzoo(["evaluate", str(place / "run"), "--split", "train", "--json"]) == 0
    figures = last_json()
    assert figures["used_for"] == "training"
    wrong = round(300 * (1 - figures["accuracy"]))
    assert len(figures["mistakes"]) == min(wrong, 24) > 0
    for one in figures["mistakes"]:
        assert one["where"].startswith(f"{place}/digits/train/{one['true']}/")
        assert one["predicted"] != one["true"]


def test_the_answer_says_what_it_is_worth(place, capfd):
    assert kzoo(["evaluate", str(place / "run")]) == 0
    printed = capfd.readouterr().out
    assert "split\tvalidation; the model was chosen on these images: expect somewhat less on new ones" in printed
    assert "class\tprecision\tpredicted\trecall\timages" in printed
    assert "true class\tpredicted as\timages\tof" in printed
    assert "95 % interval\t" in printed


def test_three_right_of_three_is_no_certainty(place, tmp_path, capfd):
    """A folder of three images that the model has right."""
    run = str(place / "run")
    assert kzoo(["evaluate", run, "--split", "train", "--json"]) == 0
    wrong = {one["where"] for one in json.loads(capfd.readouterr().out.splitlines()[-1])["mistakes"]}
    save_digits(tmp_path / "new", "test", range(30))
    assert kzoo(["evaluate", run, str(tmp_path / "new"), "--json"]) == 0
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    wrong = {one["where"] for one in found["mistakes"]}
    assert len(wrong) == round(30 * (1 - found["accuracy"])) < 27
    right = [path for path in sorted((tmp_path / "new").rglob("*.png")) if str(path) not in wrong]
    for path in right[3:] + [path for path in (tmp_path / "new").rglob("*.png") if str(path) in wrong]:
        path.unlink()
    for folder in (tmp_path / "new").iterdir():
        if not any(folder.iterdir()):
            folder.rmdir()
    assert kzoo(["evaluate", run, str(tmp_path / "new")]) == 0
    printed = capfd.readouterr().out
    assert "accuracy\t100.00 %\n95 % interval\t43.85 to 100.00 %\n" in printed
    assert "split\tall\n" in printed


def test_training_ends_with_what_its_accuracy_says(place, capfd):
    assert kzoo(["train", "--resume", str(place / "run")]) == 0
    captured = capfd.readouterr()
    figures = json.loads((place / "run" / "metrics.json").read_text())["validation"]
    low, high = (f"{100 * end:.2f}" for end in figures["interval"])
    assert (
        f"validation accuracy\t{100 * figures['accuracy']:.2f} % (95 % interval {low} to {high} %) of 60 validation "
        "images, on which the model was chosen\n"
    ) in captured.out
    assert f"next: kzoo evaluate {place / 'run'}\nnext: kzoo predict {place / 'run'} IMAGE\n" in captured.err


def test_several_runs_are_rows(place, last_json, capfd):
    run, copy = place / "run", place / "copy"
    shutil.copytree(run, copy, dirs_exist_ok=True)
    assert kzoo(["evaluate", str(run), str(copy), str(run / "last.keras"), str(place / "digits"), "--json"]) == 0
    runs = last_json()["runs"]
    assert [(one["run"], one["split"], one["images"]) for one in runs] == [
        (str(run), "validation", 60),
        (str(copy), "validation", 60),
        (str(run / "last.keras"), "validation", 60),
    ]
    assert runs[0] == {**runs[1], "run": str(run)}
    assert kzoo(["evaluate", str(run), str(copy)]) == 0
    header, *rows = capfd.readouterr().out.splitlines()[-3:]
    assert header == "run\taccuracy\t95 % interval\tloss\tcalibration\timages"
    assert rows[0].split("\t")[1:] == rows[1].split("\t")[1:]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["RUN", "OTHER"], "Runs are compared on one dataset. Received: 'RUN' and 'OTHER'"),
        (["RUN", "RUN/last.keras"], "Runs are compared on one dataset"),
        (["RUN", "RUN", "--save", "here"], "--save is for one model. Received: RUN, RUN."),
        (["RUN", "nothing", "digits"], "Not a run directory or model file. Received: 'nothing'."),
        (["RUN", "--save", "RUN/metrics.json"], "--save must be a folder. Received: 'RUN/metrics.json'"),
    ],
)
def test_what_cannot_be_compared(arguments, line, place, tmp_path, capfd):
    other = tmp_path / "other"
    other.mkdir()
    record = json.loads((place / "run" / "config.json").read_text())
    record["data"]["train"]["fingerprint"] = "of other images"
    (other / "config.json").write_text(json.dumps(record))
    shutil.copy(place / "run" / "best.keras", other)

    def named(text):
        return text.replace("RUN", str(place / "run")).replace("OTHER", str(other))

    assert kzoo(["evaluate", *map(named, arguments)]) == 2
    error = capfd.readouterr().err
    assert named(line) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "here").exists()


def test_save_writes_a_table_and_pictures(place, tmp_path, last_json):
    folder = tmp_path / "new" / "evaluation"
    arguments = ["evaluate", str(place / "run"), "--split", "train", "--save", str(folder), "--json"]
    assert kzoo(arguments) == 0
    figures = last_json()
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion_matrix.csv", "confusion_matrix.png", "mistakes.csv", "mistakes.png",
    ]  # fmt: skip
    header, *rows = csv.reader((folder / "confusion_matrix.csv").read_text().splitlines())
    assert header[1:] == [row[0] for row in rows] == figures["classes"]
    assert [list(map(int, row[1:])) for row in rows] == figures["confusion_matrix"]


def test_a_run_on_arrays_answers_with_what_it_ended_with(tmp_path, fresh_python, last_json, capfd):
    digits = data.load("digits", "validation", image_size=28)
    arrays = digits.images[:100], digits.labels[:100]
    fit(lambda: create_model("mnist_net"), arrays, (digits.images[100:], digits.labels[100:]),
        TrainConfig(epochs=1), tmp_path / "run")  # fmt: skip
    code = "import sys; from kzoo.cli import run; status = run(['evaluate', sys.argv[1], '--json'])"
    code = f"{code}\nprint(status, sorted({HEAVY} & set(sys.modules)))"
    *_, line, heavy = fresh_python(code, tmp_path / "run").stdout.splitlines()
    assert heavy == "0 []"
    figures = json.loads(line)
    validation = json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]
    assert figures == {"dataset": None, "split": "validation", "used_for": "selection", **validation}
    assert all(one["where"] == f"arrays #{one['row']}" for one in figures["mistakes"])
    assert kzoo(["evaluate", str(tmp_path / "run"), "--save", str(tmp_path / "out"), "--json"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "confusion_matrix.csv", "confusion_matrix.png",
    ]  # fmt: skip
    # Other images than those that it ended with are not at hand.
    capfd.readouterr()
    assert kzoo(["evaluate", str(tmp_path / "run"), "--split", "test"]) == 2
    assert "This run was not given its data by name" in capfd.readouterr().err


def test_a_run_on_all_images_has_none_left(place, tmp_path, capfd):
    train = ["train", "mnist_net", str(place / "digits"), "--epochs", "1", "--all-data", "--run-dir"]
    assert kzoo([*train, str(tmp_path / "run")]) == 0
    assert "validation accuracy\tnot known: no validation images" in capfd.readouterr().out
    assert kzoo(["evaluate", str(tmp_path / "run")]) == 2
    assert "This run was trained on all images of its data." in capfd.readouterr().err


def test_many_classes_are_shown_by_the_worst(tmp_path, capfd):
    """Random weights of 40 classes on 80 images."""
    random = np.random.default_rng(0)
    names = [f"class {i:02d}" for i in range(40)]
    for name in names:
        (tmp_path / "many" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(random.integers(0, 255, (28, 28)).astype("uint8")).save(
                tmp_path / "many" / name / f"{i}.png"
            )
    from kzoo.saving import save_model

    save_model(create_model("mnist_net", classes=40), tmp_path / "model.keras", names)
    assert (
        kzoo(["evaluate", str(tmp_path / "model.keras"), str(tmp_path / "many"), "--save", str(tmp_path / "out")]) == 0
    )
    lines = capfd.readouterr().out.splitlines()
    first = lines.index("class\tprecision\tpredicted\trecall\timages") + 1
    assert all(line.startswith("class ") for line in lines[first : first + 10])
    assert lines[first - 2] == "the 10 of 40 classes with the lowest recall"
    assert lines[first + 10 : first + 12] == ["most confused", "true class\tpredicted as\timages\tof"]
    with Image.open(tmp_path / "out" / "confusion_matrix.png") as picture:
        assert picture.width > 1500


def test_robustness_is_measured_on_the_same_images(place, last_json, capfd, tmp_path):
    run = str(place / "run")
    assert kzoo(["evaluate", run, "--robustness", "--save", str(tmp_path), "--json"]) == 0
    figures = last_json()
    found = figures["robustness"]
    assert (found["images"], found["calibrated_on"], found["corruptions"]) == (60, "training images", {})
    as_it_is = {"accuracy": figures["accuracy"], "interval": figures["interval"]}
    assert found["noise"][0] == {"deviation": 0, **as_it_is}
    assert found["bits"][0] == {"bits": 32, **as_it_is}
    assert found["noise"][-1]["accuracy"] < figures["accuracy"]
    assert (tmp_path / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    lines = list(csv.reader((tmp_path / "robustness.csv").read_text().splitlines()))
    assert [line[:2] for line in lines[1:3]] == [["noise", "0"], ["noise", "4"]]
    # The next evaluation leaves no curves of this one.
    assert kzoo(["evaluate", run, "--save", str(tmp_path), "--json"]) == 0
    assert "robustness" not in last_json()
    assert not list(tmp_path.glob("robustness.*"))
    # Of another dataset the steps of activations still come from the run's training images.
    save_digits(tmp_path / "new", "test", range(30))
    assert kzoo(["evaluate", run, str(tmp_path / "new"), "--robustness"]) == 0
    printed = capfd.readouterr().out
    assert f"robustness of {run} (activations calibrated on training images)\n" in printed
    assert "change\tlevel\taccuracy\t95 % interval\nnoise\t0\t" in printed
    assert "\nbits\tfloat32\t" in printed


def test_robustness_of_half_precision_is_refused(place, capfd):
    assert kzoo(["evaluate", str(place / "run"), "--robustness", "--precision", "mixed_bfloat16"]) == 2
    assert "Received: --precision mixed_bfloat16. Leave it out." in capfd.readouterr().err
