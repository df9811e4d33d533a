"""Commands of kzoo in processes: started, watched, and ended where they take more time or memory than they may."""

import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from kzoo import console
from kzoo.hardware import visible
from kzoo.search.forkserver import ForkedProcess, ForkServer
from kzoo.text import megabytes

# How often the memory and the time of a process are looked at.
SECONDS_BETWEEN_CHECKS = 0.2


class CommandProcess:
    """A command of kzoo in a process of its own, with a log.

    It is in a session of its own, so that Ctrl-C reaches the search alone.
    """

    def __init__(
        self,
        server: ForkServer,
        arguments: Sequence[str],
        log: Path,
        *,
        cores: Sequence[int] = (),
        gpus: Sequence[int] | None = None,
        time_limit: float | None = None,
        memory_limit: int | None = None,
    ):
        self.log = log
        self.verdict = ""  # why it was ended, if it was
        self._time_limit, self._memory_limit = time_limit, memory_limit
        self.started = time.monotonic()
        self._log_begins_at = log.stat().st_size if log.exists() else 0
        with open(log, "ab") as file:
            # By the end of its standard input it knows of ours.
            command = ("kzoo.child", ",".join(map(str, cores)) or "-", *arguments)
            # Trials of other searching processes may be on the same GPUs: no process reserves all their memory.
            environment = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", **visible(gpus)}
            self._process = server.start(*command, environment=environment, stderr=file)
        _be_first_to_go(self._process.pid)
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._reader.start()
        self._watcher.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        self._output = self._process.stdout.read()

    def _watch(self) -> None:
        """In a thread, so that limits hold whatever the search is waiting for."""
        while self.running:
            used = _memory(self._process.pid)
            if self._memory_limit is not None and used > self._memory_limit:
                self.kill(f"memory: {megabytes(used)}, more than the limit of {megabytes(self._memory_limit)}")
            elif self._time_limit is not None and time.monotonic() - self.started > self._time_limit:
                self.kill(f"time: more than {console.duration(self._time_limit)}")
            time.sleep(SECONDS_BETWEEN_CHECKS)

    def kill(self, verdict: str) -> None:
        """End it at once."""
        if self.running:
            self.verdict = verdict
            self._process.kill()

    def interrupt(self) -> None:
        """Ask it to save its state and end."""
        if self.running:
            self._process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        """Wait for its end; returns its exit status, negative for a signal."""
        status = self._process.wait()  # interrupted, it can be called again
        self._reader.join()
        self._watcher.join()
        with self._process:  # closes its pipes; to close one that is being read would wait for the process
            return status

    @property
    def is_lost(self) -> bool:
        """Whether it ended because the fork server was killed."""
        return isinstance(self._process, ForkedProcess) and self._process.is_lost and not self.verdict

    def last_line(self) -> str:
        """The last line of its standard output."""
        return (self._output.decode(errors="replace").strip().splitlines() or [""])[-1]

    def reason(self, status: int) -> str:
        """Why it failed, in a line."""
        if self.verdict:
            return self.verdict
        if status == -signal.SIGKILL:
            return "killed: by the system for lack of memory, or by someone"
        if status < 0:
            return f"crashed: {signal.Signals(-status).name}"
        with open(self.log, "rb") as file:
            file.seek(self._log_begins_at)
            lines = file.read().decode(errors="replace").strip().splitlines() or [f"exit status {status}"]
        messages = [line.removeprefix("kzoo: ") for line in lines if line.startswith("kzoo: ")]
        return messages[-1] if messages else f"crashed: {lines[-1]}"


def _memory(pid: int) -> int:
    """The memory of a process and its children in bytes; 0 if it is gone.

    Files that are mapped to memory do not count where the system tells them apart: it can drop those at any moment.
    """
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            memory = one.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def _be_first_to_go(pid: int) -> None:
    """Have Linux choose a trial, not the search, when memory is short."""
    with suppress(OSError):  # another system, or the process is gone
        Path(f"/proc/{pid}/oom_score_adj").write_text("800")
