"""What the trials say: which configuration is best, and which trials no other one beats in everything."""

import json
from collections.abc import Sequence
from statistics import mean
from typing import Any

# What is wanted of a trial: more of it (1) or less (-1).
GOALS = {"accuracy": 1, "images_per_second": 1, "parameters": -1}


def completed(trials: Sequence[dict]) -> list[dict]:
    """The trials that have a score."""
    return [trial for trial in trials if trial["status"] == "completed"]


def quality(trial: dict) -> tuple[float, float]:
    """By what trials are compared: validation accuracy, then the loss, since few images give many ties."""
    return trial["accuracy"], -trial["loss"]


def ranked(trials: Sequence[dict]) -> list[dict]:
    """The completed trials that repeat no other, the best first; of trials with the same values the longest alone."""
    longest: dict[str, dict] = {}
    for trial in completed(trials):
        key = json.dumps(trial["values"], sort_keys=True)
        if trial["repeats"] is None and (key not in longest or trial["epochs"] >= longest[key]["epochs"]):
            longest[key] = trial
    return sorted(longest.values(), key=quality, reverse=True)


def next_repeat(trials: Sequence[dict], top: int, seeds: int) -> dict | None:
    """The trial that is to be trained with another seed next, or None."""
    for trial in ranked(trials)[:top]:
        if sum(other["repeats"] == trial["number"] for other in trials) < seeds - 1:
            return trial
    return None


def winner(trials: Sequence[dict]) -> dict[str, Any]:
    """The best configuration, by its mean over seeds; only those that were repeated compete, if any was.

    Returns:
        trial (the number of the first with these values), run (the number of the best with these values), accuracy
        (mean), accuracies (of each seed), values, epochs.
    """
    groups = {trial["number"]: [trial] for trial in ranked(trials)}
    for trial in completed(trials):
        if trial["repeats"] in groups:
            groups[trial["repeats"]].append(trial)
    most = max(map(len, groups.values()))
    competing = ((number, group) for number, group in groups.items() if len(group) > 1 or most == 1)
    number, group = max(competing, key=lambda item: tuple(map(mean, zip(*map(quality, item[1]), strict=True))))
    best = max(group, key=quality)
    return {
        "trial": number,
        "run": best["number"],
        "accuracy": mean(trial["accuracy"] for trial in group),
        "accuracies": [trial["accuracy"] for trial in group],
        "values": best["values"],
        "epochs": best["epochs"],
    }


def pareto(trials: Sequence[dict]) -> set[int]:
    """The numbers of the trials that no other one beats: none is at least as good in each of `GOALS` and better in one.

    >>> a = {"number": 0, "status": "completed", "accuracy": 0.9, "images_per_second": 100, "parameters": 5}
    >>> b = {**a, "number": 1, "accuracy": 0.8}
    >>> c = {**b, "number": 2, "images_per_second": 200}
    >>> sorted(pareto([a, b, c]))
    [0, 2]
    """
    points = {t["number"]: tuple(sign * t[goal] for goal, sign in GOALS.items()) for t in completed(trials)}

    def beaten(point: tuple) -> bool:
        return any(
            other != point and all(x >= y for x, y in zip(other, point, strict=True)) for other in points.values()
        )

    return {number for number, point in points.items() if not beaten(point)}
