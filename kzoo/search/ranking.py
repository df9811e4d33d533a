"""What the trials say: which configuration is best, and which trials no other one beats in everything."""

import json
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any, cast

from kzoo.search.store import BestTrial, CompletedTrial, Trial
from kzoo.train.figures import standard_error

# What is wanted of a trial: more of it (1) or less (-1).
GOALS = {"accuracy": 1, "images_per_second": 1, "parameters": -1}


def completed(trials: Sequence[Trial]) -> list[CompletedTrial]:
    """The trials that have a score."""
    return cast("list[CompletedTrial]", [trial for trial in trials if trial.status == "completed"])


def best_first(rows: Sequence[Any], images: int) -> list[Any]:
    """Rows with an accuracy and a loss, both on the same validation images, in their order of merit.

    Of all whose accuracy is within a standard error of the highest one the lowest loss is the best (the rule of Breiman
    et al., 1984, section 3.4.3); then the same among the others. Of a hundred images one or two more that are right say
    little; the loss, to which each image contributes by how sure the model was, says more.

    >>> from types import SimpleNamespace
    >>> rows = [SimpleNamespace(accuracy=a, loss=b) for a, b in ((0.95, 0.23), (0.94, 0.19), (0.9, 0.1))]
    >>> [row.accuracy for row in best_first(rows, 100)], [row.accuracy for row in best_first(rows, 10_000)]
    ([0.94, 0.95, 0.9], [0.95, 0.94, 0.9])
    """
    left, found = list(rows), []
    while left:
        highest = max(row.accuracy for row in left)
        lowest = highest - standard_error(highest, images)
        best = min((row for row in left if row.accuracy >= lowest), key=lambda row: (row.loss, -row.accuracy))
        left.remove(best)
        found.append(best)
    return found


def ranked(trials: Sequence[Trial], images: int) -> list[CompletedTrial]:
    """The completed trials that repeat no other, the best first; of trials with the same values the longest alone."""
    longest: dict[str, CompletedTrial] = {}
    for trial in completed(trials):
        key = json.dumps(trial.values, sort_keys=True)
        if trial.repeats is None and (key not in longest or trial.epochs >= longest[key].epochs):
            longest[key] = trial
    return best_first(list(longest.values()), images)


def next_repeat(trials: Sequence[Trial], top: int, seeds: int, images: int) -> Trial | None:
    """The trial that is to be trained with another seed next, or None."""
    for trial in ranked(trials, images)[:top]:
        if sum(other.repeats == trial.number for other in trials) < seeds - 1:
            return trial
    return None


def winner(trials: Sequence[Trial], images: int) -> BestTrial:
    """The best configuration, by its means over seeds; only those that were repeated compete, if any was."""
    groups = {trial.number: [trial] for trial in ranked(trials, images)}
    for trial in completed(trials):
        if trial.repeats in groups:
            groups[trial.repeats].append(trial)
    most = max(map(len, groups.values()))
    competing = [
        replace(group[0], accuracy=mean(t.accuracy for t in group), loss=mean(t.loss for t in group))
        for group in groups.values()
        if len(group) > 1 or most == 1
    ]
    means = best_first(competing, images)[0]
    group = groups[means.number]
    best = best_first(group, images)[0]
    return BestTrial(
        trial=means.number,
        run=best.number,
        accuracy=means.accuracy,
        loss=means.loss,
        accuracies=[trial.accuracy for trial in group],
        values=best.values,
        epochs=best.epochs,
    )


def pareto(trials: Sequence[Trial]) -> set[int]:
    """The numbers of the trials that no other one beats: none is at least as good in each of `GOALS` and better in one.

    >>> a = Trial(number=0, worker="", values={}, epochs=1, seed=0, status="completed",
    ...     accuracy=0.9, loss=0.5, images_per_second=100, parameters=5, seconds=1)
    >>> b = replace(a, number=1, accuracy=0.8)
    >>> c = replace(b, number=2, images_per_second=200)
    >>> sorted(pareto([a, b, c]))
    [0, 2]
    """
    points = {t.number: tuple(sign * getattr(t, goal) for goal, sign in GOALS.items()) for t in completed(trials)}

    def beaten(point: tuple) -> bool:
        return any(
            other != point and all(x >= y for x, y in zip(other, point, strict=True)) for other in points.values()
        )

    return {number for number, point in points.items() if not beaten(point)}
