"""The optimizers: Keras's, which update a variable in one pass where Keras takes ten.

On a CPU an update is bound by memory, and of a network with large fully connected layers it is a good part of a step.
State, names and results are Keras's.
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
    elif config.optimizer == "adam":
        optimizer = Adam(rate)
    else:
        optimizer = AdamW(rate, weight_decay=config.decay)
        optimizer._use_weight_decay = lambda variable: len(variable.shape) > 1
    # Keras sums the gradients over the replicas inside its update; the step has done that.
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    return optimizer


class SGD(keras.optimizers.SGD):
    """Sutskever et al., 2013, section 2: momentum, in Nesterov's form."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
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


def _adam_step(optimizer, gradient, variable, learning_rate):
    """Kingma & Ba, 2015, section 2, its last paragraph: epsilon is added to the uncorrected root ("epsilon hat")."""
    index = optimizer._get_variable_index(variable)
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[index].value.handle,
        v=optimizer._velocities[index].value.handle,
        beta1_power=optimizer.beta_1**step,
        beta2_power=optimizer.beta_2**step,
        lr=learning_rate,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


class Adam(keras.optimizers.Adam):
    """Adam, by one kernel a variable."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        _adam_step(self, gradient, variable, learning_rate)


class AdamW(keras.optimizers.AdamW):
    """Adam by one kernel a variable, after the decoupled decay of Loshchilov & Hutter, 2019."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable on one device."""
        _adam_step(self, gradient, variable, learning_rate)
