"""Folders of images and CSV files: layouts, splits, fingerprints, and a clear line for everything that is wrong."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kzoo.data import decoding, load
from kzoo.data.readers import ArrayReader
from kzoo.errors import DataError, InvalidArgument


def write(path: Path, number: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """An image of noise that `number` alone decides; size is (height, width)."""
    shape = size if mode == "L" else (*size, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, np.uint8)).save(path)
    return path


def flat(root: Path, per_class: int = 10, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for index, label in enumerate(classes):
        for number in range(per_class):
            write(root / label / f"{number:03d}.png", 1000 * index + number)
    return root


def split_folders(root: Path, names: tuple[str, ...] = ("train", "val", "test"), per_class: int = 10) -> Path:
    for index, name in enumerate(names):
        for label_index, label in enumerate(("cat", "dog")):
            for number in range(per_class):
                write(root / name / label / f"{number}.png", 10_000 * index + 1000 * label_index + number)
    return root


def error_of(*arguments, **options) -> str:
    with pytest.raises(DataError) as error:
        load(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def files(data) -> set[str]:
    return {data.where(index) for index in range(len(data))}


def test_flat_folder_is_split_80_10_10(tmp_path):
    root = flat(tmp_path / "pets", 20)
    parts = {split: load(root, split) for split in ("train", "validation", "test", "all")}
    assert [len(part) for part in parts.values()] == [32, 4, 4, 40]
    assert files(parts["train"]) | files(parts["validation"]) | files(parts["test"]) == files(parts["all"])
    for part in parts.values():
        assert np.bincount(part.labels).tolist() == [len(part) // 2] * 2
        assert part.class_names == ("cat", "dog")
        for index in range(len(part)):
            assert part.class_names[part.labels[index]] == Path(part.where(index)).parent.name
            np.testing.assert_array_equal(part.images[index], np.asarray(Image.open(part.where(index))))


def test_splits_and_fingerprint_follow_the_content_not_its_place(tmp_path):
    root = flat(tmp_path / "a", 20)
    other = tmp_path / "elsewhere" / "b"
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        target = other / path.parent.name / f"renamed {97 - number:03d}.PNG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    first, second = load(root, "test"), load(str(other), "test")
    assert first.fingerprint == second.fingerprint
    assert {image.tobytes() for image in first.images} == {image.tobytes() for image in second.images}


def test_fingerprint_changes_with_content_and_label_in_any_split(tmp_path):
    root = flat(tmp_path, 20)
    seen = {load(root, "train").fingerprint}
    for path in (load(root, split).where(0) for split in ("train", "validation", "test")):
        with open(path, "ab") as file:
            file.write(b"x")
        seen.add(load(root, "train").fingerprint)
    (root / "cat" / "003.png").rename(root / "dog" / "moved.png")
    seen.add(load(root, "train").fingerprint)
    assert len(seen) == 5


def test_a_folder_per_split_is_taken_as_it_is(tmp_path):
    root = split_folders(tmp_path)
    for split, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        data = load(root, split)
        assert len(data) == 20
        assert {Path(path).parent.parent.name for path in files(data)} == {folder}
    assert len(load(root, "all")) == 60


@pytest.mark.parametrize("name", ["val", "VAL", "Validation", "valid"])
def test_names_of_the_validation_folder(tmp_path, name):
    assert len(load(split_folders(tmp_path, ("Train", name), 3), "val")) == 6


def test_without_val_a_tenth_of_train_is_validation(tmp_path):
    root = split_folders(tmp_path, ("train", "test"))
    assert [len(load(root, split)) for split in ("train", "validation", "test")] == [18, 2, 20]
    assert not files(load(root, "train")) & files(load(root, "validation"))


def test_without_test_asking_for_it_is_an_error(tmp_path):
    root = split_folders(tmp_path, ("train", "val"), 3)
    assert "There is no test split" in error_of(root, "test")
    assert "Valid: train, validation, all" in error_of(root, "test")


def test_a_class_called_train_is_a_class(tmp_path):
    assert load(flat(tmp_path, 10, ("car", "train", "plane"))).class_names == ("car", "plane", "train")


def test_two_folders_for_one_split(tmp_path):
    assert "Several folders stand for the validation split" in error_of(
        split_folders(tmp_path, ("train", "val", "valid"), 3)
    )


def test_class_names_are_sorted_by_code_point(tmp_path):
    assert load(flat(tmp_path, 3, ("b", "B2", "ä", "10", "9")), "all").class_names == ("10", "9", "B2", "b", "ä")


def test_every_supported_suffix_is_read_and_others_are_reported(tmp_path, caplog):
    for label in ("a", "b"):
        for number, suffix in enumerate((".jpg", ".JPEG", ".png", ".Gif", ".bmp", ".webp")):
            write(tmp_path / label / f"x{suffix}", 10 * number + ord(label))
    for ignored in ("notes.txt", ".hidden.png", "scan.tif", "photo.HEIC"):
        (tmp_path / "a" / ignored).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    assert len(load(tmp_path, "all")) == 12
    assert f"left out of {str(tmp_path)!r}: 2 hidden or of the system, 1 .heic, 1 .tif, 1 .txt; first" in caplog.text


def test_sizes_that_differ_need_an_image_size(tmp_path):
    root = flat(tmp_path, 4)
    write(root / "cat" / "large.png", 5, (40, 30))
    text = error_of(root)
    assert "from 12x10 to 40x30 (height x width)" in text
    assert "--image-size" in text
    assert load(root, "all", 16).images.shape == (9, 16, 16, 3)


def test_channels(tmp_path):
    for number in range(4):
        for label in ("a", "b"):
            write(tmp_path / label / f"{number}.png", number + ord(label), mode="L")
    assert load(tmp_path, "all").image_shape == (12, 10, 1)
    assert load(tmp_path, "all", channels=3).image_shape == (12, 10, 3)
    write(tmp_path / "b" / "colour.png", 9)
    assert load(tmp_path, "all").image_shape == (12, 10, 3)
    assert load(tmp_path, "all", channels=1).image_shape == (12, 10, 1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_images_that_do_not_fit_in_memory_are_the_same(tmp_path, monkeypatch, shuffle):
    root = flat(tmp_path, 20)
    in_memory = load(root, "train", 16)
    monkeypatch.setattr(decoding, "available_memory", lambda: 1000)
    streamed = load(root, "train", 16)
    assert isinstance(in_memory.reader, ArrayReader)
    assert not isinstance(streamed.reader, ArrayReader)
    np.testing.assert_array_equal(streamed.images, in_memory.images)
    options = {"shuffle": shuffle, "seed": 1, "epoch": 2, "start_batch": 1}
    pairs = zip(streamed.batches(5, **options), in_memory.batches(5, **options), strict=True)
    for (images, labels), (expected_images, expected_labels) in pairs:
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_images_refuses_what_memory_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "available_memory", lambda: 1000)
    monkeypatch.setattr("kzoo.data.dataset.available_memory", lambda: 1000)
    data = load(flat(tmp_path, 4), "all")
    with pytest.raises(DataError, match="do not fit into memory"):
        _ = data.images
    assert len(list(data.batches(3))) == 3


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def break_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "truncated or damaged"),
        (lambda path: path.write_bytes(b""), r"it is empty (0 bytes)"),
        (lambda path: path.write_text("<html>404</html>"), "it is no JPEG"),
        (make_folder, "it is a folder"),
        (break_link, "there is no such file"),
        (make_pipe, "it is no regular file"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_bad_image_stops_or_is_left_out(tmp_path, monkeypatch, caplog, damage, reason, streamed):
    if streamed:
        monkeypatch.setattr(decoding, "available_memory", lambda: 1000)
    root = flat(tmp_path, 10)
    bad = root / "dog" / "004.png"
    damage(bad)
    for split in ("train", "validation", "test", "all"):  # wherever its hash places it
        text = error_of(root, split)
        assert f"Bad image. Received: {str(bad)!r}" in text
        assert reason in text
        assert "--on-bad-image skip" in text
    data = load(root, "all", on_bad_image="skip")
    assert len(data) == 19
    assert len(data.images) == 19
    assert str(bad) not in files(data)
    (where, why), *others = data.skipped
    assert (where, others) == (str(bad), [])
    assert reason in why
    assert "left out 1 bad image of" in caplog.text
    assert str(bad) in caplog.text
    assert sum(len(load(root, split, on_bad_image="skip")) for split in ("train", "val", "test")) == 19


def test_a_bad_test_image_does_not_stop_training_on_its_own_folder(tmp_path):
    root = split_folders(tmp_path, per_class=3)
    truncate(root / "test" / "cat" / "0.png")
    assert len(load(root, "train")) == 6
    assert "Bad image" in error_of(root, "test")


def test_bad_image_whose_end_is_intact_is_found_by_decoding(tmp_path):
    root = flat(tmp_path, 6)
    path = root / "cat" / "003.png"
    content = path.read_bytes()
    middle = content.index(b"IDAT") + 40
    path.write_bytes(content[:middle] + bytes(60) + content[middle + 60 :])
    assert "truncated or damaged" in error_of(root, "all")


def test_no_good_image_left(tmp_path):
    root = flat(tmp_path, 4)
    for path in (root / "cat").iterdir():
        path.write_bytes(b"")
    assert "no good image left for training. Received: 'cat'" in error_of(root, on_bad_image="skip")
    for path in (root / "dog").iterdir():
        path.write_bytes(b"")
    assert "Every image of the all split" in error_of(root, "all", on_bad_image="skip")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    root = flat(tmp_path, 4)
    (root / "cat" / "001.png").chmod(0)
    assert "no permission to read it" in error_of(root)
    (root / "dog").chmod(0)
    assert "No permission to read a class folder" in error_of(root)
    (root / "dog").chmod(0o700)
    root.chmod(0)
    assert "No permission to read a folder" in error_of(root)
    root.chmod(0o700)


def test_folders_that_hold_no_dataset(tmp_path):
    assert "needs a subfolder for each class" in error_of(tmp_path)
    write(tmp_path / "stray.png")
    assert "move each into a folder named after its class" in error_of(tmp_path)
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "cat" / "2.png", 2)
    assert "needs at least two classes. Received: only 'cat'" in error_of(tmp_path)
    assert len(load(tmp_path, "all")) == 2  # to evaluate on
    (tmp_path / "dog").mkdir()
    assert "A class folder is empty. Received: " + repr(str(tmp_path / "dog")) in error_of(tmp_path)
    (tmp_path / "dog" / "readme.txt").write_text("x")
    assert "no image (1 other entries)" in error_of(tmp_path)


def test_class_names_that_differ_only_in_case(tmp_path):
    root = flat(tmp_path, 3, ("Cat", "cat"))
    if len(list(root.iterdir())) < 2:
        pytest.skip("this file system does not tell upper from lower case")
    assert "Received: 'Cat' and 'cat'" in error_of(root)


def test_classes_that_train_lacks(tmp_path, caplog):
    root = split_folders(tmp_path, per_class=3)
    write(root / "train" / "bird" / "1.png", 77)
    load(root, "val")
    assert "the validation split of" in caplog.text
    assert "'bird'" in caplog.text
    write(root / "test" / "fish" / "1.png", 78)
    for split in ("train", "test"):
        assert "The test split of" in error_of(root, split)
        assert "has classes that train lacks. Received: 'fish'" in error_of(root, split)


def test_too_few_images_for_a_validation_split(tmp_path):
    assert "There is no validation split" in error_of(flat(tmp_path, 2), "val")


def table(tmp_path: Path, header: str = "path,label", split: bool = False) -> Path:
    lines = [header]
    for index, label in enumerate(("cat", "dog")):
        for number in range(10):
            path = write(tmp_path / "pictures" / f"{label}{number}.png", 1000 * index + number)
            part = f",{('train', 'val', 'Test')[number % 3]}" if split else ""
            lines.append(f"pictures/{path.name}, {label}{part}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "table.csv"


def test_csv_without_splits_equals_the_folder_of_the_same_images(tmp_path):
    data = load(table(tmp_path), "test")
    folder = load(flat(tmp_path / "folder"), "test")
    assert data.fingerprint == folder.fingerprint
    assert len(data) == 2
    np.testing.assert_array_equal(data.images, folder.images)


def test_csv_with_splits(tmp_path):
    path = table(tmp_path, "path,label,split", split=True)
    assert [len(load(path, split)) for split in ("train", "val", "test", "all")] == [8, 6, 6, 20]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "A CSV file is empty"),
        ("path,label\n", "has no rows below its header"),
        ("file,class\na.png,cat\n", "needs the columns path and label, once each. Received: 'file, class'"),
        ("path;label\na.png;cat\n", "Received: 'path;label'"),
        ("path,label\nmissing.png,cat\nmissing2.png,dog\n", "there is no such file (and 1 more)"),
        ("path,label\na.png\n", "A row of a CSV file is incomplete. Received: 'a.png' in"),
        ("path,label\na.png,\n", "line 2"),
        ("path,label,split\na.png,cat,dev\n", "Unknown split in a CSV file. Received: 'dev'"),
        ("path,label\na.png,cat\na.png,dog\n", "gives one image two labels"),
        ("path,label\na.png,Cat\nb.png,cat\n", "differ only in letter case"),
        (b"path,label\n\xff\xfe.png,cat\n", "Save it as CSV, UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in error_of(path)


def test_csv_with_a_byte_order_mark_and_crlf(tmp_path):
    path = table(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load(path, "all")) == 20


def test_wrong_argument_for_bad_images(tmp_path):
    with pytest.raises(InvalidArgument, match=r"Did you mean 'skip'\?"):
        load(flat(tmp_path, 3), on_bad_image="skp")


def save_again(source: Path, target: Path, scale: float = 1, **options) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.resize((round(image.width * scale), round(image.height * scale))).save(target, **options)
    return target


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo", "", ".txt", ".JPG"])
def test_images_are_known_by_their_content(tmp_path, suffix):
    for number in range(6):
        image = write(tmp_path / "made" / f"{number}.jpg", number)
        target = tmp_path / "data" / ("a", "b")[number % 2] / f"{number}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(image, target)
    data = load(tmp_path / "data", "all")
    assert len(data) == 6
    np.testing.assert_array_equal(data.images[0], np.asarray(Image.open(data.where(0))))


def test_what_is_left_out_is_said_by_kind_and_count(tmp_path, caplog):
    root = flat(tmp_path, 4)
    for name in ("Thumbs.db", ".DS_Store", "._000.png"):
        (root / "cat" / name).write_bytes(b"x")
    (root / "__MACOSX" / "cat").mkdir(parents=True)
    load(root)
    assert caplog.records[0].levelname == "INFO"  # nothing of the user's
    assert f"left out of {str(root)!r}: 4 hidden or of the system; first" in caplog.text
    caplog.clear()
    for name in ("BMW.md", "note.txt", "more.txt", "none"):
        (root / "dog" / name).write_text("BMW is a text")
    os.mkfifo(root / "dog" / "pipe")
    write(root / "dog" / "puppies" / "1.png", 99)
    write(root / "stray.png", 98)
    assert len(load(root, "all")) == 8
    assert caplog.records[0].levelname == "WARNING"
    assert (
        "4 hidden or of the system, 2 .txt, 2 without a suffix, 1 .md, 1 folder within a class, "
        f"1 image outside the class folders; first {str(root / 'dog' / 'puppies')!r}"
    ) in caplog.text


@pytest.mark.parametrize("within", ["", "train"])
def test_images_in_a_folder_of_their_class(tmp_path, within):
    """As Tiny ImageNet is laid out."""
    for number, label in enumerate(("n01", "n02", "n03")):
        write(tmp_path / within / label / "images" / "0.png", number)
    assert "lie a level deeper: n01/images. Move the images of each class up" in error_of(tmp_path / within)


def test_a_folder_of_one_class_is_not_proposed(tmp_path):
    flat(tmp_path / "seg_train" / "seg_train", 3)
    write(tmp_path / "seg_pred" / "seg_pred" / "1.png", 77)
    text = error_of(tmp_path)
    assert str(tmp_path / "seg_train" / "seg_train") in text
    assert "seg_pred" not in text.partition("Received")[2].partition("Pass")[2]


def test_a_text_with_the_suffix_of_an_image_is_a_bad_image(tmp_path):
    root = flat(tmp_path, 4)
    (root / "cat" / "note.jpe").write_text("hello")
    assert "note.jpe': it is no JPEG" in error_of(root)


@pytest.mark.parametrize("at", ["photos", "archive/photos/photos"])
def test_a_folder_above_the_right_one(tmp_path, at):
    flat(tmp_path / at, 3)
    (tmp_path / "__MACOSX" / at / "cat").mkdir(parents=True)
    assert f"class folders lie deeper. Pass {str(tmp_path / at)!r}." in error_of(tmp_path)
    load(tmp_path / at)


def test_a_folder_below_the_right_one(tmp_path):
    flat(tmp_path, 3)
    assert f"pass the folder of all classes, {str(tmp_path)!r}" in error_of(tmp_path / "cat")


@pytest.mark.parametrize(
    ("train", "val"), [("training_set", "val_set"), ("TRAIN", "Validation-Data"), ("train images", "valid")]
)
def test_names_of_splits(tmp_path, train, val):
    root = split_folders(tmp_path, (train, val, "testing"), 3)
    assert [len(load(root, split)) for split in ("train", "validation", "test")] == [6, 6, 6]


@pytest.mark.parametrize("below", [(), ("images",)])
def test_splits_of_unknown_names(tmp_path, below):
    for index, name in enumerate(("seg_train", "seg_test")):
        split_folders(tmp_path.joinpath(name, *below[:1]), ("x",), 3)
        folder = tmp_path.joinpath(name, *below[:1])
        for label in (folder / "x").iterdir():
            label.rename(folder / f"{label.name}")
        (folder / "x").rmdir()
        write(folder / "cat" / "own.png", index)
    text = error_of(tmp_path)
    for name in ("seg_train", "seg_test"):
        assert repr("/".join((name, *below))) in text
    assert "name them train, val and test" in text
    assert "emove the folder" not in text


def test_a_folder_of_classes_beside_the_splits_is_named(tmp_path, caplog):
    root = split_folders(tmp_path, ("train", "dev"), 3)
    load(root)
    assert f"ignored {str(root / 'dev')!r}: it has class folders, but its name is of no split; rename it" in caplog.text


def test_classes_with_splits_in_them(tmp_path):
    for label in ("cat", "dog"):
        flat(tmp_path / label, 3, ("train", "val"))
    assert "each class has its splits: cat/train. kzoo reads train/cat" in error_of(tmp_path)


def test_class_folders_one_level_below_their_split(tmp_path):
    for name in ("train", "val"):
        flat(tmp_path / name / "images", 3)
    inner = tmp_path / "train" / "images"
    assert f"Move what is in {str(inner)!r} up into {str(tmp_path / 'train')!r}" in error_of(tmp_path)


@pytest.mark.parametrize("above", [".", "images"])
def test_splits_that_hold_images_without_classes(tmp_path, above):
    flat(tmp_path / above, 4, ("train", "val"))
    assert "hold images without classes" in error_of(tmp_path)


def test_classes_beside_a_split(tmp_path):
    flat(tmp_path, 3)
    split_folders(tmp_path, ("test",), 3)
    assert f"Move the class folders into {str(tmp_path / 'train')!r}" in error_of(tmp_path)


@pytest.mark.parametrize("name", ["test/unknown", "test", "val/all"])
def test_images_without_a_label_are_left_out(tmp_path, caplog, name):
    root = split_folders(tmp_path, ("train",), 10)
    for number in range(3):
        write(root / name / f"{number}.png", 90_000 + number)
    assert len(load(root, "all")) == 20
    assert f"left out 3 images of {str(root / name)!r}" in caplog.text
    assert "kzoo predict RUN" in caplog.text
    assert "There is no test split" in error_of(root, "test")


def test_class_folders_without_images(tmp_path):
    root = flat(tmp_path, 3)
    for number in range(3):
        write(root / "bird" / "owls" / f"{number}.png", 500 + number)
    text = error_of(root)
    assert f"Received: {str(root / 'bird')!r}, whose images lie deeper, as in 'owls'. Move them up" in text
    shutil.rmtree(root / "bird" / "owls")
    (root / "bird" / "scan.tif").write_bytes(b"II*\0")
    assert "which holds 1 .tif. kzoo reads JPEG, PNG" in error_of(root)
    assert "emove the folder" not in error_of(root)


def test_other_things_that_hold_no_images(tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert f"Unpack {str(tmp_path / 'photos.zip')!r}" in error_of(tmp_path)
    assert "Unpack it" in error_of(tmp_path / "photos.zip")
    (tmp_path / "tables" / "more").mkdir(parents=True)
    (tmp_path / "tables" / "more" / "labels.csv").write_text("path,label\n")
    assert f"If {str(tmp_path / 'tables/more/labels.csv')!r} lists" in error_of(tmp_path / "tables")
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text("{}")
    assert "prepared by TFDS: pass the dataset's name" in error_of(tmp_path / "mnist")


def test_links_and_deep_folders(tmp_path, monkeypatch):
    root = flat(tmp_path / "data", 4)
    (root / "around").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    (root / "cat" / "up").symlink_to(root)
    assert len(load(root, "all")) == 8
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    for _ in range(30):  # a path far longer than the system takes
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    os.chdir(tmp_path)
    assert "with no image in them" in error_of(tmp_path / "deep")


@pytest.mark.parametrize("split", [False, True])
def test_the_two_forms_of_an_accented_letter_are_one_class(tmp_path, split):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for index, name in enumerate((composed, decomposed)):
        root = tmp_path / ("train", "val")[index] if split else tmp_path
        for number in range(3):
            write(root / name / f"{index}{number}.png", 10 * index + number)
            write(root / "tea" / f"{index}{number}.png", 100 + 10 * index + number)
    data = load(tmp_path, "all")
    assert (data.class_names, len(data)) == ((composed, "tea"), 12)
    listing = tmp_path / "t.csv"
    paths = sorted(tmp_path.rglob("*.png"))
    listing.write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    assert load(listing, "all").class_names == (composed, "tea")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda path: path.replace("/", "\\"), "backslashes, as on Windows: write /, with which it is there"),
        (lambda path: "C:\\data\\" + path, "backslashes"),
        (lambda path: path.removesuffix(".png"), "'cat0.png' is: write the path with its suffix"),
        (lambda path: path.replace(".png", ".PNG"), "'cat0.png' is: write the path with other letters"),
        (lambda path: path.removeprefix("pictures/"), "it is in 'pictures': write pictures/ before the paths"),
        (lambda path: "https://x.org/" + path, "it is an address: download the images"),
    ],
)
def test_paths_of_a_csv_file_that_lead_nowhere(tmp_path, change, cause):
    path = table(tmp_path)
    header, *rows = path.read_text().splitlines()
    pairs = [row.split(",") for row in rows]
    path.write_text("\n".join([header, *(f"{change(image)},{label}" for image, label in pairs)]))
    text = error_of(path)
    assert "there is no such file" in text
    assert cause in text
    assert "(and 19 more)" in text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_csv_file_in_utf_16(tmp_path, encoding):
    path = table(tmp_path)
    path.write_bytes(path.read_text().encode(encoding))
    assert "is in UTF-16" in error_of(path)


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_csv_file_with_other_separators(tmp_path, separator, name):
    path = table(tmp_path)
    path.write_text("\ufeff" + path.read_text().replace(",", separator))
    assert f"separated by {name}" in error_of(path)


def test_a_pipe_is_no_csv_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "no regular file" in error_of(tmp_path / "pipe.csv")


def test_a_file_in_two_splits(tmp_path):
    root = split_folders(tmp_path, per_class=3)
    one, other = root / "train" / "cat" / "1.png", root / "test" / "dog" / "copy.png"
    shutil.copyfile(one, other)
    for split in ("train", "validation", "test"):
        text = error_of(root, split)
        assert f"are in another too, by content. Received: 1, first {other} = {one}. Delete one" in text
    assert len(load(root, "all")) == 19
    shutil.move(other, root / "train" / "cat" / "2.png")  # a copy within a split
    load(root)
    for split in ("train", "val"):  # two bad images, of which the same is known: nothing
        (root / split / "cat" / "bad.png").write_bytes(b"")
    assert len(load(root, "train", on_bad_image="skip")) == 6


def test_the_slices_of_tfds(tmp_path):
    for name in ("mnist[:10%]", "digits[100:200]", "mnist[80%:]"):
        with pytest.raises(InvalidArgument, match="Slices as in TFDS are not supported"):
            load(name)
    with pytest.raises(InvalidArgument, match=r"Received: 'train\[:10%\]'. Pass 'train'"):
        load("digits", "train[:10%]")
    assert len(load(str(flat(tmp_path / "photos[1:2]", 3)), "all")) == 6
