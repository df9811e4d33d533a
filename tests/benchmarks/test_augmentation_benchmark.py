"""Both contenders of the benchmark augment every image."""

import sys

import pytest

import augmentation
from kzoo.backend import tf


@pytest.mark.parametrize("what", ["affine", "RandAugment"])
def test_augmentation_by_both_augments_every_image(what):
    task = augmentation.Task(what, (24, 16, 3), 4, 12)
    for by in (augmentation.by_keras, augmentation.by_kzoo):
        augment, seen = by(what), []

        def record(images, seeds, augment=augment, seen=seen):
            outputs = augment(images, seeds)
            return tf.numpy_function(lambda x: seen.append(x.shape) or x, [outputs], outputs.dtype)

        augmentation.one_pass(task, record)()
        assert seen == [(4, 24, 16, 3)] * 3
    rows = augmentation.against_keras(task, 1)
    assert [(row["by"], row["augmentation"], row["shape"], row["batch_size"]) for row in rows] == [
        ("Keras", what, (24, 16, 3), 4),
        ("kzoo", what, (24, 16, 3), 4),
    ]
    assert rows[0]["ratio"] == 1


@pytest.mark.slow
def test_the_tables(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["augmentation.py", "--rounds", "1"])
    augmentation.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows[1:7]] == ["affine"] * 4 + ["RandAugment"] * 2
    assert [tuple(row[:2]) for row in rows[8:]] == [
        ("mnist_net", "none"), ("mnist_net", "digits"), ("resnet18", "none"), ("resnet18", "photos"),
    ]  # fmt: skip
    assert all(float(row[-2].replace(",", "")) > 0 for row in rows[1:7] + rows[8:])
