"""Every recipe says the same five things first, and its page has a place for each of its tables."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reporting import DOCS, with_tables

ROOT = DOCS.parent
SCRIPTS = sorted(path for path in (ROOT / "recipes").glob("*.py") if path.name != "reporting.py")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_recipe_opens_with_source_command_time_and_result(path: Path):
    docstring = path.read_text(encoding="utf-8").split('"""')[1]
    assert docstring.splitlines()[0].endswith(".")
    assert re.findall(r"^(\w+): ", docstring, re.MULTILINE) == ["Source", "Command", "Time", "Result"]
    assert f"python recipes/{path.name}" in docstring
    pages = re.findall(r"docs/\S+\.md", docstring)
    assert all((ROOT / page).is_file() for page in pages)


def test_recipes_run_from_a_clone_without_installed_helpers(child_environment, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "recipes" / "few_images.py", "--help"],
        cwd=tmp_path, env=child_environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "docs/few_images.md" in done.stdout


def test_a_page_without_markers_is_refused():
    text = "By hand.\n<!-- a -->\nold\n<!-- end of a -->\nAlso by hand.\n"
    assert with_tables(text, {"a": "| new |"}) == text.replace("old", "| new |")
    with pytest.raises(ValueError, match=r"no place for the table 'b'. Add the lines <!-- b --> and <!-- end of b -->"):
        with_tables(text, {"b": "| new |"})
