"""Learning-rate schedules: pure functions of the time in epochs, in numbers, in words and as a picture."""

import math
from collections.abc import Sequence

from kzoo.plotting import new_figure, png
from kzoo.train.config import PAPER_SCHEDULES, TrainConfig

# Of a curve; fewer points than pixels, more than its corners need.
_POINTS = 500
# More times are told by the first of them and their distance.
_MOST_TIMES = 4


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The learning rate at a time in epochs (a fraction within an epoch), from 0 to `config.total_epochs`.

    Every schedule may begin with a linear warm-up from 0 to the peak (Goyal et al., 2017, section 2.2); the decay runs
    over the time that is left. `plateau` is constant here: the training loop lowers it by what it sees. In the epochs
    that stochastic weight averaging takes (`swa_epochs`) the rate stays what it was right before them.

    >>> config = TrainConfig(epochs=10, learning_rate=1.0, schedule="polynomial", warmup_epochs=2)
    >>> [learning_rate(config, epoch) for epoch in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    peak = config.peak_learning_rate
    warmup = config.warmup
    if config.swa_epochs is not None:
        epoch = min(epoch, math.nextafter(config.swa_start, 0))  # before a step that falls on their beginning
    if epoch < warmup:
        return peak * _rise(config, epoch / warmup)
    done = min(1.0, (epoch - warmup) / (config.total_epochs - warmup))
    return peak * _DECAYS[config.generic_schedule](config, epoch, done)


def in_words(config: TrainConfig) -> str:
    """The schedule of a configuration that has a value in every place, as a line of a log.

    >>> in_words(TrainConfig(epochs=10, schedule="resnet"))
    'learning rate of sgd by the schedule resnet: 0.2, times 0.1 at epochs 5 and 7.5'
    >>> in_words(TrainConfig(epochs=10, warmup_epochs=2, swa_epochs=4))
    'learning rate of adamw by the schedule cosine: up to 0.003 in 2 epochs, down to 0 along a cosine; 0.0015 in the \
last 4 epochs, whose weights are averaged'
    """
    peak, warmup = f"{config.peak_learning_rate:.4g}", config.warmup
    paper = PAPER_SCHEDULES.get(config.schedule_name)
    parts = [peak]
    if warmup and paper and paper.warmup_rate is not None:
        parts = [f"{paper.warmup_rate * config.peak_learning_rate:.4g} for {_epochs(warmup)}, then {peak}"]
    elif warmup:
        parts = [f"up to {peak} in {_epochs(warmup)}"]
    last, factor = f"{config.final_learning_rate * config.peak_learning_rate:.4g}", f"{config.decay_factor:g}"
    decays = {
        "constant": "then constant" if warmup else "constant",
        "step": f"times {factor} at {_times(config.step_epochs)}" if config.step_epochs else "constant",
        "polynomial": f"down to {last} {'in a line' if config.power == 1 else f'with the power {config.power:g}'}",
        "exponential": f"down to {factor} times that exponentially",
        "cosine": f"down to {last} along a cosine",
        "one_cycle": f"down to {last} along a cosine",
        "plateau": f"times {factor} after {_epochs(config.patience)} without improvement",
    }
    parts.append(decays[config.generic_schedule])
    held = ""
    if config.swa_epochs is not None:
        rate = learning_rate(config, config.swa_start)
        held = f"; {rate:.4g} in the last {_epochs(config.swa_epochs)}, whose weights are averaged"
        if config.generic_schedule == "plateau":
            held = f"; no lower in the last {_epochs(config.swa_epochs)}, whose weights are averaged"
    return f"learning rate of {config.optimizer_name} by the schedule {config.schedule_name}: {', '.join(parts)}{held}"


def picture(phases: Sequence[tuple[str, TrainConfig]]) -> bytes:
    """The learning rate by epoch as a PNG, of the phases of a run one after the other, each with its name."""
    figure = new_figure(figsize=(7, 3.2), layout="constrained")
    axes, before, highest = figure.subplots(), 0, max(config.peak_learning_rate for _, config in phases)
    for number, (name, config) in enumerate(phases):
        epochs = config.total_epochs
        times = [epochs * i / _POINTS for i in range(_POINTS + 1)]
        label = f"{name}: {config.schedule_name} ({config.optimizer_name})"
        if config.generic_schedule == "plateau":
            label += f", times {config.decay_factor:g} where validation stops improving"
        axes.plot([before + t for t in times], [learning_rate(config, t) for t in times], f"C{2 * number}", label=label)
        if config.swa_epochs is not None:
            axes.axvspan(before + config.swa_start, before + epochs, color="C1", alpha=0.15, label="weights averaged")
        if number:
            axes.axvline(before, color="0.5", lw=1, ls="--")
        before += epochs
    axes.set(xlabel="epoch", title="learning rate", ylim=(0, 1.05 * highest), xlim=(0, before))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", handlelength=1)
    return png(figure, dpi=120)


def _rise(config, share):
    paper = PAPER_SCHEDULES.get(config.schedule_name)
    if paper and paper.warmup_rate is not None:
        return paper.warmup_rate
    # One-cycle rises along a cosine too (Smith & Topin, 2018, in the form that became usual).
    return 0.5 - 0.5 * math.cos(math.pi * share) if config.schedule_name == "one_cycle" else share


def _epochs(number: float) -> str:
    return f"{number:.3g} epoch{'' if number == 1 else 's'}"


def _times(epochs: Sequence[float]) -> str:
    shown = [f"{epoch:.4g}" for epoch in epochs]
    if len(shown) == 1:
        return f"epoch {shown[0]}"
    if len(shown) <= _MOST_TIMES:
        return f"epochs {', '.join(shown[:-1])} and {shown[-1]}"
    return f"{len(shown)} epochs: {shown[0]}, {shown[1]}, ..., {shown[-1]}"


def _constant(config, epoch, done):
    return 1.0


def _step(config, epoch, done):
    return config.decay_factor ** sum(epoch >= e for e in config.step_epochs)


def _polynomial(config, epoch, done):
    return config.final_learning_rate + (1 - config.final_learning_rate) * (1 - done) ** config.power


def _exponential(config, epoch, done):
    return config.decay_factor**done


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
