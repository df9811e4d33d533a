"""`kzoo bench infer --engines`: what is compared, not how fast it is."""

import json

import pytest

from kzoo.cli import run as kzoo


def test_engines_are_compared_with_the_first(capfd):
    for module in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(module)
    words = ["bench", "infer", "mnist_net", "--engines", "keras", "onnx", "onnx-int8", "--rounds", "1"]
    assert kzoo([*words, "--batch-size", "4", "--images", "8", "--json"]) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    first, onnx, int8 = result["rows"]
    assert [row["engine"] for row in result["rows"]] == ["keras", "onnx", "onnx-int8"]
    assert first["ratio"] == first["single_ratio"] == 1.0
    assert onnx["ratio"] == pytest.approx(onnx["images_per_second"] / first["images_per_second"])
    assert onnx["peak_memory_bytes"] < first["peak_memory_bytes"] / 2  # it has no TensorFlow
    assert int8["file_bytes"] < onnx["file_bytes"] / 3
    assert all(row["latency_50"] <= row["latency_99"] for row in result["rows"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train-step", "mnist_net", "--engines", "keras"], "--engines is for infer"),
        (["infer", "mnist_net", "--engines", "applications"], "keras.applications has no such model"),
        (["infer", "no_such_model", "--engines", "keras"], "No such model file or run directory"),
    ],
)
def test_wrong_words_are_one_line(words, message, capfd):
    assert kzoo(["bench", *words]) == 2
    assert message in capfd.readouterr().err
