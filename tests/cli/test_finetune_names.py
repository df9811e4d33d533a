"""kzoo finetune by names: the default model, the models of keras.applications, and what the two arguments are."""

import functools
import hashlib
import http.server
import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kzoo.cli import run as kzoo
from kzoo.train import runs
from kzoo.weights.records.applications import RECORDS

NAME = "keras:MobileNetV3Small"
FAST = ["--epochs", "1", "--head-epochs", "2", "--views", "1", "--precision", "float32", "--batch-size", "8"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of the smallest network of keras.applications, as Keras writes it; its numbers are random."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    from kzoo.backend import keras

    path = tmp_path_factory.mktemp("weights") / "small.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, keras.applications.MobileNetV3Small(weights=None))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten dark and ten bright images, of noise."""
    folder, random = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for label, low in (("dark", 0), ("bright", 128)):
        (folder / label).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(random.integers(low, low + 128, (70, 80, 3), "uint8")).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """No weights anywhere, and a folder of its own to work in."""
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def known_by_hash(weights, monkeypatch, **address):
    """Have the record be of the file of random numbers: its name, its hash."""
    with_top, without = RECORDS[NAME]
    digest = hashlib.md5(weights.read_bytes(), usedforsecurity=False).hexdigest()
    record = replace(with_top, files=(replace(with_top.files[0], md5=digest, **address),))
    monkeypatch.setitem(RECORDS, NAME, (record, without))
    return record.files[0].name


@pytest.fixture(scope="module")
def tuned(weights, photos, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KZOO_HOME", str(tmp_path_factory.mktemp("home")))
        run = tmp_path_factory.mktemp("runs") / "photos"
        arguments = [NAME, str(photos), "--weights", str(weights), "--image-size", "64", *FAST, "--run-dir", str(run)]
        assert kzoo(["finetune", *arguments]) == 0
    return run


def last_line(capfd):
    return capfd.readouterr().err.splitlines()[-1]


def bits(run):
    from kzoo.train import load

    return [weight.tobytes() for weight in load(run).get_weights()]


def test_a_run_of_keras_applications(tuned, weights, photos, capfd):
    config = json.loads((tuned / "config.json").read_text())
    assert config["model"]["name"] == NAME
    assert config["model"]["weights"] == str(weights)
    assert config["fine_tuning"]["features_at"] == ["expanded_conv_8_depthwise_pad"]
    head = json.loads((tuned / "head" / "config.json").read_text())
    assert head["fine_tuning"]["features_at"] == ["activation_18"]
    assert kzoo(["evaluate", str(tuned), str(photos), "--split", "all", "--json"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["images"] == 20
    assert kzoo(["predict", str(tuned), str(photos / "dark" / "0.png"), "--json"]) == 0
    [prediction] = json.loads(capfd.readouterr().out.splitlines()[-1])["predictions"]
    assert {one["label"] for one in prediction["top"]} == {"dark", "bright"}
    assert kzoo(["info", str(tuned), "--json"]) == 0
    stages = json.loads(capfd.readouterr().out.splitlines()[-1])["stages"]
    assert [stage["name"] for stage in stages] == ["stride2", "stride4", "stride8", "stride16", "stride32"]


@pytest.mark.slow
def test_it_resumes_to_the_same_bits(tuned, tmp_path):
    """In both phases, though this process has made other models since."""
    second = [runs.CHECKPOINT, runs.BEST, runs.LAST, runs.METRICS, runs.HISTORY]
    for phase, without in (("second", second), ("first", [runs.CHECKPOINT, f"{runs.HEAD}/{runs.CHECKPOINT}"])):
        run = tmp_path / phase
        shutil.copytree(tuned, run)
        for name in without:
            (run / name).unlink()
        assert kzoo(["finetune", "--resume", str(run)]) == 0
        assert bits(run) == bits(tuned)


@pytest.mark.slow
def test_a_run_goes_on_from_a_run(tuned, photos):
    assert kzoo(["finetune", str(tuned), str(photos), *FAST, "--run-dir", "again"]) == 0
    load = runs.read_record("again").data.load
    assert load is not None
    assert load.image_size == (64, 64)


def test_fetch_downloads_what_is_missing(weights, photos, empty_machine, monkeypatch, capfd):
    served = empty_machine / "served"
    served.mkdir()
    shutil.copy(weights, served / "there.h5")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    known_by_hash(weights, monkeypatch, url=f"http://127.0.0.1:{server.server_address[1]}/there.h5")
    arguments = ["finetune", NAME, str(photos), "--image-size", "64", *FAST, "--json"]
    try:
        assert kzoo(arguments) == 1
        assert f"kzoo finetune {NAME} {photos} --fetch, or kzoo weights fetch {NAME} keras_in1k." in last_line(capfd)
        assert kzoo([*arguments, "--fetch"]) == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    run = json.loads(capfd.readouterr().out.splitlines()[-1])["run_dir"]
    assert run.startswith("runs/keras-MobileNetV3Small-photos-")
    model = json.loads((empty_machine / "work" / run / "config.json").read_text())["model"]
    assert (model["name"], model["weights"]) == (NAME, "keras_in1k")
    [kept] = (empty_machine / "home" / "weights").rglob("*.h5")
    assert kept.parent.parent.name == "keras-MobileNetV3Small"
    assert kzoo(["weights", "fetch", NAME]) == 0  # there is no server any more


def test_weights_in_keras_s_cache_are_evaluated(weights, photos, empty_machine, monkeypatch, capfd):
    there = empty_machine / "keras" / "models" / known_by_hash(weights, monkeypatch)
    there.parent.mkdir(parents=True)
    shutil.copy(weights, there)
    assert kzoo(["predict", NAME, str(photos / "dark" / "0.png"), "--weights", "imagenet", "--json"]) == 0
    [prediction] = json.loads(capfd.readouterr().out.splitlines()[-1])["predictions"]
    from kzoo.weights.labels import names

    assert {one["label"] for one in prediction["top"]} <= set(names("imagenet"))
    assert kzoo(["predict", NAME, str(photos / "dark" / "0.png")]) == 2
    assert "A model needs weights to be used" in last_line(capfd)


def test_the_default_model_s_weights_are_missing(photos, capfd, real_data, monkeypatch):
    assert kzoo(["finetune", str(photos)]) == 1
    assert last_line(capfd) == (
        "kzoo: The weights are not on this machine. Received: 'keras_in1k' for keras:EfficientNetV2B0. Download them: "
        f"kzoo finetune {photos} --fetch, or kzoo weights fetch keras:EfficientNetV2B0 keras_in1k."
    )
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(real_data / "weights"))
    assert kzoo(["finetune", str(photos)]) == 1
    assert last_line(capfd).endswith(f"With weights that are here: kzoo finetune inception_v1 {photos}")


def test_what_one_argument_is(tuned, empty_machine, capfd):
    (empty_machine / "work" / "vgg16").mkdir()
    for argument, status, line in (
        ("vgg11", 2, "This is a model: name the images too. Received: 'vgg11' alone. Try: kzoo finetune vgg11 PHOTOS"),
        ("keras:VGG16", 2, "Try: kzoo finetune keras:VGG16 PHOTOS"),
        ("keras:VGG17", 2, "Did you mean 'keras:VGG19'"),
        ("vgg16", 2, f"For the folder: kzoo finetune {empty_machine / 'work' / 'vgg16'}."),
        ("./vgg16", 1, "The weights are not on this machine"),
        (str(tuned), 2, "This is a model: name the images too."),
        ("resnet51", 1, "No such dataset"),
        (f"{tuned.parent} inception_v1", 2, f"Try: kzoo finetune inception_v1 {tuned.parent}"),
        (f"digits {NAME}", 2, f"The model comes first. Received: 'digits' '{NAME}'."),
        (f"--from-search {tuned} --fetch", 2, "Received: --fetch as well"),
        (f"--resume {tuned} --fetch", 2, "Received: --fetch as well"),
        (f"digits --fetch --weights {tuned}", 2, "--fetch is for weights that have a tag"),
    ):
        assert kzoo(["finetune", *argument.split()]) == status, argument
        assert line in last_line(capfd)


def test_training_from_scratch_is_not_for_them(photos, capfd):
    assert kzoo(["train", NAME, str(photos)]) == 2
    assert "Only fine-tuning takes models of keras.applications" in last_line(capfd)


def test_train_says_that_few_photos_are_better_fine_tuned(photos, tmp_path, capfd):
    arguments = ["--epochs", "1", "--precision", "float32", "--run-dir"]
    assert kzoo(["train", "mnist_net", str(photos), *arguments, "one"]) == 0
    assert f"16 photos are few to train a network from scratch: kzoo finetune {photos} starts" in capfd.readouterr().err
    for label in ("a", "b"):
        (tmp_path / "icons" / label).mkdir(parents=True)
        for i in range(10):
            pixels = np.random.default_rng(i + 50 * (label == "a")).integers(0, 256, (32, 32, 3), "uint8")
            Image.fromarray(pixels).save(tmp_path / "icons" / label / f"{i}.png")
    assert kzoo(["train", "mnist_net", str(tmp_path / "icons"), *arguments, "two"]) == 0
    assert "from scratch" not in capfd.readouterr().err
