"""Runs by names: begun, gone on with after a kill, refused where they are other runs."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import safetensors

from kzoo import data
from kzoo.errors import DataError, InvalidArgument, RunError
from kzoo.models.registry import CARDS
from kzoo.train import (
    DataRecord,
    DataSource,
    RunRecord,
    TrainConfig,
    TransferConfig,
    ZooModel,
    load,
    resume,
    run_record,
    runs,
    start,
)
from kzoo.transfer import fine_tune

CONFIG = TrainConfig(epochs=2, batch_size=128, precision="float32", seed=3, checkpoint_seconds=0, steps_per_execution=2)
RECORD = run_record("mnist_net", "digits", config=CONFIG)
BEGIN = """
import sys
from kzoo.train import TrainConfig, run_record, start
config = TrainConfig(**eval(sys.argv[2]))
start(run_record("mnist_net", "digits", config=config), sys.argv[1], resume=True)
"""
ARGUMENTS = repr({name: getattr(CONFIG, name) for name in (
    "epochs", "batch_size", "precision", "seed", "checkpoint_seconds", "steps_per_execution",
)})  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    return run_dir, start(RECORD, run_dir)


def bits(run_dir):
    with safetensors.safe_open(run_dir / runs.CHECKPOINT, framework="numpy") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - no mapping
    return tensors, [weight.tobytes() for weight in load(run_dir).get_weights()]


def test_a_run_by_names(finished):
    run_dir, result = finished
    assert result.run_dir == run_dir
    assert result.history["epoch"] == [1, 2]
    assert result.metrics["validation"]["images"] == 179
    record = runs.read_record(run_dir)
    assert (record.model, record.data.load, record.requested) == (RECORD.model, RECORD.data.load, CONFIG)
    assert record.data.train is not None
    assert (record.data.train.images, record.data.train.image_shape) == (1439, (28, 28, 1))


def test_a_model_is_trained_from_scratch_at_the_rate_of_its_card(monkeypatch, tmp_path):
    card = replace(CARDS["mnist_net"], learning_rate=0.0125, warmup_epochs=0.5)
    monkeypatch.setitem(CARDS, "mnist_net", card)
    start(run_record("mnist_net", "digits", config=replace(CONFIG, epochs=1)), tmp_path / "run")
    train = runs.read_record(tmp_path / "run").train
    # Half an epoch of warm-up would be half of this run.
    assert (train.learning_rate, train.warmup_epochs) == (0.0125, 0.3)
    assert runs.read_record(tmp_path / "run").requested.learning_rate is None
    monkeypatch.undo()
    assert RECORD.train == CONFIG


def test_a_finished_run_gives_its_result(finished):
    run_dir, result = finished
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()}
    for again in (start(RECORD, run_dir, resume=True), resume(run_dir)):
        assert (again.history, again.metrics, again.run_dir) == (result.history, result.metrics, run_dir)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()} == before


def test_killed_and_started_again_it_ends_in_the_same_bits(finished, tmp_path, child_environment):
    """The process is real, and so is kill -9; it is killed within an epoch."""
    run_dir = tmp_path / "run"
    command = [sys.executable, "-c", BEGIN, run_dir, ARGUMENTS]
    process = subprocess.Popen(command, env=child_environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not _steps(run_dir):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    done = subprocess.run(command, env=child_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resuming {run_dir} in epoch " in done.stderr
    assert bits(run_dir) == bits(finished[0])


def _steps(run_dir):
    try:
        with safetensors.safe_open(run_dir / runs.CHECKPOINT, framework="numpy") as file:
            state = json.loads(file.metadata()["state"])
    except (OSError, safetensors.SafetensorError):
        return 0
    return state["epoch"] or state["step"]


def test_another_configuration_is_refused(finished, tmp_path):
    run_dir, _ = finished
    for record, line in (
        (replace(RECORD, requested=replace(CONFIG, epochs=5)), "Received: train.epochs = 5, recorded: 2."),
        (
            run_record("mnist_net", "digits", config=CONFIG, dropout=0.1),
            "Received: model.dropout = 0.1, recorded: None",
        ),
        (
            run_record("mnist_net", "digits", config=CONFIG, image_size=32),
            r"Received: data.load.image_size = \(32, 32\), recorded: \(28, 28\).",
        ),
        (run_record("mnist_net", "digits", config=CONFIG, all_data=True), "data.all_data = True, recorded: False"),
        (run_record("mnist_net", "digits", config=CONFIG, weights="mnist"), "model.weights = 'mnist', recorded: None"),
    ):
        with pytest.raises(RunError, match=line) as caught:
            start(record, run_dir, resume=True)
        assert "\n" not in str(caught.value)
        assert "was begun with another configuration" in str(caught.value)


def test_folders_that_hold_something_else(finished, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="The folder is not empty and holds no run"):
        start(RECORD, tmp_path, resume=True)
    with pytest.raises(RunError, match="There is a run here already"):
        start(RECORD, finished[0])
    with pytest.raises(InvalidArgument, match=r"overwrite=True. Name a folder, and leave overwrite out"):
        start(RECORD, finished[0], resume=True, overwrite=True)


def test_bad_data_leaves_nothing(tmp_path):
    record = run_record("mnist_net", "no_such_dataset", config=CONFIG)
    with pytest.raises(DataError, match="no_such_dataset"):
        start(record, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_records_without_a_model_or_data(tmp_path):
    for record in (RunRecord(), RunRecord(data=DataRecord(DataSource("digits"))), replace(RECORD, model=None)):
        with pytest.raises(InvalidArgument, match="A run by names has a model and data"):
            start(record, tmp_path / "run")


def test_records_that_do_not_fit_together():
    with pytest.raises(InvalidArgument, match=r"Unknown model\. Received: 'mnist_ned'"):
        run_record("mnist_ned", "digits")
    with pytest.raises(InvalidArgument, match="image_size must be a positive integer"):
        run_record("mnist_net", "digits", image_size=0)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"like": "mnist"}, "like is for weights: --like is for --weights. Received: 'mnist', without"),
        ({"weights": "mnist", "auxiliary_heads": True}, "auxiliary_heads is for training from scratch"),
        ({"transfer": TransferConfig(), "auxiliary_heads": True}, "auxiliary_heads is for training from scratch"),
        ({"transfer": TransferConfig(), "like": "mnist"}, "is for weights"),
    ],
)
def test_no_argument_is_dropped(arguments, line):
    with pytest.raises(InvalidArgument, match=line):
        run_record("mnist_net", "digits", **arguments)


def test_dropout_is_for_weights_with_a_classifier(tmp_path):
    import kzoo

    kzoo.create_model("resnet20_cifar", include_top=False).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InvalidArgument, match=r"dropout is for weights with a classifier. Received: 0.5 with '/"):
        run_record("resnet20_cifar", "digits", weights=str(tmp_path / "w.weights.h5"), dropout=0.5)


@pytest.mark.parametrize(
    ("record", "arguments", "line"),
    [
        (RECORD, {"model": "mnist_net"}, "no use for model. Received: model='mnist_net'. Valid: build."),
        (RECORD, {"weights": "mnist"}, "no use for weights. Received: weights='mnist'. Valid: build."),
        (RunRecord(transfer=TransferConfig()), {"build": 1}, "no use for build. Received: build=1. Valid: model and"),
    ],
)
def test_resume_refuses_what_the_run_has_no_use_for(record, arguments, line, tmp_path):
    runs.create(tmp_path, record)
    with pytest.raises(InvalidArgument, match=line):
        resume(tmp_path, **arguments)


def test_missing_data_leaves_the_devices_as_they_were(tmp_path):
    record = run_record("mnist_net", "no_such_dataset", config=CONFIG)
    runs.create(tmp_path, record)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(DataError, match="no_such_dataset"):
        resume(tmp_path, strategy="one", devices="cpu:1")
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_damaged_name_is_one_line(tmp_path):
    runs.create(tmp_path, replace(RECORD, model=ZooModel("mnist_ned")))
    with pytest.raises(InvalidArgument, match=r"Unknown model\. Received: 'mnist_ned'"):
        resume(tmp_path)


def test_what_does_not_change_the_result_may_differ(finished):
    run_dir, result = finished
    config = replace(CONFIG, checkpoint_seconds=7, steps_per_execution=None)
    record = run_record("mnist_net", "digits", config=config, download=True)
    assert record.data.load is not None
    record = replace(record, data=DataRecord(replace(record.data.load, data_dir="/elsewhere")))
    assert start(record, run_dir, resume=True).metrics == result.metrics


def test_the_model_of_a_finished_run_is_found_from_another_folder(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished[0].parent)
    again = resume("run")
    monkeypatch.chdir(tmp_path)
    assert again.model.name == "mnist_net"


def test_a_named_model_is_compared(tmp_path):
    """Of one that was fine-tuned in Python, too."""
    digits = data.load("digits", "validation", image_size=28)
    config, transfer = replace(CONFIG, epochs=1), TransferConfig(head_epochs=1, views=1)
    options = {"weights": "mnist", "config": config, "transfer": transfer, "run_dir": tmp_path / "run", "resume": True}
    result = fine_tune("mnist_net", digits, **options)
    assert runs.read_record(tmp_path / "run").model == ZooModel("mnist_net", "mnist")
    assert fine_tune("mnist_net", digits, **options).metrics == result.metrics
    assert resume(tmp_path / "run").metrics == result.metrics
    with pytest.raises(RunError, match="The train data is not what this run began with"):
        fine_tune("mnist_net", data.load("digits", "test", image_size=28), **options)
    runs.create(tmp_path / "run", replace(runs.read_record(tmp_path / "run"), model=ZooModel("resnet18", "imagenet")))
    with pytest.raises(RunError, match=r"Received: model\.name = 'mnist_net', recorded: 'resnet18'"):
        fine_tune("mnist_net", digits, **options)
