"""The optimizers: Keras's, but each variable is updated by one kernel, where Keras's Adam takes a dozen operations.

On a CPU an update is bound by memory: AdamW on ResNet-50's 25.6 million parameters took 25 ms instead of 55 on 2 cores
of an AMD EPYC. With large fully connected layers it is a good part of a step. State and results are Keras's.
Schedule-free AdamW is kzoo's own, since Keras's computes something else (tests/upstream/test_keras_schedule_free.py).
"""

from collections.abc import Sequence

import numpy as np

from kzoo.backend import keras, tf
from kzoo.train.config import ADAMW, TrainConfig
from kzoo.train.strategy import assign_here


def create_optimizer(config: TrainConfig, rate_factors: Sequence[float] = ()):
    """The optimizer of a config. The learning rate is assigned at every step.

    Gradients must have been summed over the replicas; weight decay of sgd and adam is left to the caller. Whoever sets
    the learning rate sets it for all variables, times the factor of each in `rate_factors`.
    """
    rate = config.peak_learning_rate
    name = config.optimizer_name
    if name == "sgd":
        optimizer = SGD(rate, momentum=config.momentum, nesterov=config.momentum > 0)
    else:
        kind = ScheduleFreeAdamW if name == "schedule_free_adamw" else Adam
        optimizer = kind(rate, epsilon=config.epsilon, name=name)
        optimizer.decoupled_decay = config.decay if name in ADAMW else 0.0
    optimizer.rate_factors = tuple(rate_factors)
    # Keras sums the gradients over the replicas inside its update; the step has done that.
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    return optimizer


class _Optimizer(keras.optimizers.Optimizer):
    """An optimizer with a factor of the learning rate for each variable.

    It knows whether somebody, a callback of Keras say, has set its learning rate.
    """

    _set, _begun = False, None
    rate_factors: tuple[float, ...] = ()

    def rate_of(self, variable, learning_rate):
        """The learning rate of one variable."""
        rate = tf.cast(learning_rate, variable.dtype)
        return rate * self.rate_factors[self._get_variable_index(variable)] if self.rate_factors else rate

    @property
    def learning_rate(self):
        """The learning rate of the coming step, as a variable."""
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.Optimizer.learning_rate.fset(self, value)
        self._set = True

    def begin_learning_rate(self, value):
        """Assign the schedule's rate, which does not count as set."""
        self._learning_rate.assign(value)
        self._set, self._begun = False, float(self._learning_rate.numpy())

    @property
    def learning_rate_was_set(self) -> bool:
        """Whether it was set since, to whatever value, or its variable was assigned another one."""
        return self._set or float(self._learning_rate.numpy()) != self._begun


class SGD(_Optimizer, keras.optimizers.SGD):
    """Sutskever et al., 2013, section 2: momentum, in Nesterov's form."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        learning_rate, gradient = self.rate_of(variable, learning_rate), tf.cast(gradient, variable.dtype)
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=learning_rate, delta=gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class Adam(_Optimizer, keras.optimizers.Adam):
    """Adam; with `decoupled_decay`, AdamW: the decay of Loshchilov & Hutter, 2019, comes first, of kernels alone.

    Kingma & Ba, 2015, section 2, its last paragraph: epsilon is added to the uncorrected root ("epsilon hat").
    """

    decoupled_decay = 0.0

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        rate = self.rate_of(variable, learning_rate)
        if self.decoupled_decay and len(variable.shape) > 1:
            variable.assign_sub(variable * tf.cast(self.decoupled_decay, variable.dtype) * rate)
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


class ScheduleFreeAdamW(_Optimizer):
    """Schedule-free AdamW: algorithm 1 of Defazio et al., 2024, with the weight decay of kernels alone.

    The model's variables are y, where gradients are taken; z, where steps are made, is a slot. What is to be validated
    and saved is x, the mean of all z, weighted by the squares of their learning rates: `averaged` gives it.
    """

    decoupled_decay = 0.0
    beta_1, beta_2 = 0.9, 0.999

    def __init__(self, learning_rate: float, epsilon: float, name: str):
        super().__init__(learning_rate=learning_rate, name=name)
        self.epsilon = epsilon

    def build(self, variables):
        """Make the slots; every z begins as the variable is."""
        super().build(variables)
        self._bases, self._velocities = self.add_optimizer_variables(variables, ["base", "velocity"])
        self._squared_rates = self.add_variable((), name="squared_rates", aggregation="only_first_replica")
        for base, variable in zip(self._bases, variables, strict=True):
            base.assign(variable)

    def apply(self, gradients, variables):
        """Take a step; inside a replica."""
        squared = tf.square(tf.cast(self.learning_rate, self._squared_rates.dtype))
        assign_here(self._squared_rates, self._squared_rates.value + squared)
        super().apply(gradients, variables)

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        index, kind = self._get_variable_index(variable), variable.dtype
        base, velocity = self._bases[index], self._velocities[index]
        # The factors of the variables cancel in the weight of a step, and before the first step with a rate there is no
        # mean to move.
        squared = tf.square(tf.cast(learning_rate, self._squared_rates.dtype))
        share = tf.cast(tf.math.divide_no_nan(squared, self._squared_rates.value), kind)
        rate, gradient = self.rate_of(variable, learning_rate), tf.cast(gradient, kind)
        step = tf.cast(self.iterations.value + 1, kind)
        y, z = tf.identity(variable), tf.identity(base.value)
        second = self.beta_2 * tf.identity(velocity.value) + (1 - self.beta_2) * tf.square(gradient)
        change = gradient / (tf.sqrt(second / (1 - self.beta_2**step)) + self.epsilon)
        if self.decoupled_decay and len(variable.shape) > 1:
            change += self.decoupled_decay * y
        # (1 - beta) z + beta x, with x moved by its share towards the new z: x itself is not needed.
        variable.assign(y + share * (z - y) - rate * (1 - self.beta_1 * (1 - share)) * change)
        assign_here(base, z - rate * change)
        assign_here(velocity, second)

    def averaged(self, variable) -> np.ndarray:
        """The x of a variable of the model."""
        base = self._bases[self._get_variable_index(variable)].numpy()
        return (variable.numpy() - (1 - self.beta_1) * base) / self.beta_1
