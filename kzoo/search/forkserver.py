"""Processes that start with TensorFlow already imported: copies of one process, the fork server, that has imported it.

A start of TensorFlow takes 5 to 60 s, a fork some hundredths. The fork server imports (`kzoo.search.preloaded`) and
runs nothing: it has one thread and has not looked for devices, so that a copy of it is as good as a new process. It is
the one to fork because the searching process may be a user's, with threads of its own. multiprocessing's fork server
would run the user's script a second time in each process.

Where there is a GPU, or no Linux, or an import has started a thread, each process starts anew.
"""

import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from kzoo import children, console
from kzoo.errors import KzooError
from kzoo.hardware import probe

# Most bytes of a message to the server: the arguments and environment variables of a process.
_LONGEST = 2**16
# OpenBLAS starts its threads when it is imported, and each copy has its own share of the cores.
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_NAME = "kzoo.search.forkserver"


class ForkServer:
    """The searching process's side: starts the server when it is needed, and again if it was killed.

    It ends on leaving the context.
    """

    def __init__(self):
        self._process: Any = None
        self._connection: socket.socket | None = None
        self._can_fork: bool | None = None  # not known yet

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def begin(self) -> None:
        """Have it import TensorFlow, and do not wait for it."""
        if self._can_fork is None and (not hasattr(os, "pidfd_open") or probe().gpus):
            self._can_fork = False
        if self._process is None and self._can_fork is not False:
            self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                one_thread = {_BLAS_THREADS: "1"}
                self._process = children.start(_NAME, stdin=theirs, stdout=subprocess.DEVNULL, environment=one_thread)

    def start(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None, stderr: Any = None):
        """Start a module of kzoo as a process of its own, as `kzoo.children.start` does, its input and output pipes.

        Args:
            module: Its name, as for `python -m`.
            *arguments: Of its command line.
            environment: Variables besides those of this process.
            stderr: A file; by default that of this process.

        Raises:
            KzooError: TensorFlow cannot be imported.
        """
        variables = {name: os.environ[name] for name in (_BLAS_THREADS,) if name in os.environ}
        order = json.dumps([module, arguments, variables | dict(environment or {})])
        for _ in range(2):
            self.begin()
            if not self._forks():
                break
            with suppress(OSError):
                return self._forked(order, stderr)
            self._close()
        if self._can_fork is not False:
            raise KzooError("The process that imports TensorFlow for all trials ended, twice. Try: kzoo doctor")
        pipe = subprocess.PIPE
        return children.start(module, *arguments, environment=environment, stdin=pipe, stdout=pipe, stderr=stderr)

    def _forks(self) -> bool:
        """Whether to ask the server; waits until it has imported TensorFlow."""
        if self._can_fork is None:
            assert self._connection is not None  # noqa: S101 - begin has made it
            answer = self._connection.recv(_LONGEST)
            if not answer:  # it has ended: asking it fails
                return True
            reason = json.loads(answer)
            self._can_fork = not reason
            if reason:
                console.log(f"each trial starts TensorFlow anew: {reason}")
                self._close()
        return self._can_fork

    def _forked(self, order: str, stderr: Any) -> "ForkedProcess":
        """Ask the server for a process; raises OSError if the server is gone."""
        assert self._connection is not None  # noqa: S101 - begin has made it
        with ExitStack() as stack:
            (input_there, input_here), (output_here, output_there) = os.pipe(), os.pipe()
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stdin = stack.enter_context(open(input_here, "wb"))
            stdout = stack.enter_context(open(output_here, "rb"))
            stack.enter_context(here)
            try:
                files = [there.fileno(), input_there, output_there, *([] if stderr is None else [stderr.fileno()])]
                socket.send_fds(self._connection, [order.encode()], files)
            finally:
                there.close()
                os.close(input_there)
                os.close(output_there)
            answer = here.recv(_LONGEST)
            if not answer:
                raise BrokenPipeError
            stack.pop_all()
            return ForkedProcess(int(answer), stdin, stdout, here)

    def _close(self) -> None:
        """End the server; processes that it has started end too, as their input does."""
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._process = self._connection = None


class ForkedProcess:
    """A process that the server has started, with what of `subprocess.Popen` a search needs.

    Its parent is the server, which tells how it ended, and sends it signals: so they reach no other process that has
    got its number meanwhile.
    """

    def __init__(self, pid: int, stdin: Any, stdout: Any, connection: socket.socket):
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None
        """Of a process that has ended its exit status, negative for a signal."""
        self.is_lost = False
        """Whether the server was killed: nobody can tell how the process ends, but it does, as its input has."""
        self._connection = connection
        self._lock = threading.Lock()

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.stdout.close()
        with suppress(OSError):
            self.stdin.close()
        self._connection.close()

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        with self._lock:
            if self.returncode is None:
                try:
                    answer = self._connection.recv(_LONGEST, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return None
                except OSError:
                    answer = b""
                if not answer:
                    self.is_lost = True
                    with suppress(OSError):
                        self.stdin.close()
                self.returncode = int(answer or -signal.SIGKILL)
            return self.returncode

    def wait(self) -> int:
        """Wait for its end; returns its exit status."""
        while (status := self.poll()) is None:
            select.select([self._connection], [], [])
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with self._lock, suppress(OSError):
            self._connection.send(bytes([number]))

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class _Order(NamedTuple):
    """What a copy of the server is to be."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    files: list[int]
    """What its first file descriptors are to be."""


def main() -> None:
    """Be the server, and in each copy what the copy is to be, to the end of the process as of any other."""
    console.escape_what_libraries_say()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    connection = socket.socket(fileno=os.dup(0))
    gc.disable()  # so that what is imported is not written to, and stays shared
    importlib.import_module("kzoo.search.preloaded")
    gc.freeze()
    reason = _reason_not_to_fork()
    with suppress(BrokenPipeError):  # the searching process has ended
        connection.send(json.dumps(reason).encode())
    order = None if reason else _serve(connection)
    if order is not None:
        for number, handler in before.items():
            signal.signal(number, handler)
        _become(order)


def _reason_not_to_fork() -> str:
    """Why copies of this process would not be as good as new processes; empty if they are."""
    try:
        os.close(os.pidfd_open(os.getpid()))
        threads = len(list(Path("/proc/self/task").iterdir()))
    except OSError as error:
        return f"this system cannot watch it: {error}"
    if threads > 1:
        return "an import has started a thread"
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and any(one.device_type != "CPU" for one in tensorflow.config.list_physical_devices()):
        return "there is a GPU"
    return ""


def _serve(connection: socket.socket) -> _Order | None:
    """Make a copy of this process for each order, to the end of the connection: None. In a copy: its order."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            # One at a time: what it is about may close others.
            [(key, _), *_] = selector.select()
            if key.data is None:
                content, files, _, _ = socket.recv_fds(connection, _LONGEST, 4)
                if not content:  # the searching process has ended
                    return None
                pid = os.fork()
                if pid == 0:
                    for one in selector.get_map().values():  # not unregistered: the original would lose them too
                        one.fileobj.close() if isinstance(one.fileobj, socket.socket) else os.close(one.fd)
                    os.close(files[0])
                    module, arguments, environment = json.loads(content)
                    return _Order(module, arguments, environment, files[1:])
                there = socket.socket(fileno=files[0])
                for file in files[1:]:
                    os.close(file)
                _tell(there, pid)
                process = os.pidfd_open(pid)
                selector.register(there, selectors.EVENT_READ, (pid, there, process))
                selector.register(process, selectors.EVENT_READ, (pid, there, process))
                continue
            pid, there, process = key.data
            if key.fd != process:
                if signals := there.recv(_LONGEST):
                    os.kill(pid, signals[0])
                else:  # nobody asks for it any more
                    selector.unregister(there)
                continue
            _, status = os.waitpid(pid, 0)
            _tell(there, os.waitstatus_to_exitcode(status))
            with suppress(KeyError):
                selector.unregister(there)
            selector.unregister(process)
            there.close()
            os.close(process)


def _tell(there: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody waits for it any more
        there.send(str(number).encode())


def _become(order: _Order) -> None:
    os.setsid()  # Ctrl-C reaches the search alone
    for number, file in enumerate(order.files):
        os.dup2(file, number)
        os.close(file)
    # The streams of before know of their files whether one can seek in them.
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        options = {"encoding": old.encoding, "errors": old.errors, "closefd": False}
        new = open(number, "w" if number else "r", buffering=1 if number == 2 else -1, **options)  # noqa: SIM115 - for good
        setattr(sys, name, new)
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"kzoo-{order.module.rpartition('.')[2]}")  # what ps and top show
    os.environ.pop(_BLAS_THREADS)
    os.environ.update(order.environment)
    gc.enable()
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__")


if __name__ == "__main__":
    main()
