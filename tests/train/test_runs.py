"""The run directory: who may have it, and what lies in it."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from matplotlib.figure import Figure

from kzoo.errors import InvalidArgument, RunError
from kzoo.train import DataRecord, DataSource, RunRecord, TrainConfig, TransferConfig, ZooModel, runs
from kzoo.train.record import differences

ROWS = [
    {"epoch": 1, "learning_rate": 0.1, "loss": 1 / 3, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25},
    {"epoch": 2, "learning_rate": 0.05, "loss": 0.1, "accuracy": 0.75, "val_loss": 1.5, "val_accuracy": 0.5},
]


def begin(run_dir, config, model=None, **options):
    """A run as it is when it has written its first checkpoint."""
    data = DataRecord(None if model is None else DataSource("digits"))
    with runs.new(run_dir, RunRecord(train=config, model=model, data=data), **options) as made:
        (made / "checkpoint.safetensors").touch()
        runs.forget_replaced(made)
    return made


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_new_run_writes_what_was_asked(tmp_path):
    config = TrainConfig(epochs=3, decay_epochs=(1, 2))
    run_dir = begin(tmp_path / "a" / "run", config, ZooModel("mnist_net"))
    content = json.loads((run_dir / "config.json").read_text())
    assert content["train"] == {**asdict(config), "decay_epochs": [1, 2], "augment": ["auto"]}
    model = {"name": "mnist_net", "weights": None, "like": None, "dropout": None, "auxiliary_heads": False}
    assert content["model"] == model
    assert content["origin"]["command"] == sys.argv
    assert {"python", "kzoo", "keras", "tensorflow", "numpy"} <= content["origin"]["versions"].keys()
    assert content["origin"]["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert runs.read_record(run_dir).train == config


def test_an_occupied_run_is_kept(tmp_path):
    begin(tmp_path, TrainConfig(seed=1), ZooModel("mnist_net"))
    with pytest.raises(RunError) as caught:
        begin(tmp_path, TrainConfig(seed=2))
    assert str(caught.value) == (
        f"There is a run here already. Received: run_dir={str(tmp_path)!r}. Continue it with kzoo train --resume "
        f"{tmp_path}, pass overwrite=True (--overwrite), or name another folder."
    )
    assert runs.read_record(tmp_path).train.seed == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_users_folder_is_left_untouched(tmp_path, overwrite):
    (tmp_path / "cat.jpg").write_bytes(b"x")
    with pytest.raises(RunError, match="The folder is not empty and holds no run"):
        begin(tmp_path, TrainConfig(), overwrite=overwrite)
    assert names(tmp_path) == ["cat.jpg"]


def test_overwrite_deletes_only_the_runs_files(tmp_path):
    begin(tmp_path, TrainConfig(seed=1))
    pictures = "curves.png", "learning_rate.png"
    for name in ("model.json", "checkpoint.safetensors", "best.keras", "last.keras", "metrics.json", *pictures):
        (tmp_path / name).write_text("old")
    runs.write_history(tmp_path, ROWS)
    runs.write_events(tmp_path, ROWS[0], 0.0)
    (tmp_path / ".checkpoint.999.tmp.safetensors").write_text("left by a kill")
    mine = ["notes.txt", "tensorboard/events.out.tfevents.123.host", "plots/best.keras"]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    begin(tmp_path, TrainConfig(seed=2), overwrite=True)
    assert names(tmp_path) == sorted([".lock", "config.json", "checkpoint.safetensors", *mine])
    assert runs.read_record(tmp_path).train.seed == 2


def test_what_a_killed_create_left_is_no_obstacle(tmp_path):
    (tmp_path / ".config.999.tmp.json").write_text("{")
    (tmp_path / ".lock").touch()
    begin(tmp_path, TrainConfig())
    assert names(tmp_path) == [".lock", "checkpoint.safetensors", "config.json"]


class StopError(Exception):
    pass


def test_a_run_that_fails_before_its_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(StopError), runs.new(tmp_path / "run", RunRecord()) as made:
        assert names(made) == [".lock", "config.json"]
        raise StopError
    assert not (tmp_path / "run").exists()
    with pytest.raises(StopError), runs.new(tmp_path, RunRecord()):
        (tmp_path / "notes.txt").write_text("mine")
        raise StopError
    assert names(tmp_path) == [".lock", "notes.txt"]


def old_run(folder):
    begin(folder, TrainConfig(seed=1))
    runs.write_history(folder, ROWS)
    runs.write_events(folder, ROWS[0], 0.0)
    (folder / "best.keras").write_text("old")
    return {name: (folder / name).read_bytes() for name in names(folder)}


def test_what_is_overwritten_comes_back_if_the_new_run_fails(tmp_path):
    before = old_run(tmp_path)
    with pytest.raises(StopError), runs.new(tmp_path, RunRecord(train=TrainConfig(seed=2)), overwrite=True):
        assert runs.read_record(tmp_path).train.seed == 2
        assert not (tmp_path / "best.keras").exists()
        (tmp_path / "model.json").write_text("new")
        raise StopError
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_what_is_overwritten_survives_a_kill(tmp_path, child_environment):
    before = old_run(tmp_path)
    code = """
import os, sys
from kzoo.train import RunRecord, TrainConfig, runs
with runs.new(sys.argv[1], RunRecord(train=TrainConfig(seed=2)), overwrite=True):
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=child_environment, check=False)
    assert done.returncode == -9
    with pytest.raises(RunError, match="There is a run here already"):
        begin(tmp_path, TrainConfig(seed=3))
    with pytest.raises(StopError), runs.new(tmp_path, RunRecord(train=TrainConfig(seed=3)), overwrite=True):
        raise StopError
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize(
    ("record", "how"),
    [
        (
            RunRecord(
                model=ZooModel("mnist_net", "mnist"), data=DataRecord(DataSource("digits")), transfer=TransferConfig()
            ),
            "kzoo finetune --resume {}",
        ),
        (RunRecord(transfer=TransferConfig()), "kzoo.train.resume({!r}, ...)"),
        (RunRecord(), "kzoo.train.resume({!r})"),
    ],
)
def test_how_to_continue_an_occupied_run(record, how, tmp_path):
    runs.create(tmp_path, record)
    with pytest.raises(RunError) as caught, runs.new(tmp_path, RunRecord()):
        pass
    assert f"Continue it with {how.format(str(tmp_path))}, pass overwrite=True" in str(caught.value)


def content_of(folder):
    return {name: (folder / name).read_bytes() for name in names(folder)}


def test_what_is_left_of_a_replaced_run_costs_no_finished_one(tmp_path):
    """Killed between its first checkpoint and the deletion of what it replaced, the new run goes on and finishes."""
    old_run(tmp_path)
    with runs.new(tmp_path, RunRecord(train=TrainConfig(seed=2)), overwrite=True):
        (tmp_path / "checkpoint.safetensors").write_text("finished")
    assert (tmp_path / ".replaced").exists()
    with pytest.raises(StopError), runs.new(tmp_path, RunRecord(train=TrainConfig(seed=3)), overwrite=True):
        raise StopError
    assert runs.read_record(tmp_path).train.seed == 2
    assert (tmp_path / "checkpoint.safetensors").read_text() == "finished"
    assert not (tmp_path / "best.keras").exists()


KILL = """
import os, shutil, sys
from pathlib import Path
from kzoo.train import RunRecord, TrainConfig, runs

template, left = Path(sys.argv[1]), 0

def counted(change):
    def method(*arguments, **options):
        global left
        if (left := left - 1) < 0:
            os._exit(9)
        return change(*arguments, **options)
    return method

def replace_a_run(run_dir):
    for name in ("rename", "replace", "mkdir", "unlink", "rmdir"):
        setattr(Path, name, counted(getattr(Path, name)))
    shutil.rmtree = counted(shutil.rmtree)
    with runs.new(run_dir, RunRecord(train=TrainConfig(seed=2)), overwrite=True):
        (run_dir / "model.json").write_text("new")
        raise ValueError

while True:
    run_dir = template.with_name(f"run{left}")
    shutil.copytree(template, run_dir)
    if not (process := os.fork()):
        try:
            replace_a_run(run_dir)
        except ValueError:
            os._exit(3)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 9:
        sys.exit(left)
    left += 1
"""


def test_killed_before_any_change_the_old_run_comes_back(tmp_path, child_environment):
    """Children put the old run aside, begin, fail and put it back; each is killed before another change of a file."""
    old_run(tmp_path / "run")
    (tmp_path / "run" / "head").mkdir()
    (tmp_path / "run" / "head" / "config.json").write_text("{}")
    before = content_of(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", KILL, tmp_path / "run"], env=child_environment, check=False)
    assert done.returncode > 20  # so many changes
    for changes in range(done.returncode + 1):
        copy = tmp_path / f"copy{changes}"
        run_dir = tmp_path / f"run{changes}"
        shutil.copytree(run_dir, copy)
        with pytest.raises(StopError), runs.new(copy, RunRecord(train=TrainConfig(seed=3)), overwrite=True):
            raise StopError
        assert content_of(copy) == before, changes
        runs.recover(run_dir)
        if runs.read_record(run_dir).train.seed == 2:  # the new run, which can be resumed; the old one is whole
            aside = content_of(run_dir / ".replaced")
            assert aside == {name: before[name] for name in before if name != ".lock"}, changes
        else:
            assert content_of(run_dir) == before, changes


HOLD = """
import sys, time
from kzoo.train import runs
from pathlib import Path
with runs.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_another_process_holds_the_lock_until_it_dies(tmp_path, child_environment):
    begin(tmp_path, TrainConfig())
    command = [sys.executable, "-c", HOLD, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": child_environment}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        for attempt in (
            lambda: runs.lock(tmp_path).__enter__(),
            lambda: begin(tmp_path, TrainConfig(), overwrite=True),
        ):
            with pytest.raises(RunError) as caught:
                attempt()
            assert str(caught.value) == f"Another process is training this run. Received: {str(tmp_path)!r}."
        process.kill()
    with runs.lock(tmp_path):
        pass
    assert (tmp_path / "config.json").exists()


def test_history(tmp_path):
    runs.write_history(tmp_path, ROWS)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == ROWS
    assert list(rows[0]) == list(ROWS[0])


def test_events_are_what_tensorboard_reads(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for row in [*ROWS, ROWS[1]]:  # the second epoch done again, as after a kill
        runs.write_events(tmp_path, row, 100.0 + row["epoch"])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(set(ROWS[0]) - {"epoch"})
    for tag in events.Tags()["scalars"]:
        found = [(event.step, event.wall_time, event.value) for event in events.Scalars(tag)]
        # Events hold float32.
        assert found == [(row["epoch"], 100.0 + row["epoch"], pytest.approx(row[tag], rel=1e-6)) for row in ROWS]


@pytest.mark.parametrize("rows", [ROWS, [{k: v for k, v in ROWS[0].items() if not k.startswith("val")}]])
def test_curves_are_a_picture(tmp_path, rows):
    from PIL import Image

    runs.write_curves(tmp_path, rows, 1)
    with Image.open(tmp_path / "curves.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.size == (1080, 432)
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 10


@pytest.mark.parametrize("content", ["", "{", "[]", '{"train": 3}', '{"other": {}}', '{"train": {"epochs": {}}}'])
def test_damaged_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((RunError, InvalidArgument)) as caught:
        runs.read_record(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [".", "absent", "file"])
def test_no_run_directory(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidArgument, match="Not a run directory"):
        runs.read_record(tmp_path / name)


def test_a_path_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="Cannot write the run directory"):
        begin(tmp_path / "file" / "run", TrainConfig())


@pytest.mark.parametrize(("kept", "kept_of_head", "at"), [(2, 3, 5), (0, 3, 3), (0, 2, 2)])
def test_curves_of_fine_tuning_have_both_phases_and_mark_what_is_kept(tmp_path, monkeypatch, kept, kept_of_head, at):
    made = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: made.append(figure))
    head = [{"epoch": e, "loss": 1 / e, "val_loss": 2 / e, "accuracy": 0.5, "val_accuracy": e / 10} for e in (1, 2, 3)]
    rows = [{"epoch": e, "loss": 0.1, "val_loss": 0.2, "accuracy": 0.9, "val_accuracy": 0.75 + e / 8} for e in (1, 2)]
    runs.write_curves(tmp_path, rows, kept, head, kept_of_head)
    [figure] = made
    _, accuracy = figure.axes
    lines = {(tuple(line.get_xdata()), line.get_label()): list(line.get_ydata()) for line in accuracy.lines}
    assert lines[(1, 2, 3), "validation"] == [0.1, 0.2, 0.3]
    assert [0.875, 1.0] in [y for (x, _), y in lines.items() if x == (4, 5)]
    assert lines[(at,), "kept model"] == [[*head, *rows][at - 1]["val_accuracy"]]
    assert [text.get_text().strip() for text in accuracy.texts] == ["head", "fine-tuning"]
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["training", "validation", "kept model"]


def test_a_head_alone_is_drawn(tmp_path):
    runs.write_curves(tmp_path, [], 0, ROWS, 1)
    assert (tmp_path / "curves.png").stat().st_size > 5_000
    runs.write_curves(tmp_path / "no such folder", [], 0)  # nothing to draw


def test_changed_versions_are_named(tmp_path):
    origin = runs.read_record(begin(tmp_path, TrainConfig())).origin
    assert origin is not None
    assert differences(origin) == differences(None) == []
    now = origin.versions["keras"]
    origin.versions["keras"] = "3.0.0"
    assert differences(origin) == [f"keras 3.0.0 -> {now}"]


def test_changed_kernels_are_named(tmp_path):
    origin = runs.read_record(begin(tmp_path, TrainConfig())).origin
    assert origin is not None
    if origin.onednn is None:
        pytest.skip("TensorFlow decides here")
    then, now = ("off", "on, by ") if origin.onednn else ("on", "off")
    [line] = differences(replace(origin, onednn=not origin.onednn))
    assert line.startswith(f"oneDNN {then} -> {now}")
