"""Where weights lie on this machine: found, fetched, verified.

A record's files are looked for in the cache (`home()`, set by KZOO_HOME), then in the folders that KZOO_WEIGHTS_PATH
names, then in the Hugging Face hub's own cache. What is found is hashed before it is handed out.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from kzoo.console import log, progress, warn
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.files import atomic_path
from kzoo.weights import checks, hub
from kzoo.weights.download import download
from kzoo.weights.record import File, Record


@dataclass(frozen=True)
class Place:
    """A record's files on disk, in its order. `path` is the file, or the folder that holds them if there are many."""

    path: Path
    files: tuple[Path, ...]
    in_hub_cache: bool = False


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
    return [home() / "weights", *(Path(folder).expanduser() for folder in own if folder)]


def places(record: Record) -> Iterator[Place]:
    """Every place on disk where the record's files are, by their names; what is in them is not looked at."""
    for folder in folders():
        for base in (folder / record.model / record.tag, folder):
            place = _place(base, record)
            if all(path.is_file() for path in place.files):
                yield place
    if record.files[0].hub and (path := hub.cached(record.files[0])):
        yield Place(path, (path,), in_hub_cache=True)


def find(record: Record) -> Path | None:
    """Where the record's weights are on this machine, verified; None if they are not. Never uses the network.

    Returns:
        The file; for a record of many files (raw ones) the folder that holds them.
    """
    for place in places(record):
        try:
            _check(place, record)
        except WeightsError as error:
            warn(f"Left aside: {error}")
        else:
            return place.path
    return None


def require(record: Record) -> Path:
    """As `find`.

    Raises:
        WeightsError: They are not on this machine; the message has the command that fetches them.
    """
    path = find(record)
    if path is None:
        raise _absent(record)
    return path


def verify(record: Record) -> Place:
    """Hash what is on disk of a record, at the first place that has it.

    Raises:
        WeightsError: It is not what the record says, or not on disk.
    """
    place = next(places(record), None)
    if place is None:
        raise _absent(record)
    _check(place, record)
    return place


def fetch(record: Record, *, source: str | Path | None = None) -> Path:
    """Bring a record's files onto this machine, unless they are here, and verify them.

    Args:
        record: Which weights.
        source: A folder that has the files, or their copy from another machine's cache; the network is not used then.
            They are copied into the cache.

    Returns:
        As `find`.

    Raises:
        InvalidArgument: `source` is no folder.
        WeightsError: The files cannot be had, or are not what the record says.
    """
    try:
        if source is not None:
            return _copy_from(Path(source).expanduser(), record)
        return find(record) or _download(record)
    except OSError as error:
        raise WeightsError(
            f"Cannot write {record.tag} for {record.model} to the cache. Received: {error}. Make room, or set "
            "KZOO_HOME to another folder."
        ) from error


def _download(record: Record) -> Path:
    try:
        return _download_missing(record)
    except WeightsError as error:
        raise WeightsError(f"{error} From a folder that has the files: {_command(record)} --from DIR.") from None


def _download_missing(record: Record) -> Path:
    if record.files[0].hub:
        log(f"Fetching {record.tag} for {record.model} from huggingface.co/{record.files[0].hub}")
        return hub.fetch(record.files[0])
    place = _place(cache_folder(record), record)
    with _locked(cache_folder(record)):
        wanted = [(file, path) for file, path in zip(record.files, place.files, strict=True) if not _is(path, file)]
        if wanted:  # another process may have been first
            log(f"Fetching {record.tag} for {record.model} from {wanted[0][0].url}")
        if len(wanted) == 1:
            download(*wanted[0])
        else:
            with progress(f"Fetching {record.tag} for {record.model}, files", len(wanted)) as advance:
                for file, path in wanted:
                    download(file, path, show=False)
                    advance(1)
    return place.path


def _copy_from(source: Path, record: Record) -> Path:
    if not source.is_dir():
        raise InvalidArgument(f"--from must be a folder. Received: {str(source)!r}.")
    candidates = (
        _place(source / record.model / record.tag, record),
        _place(source, record),
        _place(source, record, inside=True),
    )
    found = next((place for place in candidates if all(path.is_file() for path in place.files)), None)
    if found is None:
        missing = next(path for path in candidates[1].files if not path.is_file())
        raise WeightsError(
            f"The folder does not have the weights. Received: {str(source)!r} for {record.tag!r} of {record.model}. "
            f"Missing: {str(missing)!r}."
        )
    target = _place(cache_folder(record), record)
    with _locked(cache_folder(record)):
        for file, path, copy in zip(record.files, found.files, target.files, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            checks.check(path, file)
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)
            if checks.known_by(file) is None:
                warn(f"No hash of {file.name} is known: it is taken as it is (sha256 {checks.digest(copy)}).")
    return target.path


def _place(base: Path, record: Record, *, inside: bool = False) -> Place:
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


def _check(place: Place, record: Record) -> None:
    for path, file in zip(place.files, record.files, strict=True):
        checks.check(path, file)
        if place.in_hub_cache:
            hub.check(path, file)


def _is(path: Path, file: File) -> bool:
    try:
        checks.check(path, file)
    except WeightsError:
        return False
    return True


def _absent(record: Record) -> WeightsError:
    return WeightsError(
        f"The weights are not on this machine. Received: {record.tag!r} for {record.model}. Fetch them: "
        f"{_command(record)} (from a folder that has the files: --from DIR)."
    )


def _command(record: Record) -> str:
    return f"kzoo weights fetch {record.model} {record.tag}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process writes to a record's folder. The system lets go of the lock when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log(f"Another process is fetching into {folder}; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
        except ImportError:  # Windows
            pass
        yield
