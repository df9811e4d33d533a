"""Each file appears whole or not at all: after an error, a kill, and where nothing may be written; and locks."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import pytest

from kzoo.files import atomic_path, is_temporary, locked, write_bytes, write_json, write_text


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


HOLD = """
import sys
from pathlib import Path
from kzoo.files import locked
with locked(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path, child_environment):
    """Start a process that holds the lock of a file until it reads a line; it has printed nothing yet."""
    started = []

    def start(path):
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([sys.executable, "-c", HOLD, path], text=True, env=child_environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_process_lets_go_of_its_lock(tmp_path, holder):
    path = tmp_path / ".lock"
    process = holder(path)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError, match=r"Another process holds the lock: '.*\.lock'"), locked(path, wait=False):
        pass
    process.kill()
    process.wait()
    with locked(path, wait=False):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_waits_says_so_and_goes_on_when_the_holder_dies(tmp_path, holder):
    path = tmp_path / ".lock"
    first = holder(path)
    assert first.stdout.readline() == "held\n"
    second = holder(path)
    assert second.stderr.readline() == f"Another process is writing to {tmp_path}; waiting for it.\n"
    first.kill()
    assert second.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    _, errors = second.communicate("\n", timeout=60)
    assert (second.returncode, errors) == (0, "")
    with locked(path, wait=False):
        pass


COUNT = """
import sys
from pathlib import Path
from kzoo.files import locked
folder = Path(sys.argv[1])
for _ in range(50):
    with locked(folder / ".lock", wait=True):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""


def test_one_at_a_time(tmp_path, child_environment):
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", COUNT, tmp_path]
    processes = [subprocess.Popen(command, env=child_environment, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(timeout=100) for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "200"


def test_a_lock_is_held_once_in_a_process_too(tmp_path):
    path = tmp_path / ".lock"
    outcomes = []

    def take(wait):
        try:
            with locked(path, wait=wait):
                outcomes.append("held")
        except BlockingIOError:
            outcomes.append("refused")

    with locked(path, wait=False):
        take(wait=False)
        other = threading.Thread(target=take, args=(False,))
        other.start()
        other.join()
        assert outcomes == ["refused", "refused"]
        with pytest.raises(RuntimeError, match="Deadlock"):
            take(wait=True)  # it would wait for itself
        waiting = threading.Thread(target=take, args=(True,))
        waiting.start()
        time.sleep(0.2)
        assert outcomes == ["refused", "refused"]
    waiting.join(timeout=60)
    assert outcomes == ["refused", "refused", "held"]
    take(wait=False)
    assert outcomes[-1] == "held"


def test_an_error_while_a_lock_is_held_releases_it(tmp_path):
    with pytest.raises(RuntimeError, match=r"^mine$"), locked(tmp_path / ".lock", wait=False):
        raise RuntimeError("mine")
    with locked(tmp_path / ".lock", wait=False):
        pass


def test_a_lock_makes_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*no'"):
        locked(tmp_path / "no" / ".lock", wait=True).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_in_a_folder_that_may_not_be_written(fresh_python):
    code = """
import os, sys
from pathlib import Path
from kzoo.files import locked
folder = Path(sys.argv[1])
with locked(folder / "first", wait=False):
    pass  # everything is imported, which another user might not be able to do
folder.chmod(0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
for wait in (False, True):
    try:
        with locked(folder / ".lock", wait=wait):
            print("held")
    except PermissionError as error:
        print(error, os.listdir(folder))
"""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        line = f"[Errno 13] Permission denied: '{folder}/.lock' ['first']\n"
        assert fresh_python(code, folder).stdout == line * 2


@pytest.mark.parametrize("number", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_refused_in_one_line(tmp_path, fresh_python, number):
    code = """
import errno, fcntl, os, sys

def refused(*_):  # as the system call does on such a file system
    number = getattr(errno, sys.argv[2])
    raise OSError(number, os.strerror(number))

fcntl.flock = refused
from pathlib import Path
from kzoo.cli import run
from kzoo.files import locked
try:
    with locked(Path(sys.argv[1]) / ".lock", wait=True):
        print("held")
except OSError as error:
    print(error)
sys.exit(run(["train", "mnist_net", "digits", "--run-dir", sys.argv[1] + "/run"]))
"""
    done = fresh_python(code, tmp_path, number, status=1)
    told = "The file system has no file locks. Use a folder on another disk: '{}'"
    assert told.format(tmp_path / ".lock") in done.stdout
    assert len(done.stdout.splitlines()) == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("kzoo: ")
    assert told.format(tmp_path / "run" / ".lock") in line
