"""The record of the slow tests: `make slow` calls this with pytest's report, and docs/slow_tests.md gets its rows.

The files of a report replace their rows. The other rows stay, so that the slow tests can be run in parts:
`make slow PYTEST_ARGS=tests/train`.
"""

import datetime
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from kzoo.bench.turns import machine
from kzoo.console import duration
from kzoo.text import markdown_table
from pages import DOCS, write_page

ROOT = Path(__file__).resolve().parents[2]
TITLES = ("tests", "passed", "skipped", "failed", "time", "date", "commit", "machine")


def rows(report: Path, *since: str) -> dict[str, tuple[str, ...]]:
    """A row for each file of tests in a report by pytest (JUnit's format); `since` is date, commit and machine."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 (our own pytest wrote it)
        name = file_of(case.attrib["classname"])
        if name is None:
            continue
        counts = found.setdefault(name, {"passed": 0, "skipped": 0, "failed": 0, "seconds": 0.0})
        outcomes = {child.tag for child in case}
        outcome = "failed" if outcomes & {"failure", "error"} else "skipped" if "skipped" in outcomes else "passed"
        counts[outcome] += 1
        counts["seconds"] += float(case.attrib["time"])
    return {
        name: (name, *(str(counts[key]) for key in TITLES[1:4]), duration(counts["seconds"]), *since)
        for name, counts in found.items()
    }


def file_of(classname: str) -> str | None:
    """The file of a test, by JUnit's name of its class: "tests.train.test_runs.TestThis"."""
    parts = classname.split(".")
    paths = (f"{'/'.join(parts[:count])}.py" for count in range(len(parts), 0, -1))
    return next((path for path in paths if (ROOT / path).is_file()), None)


def known(page: str) -> dict[str, tuple[str, ...]]:
    """The rows that a page has already, of files that are still there."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| tests/")]
    return {line[0]: tuple(line) for line in lines if (ROOT / line[0]).is_file()}


def commit() -> str:
    """The commit that was tested, and whether something was changed since."""
    git = [["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--", "kzoo", "tests", "recipes"]]
    name, changes = (subprocess.run(c, capture_output=True, text=True, check=True).stdout.strip() for c in git)
    return f"{name} and changes" if changes else name


if __name__ == "__main__":
    new = rows(Path(sys.argv[1]), f"{datetime.date.today()}", commit(), machine())
    merged = known((DOCS / "slow_tests.md").read_text(encoding="utf-8")) | new
    write_page("slow_tests", {"slow tests": markdown_table([TITLES, *(merged[name] for name in sorted(merged))])})
