"""The places on this machine where a record's files may be, by their names; what is in them is not looked at.

First the cache (`home()`, set by KZOO_HOME), then the folders that KZOO_WEIGHTS_PATH names, then kzoo's own package,
then the Hugging Face hub's own cache.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from kzoo.errors import WeightsError
from kzoo.weights import hub
from kzoo.weights.record import File, Record

PACKAGED = Path(__file__).parent / "files"  # small enough to be a part of the wheel


@dataclass(frozen=True)
class Place:
    """A record's files on disk, in its order. `path` is the file, or the folder that holds them if there are many."""

    path: Path
    files: tuple[Path, ...]
    in_hub_cache: bool = False

    def is_there(self) -> bool:
        """Whether all the files exist."""
        return all(path.is_file() for path in self.files)


def home() -> Path:
    """The folder that kzoo keeps things in: KZOO_HOME, by default the platform's cache folder."""
    own = os.environ.get("KZOO_HOME")
    return Path(own).expanduser() if own else platformdirs.user_cache_path("kzoo")


def cache_folder(record: Record) -> Path:
    """Where the files of a record are kept once they are fetched."""
    return home() / "weights" / record.model / record.tag


def folders() -> list[Path]:
    """The folders that are searched for weights, the cache first."""
    own = os.environ.get("KZOO_WEIGHTS_PATH", "").split(os.pathsep)
    return [home() / "weights", *(Path(folder).expanduser() for folder in own if folder), PACKAGED]


def on_disk(record: Record) -> Iterator[Place]:
    """Every place where the record's files are, whatever is in them."""
    for folder in folders():
        for base in (folder / record.model / record.tag, folder):
            place = place_below(base, record)
            if place.is_there():
                yield place
    if record.files[0].hub and (path := hub.cached(record.files[0])):
        yield Place(path, (path,), in_hub_cache=True)


def place_below(base: Path, record: Record, *, inside: bool = False) -> Place:
    """The record's files below `base`; with `inside`, `base` is the folder that the files' names begin with."""
    names = [_relative(file, record) for file in record.files]
    if inside:
        names = [name.relative_to(name.parts[0]) if len(name.parts) > 1 else name for name in names]
    paths = tuple(base / name for name in names)
    if len(paths) == 1:
        return Place(paths[0], paths)
    return Place(base if inside else base / names[0].parts[0], paths)


def _relative(file: File, record: Record) -> PurePosixPath:
    """A file's name as a path that stays below any folder that it is put in."""
    name = PurePosixPath(file.name)
    if not name.parts or name.is_absolute() or ".." in name.parts or "\\" in file.name or ":" in file.name:
        raise WeightsError(
            f"A record's file must have a name below its folder. Received: {file.name!r} in {record.tag!r} of "
            f"{record.model}."
        )
    return name
