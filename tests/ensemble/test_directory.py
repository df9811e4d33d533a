"""Ensembles as run directories: what they hold, what commands make of them, and members that are trained."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ensemble_members import pixels, small
from PIL import Image

import kzoo as library
from kzoo.backend import keras, weights_digest
from kzoo.classifier import set_metadata
from kzoo.cli import run as kzoo
from kzoo.ensemble import save
from kzoo.errors import InvalidArgument, RunError
from kzoo.saving import load_model, save_model
from kzoo.train import TrainConfig, fit, resume, run_record, runs, start, trained_on
from kzoo.transfer import freeze
from kzoo.transfer.layerwise import lowest_of_last_size, rate_factors
from kzoo.transfer.surgery import add_head, side_by_side

FAST = ["mnist_net", "digits", "--epochs", "1", "--batch-size", "512", "--precision", "float32"]
CONFIG = TrainConfig(epochs=1, batch_size=512, precision="float32")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs on the digits, and their ensemble with a model file."""
    place = tmp_path_factory.mktemp("ensembles")
    for seed, name in enumerate(("a", "b")):
        assert kzoo(["train", *FAST, "--seed", str(seed), "--run-dir", str(place / name)]) == 0
    keras.utils.set_random_seed(9)
    save_model(set_metadata(library.create_model("mnist_net")), place / "c.keras")
    save([place / "a", str(place / "b"), place / "c.keras"], place / "all")
    return place


@pytest.fixture
def printed(capfd):
    return lambda: json.loads(capfd.readouterr().out.splitlines()[-1])


def test_the_folder_is_a_run_that_says_what_is_in_it(place):
    record, one_run = (runs.read_record(place / name) for name in ("all", "a"))
    assert record.ensemble is not None
    members = record.ensemble.members
    assert [one.source for one in members] == [str(place / name) for name in ("a", "b", "c.keras")]
    assert [one.seed for one in members] == [0, 1, None]
    metrics = [json.loads((place / name / "metrics.json").read_text()) for name in ("a", "b")]
    assert [one.accuracy for one in members] == [*(one["validation"]["accuracy"] for one in metrics), None]
    assert members[0].digest == weights_digest(load_model(place / "a"))
    assert record.data.train == one_run.data.train is not None
    assert sorted(path.name for path in (place / "all").iterdir() if path.name != ".lock") == [
        "best.keras", "checkpoint.safetensors", "config.json", "metrics.json",
    ]  # fmt: skip
    images = pixels(28)
    expected = np.mean([np.asarray(load_model(place / name)(images)) for name in ("a", "b", "c.keras")], axis=0)
    np.testing.assert_allclose(np.asarray(library.load_model(place / "all")(images)), expected, atol=1e-6)


def test_it_is_scored_on_its_members_data(place, printed):
    assert kzoo(["evaluate", str(place / "all"), "--json"]) == 0
    figures = printed()
    assert (figures["dataset"], figures["split"], figures["used_for"]) == ("digits", "test", None)
    assert [one["source"] for one in figures["members"]] == [str(place / name) for name in ("a", "b", "c.keras")]
    assert json.loads((place / "all" / "metrics.json").read_text())["test"]["accuracy"] == figures["accuracy"]
    assert kzoo(["evaluate", *(str(place / name) for name in ("a", "b", "all")), "--json"]) == 0
    assert [one["run"] for one in printed()["runs"]] == [str(place / name) for name in ("a", "b", "all")]
    assert kzoo(["info", str(place / "all")]) == 0


def test_views_are_averaged_by_evaluate_and_predict(place, printed, tmp_path, capfd):
    assert kzoo(["evaluate", str(place / "all"), "--tta", "--json"]) == 0
    figures = printed()
    assert figures["tta"] == ["as it is", "left", "right", "up", "down"]
    # What the run keeps as its test accuracy is without.
    assert "tta" not in json.loads((place / "all" / "metrics.json").read_text()).get("test", {})
    digits = library.data.load("digits", "test", image_size=28)
    Image.fromarray(digits.images[0, :, :, 0]).save(tmp_path / "digit.png")
    assert kzoo(["predict", str(place / "all"), str(tmp_path / "digit.png"), "--tta", "--json"]) == 0
    [prediction] = printed()["predictions"]
    assert prediction["tta"] == figures["tta"]
    model, image = load_model(place / "all"), digits.images[:1].astype("float32")
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    places = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    moved = [padded[:, top : top + 28, left : left + 28] for top, left in places]
    expected = np.mean([np.asarray(model(one)) for one in moved], axis=0).max()
    assert prediction["top"][0]["probability"] == pytest.approx(expected, abs=1e-6)


def test_what_nothing_can_be_trained_in(place, capfd):
    for arguments, line in (
        (["train", "--resume", str(place / "all")], "This is an ensemble, in which nothing is trained."),
        (["train", "--config", str(place / "all")], "This is an ensemble, in which nothing is trained."),
        (["evaluate", str(place / "all"), "--which", "last"], "An ensemble has one model, its best."),
    ):
        assert kzoo(arguments) == 2
        error = capfd.readouterr().err
        assert line in error
        assert error.count("\n") == 1


def test_wrong_members(place, tmp_path, capfd):
    a, out = str(place / "a"), str(tmp_path / "out")
    for members, line in (
        ([a], "An ensemble has at least two members."),
        ([a, a], "at least two different members"),
        ([a, str(tmp_path)], "Not a run directory"),
        ([a, "resnet18"], "A model needs weights to be used."),
        ([a, a, "--weights", "mnist"], "--weights is for names of kzoo list."),
    ):
        assert kzoo(["ensemble", *members, "--out", out]) == 2
        assert line in capfd.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "out").exists()
    assert kzoo(["ensemble", a, str(place / "b"), "--out", str(place / "all")]) == 2
    assert "An ensemble is written to a new or empty folder" in capfd.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_names_with_weights_and_ensembles_are_members(place, tmp_path, printed):
    members = [str(place / "all"), "mnist_net", "--weights", "mnist"]
    assert kzoo(["ensemble", *members, "--out", str(tmp_path / "more"), "--json"]) == 0
    assert [one["source"] for one in printed()["members"]] == [str(place / "all"), "mnist_net mnist"]
    images = pixels(28)
    parts = [load_model(place / "all"), library.create_model("mnist_net", weights="mnist")]
    expected = np.mean([np.asarray(one(images)) for one in parts], axis=0)
    np.testing.assert_allclose(np.asarray(load_model(tmp_path / "more")(images)), expected, atol=1e-6)


def test_members_of_other_data_need_a_dataset(place, tmp_path, capfd):
    """And what any of them was trained on is known of the ensemble."""
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (40, 28, 28, 1)).astype("uint8"), np.arange(40) % 10
    fit(lambda: library.create_model("mnist_net"), (images, labels), config=CONFIG, run_dir=tmp_path / "own")
    save([place / "a", tmp_path / "own"], tmp_path / "both")
    assert runs.read_record(tmp_path / "both").data.train is None
    assert kzoo(["evaluate", str(tmp_path / "both")]) == 2
    assert "Name a DATASET" in capfd.readouterr().err
    of_members, places = (trained_on._read(tmp_path / name / runs.TRAINED_ON) for name in ("both", "own"))
    assert of_members[0] == places[0]
    np.testing.assert_array_equal(of_members[1], places[1])


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(InvalidArgument, match="the same classes"):
        save([small(), small(outputs=4)], tmp_path / "out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write the ensemble"):
        save([small(seed=1), small(seed=2)], tmp_path / "file" / "out")


def test_a_new_head_sees_the_features_of_all_members():
    models = [library.create_model("resnet20_cifar"), library.create_model("mnist_net", input_shape=(32, 32, 3))]
    model = freeze(add_head(library.ensemble.average(models), 4))
    assert [weight.path for weight in model.trainable_weights] == ["predictions/kernel", "predictions/bias"]
    assert model.get_layer("predictions").kernel.shape == (64 + 150, 4)
    networks = side_by_side(model)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    body = keras.Model(models[0].input, models[0].get_layer("predictions").input)
    np.testing.assert_allclose(np.asarray(networks[0](images)), np.asarray(body(images)), atol=1e-5)
    # By the names of the members' papers, as of a single net.
    assert [lowest_of_last_size(one) for one in networks] == ["conv4", "conv2"]
    factors = {weight.path: rate for weight in model.weights for rate in [rate_factors(model, 0.5)[id(weight)]]}
    assert factors["predictions/kernel"] == 1
    assert factors["member0_conv4_block3_2_conv/kernel"] == factors["member1_fc1/kernel"] == 0.5
    assert factors["member1_conv2/kernel"] == 0.5**2
    assert factors["member0_conv1_conv/kernel"] == 0.5**4


def test_an_ensemble_is_fine_tuned(place, tmp_path):
    tune = ["finetune", str(place / "all"), "digits", "--head-epochs", "2", "--epochs", "1", "--batch-size", "256"]
    assert kzoo([*tune, "--unfreeze", "conv2", "--precision", "float32", "--run-dir", str(tmp_path / "run")]) == 0
    before, after = (load_model(path) for path in (place / "all", tmp_path / "run" / "last.keras"))
    changed = {
        weight.path.split("/")[0]
        for weight in before.trainable_weights
        for new in after.weights
        if new.path == weight.path and not np.array_equal(weight.numpy(), new.numpy())
    }
    assert changed == {f"member{number}_{layer}" for number in range(3) for layer in ("conv2", "fc1")}


def test_members_are_trained_with_seeds_of_their_own(tmp_path, capfd):
    record = run_record("mnist_net", "digits", config=CONFIG, members=2)
    result = start(record, tmp_path / "run")
    ensemble = runs.read_record(tmp_path / "run").ensemble
    assert ensemble is not None
    assert [one.seed for one in ensemble.members] == [0, 1]
    alone = start(
        run_record("mnist_net", "digits", config=TrainConfig(**{**vars(CONFIG), "seed": 1})), tmp_path / "one"
    )
    member = load_model(tmp_path / "run" / "member-1")
    assert weights_digest(member) == weights_digest(alone.model)
    assert result.metrics["validation"]["images"] == alone.metrics["validation"]["images"]
    assert start(record, tmp_path / "run", resume=True).metrics == result.metrics
    with pytest.raises(RunError, match="members = 3, recorded: 2"):
        start(run_record("mnist_net", "digits", config=CONFIG, members=3), tmp_path / "run", resume=True)
    with pytest.raises(InvalidArgument, match="members must be a whole number from 2"):
        run_record("mnist_net", "digits", members=1)
    with pytest.raises(InvalidArgument, match="seed must be"):
        run_record("mnist_net", "digits", config=TrainConfig(seed=2**32 - 1), members=2)
    # Another run takes its place, and nothing of the members is left.
    start(run_record("mnist_net", "digits", config=CONFIG), tmp_path / "run", overwrite=True)
    assert not list((tmp_path / "run").glob("member-*"))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_run_of_members_goes_on_with_the_one_it_was_at(number, tmp_path, child_environment):
    command = [sys.executable, "-m", "kzoo", "train", "mnist_net", "digits", "--epochs", "4", "--members", "2"]
    command += ["--batch-size", "64", "--precision", "float32", "--run-dir"]
    run = tmp_path / "run"
    process = subprocess.Popen([*command, str(run)], env=child_environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while not (run / "member-1" / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, number)
    error = process.communicate(timeout=120)[1]
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert error.splitlines()[-1] == f"kzoo: Interrupted in member 2. Continue with: kzoo train --resume {run}"
    finished = (run / "member-0" / "checkpoint.safetensors").stat().st_mtime_ns
    assert not (run / "best.keras").exists()
    result = resume(run)
    assert (run / "member-0" / "checkpoint.safetensors").stat().st_mtime_ns == finished
    config = TrainConfig(epochs=4, batch_size=64, precision="float32")
    whole = start(run_record("mnist_net", "digits", config=config, members=2), tmp_path / "whole")
    assert weights_digest(result.model) == weights_digest(whole.model)
