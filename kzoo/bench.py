"""Measurements of kzoo against plain Keras, in one process and in turn, so that their ratio can be trusted."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from kzoo import console
from kzoo.backend import keras, tf
from kzoo.data import Dataset
from kzoo.hardware import probe
from kzoo.models import create_model
from kzoo.train.config import TrainConfig, settle_for_data
from kzoo.train.inputs import steps_per_epoch
from kzoo.train.precision import dtype_policy, resolve
from kzoo.train.step import TrainStep

KERAS_BATCH_SIZE = 128

# The size of dataset that kzoo's defaults are taken for: the training split of MNIST.
DATASET_SIZE = 54_000


def train_step(model: str, images: int, rounds: int = 5) -> dict:
    """Training throughput of a model: kzoo's defaults against plain Keras, and against it at equal settings.

    Plain Keras is the same layers with `keras.layers.BatchNormalization`, compiled and fitted with Keras's defaults on
    the same arrays: float32, batches of 128, one step per execution. kzoo's defaults are those for a dataset of
    MNIST's size. Each round trains an epoch of each in turn.

    Args:
        model: A model name.
        images: Random images in the epoch.
        rounds: How often each is measured, after one epoch of warm-up.

    Returns:
        `rows`: name, precision, batch size and the median images/s of each contender, and the median over the rounds of
        its ratio to plain Keras. `machine` and `rounds`.
    """
    generator = np.random.default_rng(0)
    shape = create_model(model).input_shape[1:]
    classes = create_model(model).output_shape[1]
    x = generator.integers(0, 256, (images, *shape), np.uint8)
    y = generator.integers(0, classes, images).astype(np.int32)
    config, _ = resolve(settle_for_data(TrainConfig(), "random", DATASET_SIZE, shape), probe())
    equal = TrainConfig(precision="float32", batch_size=KERAS_BATCH_SIZE, strategy="one")
    contenders: list[tuple[str, str, int | None, Callable[[], None]]] = [
        ("plain Keras", "float32", KERAS_BATCH_SIZE, _keras_epoch(model, x, y)),
        ("kzoo, its defaults", config.precision, config.batch_size, _kzoo_epoch(model, x, y, config)),
        ("kzoo, as Keras", "float32", KERAS_BATCH_SIZE, _kzoo_epoch(model, x, y, equal)),
    ]
    speeds: list[list[float]] = [[] for _ in contenders]
    with console.progress("measuring", (rounds + 1) * len(contenders)) as advance:
        for turn in range(rounds + 1):
            for (name, *_, epoch), results in zip(contenders, speeds, strict=True):
                start = time.perf_counter()
                epoch()
                if turn:
                    results.append(images / (time.perf_counter() - start))
                advance(1, name)
    rows = [
        {
            "name": name,
            "precision": precision,
            "batch_size": batch_size,
            "images_per_second": statistics.median(results),
            "ratio": statistics.median(a / b for a, b in zip(results, speeds[0], strict=True)),
        }
        for (name, precision, batch_size, _), results in zip(contenders, speeds, strict=True)
    ]
    machine = probe()
    return {"model": model, "rows": rows, "rounds": rounds, "machine": f"{machine.cpu}, {machine.cores} cores"}


def _keras_epoch(name, x, y) -> Callable[[], None]:
    with dtype_policy("float32"):
        model = with_keras_batch_normalization(create_model(name))
    model.compile(optimizer="adamw", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return lambda: model.fit(x, y, batch_size=KERAS_BATCH_SIZE, epochs=1, verbose=0)


def _kzoo_epoch(name, x, y, config) -> Callable[[], None]:
    """An epoch as `kzoo.train.fit` runs it: shuffled batches, several steps per execution."""
    data = Dataset.from_arrays(x, y)
    with dtype_policy(config.precision):
        step = TrainStep(create_model(name), config)
    steps = steps_per_epoch(data, config.batch_size)

    def epoch():
        batches = iter(data.batches(config.batch_size, shuffle=True))
        for first in range(0, steps, 20):
            count = min(20, steps - first)
            step.train(batches, tf.fill([count], config.peak_learning_rate)).numpy()

    return epoch


def with_keras_batch_normalization(model):
    """A copy of a kzoo model that is plain Keras throughout."""

    def plain(layer):
        config = layer.get_config()
        is_own = type(layer).__module__.startswith("kzoo.")
        return (keras.layers.BatchNormalization if is_own else type(layer)).from_config(config)

    return keras.models.clone_model(model, clone_function=plain)
