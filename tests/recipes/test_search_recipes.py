"""The few images are what the recipe says, and its tables can be read by kzoo."""

import numpy as np
import pytest

import kzoo
import reporting
import search_small_data as recipe


def test_the_photos_are_shared_out_by_class_and_none_twice(real_data, tmp_path):
    rows = recipe.few_photos(real_data / "hymenoptera", 0)
    assert len({path for path, _, _ in rows}) == len(rows) == 244 + 153
    reporting.write_csv(tmp_path / "images.csv", rows)
    splits = {name: kzoo.data.load(tmp_path / "images.csv", name, 32) for name in ("train", "validation", "test")}
    assert {name: len(data) for name, data in splits.items()} == {"train": 196, "validation": 48, "test": 153}
    assert splits["test"].class_names == ("ants", "bees")
    assert recipe.few_photos(real_data / "hymenoptera", 1) != rows


def test_the_few_digits_are_ten_of_each_class_twice(tfds_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    reporting.write_csv(tmp_path / "images.csv", recipe.few_digits(tmp_path, 0))
    train, validation, test = (kzoo.data.load(tmp_path / "images.csv", s, 28) for s in ("train", "val", "test"))
    assert np.bincount(train.labels).tolist() == np.bincount(validation.labels).tolist() == [10] * 10
    original = kzoo.data.load("mnist", "test", 28)
    assert len(test) == 10_000
    assert np.bincount(test.labels).tolist() == np.bincount(original.labels).tolist()


@pytest.mark.parametrize("name", recipe.EXPERIMENTS)
def test_the_page_has_the_paired_difference(name):
    found = [(0.9, 0.91, {"optimizer": "sgd", "unfreeze": None})] * 4 + [(0.9, 0.88, {"optimizer": "adamw"})]
    page = reporting.page(f"search_small_data_{name}", recipe.tables(found))
    assert "| 1 | 90.00 | 91.00 | optimizer sgd, unfreeze default |" in page
    assert "Search less kzoo's defaults: +0.40 points on average, standard error 0.60." in page
