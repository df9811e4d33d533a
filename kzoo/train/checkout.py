"""The commit that a folder's checkout is at, read from its files.

git itself is not asked: it obeys the configuration of the repository, which may name programs to run, and a folder of
photos from elsewhere may be one.
"""

import re
from pathlib import Path

from kzoo.files import read_bytes

# No HEAD, reference or list of packed references is larger than this.
_LARGEST = 1 << 24


def commit_of(folder: Path) -> str | None:
    """The commit that is checked out in a folder, or in the nearest folder above that is a checkout; None without one.

    Whether files differ from the commit only git could tell.
    """
    try:
        folder = folder.resolve()
        for one in (folder, *folder.parents):
            if (one / ".git").exists():
                return _head(_directory(one / ".git"))
    except (OSError, ValueError):  # nothing that can be read, or not as git writes it
        pass
    return None


def _directory(path: Path) -> Path:
    """The directory of a repository: of a worktree or a submodule, `.git` is a file that says where it is."""
    if path.is_dir():
        return path
    kind, _, where = _text(path).partition(": ")
    if kind != "gitdir":
        raise ValueError(kind)
    return path.parent / where


def _head(directory: Path) -> str | None:
    head = _text(directory / "HEAD")
    if not head.startswith("ref: "):
        return _hash(head)
    name = head.removeprefix("ref: ")
    if not re.fullmatch(r"refs(/[^/]+)+", name) or ".." in name.split("/"):
        return None
    shared = directory / "commondir"  # of a worktree: where it shares its branches
    common = directory / _text(shared) if shared.exists() else directory
    for file in (directory / name, common / name):
        if file.exists():
            return _hash(_text(file))
    for line in _text(common / "packed-refs").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return _hash(commit)
    return None


def _text(path: Path) -> str:
    return read_bytes(path, _LARGEST).decode().strip()


def _hash(text: str) -> str | None:
    return text if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", text) else None
