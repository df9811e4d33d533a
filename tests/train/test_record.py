"""config.json: read whole, entry by entry. Each of its entries is damaged in turn, and each damage is one line."""

import copy
import json
from dataclasses import asdict, replace

import pytest

from kzoo.cli import run as kzoo
from kzoo.errors import InvalidArgument, RunError
from kzoo.train import DataRecord, DataSource, ModelFile, RunRecord, TrainConfig, TransferConfig, ZooModel, runs
from kzoo.train.record import EnsembleRecord, FineTuningState, Member, SplitRecord, TeacherRecord

SOURCE = DataSource("digits", (28, 28), 1, interpolation="bilinear", data_dir="/data")
FOUND = SplitRecord(SOURCE, "train", "f00d", 1439, (28, 28, 1))
# Every entry has a value, so that each can be damaged.
FULL = RunRecord(
    model=ZooModel("mnist_net", "mnist", "mnist", 0.5),
    data=DataRecord(SOURCE, False, FOUND, replace(FOUND, split="validation"), ("0", "1")),
    train=TrainConfig(augment=["digits", {"registered_name": "kzoo>MixUp", "config": {"classes": 10}}]),
    transfer=TransferConfig(unfreeze="conv2"),
    fine_tuning=FineTuningState("abc", ("conv1", "conv2"), False, "head"),
    ensemble=EnsembleRecord(2, (Member("member-0", "mnist_net", "f00d", 1, "c0ffee", 0.9, "test"),)),
)
TAUGHT = RunRecord(model=ZooModel("mnist_net"), teacher=TeacherRecord("/runs/all", 2.0, "f00d"))
ITEMS = [FULL, TAUGHT, RunRecord(model=ModelFile("/model.keras"), transfer=TransferConfig()), RunRecord()]


@pytest.mark.parametrize("record", ITEMS)
def test_what_is_written_is_read(record, tmp_path):
    runs.create(tmp_path, record)
    found = runs.read_record(tmp_path)
    assert replace(found, origin=None) == record
    assert found.origin is not None
    assert json.loads((tmp_path / "config.json").read_text()).keys() == asdict(record).keys()


def test_what_was_asked_stays_when_it_is_resolved():
    record = replace(RunRecord(train=TrainConfig(epochs=3)), train=TrainConfig(epochs=3, precision="float32"))
    assert (record.requested.precision, record.train.precision) == ("auto", "float32")


def test_a_part_is_replaced(tmp_path):
    runs.create(tmp_path, FULL)
    changed = runs.update_record(tmp_path, train=TrainConfig(epochs=2))
    assert changed == runs.read_record(tmp_path)
    assert (changed.train.epochs, changed.requested, changed.data) == (2, FULL.requested, FULL.data)


@pytest.mark.parametrize(
    ("model", "transfer", "line"),
    [
        (ZooModel("mnist_net", "mnist"), None, "Weights are for fine-tuning"),
        (ZooModel("mnist_net"), TransferConfig(), "Weights are for fine-tuning"),
        (ModelFile("a.keras"), None, "A model file is for fine-tuning. Received: 'a.keras'"),
    ],
)
def test_models_that_do_not_suit(model, transfer, line):
    with pytest.raises(InvalidArgument, match=line):
        RunRecord(model=model, transfer=transfer)


def test_fine_tuning_takes_no_teacher():
    with pytest.raises(InvalidArgument, match="A teacher is for training from scratch"):
        RunRecord(teacher=TeacherRecord("/runs/all"), transfer=TransferConfig())


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("ensemble", "trains"), 1, "ensemble: members must be a whole number from 2 to 1000. Received: 1."),
        (("ensemble", "members"), [5], "ensemble.members[0] = 5. Expected: an object with source, model, digest"),
        (
            ("data", "train"),
            5,
            "data.train = 5. Expected: an object with load, split, fingerprint, images, image_shape",
        ),
        (("train", "epochs"), "3", "train.epochs = '3'. Expected: a whole number or null."),
        (("train", "seed"), "3", "train.seed = '3'. Expected: a whole number."),
        (("train", "epochs"), 0, "train: epochs must be a whole number of at least 1. Received: 0."),
        (("model", "weights"), None, "Weights are for fine-tuning"),
        (("model", "dropout"), 7, "model: dropout must be a rate from 0 up to, not including, 1. Received: 7.0."),
        (("data", "load", "channels"), 7, "data.load: channels must be 1, 3 or None. Received: 7."),
        (("data", "load", "image_size"), [0, -5], "data.load: image_size must be a positive integer"),
        (("data", "load", "crop_fraction"), -3, "data.load: crop_fraction must be a number above 0 and at most 1."),
        (("data", "load", "image_size"), [28], "data.load.image_size = [28]. Expected: a list of 2."),
    ],
)
def test_the_line_names_file_entry_value_and_what_was_expected(path, value, line, tmp_path):
    content = _content(tmp_path)
    _parent(content, path)[path[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError) as caught:
        runs.read_record(tmp_path)
    file = str(tmp_path / "config.json")
    assert str(caught.value).startswith(f"The run's config.json is damaged. Received: {file!r}: ")
    assert line in str(caught.value)


def test_each_damage_is_one_line_of_the_command(tmp_path, capfd):
    """A wrong type in the place of every entry, each entry missing, and one too many in every object."""
    content = _content(tmp_path)
    places = list(_places(content))
    assert len(places) > 130  # all the fields of all the parts
    damages = 0
    for path in places:
        free = path[:2] == ("origin", "versions")  # any package
        for damage in ("wrong", "missing", "more"):
            changed = copy.deepcopy(content)
            parent = _parent(changed, path)
            if damage == "wrong":
                parent[path[-1]] = {"x": [1]} if not isinstance(parent[path[-1]], dict) else 5
            elif damage == "missing" and isinstance(parent, dict) and not (free and len(path) > 2):
                del parent[path[-1]]
            elif damage == "more" and isinstance(parent[path[-1]], dict) and not free and "config" not in path:
                parent[path[-1]]["more"] = 1
            else:
                continue
            (tmp_path / "config.json").write_text(json.dumps(changed))
            status = kzoo(["finetune", "--resume", str(tmp_path)])
            error = capfd.readouterr().err
            damages += 1
            assert (status, error.count("\n")) == (1, 1), (path, damage, error)
            assert error.startswith("kzoo: The run's config.json is damaged. Received: "), (path, damage, error)
    assert damages > 250


def _content(folder):
    runs.create(folder, FULL)
    return json.loads((folder / "config.json").read_text())


def _places(content, path=()):
    """The path of every entry, nested ones too."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        if key != "config":  # of an augmentation layer, which checks it when it is made
            yield from _places(value, (*path, key))


def _parent(content, path):
    for key in path[:-1]:
        content = content[key]
    return content
