"""`find_learning_rate`: the range test for the learning rate (Smith, 2017, section 3.3)."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import arguments, augment, console
from kzoo.backend import tf
from kzoo.errors import KzooError
from kzoo.hardware import probe
from kzoo.plotting import new_figure, png
from kzoo.train import runs
from kzoo.train.config import TrainConfig
from kzoo.train.fitting import Setup, check_build, set_up_with_model
from kzoo.train.inputs import batches_per_epoch, data_errors
from kzoo.train.precision import resolve
from kzoo.train.record import RunRecord
from kzoo.train.strategy import give_each_replica_its_own_seeds, share_out

LOWEST, HIGHEST = 1e-7, 10.0
# A loss is smoothed by a Gaussian of this many steps: unlike an average of those before, it does not lag.
SMOOTHING = 2.0
# The test is over where the smoothed loss of the steps so far is so much above the least, of what the loss began with.
DIVERGED = 0.5
# By so much, of what it began with, the loss must have fallen somewhere.
LEAST_FALL = 0.05
# Steps at most that are skipped before the first that float16 can take: from INITIAL_LOSS_SCALE down to 1.
MOST_SKIPPED = 16
# The suggestion, as a share of the rate of the least loss.
SHARE_OF_LEAST, SHARE_OF_LEAST_SGD = 1 / 10, 1 / 3


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found."""

    rates: tuple[float, ...]
    """The learning rate of each step, rising exponentially."""
    losses: tuple[float, ...]
    """The mean loss of each step's images, before the step."""
    smoothed: tuple[float, ...]
    """The same, smoothed."""
    suggestion: float
    """A learning rate for the peak of the schedule."""
    default: float
    """What kzoo would take."""
    has_diverged: bool
    """Whether the loss rose before the highest rate was reached."""
    config: TrainConfig
    """What was tried, with a value in every place."""


def find_learning_rate(
    build: Callable[[], Any],
    train_data: Any,
    config: TrainConfig | None = None,
    *,
    steps: int = 100,
) -> RangeTest:
    """Try learning rates on the first steps of a training, each a little higher, until the loss rises.

    All else is as `fit` trains: the images, their augmentation, the batch size, the precision, the optimizer; only the
    schedule is left out. No files are kept, and the weights of the model are afterwards what they were.

    The suggestion is a tenth of the rate at which the smoothed loss is least, a usual rule; with SGD a third, since a
    tenth was too low. Measured with one seed, ResNet-20 on 3,000 images of CIFAR-10, accuracy after 5 epochs: AdamW,
    suggestion 0.0026, had 42.8 % with 0.0008, 49.7 % with 0.0022 and 41.9 % with 0.008; SGD, suggestion 0.01, had
    29.2 % with 0.002, 33.7 % with 0.0033 and 38.5 % with 0.007. For mnist_net on the digits the suggestions are 0.0038
    and 0.015. The steepest point of the loss, another rule, lay at 0.00025 for AdamW.

    Args:
        build: As for `kzoo.train.fit`.
        train_data: As for `kzoo.train.fit`.
        config: How to train. Its learning rate, schedule and epochs change nothing.
        steps: How many steps, at least 20, from a rate of 1e-7 to one of 10.

    Raises:
        InvalidArgument: Arguments that do not fit together.
        KzooError: The loss fell at no rate.

    >>> from kzoo import create_model, data
    >>> from kzoo.train import TrainConfig
    >>> digits = data.load("digits", image_size=28)
    >>> found = find_learning_rate(lambda: create_model("mnist_net"), digits, TrainConfig(precision="float32"))
    >>> 1e-4 < found.suggestion < 1e-1, found.has_diverged
    (True, True)
    """
    check_build(build, resume=False)
    steps = arguments.integer("steps", steps, 20, 10**6, valid="a whole number of at least 20")
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    resolved, reasons = resolve(config or TrainConfig(), probe())
    for reason in reasons:
        console.log(reason)
    with tempfile.TemporaryDirectory(prefix="kzoo-") as folder, data_errors():
        runs.create(Path(folder), RunRecord(train=resolved, keep=False))
        setup, model = set_up_with_model(Path(folder), build, train_data, None)
        before = model.get_weights()
        try:
            losses = list(_losses(setup, model, rates))
        finally:
            model.set_weights(before)
    return _found(rates, losses, setup.config)


def _losses(setup: Setup, model, rates: np.ndarray) -> Iterator[float]:
    """The mean loss of each step, up to where it rises or is no number."""
    # The step itself knows no schedule, and what it averages is not looked at.
    setup = replace(setup, config=replace(setup.config, ema_momentum=None, swa_epochs=None))
    config: Any = setup.config
    step = setup.step(model)
    with setup.strategy.scope():
        give_each_replica_its_own_seeds(model)
    every = config.gradient_accumulation_steps
    steps = len(rates) + MOST_SKIPPED
    passes = math.ceil(steps * every / batches_per_epoch(setup.train_data, config.batch_size))
    batches = share_out(
        setup.train_data.batches(
            config.batch_size, shuffle=True, seed=config.seed, passes=passes, augment=augment.policy(config.augment)
        ),
        setup.strategy,
    )

    def take(rate):
        return step.train(batches, tf.constant([rate], tf.float32), tf.constant([every])).numpy()[0]

    losses: list[float] = []
    with console.progress("range test", len(rates)) as advance:
        for rate in rates:
            sums = take(rate)
            while sums[3] == 1 and not losses:  # float16 overflowed: the step was skipped, and the loss scale halved
                sums = take(rate)
            # The loss of a skipped step is not known. After one that is no number, all sums are none.
            loss = losses[-1] if sums[3] == 1 else float(sums[0] / sums[2])
            losses.append(loss)
            yield loss
            advance(1, f"learning rate {rate:.2g} loss {loss:.4f}")
            if not math.isfinite(loss) or _has_risen(losses):
                return


def _has_risen(losses: Sequence[float]) -> bool:
    smoothed = _smooth(losses)
    return len(smoothed) > 10 and bool(smoothed[-1] > smoothed.min() + DIVERGED * smoothed[0])


def _smooth(losses: Sequence[float]) -> np.ndarray:
    """The losses, each averaged with its neighbours; what is beyond the ends counts as the ends."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.asarray(losses, np.float64), SMOOTHING, mode="nearest")


def _found(rates: np.ndarray, losses: Sequence[float], config: TrainConfig) -> RangeTest:
    finite = [loss for loss in losses if math.isfinite(loss)]
    has_diverged = len(finite) < len(losses) or (len(finite) > 10 and _has_risen(finite))
    tried = rates[: len(finite)]
    smoothed = _smooth(finite) if finite else np.array([np.nan])
    share = SHARE_OF_LEAST_SGD if config.optimizer_name == "sgd" else SHARE_OF_LEAST
    suggestion = _suggest(tried, smoothed, share)
    if suggestion is None:
        raise KzooError(
            f"The loss fell at no learning rate. Received: from {rates[0]:g} to {rates[len(losses) - 1]:g} in "
            f"{len(losses)} steps, losses from {smoothed[0]:.4g} to {smoothed.min():.4g}. "
            "Try more steps (--steps), or look whether the labels are right."
        )
    return RangeTest(
        tuple(map(float, tried)),
        tuple(finite),
        tuple(map(float, smoothed)),
        suggestion,
        config.peak_learning_rate,
        has_diverged,
        config,
    )


def _suggest(rates: np.ndarray, smoothed: np.ndarray, share: float) -> float | None:
    """The rule of `find_learning_rate`; None where the loss does not fall."""
    least = int(np.argmin(smoothed))
    if least < 2 or smoothed[least] > smoothed[0] - LEAST_FALL * abs(smoothed[0]):
        return None
    return float(f"{share * rates[least]:.2g}")


def picture(found: RangeTest) -> bytes:
    """The loss by learning rate as a PNG, with the suggestion and what kzoo would take."""
    figure = new_figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, ".", color="0.75", label="loss of a step")
    axes.plot(found.rates, found.smoothed, color="C0", label="smoothed")
    axes.axvline(found.suggestion, color="C3", label=f"suggestion {found.suggestion:.2g}")
    axes.axvline(found.default, color="C2", ls="--", label=f"kzoo's default {found.default:.2g}")
    low, high = min(found.smoothed), max(found.smoothed[: max(2, len(found.smoothed) // 2)])
    margin = 0.15 * (high - low)
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(low - margin, high + 3 * margin))
    axes.set_title(f"range test: {found.config.optimizer_name}, batch size {found.config.batch_size}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return png(figure, dpi=120)
