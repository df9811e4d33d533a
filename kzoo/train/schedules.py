"""Learning-rate schedules: pure functions of the time in epochs."""

import math

from kzoo.train.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The learning rate at a time in epochs (a fraction within an epoch), from 0 to `config.total_epochs`.

    Every schedule may begin with a linear warm-up from 0 to the peak (Goyal et al., 2017, section 2.2); the decay runs
    over the time that is left. `plateau` is constant here: the training loop lowers it by what it sees.

    >>> config = TrainConfig(epochs=10, learning_rate=1.0, schedule="polynomial", warmup_epochs=2)
    >>> [learning_rate(config, epoch) for epoch in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    peak = config.peak_learning_rate
    warmup = config.warmup
    if epoch < warmup:
        rise = epoch / warmup
        # One-cycle rises along a cosine too (Smith & Topin, 2018, in the form that became usual).
        return peak * (0.5 - 0.5 * math.cos(math.pi * rise) if config.schedule == "one_cycle" else rise)
    done = min(1.0, (epoch - warmup) / (config.total_epochs - warmup))
    return peak * _DECAYS[config.schedule](config, epoch, done)


def _constant(config, epoch, done):
    return 1.0


def _step(config, epoch, done):
    return config.decay_rate ** sum(epoch >= e for e in config.step_epochs)


def _polynomial(config, epoch, done):
    return config.final_learning_rate + (1 - config.final_learning_rate) * (1 - done) ** config.power


def _exponential(config, epoch, done):
    return config.decay_rate**done


def _cosine(config, epoch, done):
    # Loshchilov & Hutter (2017), equation 5, without restarts.
    return config.final_learning_rate + (1 - config.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * done))


_DECAYS = {
    "constant": _constant,
    "step": _step,
    "polynomial": _polynomial,
    "exponential": _exponential,
    "cosine": _cosine,
    "one_cycle": _cosine,
    "plateau": _constant,
}
