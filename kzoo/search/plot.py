"""A picture of a search: the best score so far, and each hyperparameter against the score."""

from dataclasses import replace
from pathlib import Path

from kzoo.files import write_bytes
from kzoo.plotting import new_figure, png
from kzoo.search import ranking, store
from kzoo.search.store import BestTrial, CompletedTrial


def write_plot(folder: Path, best: BestTrial) -> None:
    """Draw search.png from the trials in a search directory."""
    state = store.read(folder)
    space = state.settings.space
    panels = len(space) + 2
    columns = min(4, panels)
    rows = -(-panels // columns)
    figure = new_figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    first, second, *others = figure.subplots(rows, columns, squeeze=False).flat
    done = _with_floor(ranking.completed(state.trials))
    failed = [trial.number for trial in state.trials if trial.status == "failed"]
    _draw_progress(first, done, failed, best)
    _draw_cost(second, done, set(best.pareto))
    for name, axes in zip(space, others, strict=False):
        _draw_hyperparameter(axes, name, space[name], done, best)
    for axes in others[len(space) :]:
        axes.axis("off")
    title = f"{state.settings.model.name}, {Path(state.settings.load.name).name}: {state.settings.search.algorithm}"
    figure.suptitle(f"{title} search, best trial {best.trial}; the worst quarter is at the bottom")
    write_bytes(folder / store.PLOT, png(figure, dpi=110))


def _with_floor(done: list[CompletedTrial]) -> list[CompletedTrial]:
    """The trials, the worst quarter as good as the best of it: it would press the others together."""
    floor = sorted(trial.accuracy for trial in done)[(len(done) - 1) // 4]
    return [replace(trial, accuracy=max(trial.accuracy, floor)) for trial in done]


def _draw_progress(axes, done: list[CompletedTrial], failed: list[int], best: BestTrial) -> None:
    """Scores in the order of the trials, and the best so far; those that failed at the bottom."""
    tried = [trial for trial in done if trial.repeats is None]
    again = [trial for trial in done if trial.repeats is not None]
    so_far = [max(t.accuracy for t in tried[: i + 1]) for i in range(len(tried))]
    axes.plot([t.number for t in tried], [t.accuracy for t in tried], "o", ms=4, label="trials")
    axes.step([t.number for t in tried], so_far, where="post", label="best so far")
    axes.plot([t.number for t in again], [t.accuracy for t in again], "s", ms=4, label="other seeds")
    axes.plot(failed, [min(t.accuracy for t in done)] * len(failed), "x", color="black", label="failed")
    axes.axhline(best.accuracy, lw=0.8, ls=":", color="grey")
    axes.set(title="best so far", xlabel="trial", ylabel="validation accuracy")
    axes.legend(fontsize=7, loc="lower right")


def _draw_cost(axes, done: list[CompletedTrial], front: set[int]) -> None:
    """Speed against the score; what no other trial beats is marked."""
    axes.plot([t.images_per_second for t in done], [t.accuracy for t in done], "o", ms=4)
    best = [t for t in done if t.number in front]
    speeds = [t.images_per_second for t in best]
    axes.plot(speeds, [t.accuracy for t in best], "o", ms=9, mfc="none", label="Pareto front")
    axes.set(title="cost", xlabel="training images/s", ylabel="validation accuracy")
    axes.legend(fontsize=7)


def _draw_hyperparameter(axes, name: str, entry: dict, done: list[CompletedTrial], best: BestTrial) -> None:
    """A hyperparameter against the score, the best configuration apart."""
    labels = [str(store.shown(value)) for value in entry.get("values", ())]

    def position(trial):
        value = trial.values[name]
        return entry["values"].index(value) if labels else value

    chosen = [trial for trial in done if best.trial in (trial.number, trial.repeats)]
    axes.plot([position(t) for t in done], [t.accuracy for t in done], "o", ms=4)
    axes.plot([position(t) for t in chosen], [t.accuracy for t in chosen], "o", ms=9, mfc="none")
    if labels:
        axes.set_xticks(range(len(labels)), labels, fontsize=8)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    else:
        _show_range(axes, entry)
    axes.set(title=name + (" (times kzoo's default)" if entry.get("relative") else ""))
    axes.grid(alpha=0.3)


def _show_range(axes, entry: dict) -> None:
    """The whole range that was searched, with few numbers below it."""
    low, high = entry["min"], entry["max"]
    if entry["scale"] == "log":
        axes.set_xscale("log")
        ticks, margin = [low, (low * high) ** 0.5, high], (high / low) ** 0.05
        axes.set_xlim(low / margin, high * margin)
    else:
        ticks, margin = [low, (low + high) / 2, high], 0.05 * (high - low)
        axes.set_xlim(low - margin, high + margin)
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize=8)
    axes.minorticks_off()
