"""Compare a file on disk with its record, by size and hash."""

import hashlib
from pathlib import Path

from kzoo.errors import WeightsError
from kzoo.weights.record import File


def hash_kind(file: File) -> str | None:
    """Which hash a record has of a file's content; None if it has none.

    >>> hash_kind(File(name="a.pth", sha256_prefix="1378be20", md5="2cb95161"))
    'sha256_prefix'
    """
    return next((kind for kind in ("sha256", "sha256_prefix", "md5") if getattr(file, kind)), None)


def check(path: Path, file: File) -> None:
    """Read the file at `path` and compare it with the size and hash in its record, where the record has them.

    Raises:
        WeightsError: It is another file, or damaged, or cannot be read.
    """
    try:
        _compare(path, file)
    except OSError as error:
        raise WeightsError(f"{file.name} cannot be read. Received: {error}.") from error


def matches(path: Path, file: File) -> bool:
    """Whether `check` finds nothing wrong."""
    try:
        check(path, file)
    except WeightsError:
        return False
    return True


def _compare(path, file):
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise WeightsError(
            f"{file.name} has the wrong size. Received: {size:,} bytes in {str(path)!r}. Expected: {file.size:,} bytes."
        )
    kind = hash_kind(file)
    if kind is None:
        return
    algorithm = kind.partition("_")[0]
    expected, received = getattr(file, kind), digest(path, algorithm)
    if received != expected and not (kind == "sha256_prefix" and received.startswith(expected)):
        raise WeightsError(
            f"{file.name} has the wrong content. Received: {algorithm} {received} in {str(path)!r}. "
            f"Expected: {expected}{'...' if kind == 'sha256_prefix' else ''}."
        )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content as hexadecimal digits."""
    with open(path, "rb") as content:
        # md5 is the only sum that Keras states; against errors of the line it serves
        return hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
