"""Both contenders of the benchmark augment every image."""

import json

import pytest

from kzoo.backend import tf
from kzoo.bench.augmentation import Task, _against_keras, _by_keras, _by_kzoo, _pass
from kzoo.cli import run as kzoo_command


@pytest.mark.parametrize("what", ["affine", "RandAugment"])
def test_augmentation_by_both_augments_every_image(what):
    task = Task(what, (24, 16, 3), 4, 12)
    for by in (_by_keras, _by_kzoo):
        augment, seen = by(what), []

        def record(images, seeds, augment=augment, seen=seen):
            outputs = augment(images, seeds)
            return tf.numpy_function(lambda x: seen.append(x.shape) or x, [outputs], outputs.dtype)

        _pass(task, record)()
        assert seen == [(4, 24, 16, 3)] * 3
    rows = _against_keras(task, 1)
    assert [(row["name"], row["what"], row["shape"], row["batch_size"]) for row in rows] == [
        ("Keras", what, [24, 16, 3], 4),
        ("kzoo", what, [24, 16, 3], 4),
    ]
    assert rows[0]["ratio"] == 1


@pytest.mark.slow
def test_bench_of_augmentation(capfd):
    assert kzoo_command(["bench", "augment", "--rounds", "1", "--json"]) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [row["what"] for row in result["rows"]] == ["affine"] * 4 + ["RandAugment"] * 2
    assert [(row["model"], row["augment"]) for row in result["training"]] == [
        ("mnist_net", "none"), ("mnist_net", "digits"), ("resnet18", "none"), ("resnet18", "photos"),
    ]  # fmt: skip
    assert all(row["images_per_second"] > 0 for row in result["rows"] + result["training"])
