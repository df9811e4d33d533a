"""`.keras` files: whole, with class names, readable by plain Keras, and harmless."""

import json
import resource
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.classifier import class_names_of
from kzoo.errors import InvalidArgument, RunError
from kzoo.saving import load_model, save_model


@pytest.fixture(scope="module")
def model():
    return kzoo.create_model("mnist_net", input_shape=(8, 8, 1), classes=3)


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "net.keras"
    save_model(model, path, ["ant", "bee", "wäsp"])
    return path


def rewrite(path, target, changes, **options):
    """Copy a `.keras` file; the JSON of some entries is changed, or an entry is left out or added."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", **options) as archive:
        content = {name: source.read(name) for name in source.namelist()}
        for name, change in changes.items():
            if callable(change):
                content[name] = json.dumps(change(json.loads(content[name]))).encode()
            elif change is None:
                del content[name]
            else:
                content[name] = change
        for name, value in content.items():
            archive.writestr(name, value)


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_class_names_survive_saving_twice(saved, model, tmp_path):
    loaded = load_model(saved)
    assert class_names_of(loaded) == ("ant", "bee", "wäsp")
    assert same_weights(loaded, model)
    save_model(loaded, tmp_path / "again.keras")
    assert class_names_of(load_model(tmp_path / "again.keras")) == ("ant", "bee", "wäsp")


def test_a_model_without_class_names_has_none(tmp_path, model):
    save_model(model, tmp_path / "net.keras")
    assert class_names_of(load_model(tmp_path / "net.keras")) is None
    assert class_names_of(model) is None


def test_plain_keras_reads_our_file(saved, model):
    assert same_weights(keras.saving.load_model(saved), model)
    assert class_names_of(keras.saving.load_model(saved)) is None


def test_a_file_has_keras_three_entries(saved):
    """Of a file with a fourth, Keras unpacks all into the temporary folder before it loads it."""
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        assert {"keras_version", "date_saved"} < json.loads(archive.read("metadata.json")).keys()
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_plain_keras_without_kzoo(tmp_path, fresh_python):
    """The layers of ours that are only faster are Keras's there, and ours again here."""
    keras.utils.set_random_seed(0)
    model = kzoo.create_model("resnext50_32x4d", input_shape=(32, 32, 3), classes=3, include_preprocessing=False)
    for weight in model.weights:
        weight.assign(weight.numpy() * np.random.default_rng(0).uniform(0.9, 1.1, weight.shape))
    ours = {type(layer) for layer in model.layers if type(layer).__module__.startswith("kzoo")}
    assert ours == {kzoo.layers.BatchNormalization, kzoo.layers.Conv2D}
    save_model(model, tmp_path / "net.keras", ["a", "b", "c"])

    again = load_model(tmp_path / "net.keras")
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())  # tuples are lists there

    images = np.random.default_rng(1).random((4, 32, 32, 3), "float32")
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1] + "/net.keras")
assert not any(name.split(".")[0] == "kzoo" for name in sys.modules)
np.save(sys.argv[1] + "/outputs.npy", model.predict(np.load(sys.argv[1] + "/images.npy"), verbose=0))
"""
    fresh_python(code, tmp_path)
    found = np.load(tmp_path / "outputs.npy")
    np.testing.assert_array_equal(again.predict(images, verbose=0), model.predict(images, verbose=0))
    # The same sums in another order, through 50 layers.
    np.testing.assert_allclose(found, model.predict(images, verbose=0), rtol=0, atol=1e-5)


def test_keras_own_layers_stay_so(tmp_path):
    plain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization()])
    for save in (plain.save, lambda path: save_model(plain, path)):
        save(tmp_path / "plain.keras")
        assert [type(layer) for layer in load_model(tmp_path / "plain.keras").layers] == [
            keras.layers.Conv2D,
            keras.layers.BatchNormalization,
        ]


def dense_of(units, inputs):
    """The config of a model of one layer, changed so that it asks for many weights."""

    def change(config):
        text = json.dumps(config).replace('"units": 2', f'"units": {units}').replace("[null, 4]", f"[null, {inputs}]")
        return json.loads(text)

    return change


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config.json": dense_of(10**9, 4)}, "its weights together are larger than the file"),
        ({"config.json": dense_of(50_000, 50_000)}, "its weights together are larger than the file"),
        ({"config.json": lambda config: {**config, "layers": [{}] * 6000}}, "more than 5,000 layers"),
        ({"config.json": lambda config: {**config, "note": "x" * 2**23}}, "has more than 8,388,608 bytes"),
        ({"config.json": b"[" * 10**6}, "maximum recursion depth"),
        ({"config.json": b"[]"}, "its config.json is no JSON object"),
        ({"config.json": b'{"a": 1' + b"0" * 5000 + b"}"}, "Exceeds the limit"),
        ({"config.json": None}, "it has no config.json"),
        ({"metadata.json": None}, "it has no metadata.json"),
        ({"model.weights.h5": None}, "it has no model.weights.h5"),
        ({"model.weights.h5": b"x" * 100}, "file signature not found"),
        ({"kzoo.json": b"{}"}, "an entry that Keras does not write: 'kzoo.json'"),
        ({"../outside": b"x"}, "an entry that Keras does not write"),
    ],
)
def test_what_asks_for_more_than_it_has(changes, reason, tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "plain.keras")
    rewrite(tmp_path / "plain.keras", tmp_path / "bad.keras", changes)
    with pytest.raises(RunError, match=reason) as caught:
        load_model(tmp_path / "bad.keras")
    assert "\n" not in str(caught.value)


def add_zeros(file):
    file.create_dataset("layers/bomb/vars/0", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def add_many(file):
    for number in range(50_000):
        file[f"layers/dense/{number}"] = file["layers/dense"]


def add_strings(file):
    file["layers/dense/vars/9"] = ["text"]


def add_dtypes(file):
    """Keras reads this attribute of every array."""
    file["layers/dense/vars/0"].attrs["dtype"] = ["bfloat16"] * 100


def add_long_text(file):
    file["layers/dense/vars/0"].attrs["dtype"] = "x" * 2_000


def add_long_name(file):
    file["layers/dense/vars"].attrs["name"] = np.bytes_(b"x" * 2_000)


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (add_dtypes, "attribute 'dtype' is neither text nor a number"),
        (add_long_text, "attribute 'dtype' has more than 1,000 bytes"),
        (add_long_name, "attribute 'name' has more than 1,000 bytes"),
        (add_zeros, "is compressed"),
        (add_many, "more than 40,000 entries"),
        (add_strings, "is no array of numbers"),
        (lambda file: file["layers"].__setitem__("up", h5py.ExternalLink("other.h5", "/")), "somewhere else"),
        (lambda file: file["layers"].__setitem__("up", file["/"]), "has two names"),
    ],
)
def test_weights_that_are_no_plain_arrays(add, reason, tmp_path):
    with pytest.raises(RunError, match=reason):
        load_model(with_weights(add, tmp_path))


def with_weights(change, tmp_path):
    """A model file whose HDF5 entry `change` has altered."""
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        (tmp_path / "weights.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        change(file)
    changes = {"model.weights.h5": (tmp_path / "weights.h5").read_bytes()}
    rewrite(tmp_path / "plain.keras", tmp_path / "bad.keras", changes)
    return tmp_path / "bad.keras"


def test_strings_that_share_their_bytes(tmp_path):
    """A thousand strings that all lie in the same 2 MB took 3.8 GB; one such string is refused as well."""
    size = 2_000_000

    def change(file):
        texts = np.array(["x" * size, *"a" * 999], dtype=object)
        file["layers/dense/vars/0"].attrs.create("dtype", texts, dtype=h5py.string_dtype())
        file.flush()
        content = bytearray(Path(file.filename).read_bytes())
        # Each element is a length, the address of a heap ("GCOL") and a number in it.
        place = content.find(size.to_bytes(4, "little"))
        while content[int.from_bytes(content[place + 4 : place + 12], "little") :][:4] != b"GCOL":
            place = content.find(size.to_bytes(4, "little"), place + 1)
            assert place >= 0
        content[place : place + 16_000] = content[place : place + 16] * 1_000
        shared.append(bytes(content))

    shared = []
    bad = with_weights(change, tmp_path)
    rewrite(bad, tmp_path / "shared.keras", {"model.weights.h5": shared[0]})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(tmp_path / "shared.keras")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_zip_bomb(saved, tmp_path):
    rewrite(saved, tmp_path / "bad.keras", {"metadata.json": b" " * 10**7}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(RunError, match=r"is compressed or encrypted"):
        load_model(tmp_path / "bad.keras")


def test_we_read_plain_keras_files(tmp_path):
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plain.save(tmp_path / "plain.keras")
    assert same_weights(load_model(tmp_path / "plain.keras"), plain)


@pytest.mark.parametrize("size", [0, 100, 0.5, -1])
def test_a_truncated_file_is_one_line(saved, size):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * size) if isinstance(size, float) else size])
    with pytest.raises(RunError) as caught:
        load_model(saved)
    assert str(caught.value).startswith(f"Cannot load the model file. Received: {str(saved)!r}: ")
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 0xFF
    saved.write_bytes(content)
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(saved)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(tmp_path / "x.keras")


def test_a_lambda_layer_is_refused_without_running_it(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "evil.keras"
    name = str(mark)
    layer = keras.layers.Lambda(lambda x: Path(name).touch() or x, output_shape=(4,))
    evil = keras.Sequential([keras.Input((4,)), layer])
    evil(np.zeros((1, 4)))
    assert mark.exists(), "the layer would run"
    evil.save(path)
    mark.unlink()
    with pytest.raises(RunError, match="Lambda"):
        load_model(path)
    assert not mark.exists()


def test_an_unwritable_save_keeps_the_old_file(saved):
    before = saved.read_bytes()
    unsavable = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    unsavable.get_config = lambda: {"x": object()}
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Keras makes of it
        save_model(unsavable, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("absent.keras", None, "No such model file or run directory. Received: {!r}."),
        ("net.bin", "file", "A model file must be a .keras file. Received: {!r}."),
        ("folder", "folder", "Not a run directory: it has no config.json. Received: {!r}."),
    ],
)
def test_what_is_no_model(tmp_path, name, make, message):
    path = tmp_path / name
    if make == "file":
        path.write_bytes(b"x")
    elif make == "folder":
        path.mkdir()
    with pytest.raises(InvalidArgument) as caught:
        load_model(path)
    assert str(caught.value) == message.format(str(path))


def test_which_is_checked(tmp_path):
    with pytest.raises(InvalidArgument, match=r"which must be 'best' or 'last'. Received: 'first'."):
        load_model(tmp_path, "first")


def test_a_run_without_a_model_yet(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match="This run has no best model yet"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"class_names": "0123456789"},
        {"class_names": ["one", "two"]},
        {"crop_fraction": 0},
        {"crop_fraction": "x"},
        {"interpolation": "nearest"},
        [1],
    ],
)
def test_metadata_that_cannot_be_right(content, tmp_path):
    path = tmp_path / "net.keras"
    save_model(kzoo.create_model("mnist_net"), tmp_path / "good.keras")
    rewrite(tmp_path / "good.keras", path, {"metadata.json": lambda known: {**known, "kzoo": content}})
    with pytest.raises(RunError, match="Cannot load the model file"):
        load_model(path)


def as_bytes(change):
    return {"config.json": lambda config: json.loads(change(json.dumps(config)))}


def test_states_of_a_layer_that_the_file_does_not_have(tmp_path):
    """States are made before they are variables: three gigabytes of zeros for a file of 33 KB."""
    layers = [keras.layers.SimpleRNN(64, stateful=True, return_sequences=True), keras.layers.LSTM(8, stateful=True)]
    model = keras.Sequential([keras.Input(batch_shape=(3, 1, 1)), *layers])
    model.save(tmp_path / "good.keras")
    assert same_weights(load_model(tmp_path / "good.keras"), model)
    changes = as_bytes(lambda text: text.replace("[3, 1, 1]", "[12000000, 1, 1]"))
    rewrite(tmp_path / "good.keras", tmp_path / "bad.keras", changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match="its states of layers together are larger than the file"):
        load_model(tmp_path / "bad.keras")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_call_on_no_tensor_of_the_graph(tmp_path):
    """Keras would compute it while it loads the model, whatever it takes."""
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.ops.repeat(inputs, 2, axis=1)).save(tmp_path / "net.keras")
    constant = {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}}

    def change(config):
        [layer] = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Repeat"]
        layer["inbound_nodes"][0]["args"] = [constant]
        return config

    load_model(tmp_path / "net.keras")
    rewrite(tmp_path / "net.keras", tmp_path / "bad.keras", {"config.json": change})
    with pytest.raises(RunError, match="is called on no tensor"):
        load_model(tmp_path / "bad.keras")


def test_loading_in_threads_leaves_keras_as_it_was(tmp_path):
    """Each thread has the limit of its own file, and none is left when they are done."""
    paths = [tmp_path / name for name in ("small.keras", "large.keras", "bad.keras")]
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(paths[0])
    keras.Sequential([keras.Input((4,)), *[keras.layers.Dense(40) for _ in range(20)]]).save(paths[1])
    rewrite(paths[0], paths[2], {"config.json": dense_of(50_000, 4)})

    def load(path):
        try:
            return len(load_model(path).layers)
        except RunError as error:
            return "its weights together are larger" in str(error)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(load, paths * 2)) == [1, 20, True] * 2
    assert keras.Sequential([keras.Input((4,)), keras.layers.Dense(200_000)]).count_params() == 1_000_000


def own_convolution(module="users"):
    """A user's layer that has the name of one of Keras's and computes something else."""

    class Conv2D(keras.layers.Conv2D):
        def call(self, inputs):
            return 100 * super().call(inputs)

    Conv2D.__module__ = module
    return Conv2D


@pytest.mark.parametrize("module", ["users", "__main__"])
def test_a_users_layer_is_not_taken_for_keras_own(module, tmp_path):
    convolution = own_convolution(module)
    model = keras.Sequential([keras.Input((8, 8, 3)), convolution(2, 3), keras.layers.BatchNormalization()])
    model.save(tmp_path / "net.keras")
    with pytest.raises(RunError, match=f"its Conv2D is a layer of the module '{module}', not Keras's"):
        load_model(tmp_path / "net.keras")
    with keras.saving.custom_object_scope({"Conv2D": convolution}):
        loaded = load_model(tmp_path / "net.keras")
    images = np.ones((1, 8, 8, 3), "float32")
    np.testing.assert_array_equal(loaded(images), model(images))


def test_two_layers_of_one_class_name(tmp_path):
    """Within the user's scope of names Keras would load both as the user's."""
    convolution = own_convolution()
    model = keras.Sequential([keras.Input((8, 8, 3)), convolution(2, 3), kzoo.layers.Conv2D(2, 3)])
    save_model(model, tmp_path / "net.keras")
    with (
        keras.saving.custom_object_scope({"Conv2D": convolution}),
        pytest.raises(RunError, match="it has two kinds of Conv2D"),
    ):
        load_model(tmp_path / "net.keras")
