"""`kzoo.deploy.export`: what is written, and that nothing is left where it is wrong."""

import json

import numpy as np
import pytest
from exported_models import name_of

import kzoo
from kzoo import deploy
from kzoo.backend import keras
from kzoo.deploy import converting, exporting
from kzoo.errors import InvalidArgument


def test_the_file_computes_what_keras_does(exported, mnist, digits_test):
    loaded = deploy.load(exported.path)
    for count in (1, 3, 70):  # several engine calls, and a remainder
        images = digits_test.images[:count]
        found = loaded.probabilities(images)
        assert found.dtype == np.float32
        # Rounding of sums of up to 3,136 products, of probabilities up to 1.
        np.testing.assert_allclose(found, np.asarray(mnist(images.astype("float32"))), atol=1e-5)


def test_the_metadata_says_what_the_model_is(exported):
    found = deploy.load(exported.path).description
    assert found == exported.description
    assert (found.model, found.input_shape, found.classes) == ("mnist_net", (28, 28, 1), 10)
    assert found.class_names == tuple("0123456789")
    assert found.check is not None
    assert found.check.images == 128
    assert found.check.agreement == 1.0
    assert 0 <= found.check.max_difference < 1e-5
    assert found.versions["keras"] == keras.__version__
    beside = (
        exported.path / "kzoo.json" if exported.path.is_dir() else exported.path.with_name(f"{exported.path.name}.json")
    )
    assert json.loads(beside.read_text())["check"]["max_difference"] == found.check.max_difference


def test_nothing_but_the_export_is_left(exported):
    beside = {path.name for path in exported.path.parent.iterdir()}
    assert beside in ({exported.path.name}, {exported.path.name, f"{exported.path.name}.json"})


def test_a_fault_of_the_converter_leaves_nothing(kind, mnist, digits_test, tmp_path, monkeypatch):
    """The exported graph gets a wrong weight: the check must see it."""
    right = exporting.inference_graph

    def wrong(model):
        function = right(model)
        bias = function.model.get_layer("predictions").bias
        bias.assign(np.roll(bias.numpy(), 1) + 0.1 * np.arange(10))
        return function

    monkeypatch.setattr(exporting, "inference_graph", wrong)
    with pytest.raises(converting.ExportError, match="does not compute what Keras does, so it was not kept") as error:
        deploy.export(mnist, tmp_path / name_of(kind), kind, images=digits_test)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_the_converter_does_not_know_is_one_line(tmp_path):
    pytest.importorskip("openvino")

    class Strange(keras.layers.Layer):
        def call(self, inputs):
            import tensorflow as tf

            return tf.numpy_function(lambda x: x, [inputs], tf.float32)

        def compute_output_shape(self, input_shape):
            return input_shape

    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(Strange()(images))
    x = keras.layers.Reshape((16,))(x)
    model = keras.Model(images, keras.layers.Dense(2)(x))
    with pytest.raises(converting.ExportError, match="cannot be converted to openvino") as error:
        deploy.export(model, tmp_path / "model", "openvino", images=np.zeros((2, 4, 4, 1), np.uint8))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_when_asked(kind, mnist, digits_test, tmp_path, exported):
    path = tmp_path / name_of(kind)
    first = deploy.export(mnist, path, kind, images=digits_test)
    with pytest.raises(InvalidArgument, match="There is something here already"):
        deploy.export(mnist, path, kind, images=digits_test)
    model = kzoo.create_model("mnist_net", classes=3)
    second = deploy.export(model, path, kind, images=digits_test, overwrite=True)
    assert deploy.load(path).description == second.description != first.description
    assert deploy.load(path).probabilities(digits_test.images[:1]).shape == (1, 3)
    assert len(list(tmp_path.iterdir())) == (1 if path.is_dir() else 2)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("onyx", "model.onnx", r"Unknown format\. Received: 'onyx'\. Did you mean 'onnx'\?"),
        ("savedmodel", "model.onnx", "The format savedmodel is a folder"),
        ("savedmodel", "no/model", "There is no folder to export to"),
    ],
)
def test_wrong_arguments_are_one_line(kind, name, message, mnist, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        deploy.export(mnist, tmp_path / name, kind, images=np.zeros((1, 28, 28, 1), np.uint8))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, r"An export is checked on real images\. Received: none"),
        (np.zeros((1, 20, 20, 1), np.uint8), r"takes images of \(28, 28, 1\)\. Received: \(20, 20, 1\)"),
        (np.full((1, 28, 28, 1), 300.0), "must have pixels of 0 to 255"),
        (np.zeros((28, 28), np.uint8), "must be"),
    ],
)
def test_wrong_images_are_one_line(images, message, mnist, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        deploy.export(mnist, tmp_path / "model", "savedmodel", images=images)


def test_a_folder_that_is_no_export_is_not_overwritten(mnist, digits_test, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="Only an export to savedmodel is overwritten"):
        deploy.export(mnist, tmp_path / "holiday", "savedmodel", images=digits_test, overwrite=True)
    assert (tmp_path / "holiday" / "photo.jpg").exists()


def test_a_missing_package_is_one_line_with_its_command(fresh_python, tmp_path):
    code = """
import sys
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "openvino" else find(name, *rest)
from kzoo.cli import run
sys.exit(run(["export", "run.keras", "--format", "openvino", "--out", "x", "--images", "."]))
"""
    (tmp_path / "run.keras").write_bytes(b"")
    done = fresh_python(code, cwd=tmp_path, status=2)
    assert "no openvino. Install it: pip install 'kzoo[openvino]'" in done.stderr
    assert done.stderr.count("\n") == 1
