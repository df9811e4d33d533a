"""What commands print: a table on a terminal, plain lines in a pipe, one JSON object with --json."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kzoo.console import is_terminal
from kzoo.errors import InvalidArgument
from kzoo.paths import expand
from kzoo.text import printable

Json = Annotated[bool, Parameter(name="--json", help="Print one JSON object as the last line of standard output.")]


def print_json(content: dict) -> None:
    """Print one line of JSON, in ASCII."""
    print_line(json.dumps(content))


def print_line(line: object) -> None:
    """Print one line; whatever a command prints comes here."""
    print(printable(str(line)), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print rows as a table on a terminal, as tab-separated lines under the title and a header line in a pipe."""
    columns, *rows = [[printable(str(cell)) for cell in row] for row in (columns, *rows)]
    if not is_terminal(sys.stdout):
        if title is not None:
            print(printable(title))
        print("\n".join("\t".join(row) for row in (columns, *rows)), flush=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(printable(title)), title_justify="left")
    for column in columns:
        table.add_column(Text(column), overflow="fold")  # Text, because rich takes a plain str for markup
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def picture_file(out: str, overwrite: bool) -> Path:
    """The PNG file that --out names, if it can be written.

    Raises:
        InvalidArgument: It cannot.
    """
    path = expand(out)
    if path.suffix.lower() != ".png":
        raise InvalidArgument(f"--out must be a .png file. Received: {str(path)!r}.")
    if not path.parent.is_dir():
        raise InvalidArgument(
            f"There is no folder for --out. Received: {str(path)!r}. Make {str(path.parent)!r} first."
        )
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"There is a file here already. Received: --out {str(path)!r}. Name another, or pass --overwrite."
        )
    return path


def percent(fraction: float | None) -> str:
    """A fraction for a reader.

    >>> percent(0.98765)
    '98.77 %'
    """
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def percents(interval: Sequence[float]) -> str:
    """An interval of fractions for a reader.

    >>> percents([0.43850, 1])
    '43.85 to 100.00 %'
    """
    low, high = interval
    return f"{100 * low:.2f} to {percent(high)}"
