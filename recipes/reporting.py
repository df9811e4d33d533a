"""What the recipes share: figures over seeds, the tables and the picture of a page, and small sets of images."""

import argparse
import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kzoo import console
from kzoo.data import Dataset
from kzoo.data.order import permutation
from kzoo.files import write_bytes, write_text

DOCS = Path(__file__).resolve().parent.parent / "docs"


def parser(description: str | None, name: str, output: Path = DOCS) -> argparse.ArgumentParser:
    """The command line of a recipe that trains: where its runs are kept, and where its results are written."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--runs", type=Path, default=Path("runs") / name, help="folder of the runs")
    found.add_argument("--output", type=Path, default=output, help="folder of the results")
    return found


def spread(values: Sequence[float], digits: str) -> str:
    """Mean and range of a figure over the seeds.

    >>> spread([1, 2], ".1f"), spread([0.5], ".2f")
    ('1.5 (1.0 to 2.0)', '0.50')
    """
    mean = format(statistics.mean(values), digits)
    return mean if len(values) == 1 else f"{mean} ({min(values):{digits}} to {max(values):{digits}})"


def percent(fractions: Sequence[float], digits: str = ".1f") -> str:
    """Mean and range, in percent without the sign.

    >>> percent([0.5, 0.75])
    '62.5 (50.0 to 75.0)'
    """
    return spread([100 * fraction for fraction in fractions], digits)


def with_tables(text: str, tables: dict[str, str]) -> str:
    r"""A page with new text between the markers of each table. Whatever else is in it is written by hand.

    >>> with_tables("Two:\n<!-- sums -->\n<!-- end of sums -->\n", {"sums": "1 + 1"})
    'Two:\n<!-- sums -->\n1 + 1\n<!-- end of sums -->\n'
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, marker, after = rest.partition(end)
        if not marker:
            raise ValueError(f"The page has no place for the table {name!r}. Add the lines {begin.strip()} and {end}.")
        text = f"{before}{begin}{table}\n{end}{after}"
    return text


def page(name: str, tables: dict[str, str]) -> str:
    """The text of docs/NAME.md with new tables."""
    return with_tables((DOCS / f"{name}.md").read_text(encoding="utf-8"), tables)


def write_page(name: str, tables: dict[str, str], folder: Path = DOCS, picture: bytes | None = None) -> None:
    """Write docs/NAME.md with new tables, and its picture, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if picture is not None:
        write_bytes(folder / f"{name}.png", picture)
    write_text(folder / f"{name}.md", page(name, tables))
    console.log(f"wrote {folder / name}.md")


def png(figure) -> bytes:
    """A figure of Matplotlib as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()


def take(data: Dataset, rows: np.ndarray) -> Dataset:
    """The images at these rows, in this order; a row may come several times."""
    return Dataset.from_arrays(data.images[rows], data.labels[rows], data.class_names, name=data.name)


def few_of_each_class(data: Dataset, images: int | None, seed: int) -> np.ndarray:
    """Rows of so many images of each class, class by class, chosen by the seed; None takes all."""
    order = permutation(seed, 0, len(data))
    return np.concatenate([order[data.labels[order] == label][:images] for label in range(len(data.class_names))])


def write_csv(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write a dataset that kzoo reads: path, label and split of each image."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "label", "split"), *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())


def search_or_resume(model: str, dataset: str, folder: Path, **settings):
    """Search as `kzoo.search.search` does, or continue the search that is in the folder; needs kzoo[search]."""
    from kzoo.search import resume, search
    from kzoo.search.store import SEARCH

    return resume(folder) if (folder / SEARCH).exists() else search(model, dataset, folder, **settings)
