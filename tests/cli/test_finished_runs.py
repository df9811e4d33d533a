"""What commands make of a run that is finished: its figures without TensorFlow, and a damaged metrics.json."""

import json
import shutil

import pytest

from kzoo.cli import run as kzoo
from kzoo.train import runs, start

HEAVY = "{'tensorflow', 'keras', 'matplotlib', 'PIL'}"
DIGITS = ["mnist_net", "digits", "--epochs", "1", "--batch-size", "256", "--precision", "float32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    assert kzoo(["train", *DIGITS, "--run-dir", str(path / "train")]) == 0
    tuned = ["finetune", *DIGITS, "--weights", "mnist", "--head-epochs", "1", "--views", "1"]
    assert kzoo([*tuned, "--run-dir", str(path / "finetune")]) == 0
    return path


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_figures_are_printed_again_without_tensorflow(command, folder, fresh_python, tmp_path):
    code = "import sys; from kzoo.cli import run; status = run([sys.argv[1], '--resume', sys.argv[2], '--json'])"
    code = f"{code}\nprint('heavy:', sorted({HEAVY} & set(sys.modules)), status)"
    *_, figures, heavy = fresh_python(code, command, folder / command, cwd=tmp_path).stdout.splitlines()
    assert heavy == "heavy: [] 0"
    metrics = json.loads((folder / command / "metrics.json").read_text())
    assert json.loads(figures) == {
        "run_dir": str(folder / command),
        "accuracy": metrics["validation"]["accuracy"],
        **metrics,
    }


@pytest.mark.parametrize(
    ("command", "run", "line"),
    [
        (
            "finetune",
            "train",
            "Not a run that fine-tunes. Received: 'train'. Continue it with kzoo train --resume train",
        ),
        ("train", "finetune", "This run fine-tunes. Received: 'finetune'. Continue it with kzoo finetune --resume"),
        (
            "train",
            "finetune/head",
            "This is the first phase of a run that fine-tunes. Received: 'finetune/head'. Continue it with kzoo "
            "finetune --resume /",
        ),
        (
            "finetune",
            "finetune/head",
            "This is the first phase of a run that fine-tunes. Received: 'finetune/head'. Continue it with kzoo "
            "finetune --resume /",
        ),
        ("train", "nowhere", "Not a run directory: it has no config.json. Received: 'nowhere'."),
    ],
)
def test_the_other_commands_run(command, run, line, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert kzoo([command, "--resume", run]) == 2
    error = capfd.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_a_run_that_was_being_replaced_is_resumed(folder, tmp_path, capfd):
    """The process that replaced it was killed before its own config.json was there."""
    run = shutil.copytree(folder / "train", tmp_path / "run")
    (run / ".moving").mkdir()
    (run / "checkpoint.safetensors").rename(run / ".moving" / "checkpoint.safetensors")
    assert kzoo(["train", "--resume", str(run), "--json"]) == 0
    assert "this run is finished" in capfd.readouterr().err
    shutil.copytree(run, run / ".replaced", ignore=shutil.ignore_patterns(".replaced", ".lock"))
    for name in ("config.json", "checkpoint.safetensors", "metrics.json"):
        (run / name).unlink()
    result = start(runs.read_record(folder / "train"), run, resume=True)
    assert result.metrics == json.loads((folder / "train" / "metrics.json").read_text())
    assert not (run / ".replaced").exists()


DELETE = object()
DAMAGES = [
    (("epochs",), "4", "epochs = '4'. Expected: a whole number."),
    (("best_epoch",), DELETE, "no best_epoch. Expected: a whole number."),
    (("training_seconds",), None, "training_seconds = None. Expected: a number."),
    (
        ("validation",),
        [1],
        "validation = [1]. Expected: an object with accuracy, loss, top5_accuracy, images, interval.",
    ),
    (("validation", "accuracy"), DELETE, "no validation.accuracy. Expected: a number."),
    (("validation", "interval"), [0.5], "validation.interval = [0.5]. Expected: a list of 2."),
    (("validation", "images"), DELETE, "no validation.images. Expected: a whole number."),
    (("validation", "top5_accuracy"), "1", "validation.top5_accuracy = '1'. Expected: a number or null."),
]
TUNING_DAMAGES = [
    (("kept",), "none", "kept = 'none'. Expected: one of head, fine_tuned."),
    (("head",), DELETE, "no head. Expected: an object."),
    (("head", "training_seconds"), True, "head.training_seconds = True. Expected: a number."),
    (("head", "validation", "loss"), {}, "head.validation.loss = {}. Expected: a number."),
]


@pytest.mark.parametrize(
    ("run", "path", "value", "line"),
    [*(("train", *one) for one in DAMAGES), *(("finetune", *one) for one in DAMAGES + TUNING_DAMAGES)],
)
def test_a_damaged_entry_is_one_line(run, path, value, line, folder, tmp_path, capfd):
    file = _damaged(folder / run, tmp_path, path, value)
    for arguments in ([run, "--resume", str(file.parent)], ["weights", "add", str(file.parent), "--name", "x"]):
        capfd.readouterr()
        assert kzoo(arguments) == 1
        error = capfd.readouterr().err.splitlines()
        assert error[-1] == f"kzoo: The run's metrics.json is damaged. Received: {str(file)!r}: {line}"
        assert not [one for one in error[:-1] if not one.startswith("this run is finished")]


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "Expecting property name"), ("[1]", "no JSON object"), ("5", "no JSON object")]
)
def test_a_file_that_is_no_object(text, reason, folder, tmp_path, capfd):
    file = _damaged(folder / "train", tmp_path, (), None)
    file.write_text(text)
    for arguments, status in (
        (["train", "--resume", str(file.parent)], 1),
        (["weights", "add", str(file.parent), "--name", "x"], 1),
        (["evaluate", str(file.parent)], 0),  # whose figures are printed all the same
    ):
        capfd.readouterr()
        assert kzoo(arguments) == status
        error = capfd.readouterr().err
        assert f"The run's metrics.json is damaged. Received: {str(file)!r}: {reason}" in error
        assert "Traceback" not in error
    assert file.read_text() == text


def test_a_file_that_is_missing(folder, tmp_path, capfd):
    file = _damaged(folder / "train", tmp_path, (), None)
    file.unlink()
    assert kzoo(["train", "--resume", str(file.parent)]) == 1
    assert f"metrics.json is damaged. Received: {str(file)!r}: No such file or directory" in capfd.readouterr().err


def _damaged(run_dir, tmp_path, path, value):
    """The metrics.json of a copy of a run, with one entry changed or deleted."""
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    content = json.loads((copy / "metrics.json").read_text())
    parent = content
    for name in path[:-1]:
        parent = parent[name]
    if value is DELETE:
        del parent[path[-1]]
    elif path:
        parent[path[-1]] = value
    (copy / "metrics.json").write_text(json.dumps(content))
    return copy / "metrics.json"
