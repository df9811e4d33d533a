"""The training step against NumPy, on one device; test_replicas.py has it on two."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import BatchNormalization
from kzoo.train import TrainConfig
from kzoo.train.precision import dtype_policy
from kzoo.train.step import STEPS_BEFORE_DOUBLING, TrainStep, cross_entropy
from kzoo.train.strategy import share_out

CLASSES, PIXELS = 3, 4


def linear_model(activation="softmax"):
    """One fully connected layer, whose gradient is a line of NumPy."""
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(CLASSES, activation=activation)]
    )
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=(PIXELS, CLASSES)), random.normal(size=CLASSES)])
    return model


def batch(size=6, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(size, 2, 2, 1)).astype("float32"), random.integers(0, CLASSES, size).astype("int32")


def feed(*batches):
    """An iterator over batches whose sizes may differ."""
    images, labels = batches[0]
    spec = (
        tf.TensorSpec((None, *images.shape[1:]), tf.float32),
        tf.TensorSpec((None, *labels.shape[1:]), labels.dtype),
    )
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    return share_out(data, tf.distribute.get_strategy())


def train(step, batches, rates, counts=None):
    """Sums of each step: loss, correct, examples, skipped, losses of auxiliary heads."""
    return step.train(feed(*batches), tf.constant(rates, tf.float32), tf.constant(counts or [1] * len(rates))).numpy()


def targets(labels, smoothing=0.0):
    return (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES


def gradients(weights, images, labels, smoothing=0.0, class_weights=(1, 1, 1)):
    """Of the mean weighted cross-entropy of the linear model, in float64."""
    kernel, bias = weights
    rows = images.reshape(len(images), -1).astype("float64")
    probabilities = scipy.special.softmax(rows @ kernel + bias, axis=1)
    errors = (probabilities - targets(labels, smoothing)) * np.array(class_weights)[labels, None] / len(images)
    return [rows.T @ errors, errors.sum(axis=0)]


class Reference:
    """The three optimizers as their papers write them, weight decay on the kernel alone."""

    def __init__(self, weights, config):
        self.weights = [np.asarray(w, "float64") for w in weights]
        self.config, self.steps = config, 0
        self.first, self.second = ([np.zeros_like(w) for w in self.weights] for _ in range(2))

    def update(self, gradients, rate):
        config = self.config
        self.steps += 1
        gradients = list(gradients)
        if config.optimizer != "adamw":
            gradients[0] = gradients[0] + config.decay * self.weights[0]
        if config.clip_norm is not None:
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, config.clip_norm / norm) for g in gradients]
        if config.optimizer == "adamw":
            self.weights[0] = self.weights[0] * (1 - rate * config.decay)
        for i, gradient in enumerate(gradients):
            if config.optimizer == "sgd":
                self.first[i] = config.momentum * self.first[i] - rate * gradient
                self.weights[i] = self.weights[i] + config.momentum * self.first[i] - rate * gradient
            else:
                self.first[i] = 0.9 * self.first[i] + 0.1 * gradient
                self.second[i] = 0.999 * self.second[i] + 0.001 * gradient**2
                # epsilon as Keras places it: "epsilon hat" of Kingma & Ba, section 2
                size = rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
                self.weights[i] = self.weights[i] - size * self.first[i] / (np.sqrt(self.second[i]) + 1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing):
    logits = np.random.default_rng(0).normal(0, 5, (20, CLASSES)).astype("float32")
    labels = np.arange(20, dtype="int32") % CLASSES
    expected = -(targets(labels, smoothing) * scipy.special.log_softmax(logits.astype("float64"), axis=1)).sum(axis=1)
    # float32 logits of up to 15
    np.testing.assert_allclose(cross_entropy(labels, logits, smoothing), expected, rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_certain_mistakes_is_exact():
    # From probabilities, log(0) would have to be clipped.
    np.testing.assert_allclose(cross_entropy(np.array([1]), np.array([[500.0, 0, 0]], "float32"), 0.0), [500.0])


CONFIGS = [
    {"optimizer": "sgd", "weight_decay": 0},
    {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "adam"},
    {"optimizer": "adam", "weight_decay": 0.1},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "sgd", "clip_norm": 0.05, "weight_decay": 0.1},
    {"optimizer": "adamw", "clip_norm": 0.05},
    {"optimizer": "sgd", "clip_norm": 1e6},
    {"optimizer": "adamw", "label_smoothing": 0.2},
]


@pytest.mark.parametrize("arguments", CONFIGS, ids=lambda a: "-".join(map(str, a.values())))
def test_updates_are_the_papers(arguments):
    config = TrainConfig(**arguments, precision="float32")
    model = linear_model()
    reference = Reference(model.get_weights(), config)
    batches, rates = [batch(6, seed) for seed in range(3)], [0.1, 0.05, 0.02]
    sums = train(TrainStep(model, config), batches, rates)
    for (images, labels), rate, (loss, correct, examples, skipped) in zip(batches, rates, sums, strict=True):
        logits = images.reshape(6, -1) @ reference.weights[0] + reference.weights[1]
        expected = -(targets(labels, config.label_smoothing or 0.0) * scipy.special.log_softmax(logits, axis=1)).sum()
        assert loss == pytest.approx(expected, rel=1e-5)
        assert (correct, examples, skipped) == ((logits.argmax(axis=1) == labels).sum(), 6, 0)
        reference.update(gradients(reference.weights, images, labels, config.label_smoothing or 0.0), rate)
    for found, expected in zip(model.get_weights(), reference.weights, strict=True):
        # Three float32 steps on weights of order 1; Adam divides gradients of order 0.1 by their size.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_logits_in_half_precision_have_a_float32_loss():
    with dtype_policy("mixed_bfloat16"):
        model = linear_model()  # whose last layer follows the policy, as a user's may
    before = model.get_weights()
    images, labels = batch()
    sums = train(TrainStep(model, TrainConfig(precision="mixed_bfloat16")), [(images, labels)], [0.0])
    log_likelihoods = scipy.special.log_softmax(images.reshape(6, -1) @ before[0] + before[1], axis=1)
    # The logits, of order 1, have 8 bits.
    assert sums[0][0] == pytest.approx(-log_likelihoods[np.arange(6), labels].sum(), rel=0.02)


def test_class_weights():
    config = TrainConfig(optimizer="sgd", momentum=0.0, weight_decay=0, precision="float32")
    model = linear_model()
    before = model.get_weights()
    images, labels = batch()
    weights = [0.5, 3.0, 0.0]
    sums = train(TrainStep(model, config, weights), [(images, labels)], [0.1])
    expected = [w - 0.1 * g for w, g in zip(before, gradients(before, images, labels, 0, weights), strict=True)]
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    log_likelihoods = scipy.special.log_softmax(images.reshape(6, -1) @ before[0] + before[1], axis=1)
    losses = -np.array(weights)[labels] * log_likelihoods[np.arange(6), labels]
    assert sums[0][0] == pytest.approx(losses.sum(), rel=1e-5)


def soft_batch(size=6, seed=3):
    images, _ = batch(size, seed)
    return images, np.random.default_rng(seed).dirichlet(np.ones(CLASSES), size).astype("float32")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5, 3.0, 0.0)])
def test_soft_labels_are_the_hard_labels_by_their_shares(smoothing, weights):
    """The loss and its gradient are linear in the label: by NumPy, the hard labels' by the shares of the classes."""
    config = TrainConfig(optimizer="sgd", momentum=0.0, weight_decay=0, label_smoothing=smoothing, precision="float32")
    model = linear_model()
    before = [np.asarray(w, "float64") for w in model.get_weights()]
    images, shares = soft_batch()
    [(loss, correct, examples, _)] = train(TrainStep(model, config, weights), [(images, shares)], [0.1])
    logits = images.reshape(6, -1) @ before[0] + before[1]
    expected_loss, expected = 0.0, [0.0, 0.0]
    for label in range(CLASSES):
        hard = np.full(6, label)
        scale = 1.0 if weights is None else weights[label]
        losses = -(targets(hard, smoothing) * scipy.special.log_softmax(logits, axis=1)).sum(axis=1)
        expected_loss += (shares[:, label] * scale * losses).sum()
        for row in range(6):
            of_row = gradients(before, images[row : row + 1], hard[row : row + 1], smoothing)
            expected = [e + shares[row, label] * scale * g / 6 for e, g in zip(expected, of_row, strict=True)]
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (correct, examples) == ((logits.argmax(axis=1) == shares.argmax(axis=1)).sum(), 6)
    for found, old, gradient in zip(model.get_weights(), before, expected, strict=True):
        np.testing.assert_allclose(found, old - 0.1 * gradient, rtol=1e-5, atol=1e-6)


def test_one_hot_labels_train_as_integers_do():
    config = TrainConfig(optimizer="sgd", label_smoothing=0.1, precision="float32", gradient_accumulation_steps=2)
    models, sums = [linear_model(), linear_model()], []
    batches = [batch(6, 0), batch(4, 1)]
    soft = [(images, np.eye(CLASSES, dtype="float32")[labels]) for images, labels in batches]
    for model, given in zip(models, (batches, soft), strict=True):
        sums.append(train(TrainStep(model, config, [0.5, 3.0, 1.0]), given, [0.1], [2]))
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-6)
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)  # the same sums, by another operation


def two_heads():
    """The linear model with an auxiliary head that is another linear model of the same pixels."""
    inputs = keras.Input((2, 2, 1))
    pixels = keras.layers.Flatten()(inputs)
    names = ("early", "predictions")
    outputs = {name: keras.layers.Dense(CLASSES, activation="softmax", name=name)(pixels) for name in names}
    model = keras.Model(inputs, outputs)
    random = np.random.default_rng(2)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model


def layer_weights(model, name):
    return [np.asarray(w, "float64") for w in model.get_layer(name).get_weights()]


@pytest.mark.parametrize("weight", [0.3, 0.0])
def test_auxiliary_heads_train_with_their_weight(weight):
    config = TrainConfig(
        optimizer="sgd", momentum=0.0, weight_decay=0, label_smoothing=0.1, precision="float32", auxiliary_weight=weight
    )
    model = two_heads()
    before = {name: layer_weights(model, name) for name in ("predictions", "early")}
    images, labels = batch()
    class_weights = [0.5, 3.0, 1.0]
    step = TrainStep(model, config, class_weights)
    loss, correct, examples, _, early = train(step, [(images, labels)], [0.1])[0]
    for name, share, total in (("predictions", 1.0, loss), ("early", weight, early)):
        expected = gradients(before[name], images, labels, 0.1, class_weights)
        for found, old, gradient in zip(layer_weights(model, name), before[name], expected, strict=True):
            np.testing.assert_allclose(found, old - 0.1 * share * gradient, rtol=1e-5, atol=1e-6)
        log_likelihoods = scipy.special.log_softmax(images.reshape(6, -1) @ before[name][0] + before[name][1], axis=1)
        losses = -(targets(labels, 0.1) * log_likelihoods).sum(axis=1) * np.array(class_weights)[labels]
        # What is reported of a head is its own loss, not weighted.
        assert total == pytest.approx(losses.sum(), rel=1e-5)
    logits = images.reshape(6, -1) @ before["predictions"][0] + before["predictions"][1]
    assert (correct, examples) == ((logits.argmax(axis=1) == labels).sum(), 6)


def test_auxiliary_heads_are_not_evaluated():
    model = two_heads()
    images, labels = batch()
    kernel, bias = layer_weights(model, "predictions")
    loss, _, examples = TrainStep(model, TrainConfig(precision="float32")).evaluate(images, labels, 1.0).numpy()
    log_likelihoods = scipy.special.log_softmax(images.reshape(6, -1) @ kernel + bias, axis=1)
    assert loss == pytest.approx(-log_likelihoods[np.arange(6), labels].sum(), rel=1e-5)
    assert examples == 6


def test_every_head_must_end_in_a_classifier():
    inputs = keras.Input((4,))
    outputs = {"predictions": keras.layers.Dense(3)(inputs), "early": keras.layers.Dense(3, "relu", name="e")(inputs)}
    with pytest.raises(InvalidArgument, match="Received: 'relu' in its last layer 'e'"):
        TrainStep(keras.Model(inputs, outputs), TrainConfig())


def test_an_uneven_tail_counts_its_own_examples():
    config = TrainConfig(optimizer="sgd", precision="float32")
    model = linear_model()
    reference = Reference(model.get_weights(), config)
    batches = [batch(6, 0), batch(6, 1), batch(1, 2)]
    sums = train(TrainStep(model, config), batches, [0.1] * 3)
    for images, labels in batches:
        reference.update(gradients(reference.weights, images, labels), 0.1)
    assert sums[:, 2].tolist() == [6, 6, 1]
    for found, expected in zip(model.get_weights(), reference.weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_how_many_steps_at_once_does_not_change_the_bits():
    batches, rates = [batch(6, seed) for seed in range(6)], np.linspace(0.1, 0.01, 6)
    ends = []
    for sizes in ([6], [1] * 6, [2, 3, 1]):
        model = linear_model()
        step = TrainStep(model, TrainConfig(precision="float32"))
        source, done = feed(*batches), 0
        for size in sizes:
            step.train(source, tf.constant(rates[done : done + size], tf.float32), tf.ones([size], tf.int32))
            done += size
        ends.append([v.numpy().tobytes() for v in step.variables])
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize(
    "arguments",
    [{"optimizer": "sgd", "clip_norm": 0.05}, {"optimizer": "adamw", "label_smoothing": 0.1}],
    ids=["sgd clipped", "adamw"],
)
def test_accumulated_batches_are_one_large_batch(arguments):
    config = TrainConfig(**arguments, precision="float32")
    parts = [batch(6, 0), batch(6, 1), batch(2, 2), batch(6, 3), batch(1, 4)]
    whole = [tuple(np.concatenate(halves) for halves in zip(*parts[:3], strict=True)),
             tuple(np.concatenate(halves) for halves in zip(*parts[3:], strict=True))]  # fmt: skip
    ends = []
    for every, batches, counts in ((3, parts, [3, 2]), (1, whole, [1, 1])):
        step = TrainStep(linear_model(), replace(config, gradient_accumulation_steps=every), [0.5, 2.0, 1.0])
        sums = train(step, batches, [0.1, 0.1], counts)
        assert sums[:, 2].tolist() == [14, 7]
        ends.append((sums, [v.numpy() for v in step.variables]))
    (one, one_variables), (other, other_variables) = ends
    np.testing.assert_allclose(one, other, rtol=1e-5)
    for a, b in zip(one_variables, other_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_average_of_the_weights():
    config = TrainConfig(optimizer="sgd", ema_momentum=0.3, precision="float32")
    step = TrainStep(linear_model(), config)
    expected = [w.astype("float64") for w in step.model.get_weights()]
    for number in range(1, 6):
        train(step, [batch(6, number)], [0.1])
        momentum = min(0.3, (1 + number) / (10 + number))  # 0.18, 0.25, then 0.3
        expected = [momentum * e + (1 - momentum) * w for e, w in zip(expected, step.model.get_weights(), strict=True)]
    for found, average, weight in zip(
        step.evaluation_model.get_weights(), expected, step.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(found, average, rtol=1e-5, atol=1e-6)
        assert np.abs(found - weight).max() > 1e-3
    images, labels = batch()
    kernel, bias = step.evaluation_model.get_weights()
    log_likelihoods = scipy.special.log_softmax(images.reshape(6, -1) @ kernel + bias, axis=1)
    loss = step.evaluate(images, labels, 1.0).numpy()[0]
    assert loss == pytest.approx(-log_likelihoods[np.arange(6), labels].sum(), rel=1e-5)


def test_average_holds_the_statistics_of_normalizations_too():
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    step = TrainStep(model, TrainConfig(ema_momentum=0.9, precision="float32"))
    images, labels = batch()
    train(step, [(images + 100, labels)], [0.1])
    moving = model.layers[0].moving_mean.numpy()
    # After the first step 2 / 11 of the start, which is 0.
    np.testing.assert_allclose(step.evaluation_model.layers[0].moving_mean.numpy(), moving * 9 / 11, rtol=1e-5)
    assert moving > 0.9


def test_weights_without_a_gradient_stay():
    """A layer whose output is thrown away."""
    inputs = keras.Input((2, 2, 1))
    rows = keras.layers.Flatten()(inputs)
    unused = keras.layers.Dense(3, name="unused")(rows)
    outputs = keras.layers.Dense(3)(rows) + keras.ops.stop_gradient(unused)
    model = keras.Model(inputs, keras.layers.Dense(3)(outputs))
    before = model.get_layer("unused").get_weights()
    step = TrainStep(model, TrainConfig(optimizer="adam", precision="float32"))
    train(step, [batch()], [0.1])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_layer("unused").get_weights(), strict=True))


@pytest.mark.parametrize(("optimizer", "factor"), [("sgd", 1.9), ("adamw", 1.0)])
def test_weight_decay_never_touches_biases_and_normalization(optimizer, factor):
    def after_one_step(decay):
        model = keras.Sequential(
            [
                keras.Input((2, 2, 1)),
                keras.layers.Conv2D(3, 1, name="conv"),
                BatchNormalization(),
                keras.layers.Flatten(),
                keras.layers.Dense(CLASSES),
            ]
        )
        random = np.random.default_rng(0)
        model.set_weights([random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
        before = {v.path: v.numpy() for v in model.trainable_variables}
        step = TrainStep(model, TrainConfig(optimizer=optimizer, weight_decay=decay, precision="float32"))
        train(step, [batch(32)], [0.1])
        return before, {v.path: v.numpy() for v in model.trainable_variables}

    before, free = after_one_step(0.0)
    _, decayed = after_one_step(0.5)
    # Paths hold counters; the order is the same.
    for path, one, other in zip(before, free.values(), decayed.values(), strict=True):
        if path.endswith("kernel"):
            # -rate * decay * weight, times 1 + momentum for Nesterov's first step; the rest is rounding
            np.testing.assert_allclose(other - one, -0.1 * 0.5 * factor * before[path], rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(one, other)


def float16_step(**arguments):
    with dtype_policy("mixed_float16"):
        model = keras.Sequential(
            [
                keras.Input((2, 2, 1), dtype="float32"),
                keras.layers.Flatten(),
                keras.layers.Dense(8),
                keras.layers.Dense(CLASSES, dtype="float32", activation="softmax"),
            ]
        )
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model, TrainStep(model, TrainConfig(precision="mixed_float16", **arguments))


def test_float16_overflow_skips_the_step_and_halves_the_scale():
    model, step = float16_step()
    step.loss_scale.assign(2.0**60)  # no float16 gradient survives that
    step.good_steps.assign(7)
    before = [v.numpy() for v in [*model.variables, *step.optimizer.variables[2:]]]
    train(step, [batch()], [0.1])
    after = [v.numpy() for v in [*model.variables, *step.optimizer.variables[2:]]]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert step.optimizer.iterations.numpy() == 0
    assert (step.loss_scale.numpy(), step.good_steps.numpy()) == (2.0**59, 0)


def test_float16_overflow_leaves_the_statistics_of_normalizations():
    with dtype_policy("mixed_float16"):
        layers = [keras.layers.Flatten(dtype="float32"), BatchNormalization(), keras.layers.Dense(3, dtype="float32")]
        model = keras.Sequential([keras.Input((2, 2, 1), dtype="float32"), *layers])
    step = TrainStep(model, TrainConfig(precision="mixed_float16"))
    before = [v.numpy() for v in model.weights]
    images, labels = batch()
    images[2] = np.inf
    sums = train(step, [(images, labels)], [0.1])
    assert sums.tolist() == [[0, 0, 0, 1]]
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.weights, strict=True))


def test_float16_that_overflows_at_no_scale_has_diverged():
    _, step = float16_step()
    images, labels = batch()
    images[0] = np.nan
    sums = train(step, [(images, labels)] * 17, [0.1] * 17)
    assert sums[:15, 3].tolist() == [1] * 15  # from 2^15 to 2^0
    assert np.isnan(sums[15:]).all()
    assert step.loss_scale.numpy() == 1


def test_loss_is_scaled_by_what_layers_compute_in():
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3, dtype="mixed_float16")]
    )
    assert TrainStep(model, TrainConfig(precision="float32")).loss_scale is not None
    assert TrainStep(linear_model(), TrainConfig(precision="mixed_float16")).loss_scale is None


def test_float16_recovers_from_overflow():
    model, step = float16_step()
    step.loss_scale.assign(2.0**20)
    before = model.get_weights()
    train(step, [batch(seed=s) for s in range(12)], [0.1] * 12)
    assert step.loss_scale.numpy() < 2.0**20
    assert 0 < step.optimizer.iterations.numpy() < 12
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_float16_scale_doubles_after_many_good_steps():
    _, step = float16_step()
    step.good_steps.assign(STEPS_BEFORE_DOUBLING - 1)
    train(step, [batch()], [0.1])
    assert (step.loss_scale.numpy(), step.good_steps.numpy()) == (2.0**16, 0)
    train(step, [batch()], [0.1])
    assert (step.loss_scale.numpy(), step.good_steps.numpy()) == (2.0**16, 1)


def test_float16_scaling_cancels():
    ends = []
    for scale in (1.0, 2.0**8):
        model, step = float16_step(optimizer="sgd", clip_norm=0.5)
        step.loss_scale.assign(scale)
        train(step, [batch()], [0.1])
        ends.append(model.get_weights())
    for one, other in zip(*ends, strict=True):
        # float16 gradients (11 bits) below the clipping norm of 0.5, times the rate
        np.testing.assert_allclose(one, other, atol=0.1 * 0.5 * 2**-9)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [keras.layers.Flatten(), keras.layers.Dense(3), keras.layers.Rescaling(0.5), keras.layers.ReLU()],
            "which could give anything",
        ),
        (
            [keras.layers.Flatten(), keras.layers.Dense(3, activation="sigmoid")],
            "Received: 'sigmoid' in its last layer",
        ),
        ([keras.layers.Conv2D(3, 1)], "Received: output_shape=(None, 2, 2, 3)."),
    ],
)
def test_outputs_that_are_no_classifiers(layers, message):
    model = keras.Sequential([keras.Input((2, 2, 1)), *layers])
    with pytest.raises(InvalidArgument) as caught:
        TrainStep(model, TrainConfig())
    assert message in str(caught.value)


def test_finite_or_not():
    model = linear_model()
    step = TrainStep(model, TrainConfig(precision="float32"))
    assert step.is_finite()
    for bad in (np.nan, np.inf):
        model.layers[-1].bias.assign([0.0, bad, 0.0])
        assert not step.is_finite()


def test_averages_and_accumulation_take_weights_of_any_dtype():
    normalization = keras.layers.Normalization(axis=None)  # whose count of images is an integer
    normalization.adapt(np.arange(12, dtype="float32"))
    layers = [normalization, keras.layers.Flatten(), keras.layers.Dense(3, dtype="float64"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((2, 2, 1)), *layers])
    config = TrainConfig(ema_momentum=0.9, gradient_accumulation_steps=2, precision="float32")
    step = TrainStep(model, config)
    train(step, [batch(6, 0), batch(6, 1)], [0.1], [2])
    assert step.is_finite()
    assert [v.dtype for v in step.evaluation_model.weights] == [v.dtype for v in model.weights]


def test_losses_of_activations_in_half_precision():
    with dtype_policy("mixed_bfloat16"):
        hidden = keras.layers.Dense(3, activity_regularizer="l2")
        model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), hidden, keras.layers.Dense(3)])
    assert np.isfinite(train(TrainStep(model, TrainConfig(precision="mixed_bfloat16")), [batch()], [0.1])).all()
