"""`kzoo info` of datasets; test_commands.py has it of models."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kzoo.cli import run as kzoo


def save(path, seed, size=(90, 70)):
    """Coarse colours, unlike those of any other seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    Image.fromarray(colours).resize(size).save(path)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with images of two classes, one of them bad, in the current one."""
    for number in range(20):
        save(tmp_path / "photos" / ("ants" if number % 2 else "bees") / f"{number:02d}.jpg", number)
    (tmp_path / "photos" / "ants" / "bad.png").write_bytes(b"no image")
    (tmp_path / "photos" / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_info_of_a_folder(photos, capfd):
    assert kzoo(["info", "photos"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:9] == [
        "photos",
        "dataset\tvalue",
        "images\t20: 20 JPEG",
        "splits\t16 train, 2 validation, 2 test (cut by kzoo, fixed by the images' content)",
        "sizes\t70x90 (height x width)",
        "channels\t20 colour",
        "bad images\t1",
        "\tphotos/ants/bad.png: it is no JPEG, PNG, GIF, BMP or WebP image, or its header is damaged",
        "left out\t1 .txt",
    ]
    assert "copies in a split\tnone" in lines
    # The bad image has its place in a split too.
    classes = lines.index("class\ttrain\tvalidation\ttest") + 1
    assert [line.split("\t")[0] for line in lines[classes : classes + 2]] == ["ants", "bees"]
    assert any(line.startswith("stops training: Bad image. Received: 'photos/ants/bad.png'") for line in lines)
    assert not any(line.startswith("suggested: ") for line in lines)
    (Path("photos") / "ants" / "bad.png").unlink()
    assert kzoo(["info", "photos"]) == 0
    lines = capfd.readouterr().out.splitlines()
    [advice] = [line for line in lines if line.startswith("suggested: kzoo finetune photos (")]
    assert advice.endswith("images of 64 pixels and more suit pretrained weights)")
    assert "default\tvalue\twhy" in lines


def test_info_as_json_with_a_contact_sheet(photos, last_json, capfd):
    assert kzoo(["info", "photos", "--out", "sheet.png", "--json"]) == 0
    found = last_json()
    assert (found["dataset"], found["images"], found["augment"]) == ("photos", 20, "photos")
    assert found["training"]["command"] == "kzoo finetune photos"
    assert [layer["class_name"] for layer in found["layers"]] == ["RandomAffine", "RandomColorJitter"]
    with Image.open("sheet.png") as picture:
        assert picture.width == 8 * 168 + 8  # eight images of each class
    before = (photos.parent / "sheet.png").read_bytes()
    assert kzoo(["info", "photos", "--out", "sheet.png"]) == 2
    assert "There is a file here already" in capfd.readouterr().err
    assert (photos.parent / "sheet.png").read_bytes() == before
    assert kzoo(["info", "photos", "--out", "no/folder/sheet.png"]) == 2
    assert kzoo(["info", "photos", "--out", "sheet.png", "--overwrite"]) == 0


def test_a_model_comes_before_a_folder_of_its_name(photos, capfd):
    photos.rename(photos.parent / "vgg16")
    assert kzoo(["info", "vgg16"]) == 0
    captured = capfd.readouterr()
    assert captured.out.startswith("vgg16: 138,357,544 parameters")
    assert "'vgg16' is a model and a path here: this is the model; for the path write ./vgg16" in captured.err
    assert kzoo(["info", "./vgg16"]) == 0
    assert "20 JPEG" in capfd.readouterr().out


def test_info_of_what_is_known_by_name_alone(tmp_path, last_json, capfd):
    """A dataset that is not on this machine, whose policy is known."""
    arguments = ["info", "emnist/letters", "--data-dir", str(tmp_path)]
    assert kzoo([*arguments, "--json"]) == 0
    info = last_json()
    assert (info["dataset"], info["augment"]) == ("emnist/letters", "digits")
    assert [layer["class_name"] for layer in info["layers"]] == ["RandomAffine"]
    assert kzoo(arguments) == 0
    captured = capfd.readouterr()
    assert "only what the name says is known: " in captured.err
    assert "augmentation digits" in captured.out


def test_info_of_digits(last_json):
    assert kzoo(["info", "digits", "--json"]) == 0
    found = last_json()
    assert found["splits"] == {"train": 1439, "validation": 179, "test": 179}
    assert (found["training"]["command"], found["augment"]) == ("kzoo train MODEL digits", "digits")


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        ("info mnist --layers", 2, "A dataset is shown without flags of models. Received: 'mnist'"),
        ("info mnistt", 2, "Unknown model, run or dataset. Received: 'mnistt'. Did you mean 'mnist'?"),
        ("info none.csv", 2, "Unknown model, run or dataset"),
        ("info vgg16 --out sheet.png", 2, "--out and --data-dir are for datasets. Received: 'vgg16'"),
        ("info nothing", 1, "A folder of images needs a subfolder for each class. Received: 'nothing'"),
        ("info bad", 1, "Every image is bad. Received: 'bad', first 'bad/a/0.jpg'"),
        ("info hollow", 1, "A class folder is empty. Received: 'hollow/a'"),
    ],
)
def test_what_cannot_be_shown(arguments, status, line, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for folder in ("nothing", "bad/a", "bad/b", "hollow/a", "hollow/b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bad" / "a" / "0.jpg").write_bytes(b"no image")
    (tmp_path / "bad" / "b" / "0.jpg").write_bytes(b"")
    assert kzoo(arguments.split()) == status
    error = capfd.readouterr().err
    assert line in error
    assert error.count("\n") == 1
