"""Text from files that does nothing to a terminal, streams that are closed or full, and users without a home."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from kzoo import console
from kzoo.cli import _output
from kzoo.cli import run as kzoo
from kzoo.errors import InvalidArgument
from kzoo.text import markdown_table, one_line, printable

# Colours, the terminal's title, a C1 control, another line, the writing direction, a byte that is no UTF-8, markup.
HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\nkzoo: all is well",
    "\u202efdp.exe",
    "\udcff",
    "[red]y[link=x]",
]


@pytest.fixture
def photos(tmp_path):
    """A folder with a class for each name."""
    folder = tmp_path / "photos\x1b[2J"
    for label, name in enumerate([*HOSTILE, "caf\u00e9", "plain"]):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8, 8), 10 * label + i, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}\x1b[1m.png")
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_printable(name):
    assert printable(f"{name} caf\u00e9").isprintable()
    assert printable(f"{name} caf\u00e9").endswith("caf\u00e9")
    assert one_line(f"first\n {name}").isprintable()
    assert str(InvalidArgument(f"Received: {name}")).isprintable()
    assert len(markdown_table([("class",), (name,)]).splitlines()) == 3


@pytest.mark.parametrize("name", HOSTILE)
def test_log_lines_and_tables(name, capfd):
    console.log(f"reading {name}")
    console.warn(f"reading {name}")
    _output.print_table(("class", name), [(name, 1)], title=name)
    _output.print_line(name)
    _output.print_json({name: name})
    shown = capfd.readouterr()
    lines = shown.err.splitlines() + shown.out.splitlines()
    assert len(lines) == 7
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert json.loads(lines[-1]) == {name: name}
    assert shown.out.isascii() or "\udcff" not in shown.out


ON_A_TERMINAL = """
import ast, sys
from kzoo import console
from kzoo.cli import _output
for name in ast.literal_eval(sys.argv[1]):
    _output.print_table(("class", name), [(name, 1)], title=name)
    with console.progress(name, 2) as advance:
        advance(1, name)
        console.log(name)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_tables_and_bars_on_a_terminal(child_environment, encoding):
    leader, follower = pty.openpty()
    environment = {**child_environment, "TERM": "xterm", "COLUMNS": "120", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", ON_A_TERMINAL, ascii(HOSTILE)]
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        with suppress(OSError):  # how Linux says that the other end has closed
            while part := os.read(leader, 4096):
                shown += part
    os.close(leader)
    text = shown.decode()
    assert process.returncode == 0, text
    assert "[red]y[link=x]" in text  # no markup
    for escape in ("\x1b]0;", "\x9b", "\x07", "\u202e", "\nkzoo: all is well"):
        assert escape not in text
    assert text.count("\\x1b[31mred") >= 4


LIBRARIES = """
import ast, logging, sys, warnings
import absl.logging
from kzoo.cli import main
from kzoo.cli.commands import app

@app.command
def speak(names: str):
    for name in ast.literal_eval(names):
        warnings.warn(f"1 {name}")
        logging.warning("2 %s", name)
        logging.getLogger("library").error(f"3 {name}")
        absl.logging.use_absl_handler()
        absl.logging.error("4 %s", name)
        try:
            raise ValueError(f"5 {name}")
        except ValueError:
            logging.getLogger("library").exception("6 %s", name)
    raise RuntimeError("7 " + name + "".join(ast.literal_eval(names)))

main(["speak", sys.argv[1]])
"""


def test_what_libraries_say_of_names(fresh_python):
    """Python's warnings, lines of loggers and tracebacks: they quote names of layers in a model file."""
    done = fresh_python(LIBRARIES, ascii(HOSTILE), status=1)
    lines = done.stderr.split("\n")
    assert all(line.isprintable() for line in lines), done.stderr
    assert not any(line.startswith("kzoo:") for line in lines)
    for name in HOSTILE:
        assert f"warning: 1 {one_line(name)}" in lines
        for number in (2, 3, 4, 6):
            assert any(line.endswith(f"{number} {one_line(name)}") for line in lines)
    assert done.stderr.count("ValueError: 5 ") == len(HOSTILE)
    assert "RuntimeError: 7 " in done.stderr


def test_a_folder_of_hostile_names(photos, capfd):
    """An error that names a file, a warning and a listing; --json has the names themselves."""
    (photos / "plain" / "bad\x1b[5m.png").write_bytes(b"no image")
    assert kzoo(["train", "mnist_net", str(photos), "--run-dir", str(photos.parent / "run")]) == 1
    assert kzoo(["info", str(photos)]) == 0
    assert kzoo(["info", str(photos), "--json"]) == 0
    shown = capfd.readouterr()
    assert "bad\\x1b[5m.png" in shown.err
    for line in (shown.out + shown.err).splitlines():
        assert line.replace("\t", "").isprintable(), line
    assert json.loads(shown.out.splitlines()[-1])["dataset"] == str(photos)


def test_class_names_survive_a_run(photos, tmp_path, capfd):
    """Names that are not UTF-8 too: in config.json, the model file, figures and predictions."""
    run_dir = tmp_path / "run"
    flags = ["--epochs", "1", "--image-size", "28", "--batch-size", "16", "--run-dir", str(run_dir)]
    assert kzoo(["train", "mnist_net", str(photos), *flags]) == 0
    assert kzoo(["evaluate", str(run_dir), "--split", "train"]) == 0
    assert kzoo(["predict", str(run_dir), str(photos / HOSTILE[5]), "--top", "9"]) == 0
    shown = capfd.readouterr()
    for line in (shown.out + shown.err).splitlines():
        assert line.replace("\t", "").isprintable(), line
    labels = {one["label"] for one in json.loads(shown.out.splitlines()[-1])["top"]}
    assert labels == {*HOSTILE, "caf\u00e9", "plain"}


def command_of(*arguments):
    return [sys.executable, "-m", "kzoo", *arguments]


@pytest.mark.parametrize(
    ("shell", "status", "out", "err"),
    [
        ("list vgg11 >&-", 0, 0, 0),
        ("list vgg11 2>&-", 0, 2, 0),
        ("list nosuch 2>&-", 2, 0, 0),
        ("list nosuch >&- 2>&- <&-", 2, 0, 0),
        ("list vgg11 >/dev/full", 1, 0, 1),
        ("list nosuch 2>/dev/full", 2, 0, 0),
    ],
)
def test_streams_that_are_closed_or_full(shell, status, out, err, child_environment):
    command = ["/bin/sh", "-c", f"{sys.executable} -P -m kzoo {shell}"]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment, timeout=100, check=False)
    assert (done.returncode, len(done.stdout.splitlines()), len(done.stderr.splitlines())) == (status, out, err)


CLOSED = """
import os, sys
from kzoo.cli import main
from kzoo.cli.commands import app
@app.command
def opens(path: str):
    with open(path, "w") as file:
        os.write(2, b"what TensorFlow prints")
        file.write(str(file.fileno()))
main(["opens", sys.argv[1]])
"""


def test_what_is_printed_gets_into_no_file(tmp_path, child_environment):
    command = ["/bin/sh", "-c", f'{sys.executable} -c "$0" "$1" <&- >&- 2>&-', CLOSED, str(tmp_path / "file")]
    subprocess.run(command, env=child_environment, timeout=100, check=True)
    assert int((tmp_path / "file").read_text()) > 2


class Failing:
    """A stream whose disk is full, or whose reader has gone."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def isatty(self):
        return False


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), BrokenPipeError(), ValueError("closed"), RuntimeError()]
)
def test_a_line_that_cannot_be_written_ends_no_work(monkeypatch, error):
    monkeypatch.setattr(sys, "stderr", Failing(error))
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0)
    console.warn("look out")
    with console.progress("counting", 2) as advance:
        advance(1)
    monkeypatch.setattr(sys, "stderr", None)
    console.log("to nobody")
    with console.progress("counting", 2) as advance:
        advance(1)


def test_training_goes_on_when_its_reader_has_gone(tmp_path, child_environment):
    command = command_of("train", "mnist_net", "digits", "--epochs", "1", "--run-dir", str(tmp_path / "run"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=child_environment) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=200) == 0
    assert (tmp_path / "run" / "metrics.json").exists()


HOMELESS = """
import os, pwd, sys
os.environ.pop("HOME", None)
def unknown(*_):
    raise KeyError("no passwd entry")
pwd.getpwuid = pwd.getpwnam = unknown
from kzoo.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ("weights list", 0, ""),
        ("info ~/nosuch", 2, "Received: '~/nosuch'"),
        ("train mnist_net ~nobody/photos --run-dir run", 1, "Received: '~nobody/photos'"),
        ("train --resume ~/run", 2, "Not a run directory"),
        ("evaluate ~/run", 2, "No such model file or run directory"),
        ("search --resume ~/run", 2, "Not a search directory"),
        ("weights fetch resnet50", 1, "Set KZOO_HOME to a folder."),
        ("train mnist_net nosuchdata --run-dir run", 1, "~/tensorflow_datasets"),
    ],
)
def test_without_a_home(fresh_python, child_environment, tmp_path, arguments, status, says):
    environment = {name: value for name, value in child_environment.items() if not name.startswith(("KZOO_", "XDG_"))}
    done = fresh_python(HOMELESS, *arguments.split(), status=status, env=environment, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert says in "".join(done.stderr.splitlines()[-1:])
    assert not any(tmp_path.iterdir())  # no folder "~"


def test_a_pipe_is_not_waited_for(tmp_path, capfd):
    from kzoo.search import store
    from kzoo.train import runs

    def a_pipe(name):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
        return str(tmp_path / name)

    def too_late(*_):
        raise AssertionError("it waits for the pipe")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    try:
        a_pipe(f"run/{runs.CONFIG}")
        a_pipe(f"search/{store.SEARCH}")
        for arguments in (
            f"train mnist_net {a_pipe('data.csv')} --run-dir {tmp_path / 'new'}",
            f"train --resume {tmp_path / 'run'}",
            f"train --from-search {tmp_path / 'search'}",
            f"search --resume {tmp_path / 'search'}",
            f"evaluate {a_pipe('model.keras')}",
            f"search mnist_net digits --space {a_pipe('space.json')}",
        ):
            assert kzoo(arguments.split()) in (1, 2)
            line = capfd.readouterr().err.splitlines()[-1]
            assert "is no regular file" in line or "Not a run directory" in line, arguments
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_run_of_hostile_size(tmp_path, capfd):
    """A device without an end in the place of a run's file."""
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert kzoo(["train", "--resume", str(tmp_path)]) == 1
    assert "it is no regular file" in capfd.readouterr().err
