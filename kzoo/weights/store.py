"""Find, fetch and verify pretrained weights. Files are hashed before their path is returned."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzoo.console import log, progress, warn
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.files import atomic_path, locked
from kzoo.paths import expand
from kzoo.weights import checksums, hub
from kzoo.weights.download import download
from kzoo.weights.locations import Location, below_cache, cache_folder, location_below, on_disk
from kzoo.weights.record import Record
from kzoo.weights.table import RECORDS


def find(record: Record) -> Path | None:
    """Find a record's weights on this machine and verify them; None if there are none. Never uses the network.

    Returns:
        The file; for a record of many files (raw ones) the folder that holds them.
    """
    for location in on_disk(record):
        try:
            _check(location, record)
        except WeightsError as error:
            warn(f"Left aside: {error}")
        else:
            if not location.in_hub_cache and not all(map(checksums.hash_kind, record.files)):
                warn(f"No hash of {record.files[0].name} is known: {location.path} is taken as it is.")
            return location.path
    return None


def require(record: Record) -> Path:
    """Find a record's weights, as `find` does.

    Raises:
        WeightsError: They are not on this machine; the message has the command that fetches them.
    """
    path = find(record)
    if path is None:
        raise _absent(record)
    return path


def verify(record: Record) -> Location:
    """Hash a record's files at the first location that has them.

    Raises:
        WeightsError: It is not what the record says, or not on disk.
    """
    location = next(on_disk(record), None)
    if location is None:
        raise _absent(record)
    _check(location, record)
    return location


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
    if record.non_commercial:
        warn(
            f"{record.tag} for {record.model}: the licence {record.licence} forbids commercial use ({record.project})."
        )
    try:
        if source is not None:
            return _copy_from(expand(source), record)
        return find(record) or _download(record)
    except OSError as error:
        raise WeightsError(
            f"Cannot write {record.tag} for {record.model} to the cache. Received: {error}. Make room, or set "
            "KZOO_HOME to another folder."
        ) from error


def remedy(record: Record) -> str:
    """The sentence that says how a record's weights come onto this machine."""
    if record.files[0].url or record.files[0].hub:
        return f"Fetch them: {_command(record)} (from a folder that has the files: --from DIR)."
    if record in RECORDS:
        return "They are a part of kzoo: install it again."
    return f"Add them again: kzoo weights add RUN --name {record.tag} --overwrite."


def _download(record: Record) -> Path:
    if not (record.files[0].url or record.files[0].hub):
        raise _absent(record)
    try:
        return _download_missing(record)
    except WeightsError as error:
        raise WeightsError(f"{error} From a folder that has the files: {_command(record)} --from DIR.") from None


def _download_missing(record: Record) -> Path:
    if record.files[0].hub:
        log(f"Fetching {record.tag} for {record.model} from huggingface.co/{record.files[0].hub}")
        return hub.fetch(record.files[0])
    with locked_cache_folder(record) as folder:
        location = location_below(folder, record)
        wanted = [
            (file, path)
            for file, path in zip(record.files, location.files, strict=True)
            if not checksums.matches(path, file)
        ]
        if wanted:  # otherwise another process was first
            log(f"Fetching {record.tag} for {record.model} from {wanted[0][0].url}")
        if len(wanted) == 1:
            download(*wanted[0])
        elif wanted:
            with progress(f"Fetching {record.tag} for {record.model}, files", len(wanted)) as advance:
                for file, path in wanted:
                    download(file, path, show=False)
                    advance(1)
    return location.path


def _copy_from(source: Path, record: Record) -> Path:
    if not source.is_dir():
        raise InvalidArgument(f"--from must be a folder. Received: {str(source)!r}.")
    candidates = (
        location_below(source / below_cache(record), record),
        location_below(source, record),
        location_below(source, record, inside=True),
    )
    found = next((location for location in candidates if location.is_there()), None)
    if found is None:
        missing = next(path for path in candidates[1].files if not path.is_file())
        raise WeightsError(
            f"The folder does not have the weights. Received: {str(source)!r} for {record.tag!r} of {record.model}. "
            f"Missing: {str(missing)!r}."
        )
    with locked_cache_folder(record) as folder:
        target = location_below(folder, record)
        for file, path, copy in zip(record.files, found.files, target.files, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            checksums.check(path, file)
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)
            if checksums.hash_kind(file) is None:
                warn(f"No hash of {file.name} is known: it is taken as it is (sha256 {checksums.digest(copy)}).")
    return target.path


def _check(location: Location, record: Record) -> None:
    for path, file in zip(location.files, record.files, strict=True):
        checksums.check(path, file)
        if location.in_hub_cache:
            hub.check(path, file)


def _absent(record: Record) -> WeightsError:
    return WeightsError(
        f"The weights are not on this machine. Received: {record.tag!r} for {record.model}. {remedy(record)}"
    )


def _command(record: Record) -> str:
    return f"kzoo weights fetch {record.model} {record.tag}"


@contextmanager
def locked_cache_folder(record: Record) -> Iterator[Path]:
    """Make a record's folder in the cache, and wait until no other process writes to it."""
    folder = cache_folder(record)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", wait=True):
        yield folder
