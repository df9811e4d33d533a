"""`--config FILE`: what the parser takes from a run's config.json, or from a shorter file."""

import json
from dataclasses import asdict

import pytest

from kzoo.cli import run as kzoo
from kzoo.cli.commands import app
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.record import DataRecord, DataSource, RunRecord, ZooModel


@pytest.fixture
def parsed(tmp_path):
    """A function: the arguments that a command gets, with a file of this content."""

    def parse(content, command, *arguments):
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(content))
        tokens = [command, *arguments, "--config", str(path)]
        _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
        return bound.arguments

    return parse


DATA = DataRecord(DataSource("digits", (24, 32), channels=1, on_bad_image="skip"), all_data=True)
TRAIN = TrainConfig(epochs=7, optimizer="sgd", augment=("digits", "trivial"), decay_epochs=(2, 5), sync_batch_norm=True)


def test_a_whole_record(parsed):
    record = RunRecord(model=ZooModel("inception_v1", dropout=0.3, auxiliary_heads=True), data=DATA, train=TRAIN)
    found = parsed(asdict(record), "train")
    assert (found["model"], found["dataset"], found["image_size"]) == ("inception_v1", "digits", "24x32")
    assert (found["channels"], found["all_data"], found["data"].on_bad_image) == (1, True, "skip")
    assert (found["dropout"], found["auxiliary_heads"], found["config"]) == (0.3, True, TRAIN)
    assert "run_dir" not in found


def test_what_was_asked_for_counts_not_what_it_was_resolved_to(parsed):
    record = RunRecord(
        model=ZooModel("mnist_net"),
        data=DATA,
        train=TrainConfig(precision="float32", batch_size=64),
        requested=TrainConfig(epochs=3),
    )
    assert parsed(asdict(record), "train")["config"] == TrainConfig(epochs=3)


def test_the_command_line_comes_first(parsed):
    content = {"model": {"name": "vgg16"}, "data": {"load": {"name": "digits"}}, "train": {"epochs": 7, "seed": 3}}
    found = parsed(content, "train", "--epochs", "15", "--channels", "3")  # 15 is the default: given all the same
    assert found["config"] == TrainConfig(epochs=15, seed=3)
    assert (found["model"], found["dataset"], found["channels"]) == ("vgg16", "digits", 3)


def test_another_model_and_other_data_do_not_take_what_belongs_to_the_file_s(parsed):
    model = {"name": "resnet18", "weights": "tv_in1k", "dropout": 0.1}
    content = {"model": model, "data": {"load": {"name": "old", "channels": 1}}, "transfer": {"head_epochs": 3}}
    found = parsed(content, "finetune", "vgg16", "new")
    assert (found["model"], found["dataset"]) == ("vgg16", "new")
    assert not {"weights", "dropout", "channels"} & set(found)
    assert found["transfer"] == TransferConfig(head_epochs=3)
    found = parsed(content, "finetune", "new")  # one argument is the images
    assert (found["model"], found["weights"], found["dataset"], found.get("channels")) == (
        "resnet18",
        "tv_in1k",
        "new",
        None,
    )


def test_settings_alone(parsed):
    found = parsed({"train": {"epochs": 2}}, "train", "mnist_net", "digits")
    assert (found["model"], found["dataset"], found["config"].epochs) == ("mnist_net", "digits", 2)


def test_a_model_file(parsed):
    found = parsed({"model": {"path": "/models/a.keras"}, "transfer": {}}, "finetune", "photos")
    assert (found["model"], found["dataset"]) == ("/models/a.keras", "photos")


def test_a_run_begins_as_a_file_says(tmp_path, capfd):
    path = tmp_path / "settings.json"
    path.write_text('{"model": {"name": "mnist_net"}, "data": {"load": {"name": "digits"}}, "train": {"epochs": 1}}')
    assert kzoo(["train", "--config", str(path), "--run-dir", str(tmp_path / "run"), "--seed", "4"]) == 0
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["model"]["name"], written["requested"]["epochs"], written["requested"]["seed"]) == (
        "mnist_net",
        1,
        4,
    )
    capfd.readouterr()
    # The folder of a run stands for its file.
    assert kzoo(["finetune", "--config", str(tmp_path / "run"), "--weights", "nosuch"]) == 2
    assert "Unknown weights for mnist_net. Received: 'nosuch'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "Not a configuration file"),
        ("[]", "Not a configuration of a run"),
        ('{"trian": {}}', "trian = {}. Did you mean 'train'?"),
        ('{"train": {"epoch": 3}}', "train.epoch = 3. Did you mean 'epochs'?"),
        ('{"train": {"epochs": "x"}}', "train.epochs = 'x'"),
        ('{"train": {"epochs": 0}}', "epochs must be a whole number of at least 1. Received: 0"),
        ('{"train": 3}', "train = 3"),
        ('{"model": {"nam": "vgg16"}}', "model"),
        ('{"data": 3}', "data = 3"),
        ('{"transfer": {}}', "This configuration fine-tunes"),
        ('{"train": {"epochs": 3}}', "kzoo train takes a MODEL and a DATASET"),
        ('{"train": {"augment": [{"class_name": "Evil"}]}}', "settings.json"),
    ],
)
def test_what_is_no_configuration_is_one_line(content, said, tmp_path, capfd):
    path = tmp_path / "settings.json"
    path.write_text(content)
    assert kzoo(["train", "--config", str(path)]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert said in line


def test_it_is_for_new_runs(tmp_path, capfd):
    for flags, said in (
        (["--config", str(tmp_path / "nosuch")], "No such configuration file"),
        (["--config", "a", "--resume", "b"], "--config is for a new run. Received: --resume as well."),
        (["--config", "a", "--from-search", "b"], "--config is for a new run. Received: --from-search as well."),
    ):
        assert kzoo(["train", *flags]) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert said in line
