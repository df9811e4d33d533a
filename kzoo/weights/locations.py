"""Where a record's files may be on this machine. Files are found by name; nothing here reads them.

In this order: the cache (`home()`, set by KZOO_HOME), the folders in KZOO_WEIGHTS_PATH, kzoo's package, the Hugging
Face hub's cache, Keras's cache (KERAS_HOME).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from kzoo.errors import WeightsError
from kzoo.paths import expand
from kzoo.weights import hub
from kzoo.weights.record import File, Record

PACKAGED = Path(__file__).parent / "files"  # small enough to be a part of the wheel


@dataclass(frozen=True)
class Location:
    """A record's files on disk, in its order. `path` is the file, or the folder that holds them if there are many."""

    path: Path
    files: tuple[Path, ...]
    in_hub_cache: bool = False

    def is_there(self) -> bool:
        """Whether all the files exist."""
        return all(path.is_file() for path in self.files)


def home() -> Path:
    """The folder that kzoo keeps things in: KZOO_HOME, by default the platform's cache folder.

    Raises:
        WeightsError: The user has no home folder, as in some containers.
    """
    if folder := os.environ.get("KZOO_HOME"):
        return expand(folder)
    try:
        return platformdirs.user_cache_path("kzoo")
    except RuntimeError:
        message = "There is no home folder to keep things in. Received: no HOME. Set KZOO_HOME to a folder."
        raise WeightsError(message) from None


def cache_folder(record: Record) -> Path:
    """Where the files of a record are kept once they are fetched."""
    return home() / "weights" / below_cache(record)


def below_cache(record: Record) -> Path:
    """The folder of a record in a cache: MODEL/TAG, without the colon of "keras:", which Windows does not allow."""
    return Path(record.model.replace(":", "-")) / record.tag


def search_folders() -> list[Path]:
    """The folders that are searched for weights, the cache first."""
    added = os.environ.get("KZOO_WEIGHTS_PATH", "").split(os.pathsep)
    folders = [*(expand(folder) for folder in added if folder), PACKAGED]
    with suppress(WeightsError):
        folders.insert(0, home() / "weights")
    return folders


def on_disk(record: Record) -> Iterator[Location]:
    """Every location that has files of the record's names, verified or not."""
    for folder in search_folders():
        for base in (folder / below_cache(record), folder):
            location = location_below(base, record)
            if location.is_there():
                yield location
    if record.files[0].hub and (path := hub.cached(record.files[0])):
        yield Location(path, (path,), in_hub_cache=True)
    if record.source == "keras" and (location := location_below(keras_cache(), record)).is_there():
        yield location


def keras_cache() -> Path:
    """The folder in which Keras keeps the weights that it downloads: below KERAS_HOME, by default `~/.keras`."""
    return expand(os.environ.get("KERAS_HOME") or "~/.keras") / "models"


def location_below(base: Path, record: Record, *, inside: bool = False) -> Location:
    """The record's files below `base`; with `inside`, `base` is the folder that the files' names begin with."""
    names = [_relative(file, record) for file in record.files]
    if inside:
        names = [name.relative_to(name.parts[0]) if len(name.parts) > 1 else name for name in names]
    paths = tuple(base / name for name in names)
    if len(paths) == 1:
        return Location(paths[0], paths)
    return Location(base if inside else base / names[0].parts[0], paths)


def _relative(file: File, record: Record) -> PurePosixPath:
    """A file's name as a path that stays below any folder that it is put in."""
    name = PurePosixPath(file.name)
    if not name.parts or name.is_absolute() or ".." in name.parts or "\\" in file.name or ":" in file.name:
        raise WeightsError(
            f"A record's file must have a name below its folder. Received: {file.name!r} in {record.tag!r} of "
            f"{record.model}."
        )
    return name
