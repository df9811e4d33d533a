"""The few images are what the recipe says, and its tables can be read by kzoo."""

import numpy as np
import pytest

import kzoo


@pytest.fixture(scope="module")
def recipe(load_recipe):
    return load_recipe("search_small_data")


def test_the_photos_are_shared_out_by_class_and_none_twice(recipe, real_data, tmp_path):
    rows = recipe.few_photos(real_data / "hymenoptera", 0)
    assert len({path for path, _, _ in rows}) == len(rows) == 244 + 153
    recipe.write_table(tmp_path / "images.csv", rows)
    splits = {name: kzoo.data.load(tmp_path / "images.csv", name, 32) for name in ("train", "validation", "test")}
    assert {name: len(data) for name, data in splits.items()} == {"train": 196, "validation": 48, "test": 153}
    assert splits["test"].class_names == ("ants", "bees")
    assert recipe.few_photos(real_data / "hymenoptera", 1) != rows


def test_the_few_digits_are_ten_of_each_class_twice(recipe, tfds_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    recipe.write_table(tmp_path / "images.csv", recipe.few_digits(tmp_path, 0))
    train, validation, test = (kzoo.data.load(tmp_path / "images.csv", s, 28) for s in ("train", "val", "test"))
    assert np.bincount(train.labels).tolist() == np.bincount(validation.labels).tolist() == [10] * 10
    original = kzoo.data.load("mnist", "test", 28)
    assert len(test) == 10_000
    assert np.bincount(test.labels).tolist() == np.bincount(original.labels).tolist()


def test_the_page_has_the_paired_differences(recipe):
    own = {"defaults": 0.9, "defaults for MNIST by name": 0.92}
    page = recipe.page("mnist", [(own, 0.91, {"optimizer": "sgd"})] * 4 + [(own, 0.88, {"optimizer": "adamw"})])
    assert "| 1 | 90.00 | 92.00 | 91.00 | optimizer sgd |" in page
    assert "- search less kzoo's defaults: +0.40 points on average, standard deviation 1.34" in page
    assert "- search less kzoo's defaults for MNIST by name: -1.60 points on average, standard deviation 1.34" in page
