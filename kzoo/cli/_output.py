"""What commands print: a table on a terminal, plain lines in a pipe, one JSON object with --json."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", help="Print one JSON object as the last line of standard output.")]


def print_json(content: dict) -> None:
    """Print one line of JSON."""
    print(json.dumps(content), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print rows as a table on a terminal, as tab-separated lines under a header line in a pipe."""
    rows = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        print("\n".join("\t".join(row) for row in [list(columns), *rows]), flush=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def percent(fraction: float | None) -> str:
    """A fraction for a reader.

    >>> percent(0.98765)
    '98.77 %'
    """
    return "-" if fraction is None else f"{100 * fraction:.2f} %"
