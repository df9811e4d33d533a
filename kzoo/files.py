"""Writing files so that each appears whole or not at all, and by one process at a time."""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzoo import interrupts
from kzoo.console import log

LARGEST_JSON = 2**26  # bytes; of a search of a thousand trials search.json has some million
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    After an error, a kill or a power cut `path` is either what it was before or complete. The temporary
    name keeps the suffix of `path`, since Keras chooses a file format by it, and begins with a dot.
    """
    path = Path(path)
    with temporary_path(path) as temporary:
        yield temporary
        put_in_place(temporary, path)


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is there is deleted in the end."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which is not there or is empty; on success rename it to `path`.

    After an error nothing is left; after a kill `path` is as it was, and the other folder stays, under a hidden name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """The status of a file. OSError for what is no regular file: a pipe would be waited for, a device has no end."""
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return status


def read_bytes(path: str | Path, largest: int = LARGEST_JSON) -> bytes:
    """The content of a regular file.

    Another machine may replace it meanwhile; NFS then may have lost the old one (ESTALE), and the new one is read.

    Raises:
        OSError: It cannot be read, is no regular file, or has more than `largest` bytes.
    """
    try:
        return _read_bytes(path, largest)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return _read_bytes(path, largest)


def _read_bytes(path: str | Path, largest: int) -> bytes:
    check_regular(path)
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes", str(path))
    return content


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
    """Hold the lock of the file at `path`. The system releases it when the process dies, however it dies.

    The empty file is made in a folder that exists, and stays: if it were deleted, a process that waits for it and one
    that makes it anew would both go on. A caller that holds the lock cannot take it a second time.

    Args:
        path: The file; it is used for nothing else.
        wait: Whether to wait, and say so, while another process holds the lock.

    Raises:
        BlockingIOError: Another process or thread holds it, and `wait` is false.
        OSError: The file cannot be written, or is on a file system without locks.
    """
    from filelock import FileLock, Timeout  # 50 ms, which not every command needs

    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    # A soft lock, which is a file that exists, would outlive a killed process. Another thread may leave the context.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
    try:
        try:
            hold = lock.acquire(blocking=False)
        except Timeout:
            if not wait:
                raise BlockingIOError(errno.EAGAIN, "Another process holds the lock", str(path)) from None
            log(f"Another process is writing to {path.parent}; waiting for it.")
            try:
                hold = lock.acquire(cancel_check=interrupts.is_pending)
            except Timeout:
                interrupts.check()
                raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        message = "The file system has no file locks. Use a folder on another disk"
        raise OSError(error.errno, message, str(path)) from error
    with hold:
        yield


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut (Windows has no such call)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
