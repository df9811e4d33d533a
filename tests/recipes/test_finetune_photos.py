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
