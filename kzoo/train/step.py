"""The training step: one function, the same on one device and on many.

The loss is the mean over the examples of the global batch; gradients are summed over the replicas once; then come, in
this order, the finite check (float16), unscaling, weight decay, clipping by global norm, and the update.
"""

from typing import Any

import numpy as np

from kzoo.backend import keras, tf
from kzoo.classifier import (
    PREDICTIONS,
    auxiliary_heads,
    ends_in_softmax,
    head,
    output_layer,
    without_auxiliary_heads,
)
from kzoo.train.config import TrainConfig
from kzoo.train.optimizers import create_optimizer

# Dynamic loss scaling (Micikevicius et al., 2018, section 3.2): start high, halve on overflow, double after a while.
INITIAL_LOSS_SCALE = 2.0**15
STEPS_BEFORE_DOUBLING = 2000


class TrainStep:
    """A model with its optimizer and everything else that a step changes.

    Create it inside the strategy's scope. `variables` is its whole state: what a checkpoint holds.
    """

    def __init__(self, model, config: TrainConfig, class_weights=None):
        """Take over `model`, which from here on returns logits, and make its optimizer."""
        self.model = end_in_logits(model)
        self.classifier = without_auxiliary_heads(model)
        self.heads = auxiliary_heads(model)
        self.config = config
        self.class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self.strategy = tf.distribute.get_strategy()
        self.optimizer = create_optimizer(config)
        self.optimizer.build(model.trainable_variables)
        self.loss_scale: Any = tf.Variable(INITIAL_LOSS_SCALE, trainable=False) if _is_float16(config) else None
        self.good_steps: Any = tf.Variable(0, trainable=False) if _is_float16(config) else None
        # Kernels have a rank of at least 2; biases and normalization parameters have rank 1.
        self.decayed = [len(v.shape) > 1 for v in model.trainable_variables]
        # Without AutoGraph, which does not work on every version of Python that TensorFlow runs on.
        self.train = tf.function(self._train, reduce_retracing=True, autograph=False)
        self.evaluate = tf.function(self._evaluate, reduce_retracing=True, autograph=False)

    @property
    def variables(self) -> list:
        """Every variable that a step changes, in a fixed order."""
        own = [v for v in (self.loss_scale, self.good_steps) if v is not None]
        return [*self.model.variables, *self.optimizer.variables, *own]

    def is_finite(self) -> bool:
        """Whether every number of the state is finite."""
        numbers = [np.asarray(v) for v in self.variables]
        return all(np.isfinite(n).all() for n in numbers if n.dtype.kind == "f")

    def _train(self, batches, learning_rates):
        """Take a step on each of the next batches.

        Returns (steps, 3 + heads): sum of losses, correct, examples, and the sum of losses of each auxiliary head.
        """
        steps = tf.size(learning_rates)

        def take(step, totals):
            self.optimizer.learning_rate.assign(learning_rates[step])
            gradients, sums = self.strategy.run(self._gradients, args=next(batches))
            self._update(gradients)
            return step + 1, totals.write(step, self.strategy.reduce("SUM", sums, axis=None))

        totals = tf.TensorArray(tf.float32, steps, element_shape=[3 + len(self.heads)])
        _, totals = tf.while_loop(lambda step, _: step < steps, take, (0, totals))
        return totals.stack()

    def _gradients(self, images, labels):
        """One replica's part of the batch: the gradients of the whole batch, and this part's sums."""
        replica = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            logits = outputs[PREDICTIONS] if self.heads else outputs
            total = self._total_loss(labels, logits)
            auxiliary = [self._total_loss(labels, outputs[name]) for name in self.heads]
            examples = tf.cast(tf.size(labels), tf.float32)
            # Szegedy et al., 2015, section 5: "the losses of the auxiliary classifiers were weighted by 0.3".
            loss = (total + self.config.auxiliary_weight * sum(auxiliary)) / replica.all_reduce("SUM", examples)
            if self.model.losses:
                loss += tf.add_n(self.model.losses) / self.strategy.num_replicas_in_sync
            scaled = loss if self.loss_scale is None else loss * self.loss_scale
        gradients = tape.gradient(scaled, [v.value for v in self.model.trainable_variables])
        gradients = replica.all_reduce("SUM", gradients)
        return gradients, tf.stack([total, _correct(labels, logits), examples, *auxiliary])

    def _total_loss(self, labels, logits):
        """The sum of the examples' weighted losses."""
        losses = cross_entropy(labels, logits, self.config.label_smoothing)
        if self.class_weights is not None:
            losses *= tf.gather(self.class_weights, labels)
        return tf.reduce_sum(losses)

    def _update(self, gradients):
        if self.loss_scale is None:
            self.strategy.run(self._apply, args=(gradients, 1.0))
            return
        first_replica = [self.strategy.experimental_local_results(g)[0] for g in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in first_replica])
        scale = tf.identity(self.loss_scale)
        self.good_steps.assign(tf.where(finite, self.good_steps + 1, 0))
        double = tf.equal(self.good_steps, STEPS_BEFORE_DOUBLING)
        self.loss_scale.assign(tf.where(finite, tf.where(double, scale * 2, scale), tf.maximum(scale / 2, 1.0)))
        self.good_steps.assign(tf.where(double, 0, self.good_steps))

        def apply():
            self.strategy.run(self._apply, args=(gradients, scale))
            return finite

        tf.cond(finite, apply, lambda: finite)

    def _apply(self, gradients, scale):
        """Update the weights from gradients that are already summed over the replicas."""
        variables = self.model.trainable_variables
        gradients = [g / scale for g in gradients] if self.loss_scale is not None else list(gradients)
        if self.config.optimizer != "adamw" and self.config.decay:
            gradients = [
                g + self.config.decay * v.value if decayed else g
                for g, v, decayed in zip(gradients, variables, self.decayed, strict=True)
            ]
        if self.config.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm)
        self.optimizer.apply(gradients, variables)

    def _evaluate(self, images, labels):
        """One global batch: (3,), the sum of losses, correct, examples."""
        return self.strategy.reduce("SUM", self.strategy.run(self._sums, args=(images, labels)), axis=None)

    def _sums(self, images, labels):
        logits = self.classifier(images, training=False)
        losses = cross_entropy(labels, logits, 0.0)
        return tf.stack([tf.reduce_sum(losses), _correct(labels, logits), tf.cast(tf.size(labels), tf.float32)])


def cross_entropy(labels, logits, label_smoothing):
    """Cross-entropy of each example: labels (batch,) int, logits (batch, classes) of any float -> (batch,) float32.

    With smoothing, the target is `1 - label_smoothing` on the label plus an even spread of the rest over all classes.
    """
    logits = tf.cast(logits, tf.float32)  # a user's last layer may follow a half-precision policy
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if label_smoothing:
        uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * uniform
    return losses


def _correct(labels, logits):
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
    return tf.reduce_sum(tf.cast(hits, tf.float32))


def end_in_logits(model):
    """Take the softmax off the end of a classifier, in place, so that its loss is computed from logits, in float32.

    Raises:
        InvalidArgument: The model, or one of its auxiliary heads, does not end in one output of logits or softmax.
    """
    heads = [without_auxiliary_heads(model), *(head(model, name) for name in auxiliary_heads(model))]
    for layer in map(output_layer, heads):
        if ends_in_softmax(layer):
            layer.activation = keras.activations.linear
    return model


def _is_float16(config: TrainConfig) -> bool:
    return config.precision == "mixed_float16"
