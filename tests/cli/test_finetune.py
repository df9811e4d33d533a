"""kzoo finetune, on the digits with the weights of MNIST that the wheel carries."""

import json
import shutil

import pytest

from kzoo.cli import run as kzoo
from kzoo.train import runs

FAST = ["--epochs", "1", "--head-epochs", "2", "--views", "1", "--precision", "float32", "--batch-size", "128"]


@pytest.fixture(autouse=True, scope="module")
def features_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KZOO_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    # The stage is named: the new head alone leaves too few mistakes for a second phase by default.
    named = ["--weights", "mnist", "--unfreeze", "conv2"]
    assert kzoo(["finetune", "mnist_net", "digits", *named, *FAST, "--run-dir", str(path)]) == 0
    return path


def copy(run, path, *without):
    shutil.copytree(run, path)
    for name in without:
        (path / name).unlink() if (path / name).is_file() else shutil.rmtree(path / name)
    return path


def weights(run):
    from kzoo.train import load

    return [w.tobytes() for w in load(run).get_weights()]


def test_it_writes_a_whole_run(tuned):
    files = {"config.json", "checkpoint.safetensors", "history.csv", "tensorboard", "best.keras", "last.keras",
             "metrics.json", "curves.png"}  # fmt: skip
    assert {path.name for path in tuned.iterdir()} - {".lock"} == {*files, "head", "learning_rate.png"}
    assert {path.name for path in (tuned / "head").iterdir()} == files
    config = json.loads((tuned / "config.json").read_text())
    model = {"name": "mnist_net", "weights": "mnist", "like": None, "dropout": None, "auxiliary_heads": False}
    assert config["model"] == model
    assert config["transfer"]["head_epochs"] == 2
    assert config["data"]["load"]["image_size"] == [28, 28]


def test_the_run_is_evaluated_and_predicts(tuned, tmp_path, last_json):
    from PIL import Image

    from kzoo import data

    assert kzoo(["evaluate", str(tuned), "--json"]) == 0
    figures = last_json()
    assert (figures["split"], figures["images"]) == ("test", 179)
    assert figures["accuracy"] > 0.9  # MNIST's features and two epochs: 0.97 was seen
    digits = data.load("digits", "test")
    Image.fromarray(digits.images[0, :, :, 0]).save(tmp_path / "a.png")
    assert kzoo(["predict", str(tuned), str(tmp_path / "a.png"), "--json"]) == 0
    [prediction] = last_json()["predictions"]
    assert prediction["top"][0]["label"] == digits.class_names[digits.labels[0]]


def test_a_finished_run_says_so(tuned, last_json):
    before = (tuned / "best.keras").read_bytes()
    assert kzoo(["finetune", "--resume", str(tuned), "--json"]) == 0
    printed = last_json()
    assert printed["run_dir"] == str(tuned)
    assert printed["accuracy"] == printed["validation"]["accuracy"]
    assert printed["kept"] in ("head", "fine_tuned")
    assert (tuned / "best.keras").read_bytes() == before


def test_resume_from_the_second_phase(tuned, tmp_path, last_json, monkeypatch):
    """As it is when a kill has come between the phases, in another working directory, beside a folder "mnist"."""
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    run = copy(tuned, tmp_path / "run", runs.CHECKPOINT, runs.BEST, runs.LAST, runs.METRICS, runs.HISTORY)
    assert kzoo(["finetune", "--resume", str(run), "--json"]) == 0
    assert last_json()["epochs"] == 1
    assert weights(run) == weights(tuned)


def test_resume_from_the_first_phase_on_other_devices(tuned, tmp_path, last_json):
    run = copy(tuned, tmp_path / "run", runs.CHECKPOINT, runs.HEAD + "/" + runs.CHECKPOINT)
    for folder in (run, run / runs.HEAD):
        config = json.loads((folder / runs.CONFIG).read_text())
        config["train"] |= {"strategy": "mirrored", "devices": "cpu:2"}
        (folder / runs.CONFIG).write_text(json.dumps(config))
    assert kzoo(["finetune", "--resume", str(run), "--strategy", "one", "--json"]) == 0
    assert last_json()["epochs"] == 1
    assert [runs.read_record(folder).train.devices for folder in (run, run / runs.HEAD)] == [None, None]
    assert weights(run) == weights(tuned)


def test_a_run_as_the_model_beside_a_folder_with_the_tag_s_name(tuned, tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert kzoo(["finetune", str(tuned), "digits", *FAST, "--run-dir", "again"]) == 0
    record = json.loads((tmp_path / "again" / "config.json").read_text())
    assert record["model"] == {"path": str(tuned)}
    assert record["data"]["load"]["image_size"] == [28, 28]
    assert kzoo(["finetune", "mnist_net", "digits", "--weights", "mnist", *FAST, "--run-dir", "tag"]) == 0
    assert json.loads((tmp_path / "tag" / "config.json").read_text())["model"]["weights"] == "mnist"


def test_overwrite_that_fails_leaves_the_old_run(tuned, tmp_path, capfd):
    run = copy(tuned, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = ["finetune", "mnist_net", "digits", "--weights", "mnist", *FAST, "--run-dir", str(run)]
    assert kzoo(arguments) == 1
    assert "There is a run here already" in capfd.readouterr().err
    assert kzoo([*arguments, "--overwrite", "--unfreeze", "conv9"]) == 2
    assert "Unknown stage of mnist_net. Received: 'conv9'" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        ("", 2, "takes a folder of images, or --resume RUN"),
        ("plain18 digits", 2, "A model needs weights to be used. Received: 'plain18'"),
        ("mnist_net digits --weights mnst", 2, "mnst"),
        ("mnist_ned digits --weights mnist", 2, "Did you mean 'mnist_net'?"),
        ("no_such_run digits", 2, "No such model file or run directory"),
        ("mnist_net digits --weights mnist --layer-decay 2", 2, "layer_decay must be a factor above 0"),
        ("mnist_net digits --weights mnist --batch-norm on", 2, '"frozen"'),
        ("mnist_net no_such_dataset --weights mnist", 1, "--download"),
        ("mnist_net digits --like mnist", 2, "--like is for --weights"),
        ("--resume no_such_run", 2, "Not a run directory"),
        ("--resume no_such_run --views 3", 2, "Received: --views as well"),
    ],
)
def test_usage_errors(arguments, status, line, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert kzoo(["finetune", *arguments.split()]) == status
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("kzoo: ")
    assert line in last
    assert list(tmp_path.rglob("config.json")) == []


def test_commands_that_are_each_other_s(tuned, tmp_path, capfd):
    run = copy(tuned, tmp_path / "run", runs.CHECKPOINT)
    assert kzoo(["train", "--resume", str(run)]) == 2
    assert f"Continue it with kzoo finetune --resume {run}" in capfd.readouterr().err
    assert kzoo(["finetune", "--resume", str(tuned / "head")]) == 2
    assert "This is the first phase of a run that fine-tunes" in capfd.readouterr().err
