"""The optimizers: Keras's, but each variable is updated by one kernel, where Keras's Adam takes a dozen operations.

On a CPU an update is bound by memory: AdamW on ResNet-50's 25.6 million parameters took 25 ms instead of 55 on 2 cores
of an AMD EPYC. With large fully connected layers it is a good part of a step. State and results are Keras's.
"""

from kzoo.backend import keras, tf
from kzoo.train.config import TrainConfig


def create_optimizer(config: TrainConfig):
    """The optimizer of a config. The learning rate is assigned at every step.

    Gradients must have been summed over the replicas; weight decay of sgd and adam is left to the caller.
    """
    rate = config.peak_learning_rate
    if config.optimizer == "sgd":
        optimizer = SGD(rate, momentum=config.momentum, nesterov=config.momentum > 0)
    else:
        decay = config.decay if config.optimizer == "adamw" else None
        optimizer = Adam(rate, epsilon=config.epsilon, weight_decay=decay, name=config.optimizer)
        optimizer._use_weight_decay = lambda variable: len(variable.shape) > 1
    # Keras sums the gradients over the replicas inside its update; the step has done that.
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    return optimizer


class _LearningRateNoted(keras.optimizers.Optimizer):
    """An optimizer that knows whether somebody, a callback of Keras say, has set its learning rate."""

    _set, _begun = False, None

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


class SGD(_LearningRateNoted, keras.optimizers.SGD):
    """Sutskever et al., 2013, section 2: momentum, in Nesterov's form."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        learning_rate, gradient = (tf.cast(x, variable.dtype) for x in (learning_rate, gradient))
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


class Adam(_LearningRateNoted, keras.optimizers.Adam):
    """Adam; with `weight_decay`, AdamW: the decoupled decay of Loshchilov & Hutter, 2019, comes first.

    Kingma & Ba, 2015, section 2, its last paragraph: epsilon is added to the uncorrected root ("epsilon hat").
    """

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
