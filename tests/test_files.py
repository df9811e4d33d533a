"""Each file appears whole or not at all: after an error, a kill, and where nothing may be written."""

import json
import signal
import subprocess
import sys

import pytest

from kzoo.files import atomic_path, is_temporary, write_bytes, write_json, write_text


def test_writes_what_it_was_given(tmp_path):
    write_bytes(tmp_path / "a.bin", b"\x00\xff")
    write_text(tmp_path / "b.txt", "naïve ✓\n")
    write_json(tmp_path / "c.json", {"x": [1, 0.1]})
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b.txt").read_bytes() == "naïve ✓\n".encode()
    assert json.loads((tmp_path / "c.json").read_text()) == {"x": [1, 0.1]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "b.txt", "c.json"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".keras"
        assert is_temporary(temporary)
        temporary.write_text("new, half")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_that_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"x": object()})
    assert (tmp_path / "x.json").read_text() == "1\n"


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path, child_environment):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    code = """
import sys, time
from kzoo.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("half", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, env=child_environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
    (left,) = (p for p in tmp_path.iterdir() if p != path)
    assert is_temporary(left)
    write_bytes(path, b"new")  # what was left does not disturb
    assert path.read_bytes() == b"new"


def test_a_folder_that_may_not_be_written(tmp_path, fresh_python):
    tmp_path.chmod(0o555)
    code = """
import os, sys
from kzoo.files import write_text
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    write_text("x.txt", "content")
except PermissionError:
    print("refused", os.listdir())
"""
    try:
        assert fresh_python(code, tmp_path).stdout == "refused []\n"
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "no" / "x.txt", "content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".config.4711.tmp.json", True),
        (".events.out.tfevents.0000000001.77.tmp.kzoo", True),
        (".checkpoint.1.tmp", True),
        ("config.json", False),
        (".lock", False),
        ("checkpoint.1.tmp.json", False),
        (".notes.tmp.txt", False),
        (".vimrc.tmp", False),
    ],
)
def test_names_of_temporary_files(tmp_path, name, expected):
    assert is_temporary(tmp_path / name) is expected
