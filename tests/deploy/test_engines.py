"""Exported models used: the same answers as Keras, without TensorFlow; and files that are none."""

import json
import os
import shutil

import numpy as np
import pytest
from exported_models import needs

import kzoo
from kzoo import deploy, saving
from kzoo.cli import run
from kzoo.deploy import scoring
from kzoo.errors import InvalidArgument, RunError
from kzoo.train import evaluate

HEAVY = "{'tensorflow', 'keras', 'tensorflow_datasets', 'matplotlib'}"


def copied(exported, folder):
    """A copy that a test may damage."""
    path = folder / exported.path.name
    (shutil.copytree if exported.path.is_dir() else shutil.copyfile)(exported.path, path)
    return path


def test_predictions_are_keras_s(exported, mnist, photos):
    files = sorted(photos.iterdir())
    rank = scoring.ranker(deploy.load(exported.path), files, 3, None)
    for ours, theirs in zip(rank(0, len(files)), kzoo.predict(mnist, files, top=3), strict=True):
        assert [one[:2] for one in ours] == [one[:2] for one in theirs]
        np.testing.assert_allclose([one.probability for one in ours], [one.probability for one in theirs], atol=1e-5)


def test_figures_are_keras_s(exported, mnist, digits_test):
    ours, theirs = scoring.evaluate(deploy.load(exported.path), digits_test), evaluate(mnist, digits_test)
    assert ours.keys() == theirs.keys()
    for name in ("accuracy", "interval", "images", "classes", "confusion_matrix", "top5_accuracy"):
        assert ours[name] == theirs[name], name
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


def test_the_command_line_predicts_and_evaluates_without_tensorflow(exported, photos, fresh_python):
    if exported.format == "savedmodel":
        pytest.skip("a SavedModel runs in TensorFlow")
    code = f"""
import sys
from kzoo.cli import run
print(run(["predict", sys.argv[1], sys.argv[2], "--json"]), run(["evaluate", sys.argv[1], "digits", "--json"]))
print("heavy:", sorted({HEAVY} & set(sys.modules)))
"""
    predicted, evaluated, status, heavy = fresh_python(code, exported.path, photos).stdout.splitlines()
    assert len(json.loads(predicted)["predictions"]) == 5
    assert json.loads(evaluated)["accuracy"] > 0.4  # MNIST's model on other digits
    assert (status, heavy) == ("0 0", "heavy: []")


def test_a_model_beside_keras_in_one_table(exported, mnist, tmp_path, capfd):
    saving.save_model(mnist, tmp_path / "model.keras")
    assert run(["evaluate", str(exported.path), str(tmp_path / "model.keras"), "digits", "--json"]) == 0
    one, other = json.loads(capfd.readouterr().out.splitlines()[-1])["runs"]
    assert one["accuracy"] == other["accuracy"]


def one_line(path, message):
    with pytest.raises((RunError, InvalidArgument), match=message) as error:
        deploy.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_line(exported, share, tmp_path):
    path = copied(exported, tmp_path)
    names = {"openvino": "model.bin", "savedmodel": "saved_model.pb"}
    file = path / names[exported.format] if path.is_dir() else path
    os.truncate(file, int(file.stat().st_size * share))
    one_line(path, "Cannot load the exported model|Not an exported model")


def test_weights_of_another_model_are_noticed(exported, tmp_path):
    if exported.format != "openvino":
        pytest.skip("one file")
    path = copied(exported, tmp_path)
    content = bytearray((path / "model.bin").read_bytes())
    content[1000] ^= 1
    (path / "model.bin").write_bytes(content)
    one_line(path, "its model.bin is truncated, or of another model")


def test_a_file_without_metadata_is_one_line(exported, tmp_path):
    path = copied(exported, tmp_path)
    if exported.format == "savedmodel":
        (path / "kzoo.json").unlink()
        one_line(path, "Not an exported model")
        return
    if exported.format == "openvino":
        text = (path / "model.xml").read_text()
        start, end = text.index("<kzoo>"), text.index("</kzoo>") + len("</kzoo>")
        (path / "model.xml").write_text(text[:start] + text[end:])
    elif exported.format == "onnx":
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    else:
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b"PK\x03\x04")])
    one_line(path, "no metadata of kzoo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 11, "class_names": None}, "is not what its metadata says"),
        ({"classes": 1}, "its metadata is not kzoo's"),
        ({"class_names": ["a"]}, "1 class names for 10 classes"),
        ({"input_shape": [10**6, 10**6, 1]}, "at most"),
        ({"crop_fraction": 0}, "crop_fraction"),
        ({"version": 2}, "version = 2"),
    ],
)
def test_metadata_that_does_not_fit_is_one_line(exported, change, message, tmp_path, digits_test):
    from kzoo.deploy import converting

    path = copied(exported, tmp_path)
    text = json.dumps({**exported.description.as_json(), **change})
    converting._DESCRIBE[exported.format](path, text)
    with pytest.raises((RunError, InvalidArgument), match=message) as error:
        deploy.load(path).probabilities(digits_test.images[:1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "folder/model.xml"])
@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x05\x06" + bytes(18), b"<net name='x'/>"])
def test_files_that_are_none(name, content, tmp_path):
    needs({".onnx": "onnx", ".tflite": "litert"}.get(name[5:], "openvino"))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(RunError, match="Cannot load the exported model") as error:
        deploy.load(path)
    assert "\n" not in str(error.value)


def test_images_of_another_kind_are_one_line(exported):
    model = deploy.load(exported.path)
    for images in (np.zeros((1, 28, 28, 1), np.float32), np.zeros((1, 20, 20, 1), np.uint8)):
        with pytest.raises(InvalidArgument, match=r"takes uint8 images \(N, 28, 28, 1\)\. Received: "):
            model.probabilities(images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "{}", "."], "This is an exported model, which cannot be changed"),
        (["evaluate", "{}"], "Only a run has data of its own: name a DATASET"),
        (["predict", "{}", "{photos}", "--image-size", "32"], "The model takes images of 28x28"),
        (["predict", "{}", "{photos}", "--top", "0"], "--top must be at least 1"),
    ],
)
def test_what_an_exported_model_cannot_do_is_one_line(exported, arguments, message, photos, capfd):
    words = [word.format(exported.path, photos=photos) for word in arguments]
    assert run(words) == 2
    errors = capfd.readouterr().err
    assert message in errors


def test_half_precision_is_openvino_s(exported, digits_test):
    if exported.format == "openvino":
        half = deploy.load(exported.path, "mixed_bfloat16").probabilities(digits_test.images)
        whole = deploy.load(exported.path).probabilities(digits_test.images)
        np.testing.assert_allclose(half, whole, atol=0.1)  # 8 bits, through four layers
        return
    with pytest.raises(InvalidArgument, match="computes in float32 here"):
        deploy.load(exported.path, "mixed_bfloat16")
