"""Weights of the user's own, from a run to a tag and back; and those that travel with kzoo."""

import hashlib
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kzoo as package
import mnist_weights
from kzoo import publishing, saving
from kzoo.classifier import class_names_of
from kzoo.cli import run as kzoo
from kzoo.data.pixels import RAW
from kzoo.errors import InvalidArgument, RunError, WeightsError
from kzoo.models.registry import get_card
from kzoo.publishing import add_weights, preprocessing_of
from kzoo.weights import locations, store, user_weights
from kzoo.weights.registry import get_record, list_weights
from kzoo.weights.resolve import resolve


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert kzoo(["train", "mnist_net", "digits", "--epochs", "1", "--seed", "3", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def small():
    """A model that is quick to build, and has weights unlike those of any other of the same name."""
    return lambda seed=0, **changes: _small(seed, **changes)


def _small(seed, **changes):
    model = package.create_model("mnist_net", **{"classes": 3, "input_shape": (8, 8, 1), **changes})
    random = np.random.default_rng(seed)
    # Also the statistics, which are 0 and 1 in a new model. Variances are positive.
    model.set_weights([random.uniform(0.1, 1, weight.shape).astype("float32") for weight in model.weights])
    return model


def file_of(model, path, class_names=("a", "b", "c")):
    saving.save_model(model, path, class_names)
    return path


def outputs(model):
    images = np.random.default_rng(1).integers(0, 256, (16, *model.input_shape[1:]), "uint8")
    return np.asarray(model(images, training=False))


def test_from_a_run_to_a_tag_and_back(run_dir, home, last_json, digits):
    assert kzoo(["weights", "add", str(run_dir), "--name", "my-digits", "--json"]) == 0
    [path] = (home / "weights" / "mnist_net" / "my-digits").glob("*.safetensors")
    assert last_json() == {"model": "mnist_net", "tag": "my-digits", "path": str(path)}
    record = get_record("mnist_net", "my-digits")
    assert record.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.files[0].size, record.input_size, record.classes) == (path.stat().st_size, (28, 28, 1), 10)
    assert record.preprocessing == preprocessing_of(package.create_model("mnist_net"))
    assert record.preprocessing.mean == (0.1307,)
    validation = json.loads((run_dir / "metrics.json").read_text())["validation"]
    assert record.accuracy
    assert (record.accuracy.top1, record.accuracy.dataset) == (validation["accuracy"], "digits validation")
    assert record.accuracy.measured

    trained, again = package.load_model(run_dir), package.create_model("mnist_net", weights="my-digits")
    assert np.array_equal(outputs(trained), outputs(again))
    assert class_names_of(again) == class_names_of(trained) == digits[0].class_names
    assert [r.tag for r in package.list_weights("mnist_net")] == ["mnist", "my-digits"]  # the default stays
    assert kzoo(["weights", "verify", "mnist_net", "my-digits"]) == 0

    for command in (["evaluate", str(run_dir)], ["evaluate", "mnist_net", "digits", "--weights", "my-digits"]):
        assert kzoo([*command, "--json"]) == 0
    assert kzoo(["weights", "add", str(run_dir), "--name", "my-digits", "--overwrite"]) == 0
    test = json.loads((run_dir / "metrics.json").read_text())["test"]
    record = get_record("mnist_net", "my-digits")
    assert record.accuracy
    assert (record.accuracy.top1, record.accuracy.dataset) == (test["accuracy"], "digits test")


def test_evaluate_scores_the_tag_as_the_run(run_dir, last_json):
    add_weights(run_dir, "digits")
    figures = []
    for command in (["evaluate", str(run_dir)], ["evaluate", "mnist_net", "digits", "--weights", "digits"]):
        assert kzoo([*command, "--json"]) == 0
        figures.append(last_json())
    assert figures[0] == figures[1]


def test_the_packaged_weights_without_the_top():
    """The normalization after its fully connected layer belongs to the top too."""
    whole = package.create_model("mnist_net", weights="mnist")
    features = package.create_model("mnist_net", weights="mnist", include_top=False)
    images = package.data.load("digits", "test", image_size=28).images[:4].astype("float32")
    expected = package.feature_extractor(whole, ["pool2"])(images)["pool2"]
    assert np.array_equal(features(images), expected)


def test_other_classes_and_channels_as_for_any_tag(small, tmp_path, capfd):
    add_weights(file_of(small(), tmp_path / "a.keras"), "mine")
    model = package.create_model("mnist_net", weights="mine", classes=5, input_shape=(8, 8, 3))
    assert "mine for mnist_net has its 3 classes: the new classifier of 5 classes" in capfd.readouterr().err
    kernel = small().get_weights()[0]
    assert np.array_equal(model.get_weights()[0], np.repeat(kernel, 3, axis=2) * np.float32(1 / 3))
    assert np.array_equal(model.get_weights()[1], small().get_weights()[1])
    with pytest.raises(WeightsError, match="fc1"):
        package.create_model("mnist_net", weights="mine", input_shape=(16, 16, 1))


@pytest.mark.parametrize(
    ("name", "arguments", "order", "mean"),
    [
        ("resnet20_cifar", {}, "rgb", (0.485, 0.456, 0.406)),
        ("resnet20_cifar", {"input_shape": (32, 32, 4)}, "rgb", (0.449,) * 4),
        ("inception_v1", {"input_shape": (32, 32, 3), "classes": 2}, "bgr", (123.0, 117.0, 104.0)),
        ("inception_v1", {"input_shape": (32, 32, 1), "classes": 2}, "rgb", (round(344 / 3, 6),)),
        ("mnist_net", {"classifier_activation": None}, "rgb", (0.1307,)),
    ],
)
def test_each_style_of_preprocessing_comes_back(name, arguments, order, mean, tmp_path):
    model = package.create_model(name, **arguments)
    saving.save_model(model, tmp_path / "model.keras")
    record = add_weights(tmp_path / "model.keras", "mine")
    assert record == get_record(name, "mine")  # through JSON
    assert (record.preprocessing.channel_order, record.preprocessing.mean) == (order, mean)
    assert (record.labels, record.accuracy) == (None, None)
    activation = arguments.get("classifier_activation", "softmax")
    again = package.create_model(name, weights="mine", classifier_activation=activation)
    assert np.array_equal(outputs(model), outputs(again))
    assert class_names_of(again) is None


@pytest.mark.parametrize("name", ["vgg16", "resnet50_v2", "inception_v1_bn", "resnet18", "mnist_net"])
def test_preprocessing_is_read_off_the_layers(name):
    found = preprocessing_of(package.create_model(name, include_top=False))
    record = get_card(name).preprocessing
    assert (found.channel_order, found.mean, found.std, found.unit) == (
        record.channel_order,
        record.mean,
        record.std,
        record.unit,
    )


@pytest.mark.parametrize(("crop", "resize"), [(0.8, 10), (0.9, 8 / 0.9), (224 / 235, 8 / (224 / 235))])
def test_the_crop_comes_back(small, tmp_path, crop, resize):
    from kzoo.classifier import metadata, set_metadata

    known = {"class_names": ["a", "b", "c"], "crop_fraction": crop, "interpolation": "bicubic"}
    model = set_metadata(small(), **known, pixel_range=RAW)
    saving.save_model(model, tmp_path / "a.keras")
    assert add_weights(tmp_path / "a.keras", "mine").preprocessing.resize == resize
    again = metadata(package.create_model("mnist_net", weights="mine"))
    assert again == {**metadata(model), "crop_fraction": pytest.approx(crop, rel=1e-15)}


@pytest.mark.parametrize(
    "tag",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a\\b",
        "a..b",
        "C:",
        "Mine",
        "mine.",
        "-mine",
        "con",
        "nul.v2",
        "a" * 65,
        "ä",
        "a\n",
    ],
)
def test_names_that_are_no_folders_everywhere(tag):
    with pytest.raises(InvalidArgument, match="Weights cannot have this name"):
        add_weights("no matter", tag)


def test_the_alias_is_no_name():
    with pytest.raises(InvalidArgument, match=r"This name means the best ImageNet weights. Received: 'imagenet'"):
        add_weights("no matter", "imagenet")


def test_kzoo_s_own_names_are_taken(run_dir, home):
    with pytest.raises(InvalidArgument, match=r"kzoo has weights of this name for mnist_net\. Received: 'mnist'"):
        add_weights(run_dir, "mnist")
    assert not home.exists()


def test_models_that_are_not_the_zoo_s(small, tmp_path, home):
    import keras

    def refused(model, said, error: type[Exception] = InvalidArgument):
        saving.save_model(model, tmp_path / "other.keras")
        with pytest.raises(error, match=said):
            add_weights(tmp_path / "other.keras", "mine")
        assert not list(home.rglob("*.safetensors")) + list(home.rglob("record.json"))

    images = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(images)
    refused(keras.Model(images, keras.layers.Dense(2)(flat), name="mine"), "Only models of kzoo list can be added")
    x = keras.layers.Rescaling(1 / 255, name="preprocessing")(images)
    x = keras.layers.Dense(2, name="predictions")(keras.layers.Flatten()(x))
    refused(keras.Model(images, x, name="mnist_net"), "The weights do not fit mnist_net: .* missing", WeightsError)
    refused(small(include_preprocessing=False), "A model without preprocessing does not say")
    refused(package.create_model("resnet20_cifar", input_shape=(None, None, 3)), "one image size")
    refused(package.create_model("mnist_net", include_top=False), "must have one output")
    broken = small()
    broken.get_layer("fc1").kernel.assign(np.full(broken.get_layer("fc1").kernel.shape, np.nan))
    refused(broken, "NaN or infinite is of no use. Received: 'fc1/kernel'", WeightsError)
    # The same weights, and another activation between them.
    other = keras.models.clone_model(
        small(),
        clone_function=lambda layer: (
            keras.layers.ReLU(max_value=0.5, name=layer.name)
            if layer.name == "conv1_relu"
            else layer.__class__.from_config(layer.get_config())
        ),
    )
    other.set_weights(small().get_weights())
    refused(other, "built otherwise. Received: layer 'conv1_relu'", WeightsError)
    # What a run may set: it does not count.
    frozen = small(dropout=0.7)
    frozen.get_layer("conv1").trainable = False
    saving.save_model(frozen, tmp_path / "frozen.keras")
    assert add_weights(tmp_path / "frozen.keras", "mine").tag == "mine"


def test_an_unfinished_run_and_what_is_no_run(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (copy / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match=r"not finished. Received: '.*'. Finish it \(kzoo train --resume"):
        add_weights(copy, "mine")
    assert add_weights(copy / "best.keras", "mine").accuracy is None
    with pytest.raises(InvalidArgument, match="Not a run directory"):
        add_weights(tmp_path, "mine2")
    with pytest.raises(InvalidArgument, match="No such model file or run directory"):
        add_weights(tmp_path / "none", "mine2")


def test_a_name_is_replaced_only_when_asked_and_only_by_what_is_right(small, tmp_path, home):
    file = file_of(small(1), tmp_path / "a.keras")
    add_weights(file, "mine")
    before = outputs(package.create_model("mnist_net", weights="mine"))
    file_of(small(2), file)
    with pytest.raises(InvalidArgument, match=r"You have weights of this name for mnist_net.*--overwrite"):
        add_weights(file, "mine")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (10_000, hard)
    )  # as if the disk were full; Keras's files too, so below it
    try:
        with pytest.raises(OSError, match="File too large"):
            publishing._keep(*publishing._describe(small(2), file, "mine", None), lambda path: None, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert np.array_equal(outputs(package.create_model("mnist_net", weights="mine")), before)

    folder = home / "weights" / "mnist_net" / "mine"
    (folder / ".model-00000000.123.tmp.safetensors").write_bytes(b"killed while writing")
    (folder / "model-00000000.safetensors").write_bytes(b"killed before the record")
    assert np.array_equal(outputs(package.create_model("mnist_net", weights="mine")), before)
    record = add_weights(file, "mine", overwrite=True)
    assert np.array_equal(outputs(package.create_model("mnist_net", weights="mine")), outputs(small(2)))
    assert sorted(p.name for p in folder.iterdir()) == [".lock", record.files[0].name, "record.json"]


def test_a_cache_that_cannot_be_written(small, tmp_path, home):
    home.write_text("a file where the folder would be")
    with pytest.raises(WeightsError, match=r"Cannot write mine for mnist_net to the cache\. Received: .*KZOO_HOME"):
        add_weights(file_of(small(), tmp_path / "a.keras"), "mine")


def test_two_processes_add_the_same_name(small, tmp_path, home, child_environment):
    environment = {**child_environment, "KZOO_HOME": str(home)}
    files = [file_of(small(seed), tmp_path / f"{seed}.keras") for seed in (1, 2)]
    code = "import sys; from kzoo.cli import main; main(['weights', 'add', sys.argv[1], '--name', 'mine'])"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen([*command, f], env=environment, stderr=subprocess.PIPE, text=True) for f in files]
    errors = [process.communicate(timeout=200)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], errors
    winner = [process.returncode for process in both].index(0)
    assert errors[1 - winner].splitlines()[-1].startswith("kzoo: You have weights of this name for mnist_net.")
    assert np.array_equal(outputs(package.create_model("mnist_net", weights="mine")), outputs(small(winner + 1)))


def test_damaged_weights(small, tmp_path, capfd):
    record = add_weights(file_of(small(), tmp_path / "a.keras"), "mine")
    path = store.require(record)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert kzoo(["weights", "verify", "mnist_net", "mine"]) == 1
    assert "Add them again: kzoo weights add RUN --name mine --overwrite." in capfd.readouterr().err.splitlines()[-1]
    with pytest.raises(WeightsError, match=r"not on this machine\. .* Add them again"):
        package.create_model("mnist_net", weights="mine")
    assert kzoo(["weights", "fetch", "mnist_net", "mine"]) == 1  # there is nowhere to fetch them from
    assert "Add them again" in capfd.readouterr().err.splitlines()[-1]


def _file(**changes):
    return lambda r: r["files"][0].update(changes)


FAULTS = {
    "no JSON": lambda r: "{",
    "not a dict": lambda r: "[1]",
    "deep": lambda r: "[" * 100_000,
    "an entry missing": lambda r: r.pop("classes") and None,
    "an entry too many": lambda r: r.update(command="rm"),
    "another model": lambda r: r.update(model="resnet18"),
    "another tag": lambda r: r.update(tag="other"),
    "a path for a tag": lambda r: r.update(tag="../mine"),
    "a pickle": lambda r: r.update(format="pytorch"),
    "an address": _file(url="https://example.org/model.safetensors"),
    "a repository": _file(hub="someone/something"),
    "a file elsewhere": _file(name="../../model-12345678.safetensors"),
    "no hash": _file(sha256=None),
    "two files": lambda r: r["files"].append(r["files"][0]),
    "too few labels": lambda r: r["labels"].pop() and None,
    "labels that are no names": lambda r: r.update(labels=[1, 2, 3]),
    "labels of another list": lambda r: r.update(labels="imagenet"),
    "a size of zero": lambda r: r.update(input_size=[0, 8, 1]),
    "a size with a fraction": lambda r: r.update(input_size=[8.5, 8, 1]),
    "division by zero": lambda r: r["preprocessing"].update(std=[0.0]),
    "an infinite mean": lambda r: r["preprocessing"].update(mean=[float("inf")]),
    "a word for a mean": lambda r: r["preprocessing"].update(mean=["a"]),
    "more than everything": lambda r: r.update(
        accuracy={"top1": 1.5, "top5": None, "dataset": "", "measured": True, "source": "", "date": ""}
    ),
}


@pytest.fixture(scope="module")
def added(small, tmp_path_factory):
    """A folder with one set of weights, as a cache has it."""
    folder = tmp_path_factory.mktemp("added")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KZOO_HOME", str(folder / "home"))
        add_weights(file_of(small(), folder / "a.keras"), "mine")
    return folder / "home" / "weights"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_record_is_left_aside(fault, added, home, capfd):
    shutil.copytree(added, home / "weights")
    shutil.copytree(added / "mnist_net" / "mine", home / "weights" / "mnist_net" / "sound")
    sound = home / "weights" / "mnist_net" / "sound" / "record.json"
    sound.write_text(sound.read_text().replace('"tag": "mine"', '"tag": "sound"'))
    path = home / "weights" / "mnist_net" / "mine" / "record.json"
    content = json.loads(path.read_text())
    path.write_text(FAULTS[fault](content) or json.dumps(content))
    for _ in range(2):
        assert [record.tag for record in list_weights("mnist_net")] == ["mnist", "sound"]
    [line] = capfd.readouterr().err.splitlines()  # once
    assert f"Left aside: the record of weights {path} is damaged or not kzoo's: " in line
    with pytest.raises(InvalidArgument, match="Unknown weights for mnist_net"):
        package.create_model("mnist_net", weights="mine")


def test_a_record_cannot_take_kzoo_s_name(added, home, capfd):
    for tag, reason in (("mnist", "kzoo itself has weights of this name"), ("imagenet", "its tag cannot be right")):
        folder = shutil.copytree(added / "mnist_net" / "mine", home / "weights" / "mnist_net" / tag)
        path = folder / "record.json"
        path.write_text(path.read_text().replace('"tag": "mine"', f'"tag": "{tag}"'))
        assert [record.tag for record in list_weights("mnist_net")] == ["mnist"]
        assert reason in capfd.readouterr().err
        shutil.rmtree(folder)


def test_a_folder_of_another_machine(added, monkeypatch, small):
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(added))
    assert np.array_equal(outputs(package.create_model("mnist_net", weights="mine")), outputs(small()))


def test_a_file_is_known_by_its_hash_and_no_tag_changes_what_another_means(added, home, tmp_path, small):
    shutil.copytree(added, home / "weights")
    copy = shutil.copy(store.require(get_record("mnist_net", "mine")), tmp_path / "copy.safetensors")
    assert resolve("mnist_net", copy).record.tag == "mine"
    user_weights.save(small(5), tmp_path / "other.safetensors")
    assert resolve("mnist_net", tmp_path / "other.safetensors").record.tag == "mnist"  # as without the user's own


def test_looking_tags_up_needs_no_tensorflow(added, fresh_python, child_environment):
    code = (
        "import sys; from kzoo.cli import run; assert run(['weights', 'list', 'mnist_net']) == 0\n"
        "assert run(['weights', 'verify', 'mnist_net', 'mine']) == 0\n"
        "print(sorted({'tensorflow', 'keras', 'requests', 'PIL'} & set(sys.modules)))"
    )
    done = fresh_python(code, env={**child_environment, "KZOO_HOME": str(added.parent)})
    lines = done.stdout.splitlines()
    assert lines[2].split("\t") == ["mnist_net", "mine", "-", "3", "-", "-", "0.4 MB", "yes"]
    assert lines[-1] == "[]"


def test_the_packaged_weights_are_those_of_their_record():
    record = get_record("mnist_net", "mnist")
    path = store.require(record)
    assert path.parent == locations.PACKAGED
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record.files[0].sha256
    assert {p.name for p in locations.PACKAGED.iterdir()} == {record.files[0].name}
    assert record.files[0].size == path.stat().st_size


def test_the_packaged_weights_score_what_their_record_says(tfds_folder, last_json):
    command = ["evaluate", "mnist_net", "mnist", "--weights", "mnist", "--data-dir", str(tfds_folder), "--json"]
    assert kzoo(command) == 0
    figures, accuracy = last_json(), get_record("mnist_net", "mnist").accuracy
    assert accuracy
    assert (figures["split"], figures["images"]) == ("test", 10_000)
    # A count of images: rounding would have to swap the first two classes of one to change it.
    assert (figures["accuracy"], figures["top5_accuracy"]) == (accuracy.top1, accuracy.top5)


def test_predict_with_the_packaged_weights(tmp_path, last_json):
    from PIL import Image

    image = Image.new("L", (28, 28))
    image.paste(255, (13, 4, 16, 24))  # an upright stroke
    image.save(tmp_path / "digit.png")
    assert kzoo(["predict", "mnist_net", str(tmp_path / "digit.png"), "--weights", "mnist", "--json"]) == 0
    [prediction] = last_json()["predictions"]
    assert prediction["top"][0]["label"] == "1"


def test_the_recipe_writes_the_file_of_a_run(run_dir, tmp_path, capsys):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    metrics = json.loads((copy / "metrics.json").read_text())
    test = {"accuracy": 0.75, "loss": 1.0, "top5_accuracy": 1.0}
    (copy / "metrics.json").write_text(json.dumps({**metrics, "test": test}))
    mnist_weights.main(str(copy), tmp_path)
    content = Path(tmp_path / mnist_weights.NAME).read_bytes()
    assert capsys.readouterr().out.splitlines() == [
        f"size={len(content)}, sha256='{hashlib.sha256(content).hexdigest()}'",
        "top1=0.75, top5=1.0",
    ]
