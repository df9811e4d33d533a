"""What a user does wrong, the one line that answers it, and the exit status."""

import os
import re

import pytest
from PIL import Image

from kzoo.backend import keras
from kzoo.classifier import set_metadata
from kzoo.cli import run as kzoo
from kzoo.data.pixels import UNIT
from kzoo.saving import save_model

TRAIN = "train mnist_net digits"

# arguments, exit status, what the line says
USAGE = [
    ("train", 2, "takes a MODEL and a DATASET"),
    ("train mnistnet digits", 2, "Unknown model. Received: 'mnistnet'. Did you mean 'mnist_net'?"),
    ("train mnist_net digits extra", 2, "extra"),
    ("trian mnist_net digits", 2, 'Unknown command "trian". Did you mean "train"?'),
    (f"{TRAIN} --epoch 3", 2, "Unknown option: --epoch. Did you mean --epochs?"),
    (f"{TRAIN} --epochs three", 2, 'unable to convert "three" into int'),
    (f"{TRAIN} --epochs 0", 2, "epochs must be a whole number of at least 1. Received: 0"),
    (f"{TRAIN} --batch-size -1", 2, "batch_size must be a whole number of at least 1"),
    (f"{TRAIN} --learning-rate nan", 2, "learning_rate must be a number above 0"),
    (f"{TRAIN} --optimizer adm", 2, 'Choose from: "sgd", "adam", "adamw", "schedule_free_adamw". Did you mean "adam"?'),
    (f"{TRAIN} --schedule resnet20", 2, 'Did you mean "resnet'),
    (f"{TRAIN} --optimizer schedule_free_adamw --schedule step", 2, "takes the schedule constant, with a warm-up"),
    (f"{TRAIN} --swa-epochs 15", 2, "swa_epochs are the last ones of epochs=15, after at least one. Received: 15."),
    (f"{TRAIN} --swa-epochs 3 --ema-momentum 0.9", 2, "averaged in one way. Received: ema_momentum and swa_epochs."),
    ("lr-find mnistnet digits", 2, "Unknown model. Received: 'mnistnet'. Did you mean 'mnist_net'?"),
    ("lr-find mnist_net digits --learning-rate 0.1", 2, "looks for the learning rate. Received: --learning-rate 0.1."),
    ("lr-find mnist_net digits --steps 5", 2, "steps must be a whole number of at least 20. Received: 5."),
    ("lr-find mnist_net digits --out found.jpg", 2, "--out must be a .png file"),
    ("lr-find mnist_net ./no/such/folder", 1, "No such folder or CSV file"),
    (f"{TRAIN} --warmup-epochs 15", 2, "warmup_epochs must be less than epochs=15"),
    (f"{TRAIN} --augment flip", 2, "Unknown augmentation policy. Received: 'flip'. Valid: "),
    (f"{TRAIN} --augment digits flip", 2, "Unknown augmentation policy. Received: 'flip'. Valid: "),
    (f"{TRAIN} --devices gpu:99", 2, "usable GPUs. Received: devices='gpu:99'"),
    (f"{TRAIN} --devices tpu", 2, "devices must be cpu:N or gpu:N"),
    (f"{TRAIN} --strategy one --devices cpu:2", 2, "Use --strategy mirrored or auto"),
    (f"{TRAIN} --image-size big", 2, "--image-size must be like"),
    (f"{TRAIN} --image-size 3", 2, "mnist_net takes input_shape"),
    (f"{TRAIN} --dropout 1", 2, "dropout must be a rate from 0"),
    (f"{TRAIN} --auxiliary-weight -1", 2, "auxiliary_weight must be a number of at least 0"),
    (f"{TRAIN} --auxiliary-heads", 2, "mnist_net has no auxiliary heads"),
    (f"{TRAIN} --channels 2", 2, "channels must be 1, 3 or None"),
    ("train mnist_net no_such_dataset", 1, "--download"),
    ("train mnist_net ./no/such/folder", 1, "No such folder or CSV file"),
    ("train --resume no_such_run", 2, "Not a run directory"),
    ("train --resume no_such_run --epochs 3", 2, "and --strategy and --devices where that changes"),
    ("train --resume no_such_run --epochs=15", 2, "Received: --epochs as well"),
    ("train mnist_net --resume no_such_run", 2, "Received: mnist_net as well"),
    ("train --resume no_such_run --strategy one --precision float32", 2, "Received: --precision as well"),
    ("train --resume no_such_run --strategy one", 2, "Not a run directory"),
    ("train --resume no_such_run --auxiliary-heads", 2, "Received: --auxiliary-heads as well"),
    ("train --resume no_such_run --all-data", 2, "Received: --all-data as well"),
    ("train --from-search no_such_search", 2, "Not a search directory"),
    ("train mnist_net digits --from-search no_such_search", 2, "own model and data. Received: mnist_net as well"),
    ("train --from-search no_such_search --image_size 28", 2, "own model and data. Received: --image-size as well"),
    ("finetune --from-search no_such_search --weights mnist", 2, "own model and data. Received: --weights as well"),
    ("search", 2, "kzoo search takes a MODEL and a DATASET"),
    ("search mnistnet digits", 2, "Unknown model. Received: 'mnistnet'. Did you mean 'mnist_net'?"),
    ("search mnist_net digits --algorithm gird", 2, 'Did you mean "grid"?'),
    ("search mnist_net digits --trials 0", 2, "trials must be a whole number of at least 1. Received: 0"),
    ("search mnist_net digits --trial-memory-limit 0", 2, "trial_memory_limit must be a number above 0. Received: 0"),
    (
        "search mnist_net digits --trial-memory-limit inf",
        2,
        "trial_memory_limit must be a number above 0. Received: inf",
    ),
    ("search mnist_net digits --space no_such_file", 2, "Cannot read the search space"),
    ("search mnist_net ./no/such/folder", 1, "No such folder or CSV file"),
    ("search --resume no_such_search", 2, "Not a search directory"),
    ("search --resume no_such_search --trials 3", 2, "and --workers where that changes"),
    ("search --resume no_such_search --workers 2", 2, "Not a search directory"),
    ("evaluate no_such_run", 2, "No such model file or run directory"),
    ("evaluate no_such_run digits --split tets", 2, 'Did you mean "test"?'),
    ("predict no_such_run", 2, "Name images to classify"),
    ("predict no_such_run no_such_image.png", 2, "No such file, folder or pattern"),
    ("predict . pyproject.toml", 2, "Not a run directory: it has no config.json"),
    ("predict pyproject.toml pyproject.toml", 2, "must be a .keras file"),
    ("info resnet18b", 2, "Unknown model"),
    ("info resnet18 --image-size 0", 2, "--image-size must be like"),
    ("info vgg16 --image-size 16", 2, "vgg16 takes input_shape"),
    ("info pyproject.toml", 2, "must be a .keras file"),
    ("list vgg0*", 2, "Unknown model pattern"),
    ("augment digits", 2, "--out"),
    ("augment digits --out grid.jpg", 2, "--out must be a .png file"),
    ("augment digits --out no/such/grid.png", 2, "There is no folder for --out"),
    ("augment digits --out grid.png --policy flip", 2, "Unknown augmentation policy. Received: 'flip'"),
    ("augment digits --out grid.png --count 0", 2, "--count must be at least 1. Received: 0"),
    ("augment digits --out grid.png --seed -1", 2, "--seed must be at least 0. Received: -1"),
    ("augment no_such_dataset --out grid.png", 1, "--download"),
    ("bench speed mnist_net", 2, 'Choose from: "train-step", "infer"'),
    ("bench infer resnet18 --against applications", 2, "keras.applications has no such model. Received: 'resnet18'"),
    ("bench infer", 2, "kzoo bench infer takes a MODEL"),
    ("bench augment resnet18", 2, 'Choose from: "train-step", "infer", "precision"'),
    ("bench precision mnist_net --against plain", 2, "precision compares kzoo with itself. Received: --against plain"),
    ("bench infer resnet18 --rounds 0", 2, "--rounds must be at least 1. Received: 0"),
    ("bench infer resnet18 --precision half", 2, 'Choose from: "float32", "mixed_bfloat16", "mixed_float16"'),
]


@pytest.mark.parametrize(("arguments", "status", "line"), USAGE, ids=[arguments for arguments, *_ in USAGE])
def test_usage_errors(arguments, status, line, capfd, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert kzoo(arguments.split()) == status
    check_one_line(capfd, line)
    assert list(tmp_path.glob("runs/*")) == []  # what could not begin leaves no run behind


def photos(folder, classes=("ants", "bees"), count=10, blue=50):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (20, 20), (20 * i, 100 * label, blue)).save(folder / name / f"{i}.png")


def truncated(folder):
    path = folder / "ants" / "cut.png"
    path.write_bytes((folder / "ants" / "3.png").read_bytes()[:-30])


def empty_file(folder):
    (folder / "ants" / "nothing.jpg").write_bytes(b"")


def text_file(folder):
    (folder / "bees" / "words.jpg").write_text("a bee, I promise")


def bomb(folder):
    Image.new("1", (40_000, 40_000)).save(folder / "bees" / "bomb.png")


def empty_class(folder):
    (folder / "wasps").mkdir()


def one_class(folder):
    for path in (folder / "bees").iterdir():
        path.unlink()
    (folder / "bees").rmdir()


def classes_by_case(folder):
    photos(folder.parent / "more", ("Ants", "b"))
    (folder.parent / "more" / "Ants").rename(folder / "Ants")


def no_images(folder):
    for path in folder.rglob("*.png"):
        path.with_suffix(".tiff").write_bytes(b"II*\0")  # of a kind that is not read
        path.unlink()


def labels_that_differ(folder):
    photos(folder / "train")
    photos(folder / "val", ("ants", "wasps"), blue=60)
    for name in ("ants", "bees"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()


DATA = [
    (truncated, r"Bad image. .*cut\.png"),
    (empty_file, r"Bad image. .*nothing\.jpg"),
    (text_file, r"Bad image. .*words\.jpg"),
    (bomb, r"Bad image. .*bomb\.png"),
    (empty_class, r"wasps"),
    (one_class, r"at least two classes.*'ants'"),
    (classes_by_case, r"'Ants'.*'ants'|'ants'.*'Ants'"),
    (no_images, r"no image in them"),
    (labels_that_differ, r"'wasps'"),
]


@pytest.mark.parametrize(("spoil", "line"), DATA, ids=[spoil.__name__ for spoil, _ in DATA])
def test_bad_data(spoil, line, tmp_path, capfd):
    photos(tmp_path / "photos")
    spoil(tmp_path / "photos")
    assert kzoo(["train", "mnist_net", str(tmp_path / "photos"), "--run-dir", str(tmp_path / "run")]) == 1
    check_one_line(capfd, line, is_pattern=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("spoil", [truncated, empty_file, text_file, bomb], ids=lambda spoil: spoil.__name__)
def test_bad_images_can_be_skipped(spoil, tmp_path, capfd):
    photos(tmp_path / "photos")
    spoil(tmp_path / "photos")
    run = tmp_path / "run"
    arguments = ["train", "mnist_net", str(tmp_path / "photos"), "--run-dir", str(run), "--epochs", "1"]
    assert kzoo([*arguments, "--on-bad-image", "skip"]) == 0
    assert kzoo(["evaluate", str(run), "--split", "all", "--json"]) == 0
    assert '"images": 20' in capfd.readouterr().out


def test_an_existing_run_is_not_overwritten(tmp_path, capfd):
    run = tmp_path / "run"
    arguments = ["train", "mnist_net", "digits", "--epochs", "1", "--run-dir", str(run)]
    assert kzoo(arguments) == 0
    before = (run / "best.keras").read_bytes()
    capfd.readouterr()
    assert kzoo(arguments) == 1
    check_one_line(capfd, "There is a run here already")
    assert (run / "best.keras").read_bytes() == before
    (run / "notes.txt").write_text("mine")
    assert kzoo([*arguments, "--overwrite", "--seed", "5"]) == 0
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path, capfd):
    tmp_path.chmod(0o500)
    assert kzoo(["train", "mnist_net", "digits", "--run-dir", str(tmp_path / "run")]) == 1
    check_one_line(capfd, "Cannot write the run directory")


def test_a_file_where_the_run_should_be(tmp_path, capfd):
    (tmp_path / "run").write_text("")
    assert kzoo(["train", "mnist_net", "digits", "--run-dir", str(tmp_path / "run")]) == 1
    check_one_line(capfd, "Cannot write the run directory")


def test_a_damaged_config(tmp_path, capfd):
    (tmp_path / "config.json").write_text('{"train": {"epo')
    assert kzoo(["train", "--resume", str(tmp_path)]) == 1
    check_one_line(capfd, "config.json is damaged")


def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_a_good_model(tmp_path, capfd):
    run = tmp_path / "run"
    arguments = ["--optimizer", "sgd", "--learning-rate", "9999", "--run-dir", str(run)]
    assert kzoo([*TRAIN.split(), *arguments]) == 1
    check_one_line(capfd, r"The loss became (nan|inf) at step \d+ of epoch \d+, learning rate \d+", is_pattern=True)
    assert kzoo(["evaluate", str(run), "--which", "last", "--json"]) == 0
    assert "NaN" not in capfd.readouterr().out


def check_one_line(capfd, text, is_pattern=False):
    """The last line of standard error is kzoo's, says `text`, and there is no traceback."""
    error = capfd.readouterr().err
    assert "Traceback" not in error
    line = error.splitlines()[-1]
    assert line.startswith("kzoo: ")
    assert re.search(text if is_pattern else re.escape(text), line), line


def test_the_scaling_of_files_is_said_once_where_bad_ones_are_skipped(tmp_path, capfd):
    net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    save_model(set_metadata(net, pixel_range=UNIT), tmp_path / "net.keras")
    for i in range(3):
        Image.new("L", (4, 4), 50 * i).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_bytes(b"text")
    files = [str(path) for path in sorted(tmp_path.glob("*.png"))]
    assert kzoo(["predict", str(tmp_path / "net.keras"), *files, "--on-bad-image", "skip"]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 3
    assert err.count("are scaled to 0 to 1") == 1


def of_inputs(*shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    flat = [keras.layers.Flatten()(one) for one in inputs]
    x = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.parametrize("command", ["evaluate", "finetune"])
@pytest.mark.parametrize(
    ("shapes", "line"),
    [
        ([(16,)], "The model must take images (height, width, channels)."),
        ([(4, 4, 1), (4, 4, 1)], "The model must take images (height, width, channels)."),
        ([(4, 4, 4)], "Image files have 1 or 3 channels. Received: a model of 4."),
    ],
)
def test_a_model_that_takes_no_image_files(command, shapes, line, tmp_path, capfd):
    save_model(of_inputs(*shapes), tmp_path / "net.keras")
    photos(tmp_path / "photos")
    assert kzoo([command, str(tmp_path / "net.keras"), str(tmp_path / "photos")]) == 2
    check_one_line(capfd, line)
