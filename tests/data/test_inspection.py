"""What is found in datasets that can be trained on, and in those that cannot."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kzoo.data import inspect, load
from kzoo.data.inspection import contact_sheet, look
from kzoo.errors import DataError


def photo(seed, size=(90, 70)):
    """Coarse colours, unlike those of any other seed."""
    colours = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def folder(root, classes=("ants", "bees"), splits=("",), each=6):
    numbers = iter(range(10_000))
    for split in splits:
        for name in classes:
            for i in range(each):
                save(root / split / name / f"{i}.png", photo(next(numbers)))
    return root


def test_the_counts_are_those_that_load_gives(tmp_path):
    found = inspect(folder(tmp_path / "photos", each=12))
    for split, count in found["splits"].items():
        labels = load(tmp_path / "photos", split).labels
        assert count == len(labels) > 0
        assert [one[split] for one in found["classes"].values()] == np.bincount(labels).tolist()
    assert (found["images"], found["has_splits"], found["problems"], found["warnings"]) == (24, False, [], [])
    assert json.loads(json.dumps(found)) == found


def test_sizes_channels_formats_and_bits(tmp_path):
    root = folder(tmp_path / "photos", each=3)
    save(root / "ants" / "tall.jpg", photo(100, (64, 200)))
    save(root / "ants" / "grey.jpg", photo(101, (30, 20)).convert("L"))
    save(root / "ants" / "disguised.png", photo(102).convert("L").convert("RGB"))
    Image.fromarray(np.arange(70 * 90, dtype=np.uint16).reshape(70, 90)).save(root / "bees" / "deep.png")
    found = inspect(root)
    assert found["sizes"] == {"smallest": [20, 30], "median": [70, 90], "largest": [200, 64], "different": 3}
    assert found["channels"] == {"grey": 2, "colour": 8, "no_colours": 3}
    assert found["formats"] == {"PNG": 8, "JPEG": 2}
    assert (found["bits_16"], found["range_16_bit"]) == (1, [0, 6299])


def test_bad_images_are_counted_and_named(tmp_path):
    root = folder(tmp_path / "photos")
    whole = save(root / "ants" / "cut.jpg", photo(100)).read_bytes()
    (root / "ants" / "cut.jpg").write_bytes(whole[:500])
    # Its end is there, and its middle is not: only decoding tells.
    png = save(root / "bees" / "hole.png", photo(101)).read_bytes()
    (root / "bees" / "hole.png").write_bytes(png[:200] + bytes(50) + png[250:])
    (root / "bees" / "notes.txt").write_text("")
    found = inspect(root)
    assert found["images"] == 12
    assert found["bad"]["images"] == 2
    assert [one["where"] for one in found["bad"]["first"]] == [str(root / "ants/cut.jpg"), str(root / "bees/hole.png")]
    assert all("truncated or damaged" in one["reason"] for one in found["bad"]["first"])
    assert found["left_out"] == {".txt": 1}
    [problem] = found["problems"]
    assert problem.startswith(f"Bad image. Received: '{root}/ants/cut.jpg'")
    assert "(and 1 more)" in problem


def test_copies_within_and_across_splits(tmp_path):
    root = folder(tmp_path / "photos", splits=("train", "val", "test"))
    shutil.copy(root / "train/ants/0.png", root / "train/ants/again.png")
    shutil.copy(root / "train/ants/1.png", root / "val/ants/equal.png")
    save(root / "test/bees/smaller.jpg", Image.open(root / "train/ants/2.png").resize((81, 64)), quality=60)
    found = inspect(root)
    copies = found["copies"]
    assert copies["within"] == {"equal": 1, "alike": 0}
    assert copies["across"] == {"equal": 1, "alike": 1}
    assert copies["other_label"] == 1
    assert copies["first"] == [
        [str(root / one), str(root / other)]
        for one, other in (
            ("val/ants/equal.png", "train/ants/1.png"),
            ("test/bees/smaller.jpg", "train/ants/2.png"),
            ("train/ants/again.png", "train/ants/0.png"),
        )
    ]
    with pytest.raises(DataError) as error:
        load(root, image_size=32)
    assert found["problems"] == [str(error.value)]


PROBLEMS = {
    "one class": (("ants",), "A classifier needs at least two classes"),
    "two images of a class": (("ants", "bees"), "There is no validation split in"),
    "letter case": (("ants", "Ants"), "Two classes differ only in letter case"),
    "an empty class": (("ants", "bees", ""), "A class folder is empty"),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_what_a_training_stops_at(kind, tmp_path):
    classes, line = PROBLEMS[kind]
    root = folder(tmp_path / "photos", [name for name in classes if name], each=2 if "two" in kind else 6)
    if "" in classes:
        (root / "wasps").mkdir()
    found = inspect(root)
    assert found["problems"][0].startswith(line)
    assert found["images"] == len(list(root.rglob("*.png")))
    with pytest.raises(DataError) as error:
        for split in ("train", "validation"):
            load(root, split, image_size=32)
    assert str(error.value) in found["problems"]


def test_imbalance_and_folders_that_are_not_read_are_warnings(tmp_path):
    root = folder(tmp_path / "photos", splits=("train", "val"))
    for i in range(20):
        save(root / "train" / "bees" / f"more{i}.png", photo(1000 + i))
    save(root / "holdout" / "ants" / "0.png", photo(2000))
    unread, imbalance = inspect(root)["warnings"]
    assert unread.startswith(f"ignored '{root}/holdout': it has class folders")
    assert imbalance.startswith("the classes are imbalanced: 6 training images of 'ants', 26 of 'bees'")


def test_a_csv_file_that_lists_a_missing_file(tmp_path):
    root = folder(tmp_path / "photos")
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows, "photos/ants/none.png,ants"]))
    found = inspect(tmp_path / "table.csv")
    assert (found["images"], found["left_out"]) == (12, {})
    assert found["bad"]["first"] == [{"where": f"{tmp_path}/photos/ants/none.png", "reason": "there is no such file"}]


def test_a_tfds_dataset(tfds_folder):
    found = inspect("mnist", data_dir=tfds_folder)
    assert found["splits"] == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert (found["public_name"], found["channels"]) == ("mnist", {"grey": 70_000, "colour": 0, "no_colours": 70_000})
    assert found["sizes"]["smallest"] == found["sizes"]["largest"] == [28, 28]
    assert found["formats"] == {"PNG": 70_000}
    assert found["copies"]["across"]["alike"] == 0


@pytest.mark.parametrize(("classes", "each", "width", "rows"), [(2, 3, 1352, 2), (30, 2, 1688, 15), (200, 1, 1688, 16)])
def test_contact_sheets_are_no_larger_for_more_classes(classes, each, width, rows, tmp_path):
    """Of 2 classes 8 images each, of 30 classes 5, of 200 classes 1 of the first 160."""
    for label in range(classes):
        for i in range(each):
            save(tmp_path / "photos" / f"{label:03d}" / f"{i}.png", Image.new("RGB", (84, 84), (label, i, 9)))
    found, source, good = look(tmp_path / "photos")
    path = tmp_path / "sheet.png"
    path.write_bytes(contact_sheet(source, good, found["range_16_bit"]))
    with Image.open(path) as picture:
        assert picture.size == (width, 32 + rows * (84 + 16 + 16))
        colours = {colour for _, colour in picture.getcolors(1 << 24) or ()}
    assert {(label, i, 9) for label in range(min(classes, 160)) for i in range(each)} <= colours


def test_looking_changes_nothing(tmp_path):
    root = folder(tmp_path / "photos")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    first, second = inspect(root), inspect(root)
    assert first == second
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
