"""Things measured in turn, in one process: what slows one of them down slows the others too."""

import statistics
import time
from collections.abc import Callable, Sequence

from kzoo import console
from kzoo.hardware import probe


def in_turn(passes: Sequence[tuple[str, Callable[[], object]]], images: int, rounds: int) -> list[list[float]]:
    """Images per second of each pass over `images` in each round, every second round in reverse order.

    A round before the first warms up.
    """
    speeds: list[list[float]] = [[] for _ in passes]
    with console.progress("measuring", (rounds + 1) * len(passes)) as advance:
        for turn in range(rounds + 1):
            for i in list(range(len(passes)))[:: -1 if turn % 2 else 1]:
                name, run = passes[i]
                start = time.perf_counter()
                run()
                if turn:
                    speeds[i].append(images / (time.perf_counter() - start))
                advance(1, name)
    return speeds


def median_and_ratio(speeds: list[float], reference: list[float]) -> dict[str, float]:
    """The median speed, and the median over the rounds of its ratio to the reference in the same round.

    >>> median_and_ratio([4.0, 9.0, 2.0], [2.0, 3.0, 2.0])
    {'images_per_second': 4.0, 'ratio': 2.0}
    """
    return {
        "images_per_second": statistics.median(speeds),
        "ratio": statistics.median(a / b for a, b in zip(speeds, reference, strict=True)),
    }


def shown_speed(row: dict) -> tuple[str, str]:
    """Images per second and ratio for a reader.

    >>> shown_speed({"images_per_second": 2345.6, "ratio": 0.0312})
    ('2,346', '0.031')
    """
    speed, ratio = row["images_per_second"], row["ratio"]
    # A ratio near 0 tells nothing in two decimals.
    return f"{speed:,.{0 if speed >= 100 else 1}f}", f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def machine() -> str:
    """The machine, for a reader."""
    return probe().title
