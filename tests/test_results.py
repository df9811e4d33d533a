"""docs/results.md: every cell is read from the files of runs, and rows of absent runs stay."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import results_table
from kzoo.cli import run as kzoo
from kzoo.data import Dataset
from kzoo.hardware import probe
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, fit
from kzoo.train.figures import interval
from kzoo.train.runs import read_metrics, read_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two seeds of one setting, one of another with test figures; what is no run of a recipe; an unfinished one."""
    import kzoo as library

    folder = tmp_path_factory.mktemp("runs")
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    train, validation = (Dataset.from_arrays(one, np.arange(20) % 10) for one in (images[:20], images[20:]))
    config = TrainConfig(epochs=1, passes_per_epoch=1, batch_size=20, augment="none", precision="float32")
    for seed in (0, 1):
        fit(
            lambda: library.create_model("mnist_net"), train, validation, replace(config, seed=seed),
            folder / "small_data" / f"mnist-10-seed{seed}",
        )  # fmt: skip
    digits = ["train", "mnist_net", "digits", "--epochs", "1", "--precision", "float32", "--seed", "3", "--run-dir"]
    assert kzoo([*digits, str(folder / "mnist_settings" / "float32-256-3")]) == 0
    assert kzoo(["evaluate", str(folder / "mnist_settings" / "float32-256-3")]) == 0
    shutil.copytree(folder / "small_data" / "mnist-10-seed0", folder / "no_recipe" / "run-0")
    unfinished = folder / "small_data" / "mnist-10-seed2"
    shutil.copytree(folder / "small_data" / "mnist-10-seed0", unfinished)
    (unfinished / "metrics.json").unlink()
    return folder


def test_a_row_has_what_its_runs_say(folder):
    found = results_table.rows(folder)
    assert list(found) == [("mnist_settings", "float32-256"), ("small_data", "mnist-10")]
    row = dict(zip(results_table.TITLES, found["mnist_settings", "float32-256"], strict=True))
    run = folder / "mnist_settings" / "float32-256-3"
    metrics, record = read_metrics(run), read_record(run)
    assert record.origin is not None
    accuracy = metrics["test"]["accuracy"]
    assert row["accuracy, %"] == f"{100 * accuracy:.2f}"
    low, high = metrics["test"]["interval"]
    assert row["95 % interval"] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert (row["model"], row["data"], row["scored on"]) == ("mnist_net", "digits, 1,439 images", "test, 179 images")
    assert (row["epochs"], row["seeds"]) == ("1", "3")
    assert row["machine"] == record.origin.machine == probe().title
    assert row["date"] == record.origin.date
    assert row["commit"] == (record.origin.commit or "none")[:7]


def test_seeds_are_one_row(folder):
    row = dict(zip(results_table.TITLES, results_table.rows(folder)["small_data", "mnist-10"], strict=True))
    scores = [read_metrics(folder / "small_data" / f"mnist-10-seed{seed}")["validation"]["accuracy"] for seed in (0, 1)]
    assert row["seeds"] == "0, 1"
    assert row["accuracy, %"] == results_table.percent(scores, ".2f")
    low, high = interval(round(20 * sum(scores) / 2), 20)
    assert row["95 % interval"] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert (row["model"], row["data"], row["scored on"]) == ("mnist_net", "arrays, 20 images", "validation, 20 images")


def test_rows_of_absent_runs_stay(folder, tmp_path):
    found = results_table.rows(folder)
    page = f"# Results\n\n{markdown_table([results_table.TITLES, *found.values()])}\n"
    assert results_table.known(page) == found
    assert results_table.rows(tmp_path) == {}
    gone = page.replace("| small_data |", "| no_recipe |")
    assert list(results_table.known(gone)) == [("mnist_settings", "float32-256")]


def test_runs_of_other_versions_are_read_and_damaged_ones_left_out(folder, tmp_path, capsys):
    for name in ("small_data", "mnist_settings"):
        shutil.copytree(folder / name, tmp_path / name)
    run = tmp_path / "mnist_settings" / "float32-256-3"
    config = json.loads((run / "config.json").read_text())
    del config["origin"]["machine"], config["origin"]["date"]
    (run / "config.json").write_text(json.dumps({**config, "new": 1}))
    (tmp_path / "small_data" / "mnist-10-seed0" / "metrics.json").write_text("{")
    found = results_table.rows(tmp_path)
    assert found["mnist_settings", "float32-256"][-3:] == (
        "unknown",
        (config["origin"]["commit"] or "none")[:7],
        "unknown",
    )
    assert dict(zip(results_table.TITLES, found["small_data", "mnist-10"], strict=True))["seeds"] == "1"
    assert "mnist-10-seed0 is left out: RunError" in capsys.readouterr().err


def test_the_page_says_nothing_that_no_row_can():
    page = (results_table.DOCS / "results.md").read_text(encoding="utf-8")
    rows = results_table.known(page)
    assert page.count("\n| ") == len(rows) + 1  # the titles
