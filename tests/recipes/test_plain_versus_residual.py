"""What the recipe measures against other ways to measure it, on 64 images and the smallest net."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import plain_versus_residual as recipe
import reporting
from kzoo.data import Dataset

NET = "plain20_cifar"


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    return Dataset.from_arrays(pixels, np.arange(64) % 10, [str(i) for i in range(10)])


def test_gradient_norms_are_the_steps_of_keras_own_sgd(images):
    """With a learning rate of 1, what a step of plain Keras takes off a kernel is its gradient."""
    import keras

    model = recipe.initial(NET, 3)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    before = [layer.get_weights()[0] for layer in layers]
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
    model.train_on_batch(images.images[:32], images.labels[:32])
    steps = [start - layer.get_weights()[0] for start, layer in zip(before, layers, strict=True)]
    squares = {layer.name: float((step**2).sum()) for layer, step in zip(layers, steps, strict=True)}
    assert len(squares) == 19
    expected = {"conv1": squares["conv1_conv"] ** 0.5}
    for stage in ("conv2", "conv3", "conv4"):
        of_stage = [square for name, square in squares.items() if name.startswith(stage)]
        assert len(of_stage) == 6
        expected[stage] = np.mean(of_stage) ** 0.5
    assert recipe.gradient_norms(recipe.initial(NET, 3), images, count=32) == pytest.approx(expected, rel=1e-3)


def test_a_training_is_measured_once_and_from_the_weights_it_began_with(images, tmp_path, monkeypatch):
    create_model, weights = recipe.kzoo.create_model, []

    def remember(name):
        model = create_model(name)
        weights.append(model.get_weights())
        return model

    monkeypatch.setattr(recipe.kzoo, "create_model", remember)
    config = replace(recipe.CONFIG, epochs=1, warmup_epochs=0, batch_size=32, seed=5)
    record = recipe.measured(NET, images, images, config, tmp_path / "run")
    trained_from, measured_at = weights
    assert all(np.array_equal(a, b) for a, b in zip(trained_from, measured_at, strict=True))
    assert record.initial_gradients != record.trained_gradients
    assert record.train == record.validation  # the same images
    shutil.rmtree(tmp_path / "run")
    assert recipe.measured(NET, images, images, config, tmp_path / "run") == record


def test_the_page_says_what_depth_costs():
    gradients = dict.fromkeys(recipe.STAGES, 1.0)
    losses = {"plain20_cifar": 0.25, "plain56_cifar": 1.5, "resnet20_cifar": 0.25, "resnet56_cifar": 0.125}
    records = [
        recipe.Record(net, seed, [2.0, loss], scores, scores, gradients, gradients, 60.0, 120.0)
        for seed in (0, 1)
        for net, loss in losses.items()
        for scores in ({"loss": loss + seed * (net == "plain56_cifar"), "accuracy": 0.5},)
    ]
    page = reporting.page("plain_versus_residual", recipe.tables(records))
    assert "plain +1.250, +2.250; ResNet -0.125, -0.125" in page
    assert "| plain-56 | 2.000 (1.500 to 2.500) | 50.0 (50.0 to 50.0) |" in page
    assert "8 trainings took 16 min of processor time, 8 min by the clock" in page
    assert recipe.plot(records)[:4] == b"\x89PNG"
