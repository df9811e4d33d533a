"""`kzoo evaluate` and `kzoo predict` on real weights and real images: the figures that their authors and we know."""

import json
import shutil
import sys

import pytest
import safetensors.numpy

from kzoo.cli import run as kzoo
from kzoo.weights.formats import read

CIFAR = {
    "resnet20_cifar": ("resnet20-12fca82f.th", 0.9173, 0.0002),
    "resnet32_cifar": ("resnet32-d509ac18.th", 0.9263, 5e-4),
}


@pytest.fixture(autouse=True)
def _nothing_but_kzoo(tmp_path, monkeypatch):
    """An empty cache, and no PyTorch."""
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.fixture(scope="module")
def samples(real_data):
    """100 photos, whose names begin with the WordNet id of their class."""
    paths = sorted((real_data / "imagenet_samples").glob("*.JPEG"))
    assert len(paths) == 100
    return paths


def test_evaluate_on_a_folder_of_wordnet_ids(samples, real_data, tmp_path, last_json):
    for path in samples:
        folder = tmp_path / "photos" / path.name.split("_")[0]
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
    weights = str(real_data / "weights" / "bvlc_googlenet")
    assert kzoo(["evaluate", "inception_v1", str(tmp_path / "photos"), "--weights", weights, "--json"]) == 0
    figures = last_json()
    # Known for these weights and these crops; the closest call is 0.003 nats apart, far above rounding in float32.
    assert (figures["images"], figures["accuracy"], figures["top5_accuracy"]) == (100, 0.77, 0.94)


def test_predict_files(samples, real_data, last_json):
    index = json.loads((real_data / "imagenet_samples" / "imagenet_class_index.json").read_text())
    class_of = {wordnet_id: int(number) for number, (wordnet_id, _) in index.items()}
    weights = str(real_data / "weights" / "bvlc_googlenet")
    assert kzoo(["predict", "inception_v1", *map(str, samples), "--weights", weights, "--json"]) == 0
    predictions = last_json()["predictions"]
    assert [one["file"] for one in predictions] == [str(path) for path in samples]
    ranks = [
        [guess["index"] for guess in one["top"]].index(class_of[path.name.split("_")[0]])
        if class_of[path.name.split("_")[0]] in [guess["index"] for guess in one["top"]]
        else None
        for one, path in zip(predictions, samples, strict=True)
    ]
    assert (ranks.count(0), len(ranks) - ranks.count(None)) == (77, 94)


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow if m == "resnet32_cifar" else ()) for m in CIFAR]
)
def test_evaluate_on_cifar(model, real_data, tfds_folder, last_json):
    file, accuracy, tolerance = CIFAR[model]
    if not (tfds_folder / "cifar10").is_dir():
        pytest.skip(f"needs CIFAR-10 in {tfds_folder}: tfds build cifar10")
    command = ["evaluate", model, "cifar10", "--weights", str(real_data / "weights" / file)]
    assert kzoo([*command, "--data-dir", str(tfds_folder), "--json"]) == 0
    figures = last_json()
    assert figures["images"] == 10_000
    assert figures["accuracy"] == pytest.approx(accuracy, abs=tolerance)


def test_a_file_of_ones_own(samples, real_data, tmp_path, last_json, capfd):
    tensors = read(real_data / "weights" / "resnet20-12fca82f.th", "pytorch")
    tensors["linear.bias"] = tensors["linear.bias"] + [0, 0, 0, 100, 0, 0, 0, 0, 0, 0]
    own = tmp_path / "own"
    safetensors.numpy.save_file({name: array.astype("float32") for name, array in tensors.items()}, own)
    for like in ([], ["--like", "cifar10"]):
        assert kzoo(["predict", "resnet20_cifar", str(samples[0]), "--weights", str(own), *like, "--json"]) == 0
        assert last_json()["predictions"][0]["top"][0] == {"index": 3, "label": "cat", "probability": 1.0}
    assert kzoo(["predict", "resnet20_cifar", str(samples[0]), "--weights", str(own), "--like", "cifar100"]) == 2
    assert "Unknown weights for resnet20_cifar. Received: 'cifar100'" in capfd.readouterr().err
    assert kzoo(["predict", "resnet20_cifar", str(samples[0]), "--weights", str(samples[0])]) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert "This is no file of weights" in line
