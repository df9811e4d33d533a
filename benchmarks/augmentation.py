"""kzoo's augmentation layers against Keras's that do the same, and what training keeps of its speed with them.

Command: python benchmarks/augmentation.py
Time:    not measured; three augmentations by two layers each and four trainings, five rounds.
Result:  README.md, "Augmentation".

"affine" is flip, rotation, translation and zoom: four layers of Keras in sequence, one RandomAffine of kzoo.
"RandAugment" is two operations an image at 0.3 of their strength, bilinear; Keras draws them once for a batch. Each
maps the same batch of random uint8 images again and again in `tf.data`, in as many threads as that likes.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kzoo import layers
from kzoo.backend import keras, tf
from kzoo.bench.models import IMAGES, Contender, Work, measure_speeds
from kzoo.bench.turns import in_turn, machine, median_and_ratio, shown_speed
from kzoo.data.pipeline import without_autotuner
from kzoo.hardware import probe
from kzoo.models.registry import defaults
from kzoo.text import dimensions, markdown_table
from kzoo.train.config import TrainConfig
from kzoo.train.precision import resolve

# Arguments that Keras's layers and kzoo's understand alike.
ROTATION, TRANSLATION, ZOOM, FILL = 10 / 360, 0.1, 0.15, "reflect"


@dataclass(frozen=True)
class Task:
    """One augmentation of batches of one shape, by Keras and by kzoo."""

    what: str
    shape: tuple[int, int, int]
    batch_size: int
    images: int
    """In a pass."""


TASKS = (
    Task("affine", (28, 28, 1), 128, 128 * 128),
    Task("affine", (224, 224, 3), 32, 64 * 32),  # half a second at least: to start a pipeline takes part of a tenth
    Task("RandAugment", (224, 224, 3), 32, 4 * 32),
)
# The models whose training may wait, and the policy.
TRAININGS = (("mnist_net", "digits"), ("resnet18", "photos"))


def main() -> None:
    """Measure, and show two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured, after one round of warm-up")
    result = measure(parser.parse_args().rounds)
    for key, titles in (("layers", ("augmentation", "by")), ("training", ("training", "augmentation", "precision"))):
        rows = [
            (*(row[title] for title in titles), dimensions(row["shape"]), str(row["batch_size"]), *shown_speed(row))
            for row in result[key]
        ]
        print(markdown_table([(*titles, "image", "batch", "images/s", "ratio"), *rows]), end="\n\n")
    print(f"median of {result['rounds']} rounds, in turn, every second one in reverse order; {result['machine']}")


def measure(rounds: int) -> dict:
    """Throughput of augmentation, kzoo against Keras, and of training without and with it.

    Returns:
        `layers`: for each contender `augmentation`, `by`, `shape`, `batch_size`, images per second (median) and the
        ratio to Keras; `training`: for each model without and with augmentation `training` (its name), `augmentation`,
        `precision`, `shape`, `batch_size`, images per second and the ratio to training without; `rounds`; `machine`.
    """
    return {
        "layers": [row for task in TASKS for row in against_keras(task, rounds)],
        "training": [row for model, policy in TRAININGS for row in in_training(model, policy, rounds)],
        "rounds": rounds,
        "machine": machine(),
    }


def against_keras(task: Task, rounds: int) -> list[dict]:
    """One augmentation by both."""
    named = [("Keras", by_keras(task.what)), ("kzoo", by_kzoo(task.what))]
    speeds = in_turn([(f"{task.what}, {name}", one_pass(task, layer)) for name, layer in named], task.images, rounds)
    return [
        {
            "augmentation": task.what,
            "by": name,
            "shape": task.shape,
            "batch_size": task.batch_size,
            **median_and_ratio(found, speeds[0]),
        }
        for (name, _), found in zip(named, speeds, strict=True)
    ]


def by_keras(what: str) -> Callable:
    """Keras's layers as a function of (images, seeds), the latter of no use to them."""
    if what == "RandAugment":
        stack = [keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.3, interpolation="bilinear")]
    else:
        stack = [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(ROTATION, fill_mode=FILL),
            keras.layers.RandomTranslation(TRANSLATION, TRANSLATION, fill_mode=FILL),
            keras.layers.RandomZoom(ZOOM, fill_mode=FILL),
        ]

    def apply(images, seeds):
        for layer in stack:
            images = layer(images, training=True)
        return images

    return apply


def by_kzoo(what: str) -> Callable:
    """Kzoo's layer as a function of (images, seeds)."""
    if what == "RandAugment":
        layer = layers.RandAugment(num_ops=2, magnitude=9, interpolation="bilinear")
    else:
        layer = layers.RandomAffine(
            rotation_factor=ROTATION,
            translation_factor=TRANSLATION,
            zoom_factor=ZOOM,
            horizontal_flip=True,
            fill_mode=FILL,
        )
    return lambda images, seeds: layer(images, seeds=seeds)


def one_pass(task: Task, apply: Callable) -> Callable[[], None]:
    """A function that augments `task.images` images."""
    images = np.random.default_rng(0).integers(0, 256, (task.batch_size, *task.shape), np.uint8)

    def seeded(number, images):
        rows = tf.range(task.batch_size) + tf.cast(number, tf.int32) * task.batch_size
        return apply(images, tf.stack([rows, tf.zeros_like(rows)], axis=-1))

    with tf.device("CPU:0"):
        same = tf.data.Dataset.from_tensors(images).repeat(task.images // task.batch_size).enumerate()
        batches = without_autotuner(same.map(seeded, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE))

    def run():
        for _ in batches:
            pass

    return run


def in_training(model: str, policy: str, rounds: int) -> list[dict]:
    """Training as kzoo does it on this machine, without and with a policy."""
    shape, _ = defaults(model)
    is_small = shape[0] <= 64
    batch_size, precision = (256 if is_small else 16), resolve(TrainConfig(), probe())[0].precision
    contenders = [Contender(model, precision, batch_size, "kzoo", "kzoo", augment) for augment in ("none", policy)]
    speeds = measure_speeds(Work("train-step", model, IMAGES[is_small]), contenders, rounds)
    return [
        {
            "training": model,
            "augmentation": contender.augment,
            "precision": precision,
            "shape": shape,
            "batch_size": batch_size,
            **median_and_ratio(found, speeds[0]),
        }
        for contender, found in zip(contenders, speeds, strict=True)
    ]


if __name__ == "__main__":
    main()
