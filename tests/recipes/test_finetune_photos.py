"""The photos of val are the test set, and no other."""

import csv

import numpy as np
from PIL import Image

import finetune_photos as recipe
import kzoo
import reporting


def test_val_is_the_test_set_and_validation_a_tenth_of_train(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 7)):
        for label in ("ants", "bees"):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random.integers(0, 256, (9, 9, 3), "uint8")).save(folder / f"{number}.png")
    reporting.write_csv(tmp_path / "photos.csv", recipe.rows_of(tmp_path / "photos"))
    with (tmp_path / "photos.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows if "/val/" in row["path"]} == {"test"}
    sizes = {}
    for split in ("train", "validation", "test"):
        data = kzoo.data.load(tmp_path / "photos.csv", split, image_size=9)
        sizes[split] = len(data)
        assert all(("/val/" in data.where(i)) == (split == "test") for i in range(len(data)))
    assert sizes == {"train": 36, "validation": 4, "test": 14}


def result(name, seed, head, kept, fine_tuned):
    return {
        "set": name, "seed": seed, "train": 90, "validation": 10, "test": 100, "head": head, "kept": kept,
        "fine_tuned": fine_tuned, "logistic": 0.75, "seconds": 30.0 + seed,
    }  # fmt: skip


def test_the_tables():
    results = [
        result("hymenoptera", 0, 0.94, "head", 0.94),
        result("hymenoptera", 1, 0.96, "head", 0.96),
        result("beans3", 0, 0.7, "fine_tuned", 0.8),
    ]
    first, second = recipe.table(results).splitlines()[2:]
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        "hymenoptera", "90 + 10", "100", "2", "75.0 %", "95.0 %", "95.0 %", "left out", "30 s",
    ]  # fmt: skip
    # Of 100 images with 0.8 right, two such figures apart: 1.96 * sqrt(2 * 0.8 * 0.2 / 100).
    assert second.split("|")[5:9] == [" 75.0 % ", " 70.0 % ", " 80.0 % ", " +10.0 (± 11.1) "]
    assert recipe.seeds_of(results).endswith("Mean 95.00 %, standard deviation 1.41.")


def test_logistic_regression_beside_it():
    labels = np.arange(60) % 3
    features = np.eye(3)[labels] + np.random.default_rng(0).normal(0, 0.1, (60, 3))
    assert recipe.logistic(features, labels, np.eye(3), np.array([0, 1, 1])) == 2 / 3
