"""Processes that kzoo starts in a folder from elsewhere: nothing in it is executed, and they import the same kzoo."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kzoo
from kzoo import children
from kzoo.hardware import probe

ROOT = Path(kzoo.__file__).resolve().parent
# What every child imports, and what only some of them do.
MODULES = ("re", "tempfile", "json", "threading", "multiprocessing", "sitecustomize", "usercustomize", "psutil", "kzoo")


@pytest.mark.parametrize("path", ["", ".", ":", "modules", ":.:modules"])
def test_nothing_of_the_current_folder_is_executed(tmp_path, monkeypatch, path):
    for folder in (tmp_path, tmp_path / "modules"):
        folder.mkdir(exist_ok=True)
        for name in MODULES:
            (folder / f"{name}.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", path)
    with children.start("kzoo.chatter", stderr=subprocess.PIPE, text=True) as process:
        _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    assert not (tmp_path / "ran").exists()


def test_python_m_kzoo_executes_nothing_of_the_current_folder(tmp_path, child_environment):
    """Nor with modules that kzoo imports first; with packages of others that import kzoo the folder stays."""
    for name in ("lazy_loader", "pathlib", "cyclopts", "json", "kzoo_plugin"):
        (tmp_path / f"{name}.py").write_text(f"open('ran_{name}', 'w').close(); __version__ = '1'")
    environment = {name: value for name, value in child_environment.items() if name != "PYTHONSAFEPATH"}
    for arguments in (["-m", "kzoo", "list"], ["-mkzoo", "list"]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert not list(tmp_path.glob("ran_*"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("import kzoo")
    (tmp_path / "theirs" / "__main__.py").write_text("import kzoo_plugin")
    (tmp_path / "lazy_loader.py").unlink()
    subprocess.run([sys.executable, "-m", "theirs"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "ran_kzoo_plugin").exists()


def test_a_child_imports_this_kzoo_and_what_pythonpath_names(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import kzoo, sys; print(kzoo.__file__, sys.flags.safe_path)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(tmp_path)]))
    with children.start("mine", stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=60)[0].split() == [str(ROOT / "__init__.py"), "True"]


def test_processes_are_started_in_one_place():
    """`multiprocessing` runs `python -c`, which imports from the current folder."""
    starts = re.compile(
        r"subprocess\.(run|call|check\w+|Popen)\(|import multiprocessing|ProcessPool|os\.(system|popen|spawn|exec)"
    )
    starting = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if starts.search(path.read_text())}
    assert starting == {"children.py", "hardware.py"}  # the other one asks nvidia-smi


def test_no_nvidia_smi_of_the_current_folder_is_asked(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", f".{os.pathsep}"):
        monkeypatch.setenv("PATH", path)
        assert probe().gpus == ()
    assert not (tmp_path / "ran").exists()
