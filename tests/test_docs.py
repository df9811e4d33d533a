"""The tables of the docs are what `kzoo.describe` and the records of weights give."""

import re
from pathlib import Path

import pytest

import depth_tables
import kzoo
import slow_tests_table
import weights_table
import zoo_table
from kzoo import augment
from kzoo.cli.commands import app
from pages import DOCS, page

ROOT = Path(__file__).resolve().parent.parent


def zoo_rows():
    lines = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8").splitlines()
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


# The others take longer to build.
FAST = ("mnist_net", "vgg16", "inception_v1", "resnet18", "resnet50_v2", "resnet20_cifar", "plain20_cifar")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in kzoo.list_models()]
)
def test_the_zoo_has_a_row_for_every_model(name):
    assert zoo_rows()[name] == zoo_table.row(kzoo.describe(name))


def test_the_zoo_has_no_other_row():
    assert sorted(zoo_rows()) == kzoo.list_models()


def test_the_tables_of_why_depth_pays():
    tables = depth_tables.tables()
    assert (DOCS / "depth.md").read_text(encoding="utf-8") == page("depth", tables)
    assert tables["filters"].count("| one 5x5 | 25 |") == tables["filters"].count("| two 3x3 | 18 |") == 1


def test_the_record_of_the_slow_tests_takes_rows_from_a_report(tmp_path):
    report = tmp_path / "slow.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.train.test_resume" name="a" time="61.0"/>'
        '<testcase classname="tests.train.test_resume" name="b" time="2.5"><failure message="no"/></testcase>'
        '<testcase classname="tests.test_docs" name="c" time="0.2"><skipped/></testcase></testsuite></testsuites>'
    )
    new = slow_tests_table.rows(report, "2026-11-30", "53a3e29", "a CPU")
    assert new == {
        "tests/train/test_resume.py": (
            "tests/train/test_resume.py", "1", "0", "1", "1 min 4 s", "2026-11-30", "53a3e29", "a CPU",
        ),
        "tests/test_docs.py": ("tests/test_docs.py", "0", "1", "0", "0 s", "2026-11-30", "53a3e29", "a CPU"),
    }  # fmt: skip
    table = slow_tests_table.markdown_table([slow_tests_table.TITLES, *new.values()])
    assert slow_tests_table.known(table) == new


def test_the_readme_shows_what_info_prints():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    found = kzoo.describe("resnet50")
    assert found.summary() in lines
    shown = [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in lines if line.startswith("│")]
    assert shown == found.table()[1:]


def test_the_readme_lists_the_policies():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    listed = {row[0].strip("`"): row[2] for row in rows if row[0].strip("`") in augment.POLICIES}
    assert listed.keys() == augment.POLICIES.keys()
    for policy in listed.keys() - {"none"}:
        datasets = [name for name, recommended in augment.RECOMMENDED.items() if recommended == policy]
        assert listed[policy] == ", ".join(datasets)


def test_the_page_of_the_weights():
    text = (DOCS / "weights.md").read_text(encoding="utf-8")
    assert text == page("weights", weights_table.tables())
    commands = re.findall(r"^\$ kzoo (weights [^#\n]*)", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        app.parse_args(command.split(), exit_on_error=False, print_error=False)


def test_the_readme_has_the_figure_of_the_page_on_settings():
    accuracy = re.search(
        r"\| MNIST, 10,000 test images \| `mnist_net` \| (\S+) % (\(.*?\))", (ROOT / "README.md").read_text()
    )
    assert accuracy
    page_text = (DOCS / "mnist_settings.md").read_text(encoding="utf-8")
    row = re.search(r"\| mixed_bfloat16 \| 256 \|.*\| (\S+ \(.*?\)) \|", page_text)
    assert row
    assert row[1] == f"{accuracy[1]} {accuracy[2]}"
