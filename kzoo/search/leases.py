"""Which workers of a search are alive, told by the folder that they share.

A worker holds the system's lock of a file, which a process loses when it dies, however it dies. That tells workers on
the same machine at once. Other machines may see the lock for long after a machine is gone, so the worker also renews a
small file. An observer takes a worker for dead when it has seen no change of that file for a minute, by its own clock:
clocks need not agree. The locks must hold across machines all the same: by the lock of the folder workers take turns.
"""

import json
import os
import secrets
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from kzoo.errors import RunError
from kzoo.files import locked, read_bytes, write_json

FOLDER = "workers"
SECONDS_BETWEEN_RENEWALS = 10.0
SECONDS_TO_EXPIRE = 60.0


def this_machine() -> str:
    """A name that no other machine has, also where two of them have the same host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


class Lease:
    """Says that this process is alive, from entering the context to leaving it.

    Args:
        search_dir: The folder of the search.
        machine: Another name of this machine, so that a test can be two of them.
    """

    def __init__(self, search_dir: Path, *, machine: str | None = None):
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        """The name of this worker; no other worker ever has the same."""
        self._folder = search_dir / FOLDER
        self._machine = machine or this_machine()
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._keep_renewing, daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> "Lease":
        self._folder.mkdir(exist_ok=True)
        self._stack.enter_context(locked(_lock_of(self._folder, self.worker), wait=False))
        self._renew(0)
        self._renewer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._renewer.join()
        self._stack.close()
        _forget(self._folder, self.worker)

    def _keep_renewing(self) -> None:
        renewals = 0
        while not self._ended.wait(SECONDS_BETWEEN_RENEWALS):
            renewals += 1
            with suppress(OSError):  # a disk that is full or away may be back the next time
                self._renew(renewals)

    def _renew(self, renewals: int) -> None:
        content = {"machine": self._machine, "pid": os.getpid(), "renewals": renewals}
        write_json(_heartbeat_of(self._folder, self.worker), content)


class Observer:
    """Looks at the leases of other workers, and remembers since when they have not changed.

    Args:
        search_dir: The folder of the search.
        seconds_to_expire: After how long without a change a worker on another machine counts as dead.
    """

    def __init__(self, search_dir: Path, *, seconds_to_expire: float = SECONDS_TO_EXPIRE):
        self._folder = search_dir / FOLDER
        self._seconds_to_expire = seconds_to_expire
        # By worker: its file, since when it is the same, and whether its lock was free then.
        self._seen: dict[str, tuple[bytes, float, bool]] = {}

    def is_alive(self, worker: str) -> bool:
        """Whether a worker has not ended, as far as can be seen from here and by now.

        Raises:
            RunError: On another machine, its lock was free here, and it has renewed its file since then.
        """
        try:
            content = read_bytes(_heartbeat_of(self._folder, worker))
        except FileNotFoundError:  # it has left
            return False
        lock = _lock_of(self._folder, worker)
        if json.loads(content)["machine"] == this_machine():
            return _is_locked(lock)
        before, since, was_free = self._seen.get(worker, (b"", 0.0, False))
        if content != before:
            since, is_free = time.monotonic(), lock.exists() and not _is_locked(lock)
            self._seen[worker] = content, since, is_free
            if was_free and is_free:
                raise RunError(
                    f"File locks do not hold between the machines of this search. Received: {worker} without its lock "
                    f"in {str(self._folder)!r}. Use a file system that shares locks, or one machine."
                )
        return time.monotonic() - since < self._seconds_to_expire

    def forget_the_dead(self) -> None:
        """Delete the files of workers that were killed."""
        for path in self._folder.glob("[!.]*.json"):
            if not self.is_alive(path.stem):
                _forget(self._folder, path.stem)


def _forget(folder: Path, worker: str) -> None:
    for path in (_heartbeat_of(folder, worker), _lock_of(folder, worker)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _heartbeat_of(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.json"


def _lock_of(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.lock"


def _is_locked(path: Path) -> bool:
    try:
        with locked(path, wait=False):
            return False
    except BlockingIOError:
        return True
