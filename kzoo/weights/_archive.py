"""Zip archives of tensors, as torch.save and Keras write them: no entry takes more memory than it has bytes."""

import mmap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzoo.weights._limits import MOST_TENSORS, check_count, check_regular

_DIRECTORY_ENTRY = b"PK\x01\x02"  # what each entry of the archive's directory begins with
_LOCAL_HEADER = 30  # bytes before an entry's name and content, at least


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive to read it.

    Raises:
        ValueError: Its entries are compressed, encrypted, too many, overlap, or share a name.
    """
    check_regular(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = -1
        for _ in range(MOST_TENSORS + 100):  # before zipfile makes an object of each
            found = content.find(_DIRECTORY_ENTRY, found + 1)
            if found < 0:
                break
        else:
            check_count(MOST_TENSORS + 1, "entries")
    with zipfile.ZipFile(path) as archive:
        _check(archive.infolist(), path.stat().st_size)
        yield archive


def _check(entries: list[zipfile.ZipInfo], size: int) -> None:
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise ValueError(
                f"it is not the kind of zip archive that holds a model: its entry {entry.filename!r:.100} is compressed or "
                "encrypted"
            )
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("it is a zip archive in which two entries have one name")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + _LOCAL_HEADER + len(entry.filename) + entry.file_size for entry in ordered]
    starts = [entry.header_offset for entry in ordered[1:]] + [size]
    if any(end > start for end, start in zip(ends, starts, strict=True)):
        raise ValueError("it is a zip archive whose entries overlap")
