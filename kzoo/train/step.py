"""The training step: one function, the same on one device and on many.

The loss is the mean over the examples of a step, on whatever replicas they are. In this order come: the gradients of
each batch, added up where a step takes several (accumulation); their sum over the replicas, once; the finite check
(float16); unscaling; weight decay; clipping by global norm; the update; the moving average of the weights.

Accumulation comes first so that a step on four batches is the step on one batch four times as large, loss scaling and
clipping included.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kzoo.backend import compiled, layers_within, tf
from kzoo.classifier import PREDICTIONS, auxiliary_heads, without_auxiliary_heads
from kzoo.errors import InvalidArgument
from kzoo.outputs import logits_of
from kzoo.train.config import ADAMW, TrainConfig
from kzoo.train.normalization import show_statistics
from kzoo.train.optimizers import create_optimizer
from kzoo.train.precision import twin
from kzoo.train.strategy import assign_here, average_statistics, seeds_of, statistics
from kzoo.train.teacher import Teacher

# Dynamic loss scaling (Micikevicius et al., 2018, section 3.2): start high, halve on overflow, double after a while.
INITIAL_LOSS_SCALE = 2.0**15
STEPS_BEFORE_DOUBLING = 2000


class TrainStep:
    """A model with its optimizer and everything else that a step changes.

    Create it inside the strategy's scope. `variables` is its whole state: what a checkpoint holds.
    """

    def __init__(
        self,
        model,
        config: TrainConfig,
        class_weights=None,
        rate_factors: Sequence[float] = (),
        teacher: Teacher | None = None,
    ):
        """Take over `model` and make its optimizer; `rate_factors` are those of `create_optimizer`.

        With a teacher its probabilities take the place of the labels in the loss.
        """
        self.model, self.teacher = model, teacher
        self.classifier = without_auxiliary_heads(model)
        self.heads = auxiliary_heads(model)
        self.logits = logits_of(model)
        self.config = config
        self.class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self.strategy = tf.distribute.get_strategy()
        self.optimizer = create_optimizer(config, rate_factors)
        self.optimizer.build(model.trainable_variables)
        model.optimizer = self.optimizer  # where Keras's callbacks look for it
        self.average: Any = None if config.averages is None else twin(self.classifier)
        # Moving means and variances of the average that are estimated anew for its weights.
        self.estimated = [] if self.average is None else show_statistics(self.average, self.classifier)
        self.evaluation_logits = logits_of(self.evaluation_model)
        # By what the layers compute in, whatever the configuration says: a layer may have a policy of its own.
        scales = any(layer.compute_dtype == "float16" for layer in layers_within(model))
        self.loss_scale: Any = tf.Variable(INITIAL_LOSS_SCALE, trainable=False) if scales else None
        self.good_steps: Any = tf.Variable(0, trainable=False) if scales else None
        # Kernels have a rank of at least 2; biases and normalization parameters have rank 1.
        self.decayed = [len(v.shape) > 1 for v in model.trainable_variables]
        self.train, self.evaluate = compiled(self._train), compiled(self._evaluate)
        self.observe = compiled(self._observe)

    @property
    def evaluation_model(self):
        """The classifier that is validated and saved: the one in training, or the average of its weights."""
        return self.classifier if self.average is None else self.average

    @property
    def variables(self) -> list:
        """Every variable that a step changes, in a fixed order."""
        averages = [] if self.average is None else self.average.weights
        scaling = [v for v in (self.loss_scale, self.good_steps) if v is not None]
        return [*self.model.variables, *self.optimizer.variables, *averages, *scaling]

    def is_finite(self) -> bool:
        """Whether every number of the state is finite."""
        numbers = [np.asarray(v) for v in self.variables]
        return all(np.isfinite(n).all() for n in numbers if n.dtype.kind == "f")

    def _train(self, batches, learning_rates, counts):
        """Take a step for each learning rate, on the next `counts[i]` batches.

        Args:
            batches: An iterator over (images, labels, weight of each example), as `strategy.share_out` makes it;
                labels are (batch,) int, or (batch, classes) float.
            learning_rates: float32 (steps,).
            counts: int32 (steps,); all ones unless gradients are accumulated.

        Returns:
            float32 (steps, 4 + heads): sum of losses, correct, examples, whether the step was skipped because of an
            overflow (then the first three are 0), and the sum of losses of each auxiliary head.
        """

        def take(step, totals):
            self.optimizer.learning_rate.assign(learning_rates[step])
            return step + 1, totals.write(step, self._step(batches, counts[step]))

        steps = tf.size(learning_rates)
        totals = tf.TensorArray(tf.float32, steps, element_shape=[4 + len(self.heads)])
        _, totals = tf.while_loop(lambda step, _: step < steps, take, (0, totals))
        return totals.stack()

    def _step(self, batches, count):
        before = None if self.loss_scale is None else self.strategy.run(self._read_statistics)
        if self.config.gradient_accumulation_steps == 1:
            gradients, sums = self.strategy.run(self._part, args=next(batches))
            gradients = self.strategy.run(self._reduce, args=(gradients,))
        else:
            gradients, sums = self._accumulate(batches, count)
        if self.loss_scale is None:
            self.strategy.run(self._apply, args=(gradients, 1.0))
            return self.strategy.reduce("SUM", sums, axis=None)
        return self._update_if_finite(gradients, self.strategy.reduce("SUM", sums, axis=None), before)

    def _part(self, images, labels, weight):
        """One replica's part of a batch: its share of the gradients of the batch's mean loss, and its sums."""
        replica = tf.distribute.get_replica_context()
        targets = labels if self.teacher is None else self.teacher.probabilities(images)
        with tf.GradientTape() as tape:
            outputs = self.logits(images, training=True)
            logits = outputs[PREDICTIONS]
            total = _times(weight, self._total_loss(targets, logits))
            auxiliary = [_times(weight, self._total_loss(targets, outputs[name])) for name in self.heads]
            examples = weight * tf.cast(tf.shape(labels)[0], tf.float32)
            # Szegedy et al., 2015, section 5: "the losses of the auxiliary classifiers were weighted by 0.3".
            loss = total + self.config.auxiliary_weight * tf.cast(sum(auxiliary), total.dtype)
            loss /= tf.cast(replica.all_reduce("SUM", examples), loss.dtype)
            for penalty in self.model.losses:
                loss += tf.cast(penalty, loss.dtype) / self.strategy.num_replicas_in_sync
            scaled = loss if self.loss_scale is None else loss * self.loss_scale
        self._check_losses()
        weights = [v.value for v in self.model.trainable_variables]
        gradients = tape.gradient(scaled, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        average_statistics(self.model)
        sums = [total, weight * _correct(labels, logits), examples, 0.0, *auxiliary]
        return gradients, tf.stack([tf.cast(value, tf.float32) for value in sums])

    def _check_losses(self):
        """Refuse losses of activations on several replicas, after they are there: Keras keeps them in the layers.

        Replicas share the layers, and each clears what another has put there.
        """
        if self.strategy.num_replicas_in_sync > 1 and any(layer._losses for layer in layers_within(self.model)):
            raise InvalidArgument(
                "A model with losses of activations (activity_regularizer, add_loss) trains on one device only. "
                f"Received: {self.strategy.num_replicas_in_sync} replicas. Use --strategy one, or regularize weights."
            )

    def _accumulate(self, batches, count):
        """The gradients of the mean loss of the next `count` batches together, and each replica's sums."""

        def zeros():
            weights = self.model.trainable_variables
            return [tf.zeros(v.shape, v.dtype) for v in weights], tf.zeros([4 + len(self.heads)])

        def examples_of(sums):
            return tf.distribute.get_replica_context().all_reduce("SUM", sums[2])

        def add(gradients, sums, *batch):
            more, more_sums = self._part(*batch)
            examples = examples_of(more_sums)
            weighted = [g + tf.cast(examples, g.dtype) * m for g, m in zip(gradients, more, strict=True)]
            return weighted, sums + more_sums

        def mean(gradients, sums):
            examples = examples_of(sums)
            return [g / tf.cast(examples, g.dtype) for g in self._reduce(gradients)]

        def body(done, gradients, sums):
            return done + 1, *self.strategy.run(add, args=(gradients, sums, *next(batches)))

        start = (0, *self.strategy.run(zeros))
        _, gradients, sums = tf.while_loop(lambda done, *_: done < count, body, start)
        return self.strategy.run(mean, args=(gradients, sums)), sums

    def _reduce(self, gradients):
        return tf.distribute.get_replica_context().all_reduce("SUM", gradients)

    def _total_loss(self, labels, logits):
        """The sum of the examples' weighted losses."""
        if self.teacher is not None and self.teacher.temperature != 1:
            # Hinton et al., 2015, section 2: times the temperature's square, as the gradients are divided by that.
            temperature = self.teacher.temperature
            return temperature**2 * self._sum_of_losses(labels, _in_full(logits) / temperature)
        return self._sum_of_losses(labels, logits)

    def _sum_of_losses(self, labels, logits):
        if self.class_weights is None:
            return tf.reduce_sum(cross_entropy(labels, logits, self.config.label_smoothing))
        if _is_soft(labels):  # the loss of each class by its share and its weight
            return tf.reduce_sum(cross_entropy(labels * self.class_weights, logits, self.config.label_smoothing))
        losses = cross_entropy(labels, logits, self.config.label_smoothing)
        return tf.reduce_sum(_times(tf.gather(self.class_weights, labels), losses))

    def _update_if_finite(self, gradients, sums, statistics_before):
        """Update, or skip the step and halve the loss scale: on all replicas alike, by the sum of their gradients."""
        first_replica = [self.strategy.experimental_local_results(g)[0] for g in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in first_replica])
        scale = tf.identity(self.loss_scale)
        self.good_steps.assign(tf.where(finite, self.good_steps + 1, 0))
        double = tf.equal(self.good_steps, STEPS_BEFORE_DOUBLING)
        self.loss_scale.assign(tf.where(finite, tf.where(double, scale * 2, scale), tf.maximum(scale / 2, 1.0)))
        self.good_steps.assign(tf.where(double, 0, self.good_steps))

        def apply():
            self.strategy.run(self._apply, args=(gradients, scale))
            return sums

        def skip():
            # The forward pass has moved the statistics, perhaps to infinity.
            self.strategy.run(self._write_statistics, args=(statistics_before,))
            # Without a scale that could still be halved it is no overflow but divergence, and must be seen.
            skipped = tf.tensor_scatter_nd_update(tf.zeros_like(sums), [[3]], [1.0])
            return tf.where(scale > 1.0, skipped, tf.fill(tf.shape(sums), np.nan))

        return tf.cond(finite, apply, skip)

    def _read_statistics(self):
        return [tf.identity(v.value) for v in statistics(self.model)]

    def _write_statistics(self, values):
        for variable, value in zip(statistics(self.model), values, strict=True):
            assign_here(variable, value)

    def _apply(self, gradients, scale):
        """Update the weights from gradients that are already summed over the replicas."""
        variables = self.model.trainable_variables
        gradients = [g / tf.cast(scale, g.dtype) for g in gradients] if self.loss_scale is not None else list(gradients)
        if self.config.optimizer_name not in ADAMW and self.config.decay:
            gradients = [
                g + self.config.decay * v.value if decayed else g
                for g, v, decayed in zip(gradients, variables, self.decayed, strict=True)
            ]
        if self.config.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm)
        self.optimizer.apply(gradients, variables)
        if self.config.averages == "ema":
            self._move_average(self.average.weights)

    def _move_average(self, averages):
        """Move the average towards the weights, as timm's ModelEma does.

        The statistics of batch normalizations move too, but are worth little: those of early weights, which the average
        has long forgotten, stay in them. They are estimated anew before they are used (`observe`).

        In the first steps faster than `ema_momentum` says, by the rule of TensorFlow's ExponentialMovingAverage: it
        would hold on to the initial weights for as many steps as it averages over.
        """
        steps = tf.cast(self.optimizer.iterations.value, tf.float32)
        momentum = tf.minimum(self.config.ema_momentum, (1 + steps) / (10 + steps))
        for average, weight in zip(averages, self.classifier.weights, strict=True):
            old, new = tf.identity(average.value), tf.identity(weight.value)
            if new.dtype.is_floating:  # not a count
                new = old + tf.cast(1 - momentum, new.dtype) * (new - old)
            assign_here(average, new)

    def end_epoch(self, averaged: int) -> None:
        """Bring the average to the weights at the end of an epoch, except what `observe` is for.

        Args:
            averaged: With `swa_epochs`, of how many epochs the average is the mean, without this one. With 0 it becomes
                a copy of the weights.
        """
        if self.config.averages == "swa":
            weights = self.classifier.get_weights()
            if averaged:
                weights = [
                    mean + (weight - mean) / (averaged + 1) if weight.dtype.kind == "f" else weight  # a count
                    for mean, weight in zip(self.average.get_weights(), weights, strict=True)
                ]
            self.average.set_weights(weights)
        elif self.config.averages == "schedule_free":
            trained = {id(v) for v in self.model.trainable_variables}
            self.average.set_weights(
                [self.optimizer.averaged(v) if id(v) in trained else v.numpy() for v in self.classifier.weights]
            )

    def begin_observing(self) -> None:
        """Have the random layers of the average draw from where those of the model in training stand."""
        for ours, theirs in zip(seeds_of(self.average), seeds_of(self.classifier), strict=True):
            ours.assign(theirs.value)

    def _observe(self, images, labels, weight):
        """One global batch through the average as in training: the values of `estimated` for it, and its images."""

        def forward(images, labels, weight):
            self.evaluation_logits(images, training=True)
            average_statistics(self.average)
            examples = weight * tf.cast(tf.shape(labels)[0], tf.float32)
            return [tf.identity(v.value) for v in self.estimated], examples

        values, examples = self.strategy.run(forward, args=(images, labels, weight))
        first_replica = [self.strategy.experimental_local_results(value)[0] for value in values]
        return first_replica, self.strategy.reduce("SUM", examples, axis=None)

    def _evaluate(self, images, labels, weight):
        """One global batch: (3,), the sum of losses, correct, examples."""
        sums = self.strategy.run(self._sums, args=(images, labels, weight))
        return self.strategy.reduce("SUM", sums, axis=None)

    def _sums(self, images, labels, weight):
        logits = self.evaluation_logits(images, training=False)[PREDICTIONS]
        losses = cross_entropy(labels, logits, 0.0)
        examples = tf.cast(tf.size(labels), tf.float32)
        return weight * tf.stack([tf.cast(tf.reduce_sum(losses), tf.float32), _correct(labels, logits), examples])


def cross_entropy(labels, logits, label_smoothing: float | None):
    """Cross-entropy of each example: labels (batch,) int, logits (batch, classes) of any float -> (batch,).

    It is float64 for logits in float64, else float32.

    With smoothing, the target is `1 - label_smoothing` on the label plus an even spread of the rest over all classes.
    Soft labels, (batch, classes) float, give the sum of the losses of all classes, each times its share.
    """
    logits = _in_full(logits)
    if _is_soft(labels):
        labels = tf.cast(labels, logits.dtype)
        losses, total = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1), tf.reduce_sum(labels, axis=-1)
    else:
        losses, total = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), 1.0
    if label_smoothing:
        uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * total * uniform
    return losses


def _in_full(logits):
    """In float32 at least: a user's last layer may follow a half-precision policy."""
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _times(weight, losses):
    return tf.cast(weight, losses.dtype) * losses


def _is_soft(labels) -> bool:
    return len(labels.shape) == 2


def _correct(labels, logits):
    """How many are right; of soft labels the one with the greatest share counts."""
    if _is_soft(labels):
        labels = tf.argmax(labels, axis=-1, output_type=tf.int32)
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
    return tf.reduce_sum(tf.cast(hits, tf.float32))
