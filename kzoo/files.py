"""Writing files so that each appears whole or not at all."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    After an error, a kill or a power cut `path` is either what it was before or complete. The temporary
    name keeps the suffix of `path`, since Keras chooses a file format by it, and begins with a dot.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it to `path`, in the same folder."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether `path` has a name that `atomic_path` gives; where nothing is being written, a kill left it behind.

    >>> is_temporary(Path("run/.config.1234.tmp.json")), is_temporary(Path("run/config.json"))
    (True, False)
    """
    return re.fullmatch(r"\..+\.\d+\.tmp(\.[^.]*)?", path.name) is not None


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: object) -> None:
    """Write `content` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file, which is made for it. The system lets go of the lock when a process dies.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is false.
    """
    with open(path, "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        yield


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut (Windows has no such call)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
