"""Zip archives of tensors, as torch.save and Keras write them.

Their entries are stored uncompressed, so reading one takes its size in memory.
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzoo.files import check_regular
from kzoo.weights.limits import MOST_TENSORS, check_count

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


def content_of(archive: zipfile.ZipFile, name: str) -> io.BufferedReader:
    """Open an entry for reading in place, without copying it."""
    archive.open(name).close()  # which compares the entry's own header with the directory
    return io.BufferedReader(_Part(str(archive.filename), archive.getinfo(name)), 2**20)


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, path: str, entry: zipfile.ZipInfo):
        self._file = open(path, "rb")  # noqa: SIM115 - closed with this one
        self._file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", self._file.read(4))
        self._start = entry.header_offset + _LOCAL_HEADER + name + extra
        self._size = entry.file_size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer) -> int:
        self._file.seek(self._start + self._at)
        content = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _check(entries: list[zipfile.ZipInfo], size: int) -> None:
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise ValueError(
                "it is not the kind of zip archive that holds a model: its entry "
                f"{entry.filename!r:.100} is compressed or encrypted"
            )
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("it is a zip archive in which two entries have one name")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + _LOCAL_HEADER + len(entry.filename) + entry.file_size for entry in ordered]
    starts = [entry.header_offset for entry in ordered[1:]] + [size]
    if any(end > start for end, start in zip(ends, starts, strict=True)):
        raise ValueError("it is a zip archive whose entries overlap")
