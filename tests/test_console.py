"""What kzoo says: on standard error, through the logger "kzoo", and progress that suits a pipe and a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from kzoo import console

SAY = "from kzoo import console; console.log('a line'); console.warn('look out')"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_duration(seconds, text):
    assert console.duration(seconds) == text


def test_lines_go_to_standard_error(fresh_python):
    done = fresh_python(SAY)
    assert (done.stdout, done.stderr) == ("", "a line\nwarning: look out\n")


def test_a_program_can_silence_them(fresh_python):
    done = fresh_python(f"import logging; logging.getLogger('kzoo').setLevel('ERROR'); {SAY}")
    assert "a line" not in done.stderr


def test_a_program_that_configured_logging_keeps_its_format(fresh_python):
    configure = "import logging; logging.basicConfig(level='INFO', format='%(name)s|%(levelname)s|%(message)s')"
    assert fresh_python(f"{configure}; {SAY}").stderr == "kzoo|INFO|a line\nkzoo|WARNING|look out\n"


def test_redirected_standard_error_is_followed(fresh_python):
    code = """
import contextlib, io
from kzoo import console
console.log("before")
held = io.StringIO()
with contextlib.redirect_stderr(held):
    console.log("held")
print(repr(held.getvalue()))
"""
    done = fresh_python(code)
    assert (done.stdout, done.stderr) == ("'held\\n'\n", "before\n")


PROGRESS = """
import sys, time
from kzoo import console
console.SECONDS_BETWEEN_LINES = float(sys.argv[1])
with console.progress("counting", 4) as advance:
    for i in range(4):
        time.sleep(0.02)
        advance(1, f"loss {i}")
"""


def test_progress_in_a_pipe_is_plain_lines_and_none_at_the_end(fresh_python):
    lines = fresh_python(PROGRESS, 0).stderr.splitlines()
    assert lines == [f"counting {i}/4 loss {i - 1} (0 s left)" for i in (1, 2, 3)]


def test_quick_work_in_a_pipe_shows_nothing(fresh_python):
    assert fresh_python(PROGRESS, 10).stderr == ""


def on_a_terminal(code, environment, *arguments):
    """What a process of Python writes to a terminal as standard error."""
    leader, follower = pty.openpty()
    environment = {**environment, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # how Linux says that the other end has closed
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert process.returncode == 0
    return shown


def test_progress_on_a_terminal_is_a_bar_that_goes_away(child_environment):
    shown = on_a_terminal(PROGRESS, child_environment, "0")
    assert b"counting" in shown
    assert b"(0 s left)" not in shown  # no plain lines
    assert b"\x1b[2K" in shown  # the bar's line is erased


def test_while_tensorflow_starts_a_terminal_says_so(child_environment, fresh_python):
    line = b"starting TensorFlow ..."
    assert on_a_terminal("import kzoo.backend", child_environment) == line + b"\r" + b" " * len(line) + b"\r"
    silenced = "import logging; logging.getLogger('kzoo').setLevel('ERROR'); import kzoo.backend"
    assert on_a_terminal(silenced, child_environment) == b""
    assert fresh_python("import kzoo.backend").stderr == ""
