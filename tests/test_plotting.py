"""matplotlib reads no settings of the folder that kzoo is called in."""

import os
import re
from pathlib import Path

import pytest

import kzoo

CURVES = """
from pathlib import Path
from kzoo.train import runs
rows = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}, {"epoch": 2, "loss": 0.9, "accuracy": 0.6}]
runs.write_curves(Path(), rows, 1)
"""
FILES = [
    "text.usetex: True\ntext.latex.preamble: \\nosuchcommand\n",
    "\x1b]0;title\x07no.such.key: 1\n",
    "savefig.dpi: no number\nfigure.facecolor: black\n",
    None,  # a pipe, at which open() waits for ever
]


@pytest.mark.parametrize("content", FILES)
def test_a_matplotlibrc_of_the_current_folder_is_not_read(content, fresh_python, tmp_path):
    write(tmp_path / "matplotlibrc", content)
    done = fresh_python(CURVES, cwd=tmp_path, timeout=100)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("code", ["import kzoo.backend", "from kzoo.chatter import tensorflow; tensorflow()"])
def test_nor_does_what_imports_matplotlib(code, fresh_python, tmp_path):
    write(tmp_path / "matplotlibrc", FILES[0])
    code = f"{code}\nimport sys; print(sys.modules['matplotlib'].rcParams['text.usetex'])"
    assert fresh_python(code, cwd=tmp_path).stdout == "False\n"


def test_the_users_own_settings_are_read(fresh_python, child_environment, tmp_path):
    write(tmp_path / "mine", "figure.figsize: 3, 2\n")
    code = "import os; exists = os.path.exists; from kzoo.plotting import new_figure; print(*new_figure().bbox.size)"
    environment = {**child_environment, "MATPLOTLIBRC": str(tmp_path / "mine")}
    code += "; print(os.path.exists is exists)"
    assert fresh_python(code, cwd=tmp_path, env=environment).stdout == "300.0 200.0\nTrue\n"


def test_figures_are_made_in_one_place():
    root = Path(kzoo.__file__).parent
    makes = re.compile(r"^\s*(import matplotlib|from matplotlib(\.figure|\.pyplot)? import)", re.MULTILINE)
    assert [path.name for path in root.rglob("*.py") if makes.search(path.read_text())] == ["plotting.py"]


def write(path, content):
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
