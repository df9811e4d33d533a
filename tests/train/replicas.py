"""Work for a process with two logical CPUs: replicas.py CASE prints what it found, as JSON; see test_replicas.py."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from kzoo import augment
from kzoo.backend import keras, tf
from kzoo.data import Dataset
from kzoo.data import load as load_data
from kzoo.errors import InvalidArgument
from kzoo.layers import BatchNormalization, Conv2D
from kzoo.models import create_model
from kzoo.saving import load_model
from kzoo.train import TrainConfig, evaluate, fit, load
from kzoo.train.normalization import pooled
from kzoo.train.precision import dtype_policy
from kzoo.train.step import TrainStep
from kzoo.train.strategy import (
    create_strategy,
    give_each_replica_its_own_seeds,
    share_out,
    synchronize_batch_norm,
)

CLASSES = 5
ONE = tf.distribute.get_strategy()
MIRRORED = create_strategy(TrainConfig(strategy="mirrored"), "cpu", 2)
assert MIRRORED.num_replicas_in_sync == 2


def build(normalization=BatchNormalization, dropout=0.0):
    """Two convolutions without biases before their normalization, and fixed weights."""
    outputs = inputs = keras.Input((8, 8, 1), dtype="float32")
    for filters in (4, 8):
        outputs = Conv2D(filters, 3, padding="same", use_bias=False)(outputs)
        outputs = normalization(momentum=0.9)(outputs)
        outputs = keras.layers.Activation("relu")(outputs)
        outputs = keras.layers.MaxPooling2D()(outputs)
    outputs = keras.layers.Flatten()(outputs)
    outputs = keras.layers.Dropout(dropout, seed=7)(outputs)
    outputs = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")(outputs)
    model = keras.Model(inputs, outputs)
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
    return model


def examples(count, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 8, 8, 1)).astype("float32"), random.integers(0, CLASSES, count).astype("int32")


def pixels(count, seed=0):
    images, labels = examples(count, seed)
    return np.clip(images * 40 + 128, 0, 255), labels


def make_step(strategy, config, class_weights=None, synchronized=True, **arguments):
    with strategy.scope(), dtype_policy(config.precision):
        model = build(**arguments)
        if synchronized:
            synchronize_batch_norm(model)
        step = TrainStep(model, config, class_weights)
        give_each_replica_its_own_seeds(model)
    return step


def feed(strategy, batches):
    labels = batches[0][1]
    spec = (tf.TensorSpec((None, 8, 8, 1), tf.float32), tf.TensorSpec((None, *labels.shape[1:]), labels.dtype))
    return share_out(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec), strategy)


def take(step, batches, rate=0.02):
    """Train on the batches, five steps in a call; returns each step's sums."""
    every = step.config.gradient_accumulation_steps
    counts = [min(every, len(batches) - start) for start in range(0, len(batches), every)]
    source, sums = feed(step.strategy, batches), []
    for start in range(0, len(counts), 5):
        some = counts[start : start + 5]
        sums.append(step.train(source, tf.constant([rate] * len(some)), tf.constant(some, tf.int32)).numpy())
    return np.concatenate(sums)


def difference(found, expected):
    """The greatest difference in any variable, by that variable's greatest value."""
    pairs = [(a.numpy(), b.numpy()) for a, b in zip(found, expected, strict=True)]
    return float(max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs))


def copies(variable):
    """The values of a mirrored variable on each replica."""
    return [v.numpy() for v in MIRRORED.experimental_local_results(variable.value)]


PARITY = {
    f"{optimizer}, clip_norm {clip}, {every} batches a step": {
        "optimizer": optimizer,
        "clip_norm": clip,
        "gradient_accumulation_steps": every,
        "epsilon": 1e-3,
    }
    for optimizer in ("sgd", "adamw")
    for clip in (None, 0.5)
    for every in (1, 4)
} | {
    "adam, decayed, smoothed": {"optimizer": "adam", "epsilon": 1e-3, "weight_decay": 0.01, "label_smoothing": 0.1},
    "sgd, averaged": {"optimizer": "sgd", "ema_momentum": 0.9},
    "schedule-free": {"optimizer": "schedule_free_adamw", "epsilon": 1e-3},
    "schedule-free, clipped, 4 batches a step": {
        "optimizer": "schedule_free_adamw",
        "epsilon": 1e-3,
        "clip_norm": 0.5,
        "gradient_accumulation_steps": 4,
    },
}


def parity():
    found = {name: _parity(TrainConfig(**arguments, precision="float32")) for name, arguments in PARITY.items()}
    smoothed = TrainConfig(optimizer="sgd", label_smoothing=0.1, precision="float32")
    return {**found, "sgd, smoothed soft labels": _parity(smoothed, soft=True)}


def _parity(config, soft=False):
    """Fifty steps on one device and on two, with uneven tails, and with one image for two replicas."""
    count = 50 * config.gradient_accumulation_steps
    sizes = (([16] * 11 + [7]) * count)[: count - 2]
    sizes += [2, 1]
    batches = [examples(size, seed) for seed, size in enumerate(sizes)]
    if soft:
        shares = np.random.default_rng(9).dirichlet(np.ones(CLASSES), 16).astype("float32")
        batches = [(images, shares[: len(labels)]) for images, labels in batches]
    class_weights = [0.5, 2.0, 1.0, 1.0, 1.5]
    one, two = (make_step(strategy, config, class_weights) for strategy in (ONE, MIRRORED))
    one_sums, two_sums = take(one, batches), take(two, batches)
    start = build()
    return {
        "model": difference(two.model.weights, one.model.weights),
        "all": difference(two.variables, one.variables),
        "sums": float(np.abs(one_sums - two_sums).max() / one_sums.max()),
        "moved": difference(one.model.weights, start.weights),
        "steps": len(one_sums),
        "copies agree": all(np.array_equal(*copies(v)) for v in two.model.weights),
        "average": None
        if config.averages is None
        else difference(*(_average(step, batches[:12]) for step in (two, one))),
    }


def _average(step, batches):
    """The weights that are validated, with their batch statistics."""
    step.end_epoch(0)
    step.begin_observing()
    observed = (step.observe(*batch) for batch in feed(step.strategy, batches))
    statistics = pooled([([value.numpy() for value in values], float(count)) for values, count in observed])
    for variable, value in zip(step.estimated, statistics, strict=True):
        variable.assign(value)
    return step.average.weights


def mnist_net():
    return {
        "float64": one_and_two("mnist_net", (28, 28, 1), "float64", steps=10),
        "float32": one_and_two("mnist_net", (28, 28, 1), "float32", steps=1),
    }


def resnet18():
    return {"float64": one_and_two("resnet18", (32, 32, 3), "float64", steps=3)}


def one_and_two(name, shape, dtype, steps):
    """A model of the zoo after some steps on two replicas against one device."""
    # Whatever is constant in an image leads to ties in max pooling, which rounding would settle.
    random = np.random.default_rng(0)
    batches = [
        (random.integers(0, 256, (count, *shape), "uint8"), random.integers(0, 10, count, "int32"))
        for count in [31, 32, 7, *[16] * steps][:steps]
    ]
    signature = (tf.TensorSpec((None, *shape), tf.uint8), tf.TensorSpec((None,), tf.int32))
    start, weights = None, []
    for strategy in (ONE, MIRRORED):
        with strategy.scope():
            model = in_precision(dtype, create_model(name, classes=10, input_shape=shape, dropout=0.0))
            start = start or model.get_weights()
            model.set_weights(start)
            synchronize_batch_norm(model)
            step = TrainStep(model, TrainConfig(optimizer="sgd", precision="float32"))
        source = share_out(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature), strategy)
        step.train(source, tf.constant([0.1] * steps), tf.ones([steps], tf.int32))
        weights.append(model.weights)
    one, two = weights
    return {
        "difference": difference(two, one),
        "moved": max(float(np.abs(w.numpy() - s).max()) for w, s in zip(one, start, strict=True)),
    }


def in_precision(dtype, model):
    """The model with all its layers in one precision. In float64 batch normalization is computed by Keras's code."""
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer.__class__.from_config({**layer.get_config(), "dtype": dtype})
    )


def accuracy():
    """mnist_net on the digits, three epochs: validation accuracy with one device and with two replicas."""
    training, validation = load_data("digits"), load_data("digits", "validation")

    def trained(**devices):
        config = TrainConfig(epochs=3, precision="float32", sync_batch_norm="strategy" in devices, **devices)
        result = fit(lambda: create_model("mnist_net", input_shape=training.image_shape), training, validation, config)
        return evaluate(result.model, validation)["accuracy"]

    return [trained(), trained(strategy="mirrored", devices="cpu:2")]


def statistics():
    """Replicas that see halves of other brightness: what their moving means become, after one step."""
    images, labels = examples(8)
    images[:4] += 5.0
    found = {}
    for normalization in (BatchNormalization, keras.layers.BatchNormalization):
        step = make_step(MIRRORED, TrainConfig(precision="float32"), synchronized=False, normalization=normalization)
        before = build(normalization)
        activations = before.layers[1](images).numpy()
        moving = next(v for v in step.model.weights if v.path.endswith("moving_mean"))
        expected = 0.9 * moving.numpy() + 0.1 * activations.mean(axis=(0, 1, 2))
        take(step, [(images, labels)])
        found[normalization.__module__.split(".")[0]] = {
            "copies agree": all(np.array_equal(*copies(v)) for v in step.model.weights),
            "error": float(np.abs(moving.numpy() - expected).max()),
        }
    return found


def draws():
    """An epoch of batches of one and the same image, augmented and shared out: over one device, and over two."""
    images = np.tile(np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), "uint8"), (23, 1, 1, 1))
    data = Dataset.from_arrays(images, np.arange(23) % CLASSES)
    policy = augment.policy("digits")

    def of(strategy):
        batches = data.batches(6, shuffle=True, seed=3, epoch=1, augment=policy)
        return [
            np.concatenate([part.numpy() for part in strategy.experimental_local_results(images)])
            for images, *_ in share_out(batches, strategy)
        ]

    one, two = of(ONE), of(MIRRORED)
    return {
        "same": [np.array_equal(*pair) for pair in zip(one, two, strict=True)],
        "different": len({image.tobytes() for images in two for image in images}),
    }


def dropout():
    """What a layer of a model drops on each replica, in two calls, and again from the start."""

    def masks():
        with MIRRORED.scope():
            model = build(dropout=0.5)
            give_each_replica_its_own_seeds(model)
        layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
        draw = tf.function(lambda: MIRRORED.run(lambda: layer(tf.ones([1, 16]), training=True)), autograph=False)
        return [[part.numpy().ravel().tolist() for part in MIRRORED.experimental_local_results(draw())] for _ in "12"]

    return [masks(), masks()]


def overflow():
    """Under mixed_float16 an infinite pixel on each replica in turn, then a good batch."""
    found = []
    for replica in (0, 1):
        step = make_step(MIRRORED, TrainConfig(precision="mixed_float16"), synchronized=False)
        images, labels = examples(8)
        good = images.copy()
        images[4 * replica] = np.inf
        before = [w.copy() for w in step.model.get_weights()]
        skipped = take(step, [(images, labels)])
        unchanged = all(np.array_equal(a, b) for a, b in zip(before, step.model.get_weights(), strict=True))
        scale = float(step.loss_scale.numpy())
        went_on = take(step, [(good, labels)] * 2)
        found.append({
            "skipped": skipped.tolist(),
            "unchanged": unchanged,
            "scale": scale,
            "went on": went_on[:, 2:].tolist(),
            "updates": int(step.optimizer.iterations.numpy()),
            "finite": step.is_finite(),
            "moved": difference(step.model.weights, build().weights) > 1e-3,
        })  # fmt: skip
    return found


def one_layer_in_float16():
    """A model whose policy is float32, with one layer in float16: its loss is scaled all the same."""
    with MIRRORED.scope():
        inputs = keras.Input((8, 8, 1))
        hidden = keras.layers.Dense(4, dtype="mixed_float16")(keras.layers.Flatten()(inputs))
        model = keras.Model(inputs, keras.layers.Dense(CLASSES, dtype="float32")(hidden))
        step = TrainStep(model, TrainConfig(precision="float32"))
    images, labels = examples(8)
    images[7] = 1e6  # beyond float16
    return {"sums": take(step, [(images, labels)]).tolist(), "scale": float(step.loss_scale.numpy())}


def whole_run():
    """`fit` on two replicas: what it validated, evaluated in here, and the run for a process that knows no replicas."""
    folder = Path(tempfile.mkdtemp())
    config = TrainConfig(epochs=2, batch_size=9, precision="float32", strategy="mirrored", devices="cpu:2")
    data, validation = pixels(64, seed=3), pixels(33, seed=4)
    result = fit(lambda: build(dropout=0.3), data, validation, config, folder / "run")
    inside = result.history
    with MIRRORED.scope():
        in_scope = evaluate(load(folder / "run"), validation)
    outside = evaluate(result.model, validation)
    best = result.metrics["best_epoch"] - 1
    return {
        "validated": [inside["val_loss"][best], inside["val_accuracy"][best]],
        "in scope": [in_scope["loss"], in_scope["accuracy"]],
        "outside": [outside["loss"], outside["accuracy"]],
        "run": str(folder / "run"),
    }


def made_before():
    """A model that was made before the strategy's scope."""
    model = build()
    config = TrainConfig(epochs=1, precision="float32", strategy="mirrored", devices="cpu:2")
    try:
        fit(lambda: model, pixels(16), config=config)
    except InvalidArgument as error:
        return str(error)
    return None


def keras_normalization():
    """Synchronizing the statistics of Keras's own layer."""
    config = TrainConfig(epochs=1, precision="float32", strategy="mirrored", devices="cpu:2", sync_batch_norm=True)
    try:
        fit(lambda: build(keras.layers.BatchNormalization), pixels(16), config=config)
    except InvalidArgument as error:
        return str(error)
    return None


def reductions():
    """The number of values that a training step reduces over the replicas."""
    step = make_step(
        MIRRORED, TrainConfig(optimizer="adamw", clip_norm=1.0, precision="float32"), normalization=Nothing
    )
    graph = step.train.get_concrete_function(
        feed(MIRRORED, [examples(4)]), tf.constant([0.1]), tf.constant([1], tf.int32)
    ).graph
    graphs = [graph, *_functions(graph)]
    reduced = [op for g in graphs for op in g.get_operations() if op.type.startswith("CollectiveReduce")]
    values = sum(int(np.prod(op.inputs[0].shape.as_list() or [1])) for op in reduced)
    return {"values": values // 2, "parameters": step.model.count_params(), "operations": len(reduced) // 2}


class Nothing(keras.layers.Layer):
    """In the place of a normalization."""

    def __init__(self, momentum):
        super().__init__()

    def call(self, inputs):
        return inputs


def _functions(graph):
    return [function.graph for function in graph._functions.values() if hasattr(function, "graph")]


def frozen():
    """What a step reduces where only the classifier trains, and whether the rest keeps its bits."""
    with MIRRORED.scope():
        model = build()
        for layer in model.layers[:-1]:
            layer.trainable = False
        step = TrainStep(model, TrainConfig(precision="float32"))
    before = [w.copy() for w in model.get_weights()]
    take(step, [examples(8)] * 3)
    graph = step.train.get_concrete_function(
        feed(MIRRORED, [examples(4)]), tf.constant([0.1]), tf.constant([1], tf.int32)
    ).graph
    reduced = [op for g in [graph, *_functions(graph)] for op in g.get_operations() if op.type == "CollectiveReduceV2"]
    return {
        "values": sum(int(np.prod(op.inputs[0].shape.as_list() or [1])) for op in reduced) // 2,
        "trainable": sum(int(np.prod(v.shape)) for v in model.trainable_weights),
        "same": [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)],
    }


def activity_losses():
    """A loss of activations, which Keras keeps in the layer that the replicas share."""

    def build_with_activity_loss():
        dense = keras.layers.Dense(CLASSES, activity_regularizer="l2")
        return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), dense])

    config = TrainConfig(epochs=1, precision="float32", strategy="mirrored", devices="cpu:2")
    try:
        fit(build_with_activity_loss, pixels(16), config=config)
    except InvalidArgument as error:
        return str(error)
    return None


def callbacks():
    """One that lowers the learning rate, and one that saves."""
    folder = Path(tempfile.mkdtemp())
    lower = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=1e6)
    keep = keras.callbacks.ModelCheckpoint(folder / "saved.keras")
    config = TrainConfig(
        epochs=3, batch_size=8, precision="float32", strategy="mirrored", devices="cpu:2", learning_rate=0.01,
        schedule="constant",
    )  # fmt: skip
    result = fit(build, pixels(32), pixels(16, seed=1), config, folder / "run", callbacks=[lower, keep])
    saved, last = (m.get_weights() for m in (load_model(folder / "saved.keras"), load(folder / "run", "last")))
    same = all(np.array_equal(a, b) for a, b in zip(saved, last, strict=True))
    return {"rates": result.history["learning_rate"], "same": same}


def gradients_are_reduced_once():
    """A gradient of 1 that both replicas give to the optimizer, at a rate of 1: the step has summed it already."""
    from kzoo.train.optimizers import create_optimizer

    found = {}
    for name in ("sgd", "adam", "adamw"):
        with MIRRORED.scope():
            weight = keras.Variable(np.zeros((2, 2)), name="kernel")
            config = TrainConfig(optimizer=name, learning_rate=1.0, momentum=0.0, weight_decay=0.0, epsilon=1.0)
            optimizer = create_optimizer(config)
            optimizer.build([weight])
        tf.function(lambda: MIRRORED.run(lambda: optimizer.apply([tf.ones((2, 2))], [weight])))()  # noqa: B023
        found[name] = [float(part[0, 0]) for part in copies(weight)]
    return found


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
