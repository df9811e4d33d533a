"""`kzoo launch`: the workers of one training on this machine, started, watched, and ended together."""

import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

from kzoo import children, console, interrupts, paths, workers
from kzoo.arguments import integer
from kzoo.errors import InvalidArgument
from kzoo.hardware import probe, share_of_cores, share_of_gpus, visible
from kzoo.text import one_line
from kzoo.train import runs

COMMANDS = ("train", "finetune")
MOST_WORKERS = 1000
SECONDS_BETWEEN_CHECKS = 0.1
# What the others get to end by themselves: after an error, which they may have too, and after Ctrl-C, to save.
SECONDS_AFTER_ERROR = 1.0
SECONDS_TO_SAVE = 120.0
# The lines of a worker that tell why it ended: they are said once, when all have ended.
_ERROR = "kzoo: "


def launch(arguments: Sequence[str], *, count: int, restarts: int) -> int:
    """Run a command of kzoo in `count` workers on this machine; returns its exit status.

    Args:
        arguments: A command, `train` or `finetune`, with its arguments. Without --run-dir it gets one, which all
            workers know.
        count: Workers; they share the cores and the GPUs.
        restarts: How often all are started again after one was killed or hung; the run goes on from its checkpoint.

    Raises:
        InvalidArgument: Another command, or numbers out of range.
    """
    integer("workers", count, 1, MOST_WORKERS)
    integer("restarts", restarts, 0)
    command = arguments[0] if arguments else None
    if command not in COMMANDS:
        more = " Its own --workers try several trials at a time." if command == "search" else ""
        raise InvalidArgument(
            f"kzoo launch starts {' or '.join(COMMANDS)}. Received: {command!r}.{more} Try: kzoo launch --workers "
            "2 train mnist_net digits"
        )
    arguments, run_dir = _with_run_dir(list(arguments))
    # Of a run that is there already, a restart goes on with what these workers have written.
    is_old = (run_dir / runs.CONFIG).exists() and not any(word.startswith("--resume") for word in arguments)
    before, words = _checkpoints(run_dir), arguments
    while True:
        with _Group(words, count) as group:
            status = group.wait()
        group.say_why()
        if not group.lost_one:
            return status
        if not restarts:
            if runs.has_checkpoint(run_dir):
                again = paths.command("kzoo", "launch", "--workers", str(count), command, "--resume", run_dir)
                console.log(f"continue with: {again}")
            return 1
        restarts -= 1
        console.warn(f"all {count} workers are started again; restarts left: {restarts}")
        if bool(_checkpoints(run_dir) - before) if is_old else (run_dir / runs.CONFIG).exists():
            words = [command, "--resume", str(run_dir), *(["--json"] if "--json" in arguments else [])]


def _with_run_dir(arguments: list[str]) -> tuple[list[str], Path]:
    """The arguments with a folder for the run, and that folder."""
    for flag in ("--resume", "--run-dir"):
        for place, word in enumerate(arguments):
            if word == flag and place + 1 < len(arguments):
                return arguments, paths.expand(arguments[place + 1])
            if word.startswith(f"{flag}="):
                return arguments, paths.expand(word.partition("=")[2])
    run_dir = f"runs/{arguments[0]}-{datetime.now():%Y%m%d-%H%M%S}"
    return [*arguments, "--run-dir", run_dir], Path(run_dir)


def _checkpoints(run_dir: Path) -> set[tuple]:
    """The checkpoints of a run by what tells an old one from one that was written since."""
    found = set()
    for folder in (run_dir, run_dir / runs.HEAD):
        with suppress(OSError):
            status = (folder / runs.CHECKPOINT).stat()
            found.add((folder, status.st_ino, status.st_mtime_ns))
    return found


class _Group:
    """Workers that run one command; leaving the context ends all that are left."""

    def __init__(self, arguments: Sequence[str], count: int):
        cores = [share_of_cores(index, count) for index in range(count)]
        gpus = len(probe().gpus)
        if gpus % count:
            raise InvalidArgument(
                f"The workers share the GPUs, as many each. Received: {count} workers and {gpus} GPUs. Take another "
                "--workers, or hide GPUs by CUDA_VISIBLE_DEVICES."
            )
        self._temporary = tempfile.TemporaryDirectory(prefix="kzoo-launch-")  # of all, whose ends may be sudden
        self.lost_one = False
        self._addresses = [f"localhost:{port}" for port in free_ports(count)]
        self._first: int | None = None  # the first that failed
        self._errors: dict[int, list[str]] = {index: [] for index in range(count)}
        self._said_by: dict[str, int] = {}
        self._processes: list[subprocess.Popen] = []
        self._readers: list[threading.Thread] = []
        try:
            for index in range(count):
                environment = {
                    workers.TF_CONFIG: workers.config_of(self._addresses, index),
                    "TMPDIR": self._temporary.name,
                    **visible(share_of_gpus(index, count, gpus)),
                }
                self._start(arguments, index, cores[index], environment)
        except BaseException:
            self.__exit__()
            raise

    def _start(
        self, arguments: Sequence[str], index: int, cores: Sequence[int], environment: Mapping[str, str]
    ) -> None:
        process = children.start(
            "kzoo.child",
            ",".join(map(str, cores)) or "-",
            *arguments,
            environment=environment,
            stdin=subprocess.PIPE,  # by whose end it knows of ours
            stdout=None if index == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._processes.append(process)
        reader = threading.Thread(target=self._pass_on, args=(index, process.stderr), daemon=True)
        reader.start()
        self._readers.append(reader)

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            process.wait()
        for reader in self._readers:
            reader.join(timeout=5.0)
        for process in self._processes:
            with suppress(OSError):
                process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess] - it was asked for
        self._temporary.cleanup()

    def wait(self) -> int:
        """Wait for the end of all; returns the exit status of the command.

        Ctrl-C and SIGTERM are passed on, so that the workers save the state. When one fails, the others are ended.
        """
        with interrupts.deferred():
            deadline = float("inf")
            told = False  # that they are to end
            while True:
                statuses = [process.poll() for process in self._processes]
                if all(status is not None for status in statuses):
                    break
                if interrupts.is_pending() and not told:
                    told, deadline = True, time.monotonic() + SECONDS_TO_SAVE
                    for process in self._processes:
                        process.send_signal(interrupts.exit_status() - 128)
                if self._first is None and not told:
                    self._first = _cause(statuses)
                    if self._first is not None:
                        was_killed = statuses[self._first] < 0  # pyright: ignore[reportOptionalOperand]
                        deadline = time.monotonic() + (0 if was_killed else SECONDS_AFTER_ERROR)
                if time.monotonic() >= deadline:
                    break
                time.sleep(SECONDS_BETWEEN_CHECKS)
        if told:
            return interrupts.exit_status()
        if self._first is None:
            self._first = _cause([process.returncode for process in self._processes])
        if self._first is None:
            return 0
        status = self._processes[self._first].returncode
        self.lost_one = status < 0 or status == workers.LOST
        return 1 if self.lost_one else status

    def say_why(self) -> None:
        """Say once what each has said of its end, and of one that was killed that it was; all have ended."""
        first = self._first
        if first is not None and (status := self._processes[first].returncode) < 0:
            others = "" if len(self._processes) == 1 else "; the others were ended too"
            _say(f"{_ERROR}worker {first} was ended by {signal.Signals(-status).name}{others}")
            return
        chief, *rest = self._errors.values()
        for line in dict.fromkeys(chief):
            _say(line)
        said = set(chief)
        for index, lines in enumerate(rest, 1):
            for line in lines:
                if line not in said:
                    said.add(line)
                    _say(f"{_ERROR}worker {index}: {line.removeprefix(_ERROR)}")

    def _pass_on(self, index: int, lines) -> None:
        """Write what a worker says into the one log; what several say alike, once."""
        with lines:
            for raw in lines:
                line = raw.decode(errors="replace").rstrip("\n")
                if line.startswith(_ERROR):
                    self._errors[index].append(line)
                elif index == 0 or self._said_by.setdefault(line, index) == index:
                    self._said_by[line] = index
                    _say(line if index == 0 else f"worker {index}: {line}")


def _cause(statuses: Sequence[int | None]) -> int | None:
    """The worker that the others ended for, by the exit statuses of those that have ended: the first of the killed.

    >>> _cause([None, 0]), _cause([75, 1]), _cause([75, 1, -9])
    (None, 1, 2)
    """
    failed = {index: status for index, status in enumerate(statuses) if status}
    return min(failed, key=lambda index: (failed[index] == workers.LOST, failed[index] > 0), default=None)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{one_line(line)}\n")
        sys.stderr.flush()


def free_ports(count: int) -> list[int]:
    """So many ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
