"""What `measure` finds, for a reader: rows of text, a table as a file, a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kzoo.errors import RunError
from kzoo.files import write_bytes
from kzoo.plotting import import_matplotlib, new_figure, png
from kzoo.robustness.changes import CORRUPTIONS

PICTURE, TABLE = "robustness.png", "robustness.csv"

MEANINGS = {
    "noise": "standard deviation, of pixels from 0 to 255",
    "bits": "of weights and activations",
    **{name: corruption.meaning for name, corruption in CORRUPTIONS.items()},
}
"""What the levels of each curve are."""


def curves(figures: dict[str, Any]) -> dict[str, list[tuple[float, dict]]]:
    """The curves that there are: by name, rows with what they are at.

    >>> row = {"accuracy": 0.5, "interval": [0.4, 0.6]}
    >>> found = curves({"noise": [{"deviation": 0, **row}], "bits": [], "corruptions": {}})
    >>> [(level, row["accuracy"]) for level, row in found["noise"]]
    [(0, 0.5)]
    """
    lists = {
        "noise": ("deviation", figures["noise"]),
        "bits": ("bits", figures["bits"]),
        **{name: ("level", rows) for name, rows in figures["corruptions"].items()},
    }
    return {name: [(row[key], row) for row in rows] for name, (key, rows) in lists.items()}


def save(folder: Path, figures: dict[str, Any] | None) -> list[Path]:
    """Write `robustness.png` and `robustness.csv` into a folder that exists; returns their paths.

    With None, those of an earlier evaluation are deleted.

    Raises:
        RunError: They cannot be written.
    """
    content = {} if figures is None else {PICTURE: picture({"": figures}), TABLE: table(figures)}
    try:
        for name in (PICTURE, TABLE):
            (folder / name).unlink(missing_ok=True)
        for name, one in content.items():
            write_bytes(folder / name, one)
    except OSError as error:
        raise RunError(f"Cannot write the evaluation. Received: {str(folder)!r}: {error.strerror}.") from error
    return [folder / name for name in content]


def table(figures: dict[str, Any]) -> bytes:
    """A row for each point of each curve, as CSV: what was changed, how much, accuracy and 95 % interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("change", "level", "accuracy", "low", "high"))
    for name, points in curves(figures).items():
        writer.writerows((name, level, row["accuracy"], *row["interval"]) for level, row in points)
    return text.getvalue().encode()


def picture(models: dict[str, dict[str, Any]]) -> bytes:
    """Draw the curves of some models, by what they are called, with 95 % intervals, as PNG."""
    import_matplotlib()
    found = {title: curves(figures) for title, figures in models.items()}
    names = [name for name in MEANINGS if any(name in one for one in found.values())]
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure = new_figure(figsize=(4.2 * columns, 3.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        for title, one in found.items():
            _draw(axes, one.get(name, []), title)
        levels = [shown_level(name, level) for level, _ in next(one[name] for one in found.values() if name in one)]
        axes.set_xticks(range(len(levels)), levels)
        axes.set(title=name, xlabel=MEANINGS[name], ylim=(0, 101))
        axes.grid(alpha=0.3)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("accuracy, %")
    if len(models) > 1:
        panels[0].legend()
    return png(figure, dpi=110)


def _draw(axes, points: Sequence[tuple[float, dict]], title: str) -> None:
    places = range(len(points))
    accuracies = [100 * row["accuracy"] for _, row in points]
    (line,) = axes.plot(places, accuracies, marker="o", ms=4, label=title)
    low, high = ([100 * row["interval"][end] for _, row in points] for end in (0, 1))
    axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2, lw=0)


def shown_level(name: str, level: float) -> str:
    """A level of a curve for a reader.

    >>> shown_level("bits", 32), shown_level("blur", 0.005)
    ('float32', '0.5 %')
    """
    if name == "bits" and level == 32:
        return "float32"
    return f"{100 * level:g} %" if name == "blur" else f"{level:g}"
