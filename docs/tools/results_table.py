"""The results of the recipes' runs: `make results` calls this with their folder, and docs/results.md gets rows.

A recipe keeps its runs in RUNS/RECIPE, and calls the folder of each by its setting and, at the end, its seed. The runs
of a setting are one row. Whatever is in it is read from the runs: config.json, metrics.json and model.json. New rows
replace those of the same recipe and setting; the other rows stay, since runs do not lie in the repository.
"""

import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kzoo import console
from kzoo.errors import KzooError
from kzoo.text import markdown_table
from kzoo.train import runs
from kzoo.train.figures import interval
from pages import DOCS, percent, write_page

RECIPES = DOCS.parent / "recipes"
TITLES = (
    "recipe", "setting", "model", "data", "epochs", "scored on", "seeds", "accuracy, %", "95 % interval", "time",
    "machine", "commit", "date",
)  # fmt: skip
PAGE, TABLE = "results", "results"


@dataclass(frozen=True)
class Run:
    """A finished run, as its files say."""

    recipe: str
    setting: str
    model: str
    data: str
    epochs: int
    split: str
    images: int
    accuracy: float
    seed: int
    seconds: float
    machine: str
    commit: str
    date: str


def read_run(recipe: str, folder: Path) -> Run | None:
    """A run of a recipe; None where no images were scored that it was not trained on."""
    # Not by read_record, which refuses the runs of other versions of kzoo.
    config, metrics = (runs.read_json(folder / name) for name in (runs.CONFIG, runs.METRICS))
    split = next((name for name in ("test", "validation") if name in metrics), None)
    if split is None:
        console.warn(f"{folder} has no figures of images that it was not trained on: kzoo evaluate RUN adds them")
        return None
    seed, origin = config["train"]["seed"], config["origin"]
    return Run(
        recipe=recipe,
        setting=re.sub(rf"[-_](seed)?{seed}$", "", folder.name),
        model=(config["model"] or {}).get("name") or runs.read_json(folder / runs.ARCHITECTURE)["config"]["name"],
        data=data_of(config["data"]),
        epochs=metrics["epochs"],
        split=split,
        images=metrics[split]["images"],
        accuracy=metrics[split]["accuracy"],
        seed=seed,
        seconds=metrics["training_seconds"],
        machine=origin.get("machine", "unknown"),
        commit=(origin["commit"] or "none")[:7],
        date=origin.get("date", "unknown"),
    )


def data_of(data: dict[str, Any]) -> str:
    """What a run was trained on: the name of its data, of a path the last part, and the number of images.

    >>> data_of({"load": {"name": "/data/photos"}, "train": {"images": 300}})
    'photos, 300 images'
    """
    load, train = data["load"] or (data["train"] or {}).get("load"), data["train"] or {}
    name = "arrays" if load is None else Path(load["name"]).name
    return name if train.get("images") is None else f"{name}, {train['images']:,} images"


def finished(folder: Path) -> Iterable[Path]:
    """The finished runs in a folder, without first phases, members of ensembles and trials of searches."""
    for metrics in sorted(folder.rglob(runs.METRICS)):
        run = metrics.parent
        is_member = run.match(runs.MEMBER.format("[0-9]*")) and (run.parent / runs.CONFIG).exists()
        is_part = is_member or run.name == runs.HEAD or any((one / "search.json").exists() for one in run.parents)
        if not is_part and (run / runs.CONFIG).exists():
            yield run


def row(found: list[Run]) -> tuple[str, ...]:
    """The row of the runs of one setting, which differ in their seed."""
    first, accuracies = found[0], [run.accuracy for run in found]
    low, high = interval(round(statistics.mean(accuracies) * first.images), first.images)
    return (
        first.recipe,
        first.setting,
        first.model,
        first.data,
        ", ".join(str(epochs) for epochs in sorted({run.epochs for run in found})),
        f"{first.split}, {first.images:,} images",
        ", ".join(str(run.seed) for run in found),
        percent(accuracies, ".2f"),
        f"{100 * low:.2f} to {100 * high:.2f}",
        console.duration(statistics.mean(run.seconds for run in found)),
        *(", ".join(sorted({getattr(run, name) for run in found})) for name in ("machine", "commit", "date")),
    )


def rows(folder: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """The rows of all recipes' runs in a folder, by recipe and setting."""
    by_setting = defaultdict(list)
    for recipe in sorted(path.stem for path in RECIPES.glob("*.py")):
        for place in finished(folder / recipe):
            try:
                run = read_run(recipe, place)
            except (KzooError, KeyError, TypeError) as error:
                console.warn(f"{place} is left out: {error!r}")
                continue
            if run is not None:
                by_setting[recipe, run.setting].append(run)
    found = {key: [run for run in all_runs if run.split == "test"] or all_runs for key, all_runs in by_setting.items()}
    return {key: row(sorted(seeds, key=lambda run: run.seed)) for key, seeds in found.items()}


def known(page: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """The rows that the page has already, of recipes that are still there."""
    lines = [tuple(line[2:-2].split(" | ")) for line in page.splitlines() if line.startswith("| ")]
    return {
        (line[0], line[1]): line for line in lines if len(line) == len(TITLES) and (RECIPES / f"{line[0]}.py").is_file()
    }


def main(folder: Path) -> None:
    """Write the page with the rows that it has and those of the runs in a folder."""
    new = rows(folder)
    merged = known((DOCS / f"{PAGE}.md").read_text(encoding="utf-8")) | new
    write_page(PAGE, {TABLE: markdown_table([TITLES, *(merged[key] for key in sorted(merged))])})
    console.log(f"rows that are new, of the runs in {folder}: {len(new)}; the others stay")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
