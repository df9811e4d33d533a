"""Fine-tuning against the workflow of Keras's own guide: how long each takes to a validation accuracy."""

import io
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import console
from kzoo.backend import keras
from kzoo.bench.turns import machine
from kzoo.errors import InvalidArgument
from kzoo.files import write_bytes
from kzoo.hardware import probe
from kzoo.models.registry import create_model
from kzoo.train.config import TrainConfig
from kzoo.train.precision import dtype_policy, resolve
from kzoo.transfer import fine_tune
from kzoo.weights.resolve import ResolvedWeights

# https://keras.io/guides/transfer_learning: the section "An end-to-end example".
GUIDE = "Keras's guide"
GUIDE_BATCH_SIZE = 64
GUIDE_HEAD_EPOCHS = 20
GUIDE_EPOCHS = 10
GUIDE_RATE = 1e-5


def measure_transfer(
    chosen: ResolvedWeights, train: Any, validation: Any, *, accuracy: float = 0.93, rounds: int = 1
) -> dict:
    """The seconds that kzoo and the guide's workflow take to a validation accuracy, from the same weights and images.

    The clock runs from the making of the model to the end of the first epoch that reaches the accuracy, validation
    included; there the guide's workflow ends. It runs as it is written, in float32, and in kzoo's precision. The images
    are in memory before, and no features are cached.

    Args:
        chosen: What `kzoo.weights.resolve.resolve` gives.
        train: A Dataset.
        validation: A Dataset of other images.
        accuracy: To reach; if the guide's workflow does not in every run, the best of its worst run.
        rounds: How often each is run, in turn; each time with another seed.

    Returns:
        `rows`: for each contender `name`, `precision`, `curves`, one a round, of (seconds, validation accuracy) at each
        epoch, `seconds` to the accuracy in each round (None where it was not reached), `best` accuracies, and `ratio`,
        the median over the rounds of the contender's seconds by kzoo's. `accuracy`, `machine`.

    Raises:
        InvalidArgument: Weights without a classifier, or an accuracy out of range.
    """
    if not 0 < accuracy <= 1:
        raise InvalidArgument(f"accuracy must be a fraction above 0, at most 1. Received: {accuracy!r}.")
    own = resolve(TrainConfig(), probe())[0].precision
    contenders = {
        (GUIDE, "float32"): lambda seed: _guide(chosen, train, validation, "float32", seed, accuracy),
        (GUIDE, own): lambda seed: _guide(chosen, train, validation, own, seed, accuracy),
        ("kzoo", own): lambda seed: _kzoo(chosen, train, validation, own, seed),
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
    seconds = {contender: [_seconds_to(curve, goal) for curve in runs] for contender, runs in curves.items()}
    rows = []
    for (name, precision), runs in curves.items():
        pairs = list(zip(seconds[name, precision], seconds["kzoo", own], strict=True))
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
    return {"rows": rows, "accuracy": goal, "rounds": rounds, "machine": machine()}


def _seconds_to(curve, accuracy: float) -> float | None:
    return next((seconds for seconds, reached in curve if reached >= accuracy - 1e-9), None)


class _Clock(keras.callbacks.Callback):
    """Notes the time and the validation accuracy at the end of each epoch, and stops at an accuracy."""

    def __init__(self, accuracy: float | None = None):
        super().__init__()
        self.accuracy = accuracy
        self.start = time.perf_counter()
        self.curve: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch, logs=None):
        accuracy = float((logs or {})["val_accuracy"])
        self.curve.append((round(time.perf_counter() - self.start, 3), accuracy))
        if self.accuracy is not None and accuracy >= self.accuracy:
            self.model.stop_training = True


def _guide(chosen: ResolvedWeights, train, validation, precision: str, seed: int, accuracy: float) -> list:
    """The guide's workflow, in its words: the frozen base runs in every epoch, then everything is trained, slowly."""
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    clock = _Clock(accuracy)
    with dtype_policy(precision):
        base_model = create_model(chosen.record.model, weights=chosen, include_top=False, input_shape=train.image_shape)
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


def _kzoo(chosen: ResolvedWeights, train, validation, precision: str, seed: int) -> list:
    """kzoo's, with all its defaults, and a cache that is empty."""
    config = TrainConfig(seed=seed, precision=precision)  # pyright: ignore[reportArgumentType] - one of its values
    before = os.environ.get("KZOO_HOME")
    with tempfile.TemporaryDirectory(prefix="kzoo-") as empty:
        os.environ["KZOO_HOME"] = empty
        try:
            clock = _Clock()
            fine_tune(chosen.record.model, train, validation, weights=chosen, config=config, callbacks=[clock])
        finally:
            del os.environ["KZOO_HOME"]
            if before is not None:
                os.environ["KZOO_HOME"] = before
    return clock.curve


def draw(result: dict, path: str | Path) -> None:
    """Draw the curves of `measure_transfer` as a PNG file."""
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
    axes.legend(loc="lower right")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_bytes(path, picture.getvalue())
