"""Searches that train: what is found is true of the model when it is loaded again, and of images no trial has seen."""

import csv
import json
import math
import re
from dataclasses import replace

import pytest

import kzoo
from kzoo.cli import run as run_kzoo
from kzoo.cli._options import DataOptions
from kzoo.cli._runs import record_of
from kzoo.cli.commands import app
from kzoo.errors import RunError
from kzoo.search import SearchConfig, resume, search, store
from kzoo.train import TrainConfig, ZooModel, evaluate, runs
from kzoo.transfer import TransferConfig

GOOD_AND_BAD = {"learning_rate": {"values": [0.05, 1e4]}}
# SGD at a rate of 10,000 multiplies the weights by -499 in each step.
TRAIN = TrainConfig(optimizer="sgd", weight_decay=0.05, epochs=1, precision="float32", seed=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "run"
    config = SearchConfig(algorithm="grid", trials=5, workers=2, seeds=1)
    return search("mnist_net", "digits", folder, config=config, train=TRAIN, space=GOOD_AND_BAD)


def test_a_trial_that_diverges_ends_alone(finished):
    good, bad = finished.trials
    assert (good["status"], good["reason"]) == ("completed", "")
    assert bad["status"] == "failed"
    assert " became nan at step " in bad["reason"]
    assert bad["accuracy"] is None


def test_each_trial_is_a_run_of_its_own(finished):
    for trial, rate in zip(finished.trials, (0.05, 1e4), strict=True):
        record = runs.read_record(finished.search_dir / "trials" / f"{trial['number']:04d}")
        assert record.train.learning_rate == rate
        assert (record.train.precision, record.train.epochs) == ("float32", 1)
        assert record.train.seed == trial["seed"] == 3


def test_the_score_is_that_of_the_model_loaded_again(finished):
    model = kzoo.load_model(finished.model_path)
    splits = {name: kzoo.data.load("digits", name, image_size=28) for name in ("validation", "test")}
    figures = {name: evaluate(model, data) for name, data in splits.items()}
    assert finished.best["verified"] is True
    # The same images and weights in float32; other cores may sum in another order.
    assert finished.best["accuracy"] == pytest.approx(figures["validation"]["accuracy"], abs=1e-9)
    assert finished.best["test"]["accuracy"] == pytest.approx(figures["test"]["accuracy"], abs=1e-9)
    assert finished.trials[0]["loss"] == pytest.approx(figures["validation"]["loss"], rel=1e-4)
    assert finished.best["accuracy"] > 0.5  # one epoch gets beyond; a wrong label order gives 0.1
    assert finished.trials[0]["parameters"] == model.count_params()
    assert math.isfinite(finished.trials[0]["images_per_second"])


def test_a_finished_search_is_not_done_again(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.search_dir.rglob("*") if path.is_file()}
    assert resume(finished.search_dir) == finished
    now = {path: path.stat().st_mtime_ns for path in finished.search_dir.rglob("*") if path.is_file()}
    assert {path for path in now if now[path] != before.get(path)} <= {finished.search_dir / ".lock"}
    with pytest.raises(RunError, match="There is a search here already"):
        search("mnist_net", "digits", finished.search_dir)


def test_a_folder_with_a_search_says_how_to_continue_it(tmp_path):
    folder = tmp_path / "my $(search)"
    folder.mkdir()
    (folder / store.SEARCH).write_text("{}")
    with pytest.raises(RunError, match=re.escape(f"kzoo search --resume '{folder}', or name another folder.")):
        store.check_free(folder)


def test_train_from_search(finished, tmp_path, capfd):
    path = tmp_path / "again"
    arguments = ["--run-dir", str(path), "--seed", "8", "--json"]
    assert run_kzoo(["train", "--from-search", str(finished.search_dir), *arguments]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["accuracy"] > 0.5
    found, best = runs.read_record(path), runs.read_record(finished.search_dir / "trials" / "0000")
    assert found.train == replace(best.train, seed=8)
    assert found.model == best.model
    # A flag counts also where it says the default, and what follows from it follows.
    found, _ = from_search_flags(finished, "--optimizer", "adamw", "--epochs", "15", "--schedule", "step")
    assert (found.epochs, found.decay_epochs, found.learning_rate) == (15, (7.5, 11.25), 0.05)
    found, _ = from_search_flags(finished, "--learning-rate", "0.01", "--strategy", "one")
    assert (found.epochs, found.learning_rate, found.optimizer) == (1, 0.01, "sgd")
    assert run_kzoo(["train", "mnist_net", "digits", "--from-search", str(finished.search_dir)]) == 2
    assert "--from-search has its own model and data" in capfd.readouterr().err


def from_search_flags(finished, *flags, all_data=False):
    """The configuration and the record of the run that `kzoo train --from-search RUN FLAGS` begins."""
    folder = str(finished.search_dir)
    _, bound, _ = app.parse_args(["train", "--from-search", folder, *flags], exit_on_error=False, print_error=False)
    given = {"config": TrainConfig(), **bound.arguments}
    record = record_of(
        "train", None, None, from_search=folder, all_data=all_data, config=given["config"], data=DataOptions(),
        image_size=None,
    )  # fmt: skip
    return record.train, record


def test_on_all_data_a_trial_that_was_stopped_early_is_trained_as_long_as_it_was_good(tmp_path, capfd):
    """And the schedule is that of so many epochs."""
    train = TrainConfig(epochs=5, schedule="one_cycle", early_stopping=1, learning_rate=3.0)
    space = {"dropout": {"values": [0.1]}, "batch_size": {"values": [128]}}
    stopped = search(
        "mnist_net", "digits", tmp_path / "run", config=SearchConfig(trials=1, seeds=1), train=train, space=space
    )
    best = runs.read_json(tmp_path / "run" / "trials" / "0000" / runs.METRICS)["best_epoch"]
    capfd.readouterr()
    found, record = from_search_flags(stopped, all_data=True)
    assert (found.early_stopping, found.epochs, record.data.all_data) == (None, best, True)
    assert found.warmup_epochs == pytest.approx(0.3 * best)
    assert f"{best} epochs, as of the best model" in capfd.readouterr().err
    found, _ = from_search_flags(stopped, "--epochs", "9", "--schedule", "step", all_data=True)
    assert (found.early_stopping, found.epochs, found.decay_epochs) == (None, 9, (4.5, 6.75))
    found, _ = from_search_flags(stopped)
    assert (found.early_stopping, found.epochs) == (1, 5)


def test_the_table_of_the_command_line(finished, capfd):
    assert run_kzoo(["search", "--resume", str(finished.search_dir)]) == 0
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    assert lines[0] == [
        "trial", "", "validation accuracy", "images/s", "parameters", "epochs", "seconds", "learning_rate",
    ]  # fmt: skip
    assert lines[1][:3] == ["0", "best, Pareto", f"{100 * finished.best['accuracy']:.2f} %"]
    assert lines[2][:2] == ["1", finished.trials[1]["reason"]]
    assert ["the same, loaded again", "yes"] in lines


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["bayesian", "hyperband", "random", "grid"])
@pytest.mark.parametrize("devices", [{"strategy": "one"}, {"strategy": "mirrored", "devices": "cpu:2"}], ids=["1", "2"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_algorithm(algorithm, devices, precision, tmp_path):
    """With each strategy and precision, the best model loaded again in a fresh process."""
    train = TrainConfig(epochs=3, batch_size=64, precision=precision, **devices)
    space = {
        "learning_rate": {"min": 0.3, "max": 3, "scale": "log", "relative": True},
        "dropout": {"min": 0, "max": 0.5},
    }
    config = SearchConfig(algorithm=algorithm, trials=5, top=1, seeds=2)
    result = search("mnist_net", "digits", tmp_path / "run", config=config, train=train, space=space)
    assert [trial["status"] for trial in result.trials] == ["completed"] * 6
    assert result.best["verified"] is True
    assert result.best["test"]["accuracy"] > 0.8
    record = runs.read_record(tmp_path / "run" / "trials" / "0004")
    assert (record.train.precision, record.train.strategy) == (precision, devices["strategy"])


def test_train_from_search_on_all_data(finished, tmp_path, capfd):
    """On 1,618 images instead of 1,439; the test split stays what it was."""
    path = tmp_path / "all"
    assert run_kzoo(["train", "--from-search", str(finished.search_dir), "--all-data", "--run-dir", str(path)]) == 0
    assert "1,618 training and 0 validation images" in capfd.readouterr().err
    assert run_kzoo(["evaluate", str(path), "--json"]) == 0
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (figures["split"], figures["images"]) == ("test", 179)
    assert figures["accuracy"] > 0.9


def test_pretrained_weights_are_fine_tuned(tmp_path, capfd):
    """Each trial is a run of kzoo finetune; what is found can be fine-tuned again, on all images."""
    space = {"unfreeze": {"values": ["conv2", "conv1"]}, "layer_decay": {"values": [0.3]}}
    folder = tmp_path / "search"
    result = search(
        "mnist_net", "digits", folder, weights="mnist", space=space, train=TrainConfig(epochs=1),
        transfer=TransferConfig(head_epochs=2, views=1), config=SearchConfig(algorithm="grid", trials=2, seeds=1),
    )  # fmt: skip
    assert [(trial["status"], trial["values"]["unfreeze"]) for trial in result.trials] == [
        ("completed", "conv2"), ("completed", "conv1"),
    ]  # fmt: skip
    assert result.best["verified"] is True
    # 0.93 on the weights as they are; the head alone gets as far in two epochs.
    assert min(trial["accuracy"] for trial in result.trials) > 0.9
    best = runs.read_record(folder / "trials" / f"{result.best['run']:04d}")
    assert best.transfer is not None
    assert best.transfer.unfreeze == result.best["values"]["unfreeze"]
    assert (best.transfer.head_epochs, best.transfer.layer_decay) == (2, 0.3)
    assert isinstance(best.model, ZooModel)
    assert best.model.weights == "mnist"
    assert (folder / "trials" / "0000" / "head" / "metrics.json").exists()

    assert run_kzoo(["train", "--from-search", str(folder)]) == 2
    assert "This is a search of kzoo finetune." in capfd.readouterr().err
    again = tmp_path / "again"
    command = ["finetune", "--from-search", str(folder), "--all-data", "--views", "2", "--run-dir", str(again)]
    assert run_kzoo(command) == 0
    assert "1,618 training and 0 validation images" in capfd.readouterr().err
    record = runs.read_record(again)
    assert record.transfer == replace(best.transfer, views=2)
    assert run_kzoo(["evaluate", str(again), "--json"]) == 0
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (figures["split"], figures["images"]) == ("test", 179)
    assert figures["accuracy"] > 0.9


def test_trials_that_fine_tune_share_features(tmp_path, monkeypatch):
    """What is below the cuts is computed once for both trials, which begin at the same time."""
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    space = {
        "unfreeze": {"values": ["conv2"]}, "augment": {"values": [["digits"]]}, "epochs": {"values": [1, 2]},
        "learning_rate": {"min": 0.0005, "max": 0.002}, "dropout": {"min": 0.1, "max": 0.5, "start": 0.25},
        "batch_size": {"values": [64, 128]}, "layer_decay": {"min": 0.2, "max": 1},
    }  # fmt: skip
    result = search(
        "mnist_net", "digits", tmp_path / "run", weights="mnist", space=space, train=TrainConfig(epochs=1),
        transfer=TransferConfig(head_epochs=1, views=1),
        config=SearchConfig(algorithm="random", trials=2, seeds=1, workers=2),
    )  # fmt: skip
    one, other = (trial["values"] for trial in result.trials)
    assert {name for name in space if one[name] != other[name]} >= {"learning_rate", "dropout", "layer_decay"}
    head, whole = (runs.read_record(tmp_path / "run" / "trials" / "0000" / name) for name in ("head", ""))
    cuts = {*(head.fine_tuning.features_at or ()), *(whole.fine_tuning.features_at or ())}
    assert len(cuts) == 2
    # At each cut those of the training and of the validation images.
    assert len(list((tmp_path / "home" / "features").glob("[!.]*"))) == 2 * len(cuts)


def test_the_table_shows_rates(tmp_path, scripted):
    """Multiples are searched; what a reader wants is the rate that a trial is trained with."""
    scripted(seconds=0)
    space = {
        "learning_rate": {"values": [1.0, 0.5], "relative": True},
        "optimizer": {"values": ["sgd"]},
        "momentum": {"values": [0.5]},
    }
    config = SearchConfig(algorithm="grid", trials=2, seeds=1)
    result = search("mnist_net", "digits", tmp_path / "run", config=config, space=space)
    trained = [runs.read_record(tmp_path / "run" / "trials" / f"000{number}").train for number in range(2)]
    rates = [one.learning_rate for one in trained]
    assert rates[0] != rates[1]
    assert [trial["values"]["learning_rate"] for trial in result.trials] == rates
    assert result.best["values"]["learning_rate"] == rates[result.best["trial"]]
    with open(tmp_path / "run" / "trials.csv") as file:
        assert [float(row["learning_rate"]) for row in csv.DictReader(file)] == pytest.approx(rates, rel=1e-3)


def test_flags_of_fine_tuning_without_weights(capsys):
    assert run_kzoo(["search", "mnist_net", "digits", "--layer-decay", "0.3"]) == 2
    assert "To fine-tune in a search, pass weights (--weights)." in capsys.readouterr().err


def test_a_new_head_that_was_best_alone_is_what_is_trained_again(tmp_path, capfd):
    """With a learning rate that destroys what it fine-tunes, a trial's score is the head's; so is the model's later."""
    space = {"learning_rate": {"values": [0.3]}}
    folder, again = tmp_path / "search", tmp_path / "again"
    result = search(
        "mnist_net", "digits", folder, weights="mnist", space=space, train=TrainConfig(epochs=1),
        transfer=TransferConfig(head_epochs=10, views=1), config=SearchConfig(algorithm="grid", trials=1, seeds=1),
    )  # fmt: skip
    assert runs.read_json(folder / "trials" / "0000" / "metrics.json")["kept"] == "head"
    assert run_kzoo(["finetune", "--from-search", str(folder), "--all-data", "--run-dir", str(again), "--json"]) == 0
    assert "the new head alone is kept" in capfd.readouterr().err
    assert run_kzoo(["evaluate", str(again), "--json"]) == 0
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert figures["accuracy"] > result.best["test"]["accuracy"] - 0.05
    assert run_kzoo(["finetune", "--resume", str(again), "--json"]) == 0  # finished; nothing is trained again


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--weights", "mnist", "--space", "MODELS"], "model cannot be searched here: the weights are those of one"),
        (["--weights", "~nosuchuser/x"], "Cannot look at the path of weights"),
        (["--weights", "x" * 5000], "Received: 'xxx"),
        (["--weights", "imagenet-1k"], "Received: 'imagenet-1k'"),
    ],
)
def test_weights_that_cannot_be_searched_with(arguments, line, tmp_path, capfd):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"model": {"values": ["mnist_net", "resnet20_cifar"]}}))
    arguments = [str(space) if word == "MODELS" else word for word in arguments]
    assert run_kzoo(["search", "mnist_net", "digits", *arguments, "--run-dir", str(tmp_path / "run")]) == 2
    errors = capfd.readouterr().err
    assert line in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_hyperband_fine_tunes(tmp_path):
    config = SearchConfig(algorithm="hyperband", trials=5, top=1, seeds=2, workers=2)
    space = {"unfreeze": {"values": ["conv2", "conv1"]}, "layer_decay": {"min": 0.2, "max": 1}}
    result = search(
        "mnist_net", "digits", tmp_path / "run", weights="mnist", space=space, config=config,
        train=TrainConfig(epochs=3), transfer=TransferConfig(head_epochs=2, views=2),
    )  # fmt: skip
    assert [trial["status"] for trial in result.trials] == ["completed"] * 6
    assert {trial["epochs"] for trial in result.trials} == {1, 3}
    assert result.best["verified"] is True
