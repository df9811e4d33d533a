"""The epochs for equal time are chosen once, and the page has the interval of the paired differences."""

import gzip
import json
import shutil
import struct

import numpy as np
import pytest

import depth_pays as recipe
import reporting
from kzoo.data import Dataset
from kzoo.train import TrainConfig, evaluate, load

MNIST, CIFAR, FASHION = recipe.EXPERIMENTS


@pytest.fixture
def images():
    """Forty images of ten classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    return Dataset.from_arrays(pixels, np.arange(40) % 10)


def records(gains, accuracy=0.5):
    """A record for each net and seed; the deepest net of each experiment is better by these gains, by seed."""
    return [
        recipe.Record(
            experiment.dataset, net, seed, 100, 2, 30.0 + seed, accuracy + gain * (net == experiment.nets[-1])
        )
        for experiment, by_seed in zip(recipe.EXPERIMENTS, gains, strict=True)
        for seed, gain in enumerate(by_seed)
        for net in experiment.nets
    ]


@pytest.mark.parametrize("net", recipe.NETS)
def test_a_net_has_the_layers_that_it_is_said_to_have(net, images):
    model = recipe.build(net, images)
    kernels = [
        layer for layer in model.layers if isinstance(layer, (recipe.keras.layers.Conv2D, recipe.keras.layers.Dense))
    ]
    assert len(kernels) == recipe.NETS[net].layers
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 10))


def test_nets_stand_from_the_shallowest_to_the_deepest():
    for experiment in recipe.EXPERIMENTS:
        layers = [recipe.NETS[net].layers for net in experiment.nets]
        assert layers == sorted(layers)


def test_fashion_mnist_is_read_from_the_files_of_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "FASHION_MNIST", tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    images = b"\x00\x00\x08\x03" + struct.pack(">3i", 3, 28, 28) + pixels.tobytes()
    labels = b"\x00\x00\x08\x01" + struct.pack(">i", 3) + bytes([9, 0, 4])
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    data = recipe.load("fashion_mnist", "test")
    np.testing.assert_array_equal(data.images, pixels[..., np.newaxis])
    assert data.labels.tolist() == [9, 0, 4]
    assert data.public_name == "fashion_mnist"  # by which its augmentation is chosen


def test_a_resumed_recipe_keeps_the_epochs_and_the_figures(images, tmp_path):
    path = tmp_path / "runs" / "times.json"
    epochs = recipe.epochs_within(1, ["vgg8"], images, path)
    timed = json.loads(path.read_text())["seconds_of_epoch"]["vgg8"]
    assert epochs == {"vgg8": max(1, round(1 / timed))}
    assert recipe.epochs_within(1000, ["vgg8"], images, path) == epochs

    folder, config = tmp_path / "runs" / "vgg8-5", TrainConfig(epochs=1, seed=5)
    record = recipe.measured("vgg8", images, images, config, folder)
    assert (record.net, record.seed, record.images, record.epochs) == ("vgg8", 5, 40, 1)
    assert record.accuracy == evaluate(load(folder, "last"), images)["accuracy"]
    shutil.rmtree(folder)
    assert recipe.measured("vgg8", images, images, config, folder) == record


def test_the_page_has_the_interval_of_the_differences():
    found = records([(0.01, 0.02, 0.03), (0.02, 0.02, 0.02), (-0.01, -0.01, -0.01)])
    page = reporting.page("depth_pays", recipe.tables(found))
    # Mean 2, deviation 1, and Student's 97.5 % quantile with 2 degrees of freedom: 4.3027 / 3 ** 0.5 = 2.484.
    not_sure = "+2.00 (-0.48 to +4.48)"
    row = "| MNIST, equal training time | ResNet-20 | 20 | 100 | 2 | 31 (30 to 32) | 52.00 (51.00 to 53.00) | "
    assert f"{row}{not_sure} |" in page
    assert (
        "| MNIST, equal training time | mnist_net | 4 | 100 | 2 | 31 (30 to 32) | 50.00 (50.00 to 50.00) | - |" in page
    )
    assert (
        "Is deeper better? On MNIST at equal training time ResNet-20 is not told apart from mnist_net, "
        f"{not_sure} points; on CIFAR-10 at equal epochs ResNet-56 is better than ResNet-20, +2.00 (+2.00 to +2.00) "
        "points; on Fashion-MNIST at equal epochs ResNet-56 is worse than ResNet-20, -1.00 (-1.00 to -1.00) points."
    ) in page
    assert '- MNIST: "ResNet-20 is worse than or not told apart from mnist_net": it held.' in page
    assert '- CIFAR-10: "ResNet-56 is better than ResNet-20": it held.' in page
    assert '- Fashion-MNIST: "ResNet-56 is not told apart from ResNet-20": it did not hold.' in page
    assert "](depth_pays.png)" in page
    assert recipe.plot(found)[:4] == b"\x89PNG"


def test_one_seed_tells_nothing_apart():
    found = records([(0.5,), (0.5,), (0.5,)], accuracy=0.25)
    points = recipe.gain(found, CIFAR, "resnet56_cifar")
    assert recipe.shown(points) == "+50.00 (-inf to +inf)"
    assert recipe.verdict(points) == recipe.SAME
