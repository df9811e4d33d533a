"""Fine-tuning by kzoo against the workflow of Keras's transfer-learning guide: seconds to a validation accuracy.

Source:  https://keras.io/guides/transfer_learning, section "An end-to-end example".
Command: python benchmarks/transfer.py inception_v1 hymenoptera --weights imagenet --rounds 3 --plot docs/transfer.png
Time:    about ten minutes on 2 cores of an AMD EPYC with AVX512-BF16.
Result:  README.md, "Results".

The clock runs from the making of the model to the end of the first epoch that reaches the accuracy, validation
included; there the guide's workflow ends. It runs as it is written, in float32, and in kzoo's precision. The images
are in memory before, and no features are cached.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import console, transfer
from kzoo.backend import keras, tf
from kzoo.bench.turns import machine
from kzoo.data import load
from kzoo.files import atomic_path
from kzoo.hardware import probe
from kzoo.models import create_model
from kzoo.text import markdown_table
from kzoo.train.config import TrainConfig
from kzoo.train.precision import dtype_policy, resolve
from kzoo.weights.resolve import resolve as find_weights

GUIDE = "Keras's guide"
GUIDE_BATCH_SIZE = 64
GUIDE_HEAD_EPOCHS = 20
GUIDE_EPOCHS = 10
GUIDE_RATE = 1e-5


def main() -> None:
    """Measure, and show a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name of kzoo list")
    parser.add_argument("dataset", help="as for kzoo finetune")
    parser.add_argument("--weights", required=True, help="as for kzoo finetune")
    parser.add_argument("--accuracy", type=float, default=0.93, help="on the validation images, a fraction")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is run, each time with another seed")
    parser.add_argument("--plot", type=Path, help="a PNG file for the curves")
    options = parser.parse_args()
    weights = find_weights(options.model, options.weights)
    images = transfer.images_for(options.model, weights)
    train, validation = (load(options.dataset, split, **images) for split in ("train", "validation"))
    result = measure(weights, train, validation, options.accuracy, options.rounds)
    if options.plot is not None:
        draw(result, options.plot)
    rows = [
        (
            row["name"],
            row["precision"],
            ", ".join("never" if s is None else f"{s:.1f}" for s in row["seconds"]),
            "" if row["ratio"] is None else f"{row['ratio']:.1f}",
            ", ".join(f"{best:.1%}" for best in row["best"]),
        )
        for row in result["rows"]
    ]
    print(markdown_table([("", "precision", f"seconds to {result['accuracy']:.1%}", "times kzoo's", "best"), *rows]))
    print(f"\nrounds, in turn: {options.rounds}; {machine()}")


def measure(weights: Any, train: Any, validation: Any, accuracy: float, rounds: int) -> dict:
    """The seconds that kzoo and the guide's workflow take to a validation accuracy, from the same weights and images.

    If the guide's workflow does not reach the accuracy in every run, the best of its worst run takes its place.

    Returns:
        `rows`: for each contender `name`, `precision`, `curves`, one a round, of (seconds, validation accuracy) at each
        epoch, `seconds` to the accuracy in each round (None where it was not reached), `best` accuracies, and `ratio`,
        the median over the rounds of the contender's seconds by kzoo's. `accuracy`.
    """
    default = resolve(TrainConfig(), probe())[0].precision
    contenders = {
        (GUIDE, "float32"): lambda seed: by_the_guide(weights, train, validation, "float32", seed, accuracy),
        (GUIDE, default): lambda seed: by_the_guide(weights, train, validation, default, seed, accuracy),
        ("kzoo", default): lambda seed: by_kzoo(weights, train, validation, default, seed),
    }
    curves: dict[tuple[str, str], list] = {contender: [] for contender in contenders}
    with console.progress("measuring", rounds * len(contenders)) as advance:
        for seed in range(rounds):
            order = list(contenders.items())
            for contender, run in order if seed % 2 == 0 else reversed(order):
                curves[contender].append(run(seed))
                advance(1, " ".join(contender))
    reached = min(max(a for _, a in curve) for (name, _), runs in curves.items() if name == GUIDE for curve in runs)
    goal = min(accuracy, reached)
    seconds = {contender: [seconds_to(curve, goal) for curve in runs] for contender, runs in curves.items()}
    rows = []
    for (name, precision), runs in curves.items():
        pairs = list(zip(seconds[name, precision], seconds["kzoo", default], strict=True))
        ratios = [theirs / ours for theirs, ours in pairs if theirs and ours]
        rows.append(
            {
                "name": name,
                "precision": precision,
                "curves": runs,
                "seconds": seconds[name, precision],
                "best": [max(a for _, a in curve) for curve in runs],
                "ratio": float(np.median(ratios)) if len(ratios) == rounds else None,
            }
        )
    return {"rows": rows, "accuracy": goal}


def seconds_to(curve, accuracy: float) -> float | None:
    """When an accuracy was reached."""
    return next((seconds for seconds, reached in curve if reached >= accuracy - 1e-9), None)


class Clock(keras.callbacks.Callback):
    """Notes the time and the validation accuracy at the end of each epoch, and stops at an accuracy."""

    def __init__(self, accuracy: float | None = None):
        super().__init__()
        self.accuracy = accuracy
        self.start = time.perf_counter()
        self.curve: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        accuracy = float((logs or {})["val_accuracy"])
        self.curve.append((round(time.perf_counter() - self.start, 3), accuracy))
        if self.accuracy is not None and accuracy >= self.accuracy:
            self.model.stop_training = True


def by_the_guide(weights, train, validation, precision: str, seed: int, accuracy: float) -> list:
    """Train as the guide does, in its words: the frozen base runs in every epoch, then everything is trained."""
    keras.utils.set_random_seed(seed)
    clock = Clock(accuracy)
    with dtype_policy(precision):
        base_model = create_model(
            weights.record.model, weights=weights, include_top=False, input_shape=train.image_shape
        )
        base_model.trainable = False
        inputs = keras.Input(shape=train.image_shape)
        x = base_model(inputs, training=False)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dropout(0.2)(x)
        outputs = keras.layers.Dense(len(train.class_names), activation="softmax", dtype="float32")(x)
        model = keras.Model(inputs, outputs)
    augmentation = [
        keras.layers.RandomFlip("horizontal", dtype="float32"),
        keras.layers.RandomRotation(0.1, dtype="float32"),
    ]

    def data_augmentation(images, labels):
        for layer in augmentation:
            images = layer(images, training=True)
        return images, labels

    def images_and_labels(dataset):
        return tf.data.Dataset.from_tensor_slices((dataset.images, dataset.labels))

    train_ds = images_and_labels(train).shuffle(len(train), seed=seed).batch(GUIDE_BATCH_SIZE)
    train_ds = train_ds.map(data_augmentation, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    validation_ds = images_and_labels(validation).batch(GUIDE_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
    how: Any = {"loss": keras.losses.SparseCategoricalCrossentropy(), "metrics": ["accuracy"]}
    quietly: Any = {"verbose": 0, "shuffle": False}  # the dataset is shuffled; Keras warns that it cannot
    model.compile(optimizer=keras.optimizers.Adam(), **how)
    model.fit(train_ds, epochs=GUIDE_HEAD_EPOCHS, validation_data=validation_ds, callbacks=[clock], **quietly)
    if model.stop_training:
        return clock.curve
    base_model.trainable = True
    model.compile(optimizer=keras.optimizers.Adam(GUIDE_RATE), **how)
    model.fit(train_ds, epochs=GUIDE_EPOCHS, validation_data=validation_ds, callbacks=[clock], **quietly)
    return clock.curve


def by_kzoo(weights, train, validation, precision: str, seed: int) -> list:
    """Fine-tune with all of kzoo's defaults, and a cache that is empty."""
    config = TrainConfig(seed=seed, precision=precision)  # pyright: ignore[reportArgumentType] - one of its values
    before = os.environ.get("KZOO_HOME")
    with tempfile.TemporaryDirectory(prefix="kzoo-") as empty:
        os.environ["KZOO_HOME"] = empty
        try:
            clock = Clock()
            transfer.fine_tune(
                weights.record.model, train, validation, weights=weights, config=config, callbacks=[clock]
            )
        finally:
            del os.environ["KZOO_HOME"]
            if before is not None:
                os.environ["KZOO_HOME"] = before
    return clock.curve


def draw(result: dict, path: Path) -> None:
    """Draw the curves as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, row in enumerate(result["rows"]):
        for number, curve in enumerate(row["curves"]):
            label = f"{row['name']}, {row['precision']}" if number == 0 else None
            axes.plot(*zip(*curve, strict=True), color=f"C{index}", marker=".", ms=4, lw=1.2, alpha=0.8, label=label)
    axes.axhline(result["accuracy"], color="0.4", lw=0.8, ls="--", label=f"{result['accuracy']:.1%}")
    axes.set(xlabel="seconds since the model was made", ylabel="validation accuracy", xscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    main()
