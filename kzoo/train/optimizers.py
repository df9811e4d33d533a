"""The optimizers: Keras's, but each variable is updated by one kernel, where Keras's Adam takes a dozen operations.

On a CPU an update is bound by memory: AdamW on ResNet-50's 25.6 million parameters took 25 ms instead of 55 on 2 cores
of an AMD EPYC. With large fully connected layers it is a good part of a step. State and results are Keras's.
"""

from collections.abc import Sequence

from kzoo.backend import keras, tf
from kzoo.train.config import TrainConfig


def create_optimizer(config: TrainConfig, rate_factors: Sequence[float] = ()):
    """The optimizer of a config. The learning rate is assigned at every step.

    Gradients must have been summed over the replicas; weight decay of sgd and adam is left to the caller. Whoever sets
    the learning rate sets it for all variables, times the factor of each in `rate_factors`.
    """
    rate = config.peak_learning_rate
    if config.optimizer == "sgd":
        optimizer = SGD(rate, momentum=config.momentum, nesterov=config.momentum > 0)
    else:
        optimizer = Adam(rate, epsilon=config.epsilon, name=config.optimizer)
        optimizer.decoupled_decay = config.decay if config.optimizer == "adamw" else 0.0
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
