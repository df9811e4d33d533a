"""Image files: folders with a subfolder per class, and CSV files that list paths and labels."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import google_crc32c
import numpy as np

from kzoo.data import images
from kzoo.data.copies import copies_error
from kzoo.data.encoded import NO_SUCH_FILE, BadImage, is_16_bit, read_file
from kzoo.data.images import Header
from kzoo.data.layouts import NONE, Item, Listing, list_folder
from kzoo.data.source import Source
from kzoo.data.splits import SPLITS, TRAIN, VALIDATION, missing_split, parts_of, stratify
from kzoo.data.tables import list_csv, why_missing
from kzoo.errors import DataError

# What else a name can be, where it is no path: "mnist", "emnist/letters", "mnist:3.0.1".
_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:[\w.*]+)?")


# Files that people pass for a dataset, and what to do with them.
_ADVICE = {
    **dict.fromkeys(
        (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"), "Unpack it, and pass the folder."
    ),
    **dict.fromkeys(
        (".tsv", ".txt", ".xlsx", ".xls", ".ods", ".json", ".parquet"), "Save its table as CSV, path,label."
    ),
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".mat"), "Read its arrays, and pass them to kzoo.train.fit."),
    **dict.fromkeys(images.SUFFIXES, "Pass the folder of its dataset; to classify it, run kzoo predict."),
}


@dataclass(kw_only=True)
class ImageFiles(Source):
    """The images of a folder or of a CSV file."""

    is_public: ClassVar[bool] = False
    paths: list[str]

    @classmethod
    def matches(cls, name: str | os.PathLike[str]) -> bool:
        """Whether it is a path that exists, or looks like one."""
        text = os.fspath(name)
        if not isinstance(name, str) or text.lower().endswith(".csv") or not _NAME.fullmatch(text):
            return True
        try:
            return Path(text).exists()
        except OSError:  # opening says what is wrong with it
            return True

    @classmethod
    def absolute(cls, name, data_dir) -> tuple[str, None]:
        """The path from the root, if there is one."""
        try:
            path = Path(name).expanduser()
            return str(path.resolve()) if path.exists() else name, None
        except (OSError, RuntimeError):  # opening says what is wrong with it
            return name, None

    @classmethod
    def open(cls, name, splits, data_dir, download) -> "ImageFiles":
        """Read every file once: its hash decides its split, its header tells its size and whether it is an image."""
        listing = list_files(name)
        listing.check()
        check_class_names(name, listing.items)
        _check_splits(name, splits, listing)
        listing.left_out.say(str(Path(name).expanduser()))
        source, digests = scan(name, listing)
        if any(split != "all" for split in splits):
            check_copies(source, digests)
        return source

    def read(self, index: int) -> bytes:
        """The bytes of a file."""
        return read_file(self.paths[index])

    def where(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]


def list_files(name: str) -> Listing:
    """The images of a folder or CSV file.

    Raises:
        DataError: There is none, or it is laid out otherwise.
    """
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return list_folder(path)
        if path.suffix.lower() == ".csv" and path.exists():
            return list_csv(path)
        if path.exists():
            advice = _ADVICE.get(path.suffix.lower(), "Pass a folder or a CSV file.")
            raise DataError(f"A dataset in a file must be a .csv file. Received: {name!r}. {advice}")
    except (OSError, RuntimeError) as error:  # RuntimeError: "~name" of an unknown user
        raise DataError(f"Cannot look at a dataset's path. Received: {name!r} ({error}). Check the path.") from None
    raise DataError(f"No such folder or CSV file. Received: {name!r}. Check the path; here is {str(Path.cwd())!r}.")


def scan(name: str, listing: Listing) -> tuple[ImageFiles, list[bytes]]:
    """Read every file that is listed; returns also a hash of each one's content."""
    items = listing.items
    class_names = sorted({item.label for item in items})
    index_of = {label: index for index, label in enumerate(class_names)}
    labels = np.fromiter((index_of[item.label] for item in items), np.int32, len(items))
    declared = np.fromiter((item.declared for item in items), np.int8, len(items))
    paths = [item.path for item in items]
    with images.no_warnings():
        scanned = images.in_parallel(_scan, paths, f"reading {name}")
        digests, checksums, headers, problems, has_16_bits = map(list, zip(*scanned, strict=True))
    _name_the_cause(name, paths, declared.tolist(), problems)
    source = ImageFiles(
        name=name,
        class_names=tuple(class_names),
        labels=labels,
        splits=_splits(labels, declared, digests),
        fingerprint=_fingerprint(items, digests),
        headers=headers,
        checksums=np.array(checksums, np.uint32),
        has_16_bits=np.array(has_16_bits),
        problems={index: problem for index, problem in enumerate(problems) if problem is not None},
        declared=declared,
        missing_split_hint=listing.missing_split_hint,
        paths=paths,
    )
    return source, digests


def _name_the_cause(name: str, paths: Sequence[str], declared: Sequence[int], problems: list[str | None]) -> None:
    """Add to the first file of each split that a CSV file lists and that is not there why that may be."""
    if Path(name).expanduser().is_dir():
        return
    missing = {declared[index]: index for index in reversed(range(len(paths))) if problems[index] == NO_SUCH_FILE}
    for index in missing.values():
        problems[index] = NO_SUCH_FILE + why_missing(paths[index], Path(name).expanduser())


def _check_splits(name: str, splits: Sequence[str], listing: Listing) -> None:
    """Raise MissingSplit for a split that the user has not made, before a file is read."""
    declared = {item.declared for item in listing.items}
    if declared == {NONE}:
        return  # they are cut from all images
    present = declared | ({VALIDATION} if TRAIN in declared else set())  # cut from train
    for split in splits:
        for part in parts_of(split):
            if part != "all" and SPLITS.index(part) not in present:
                raise missing_split(name, part, [SPLITS[one] for one in sorted(present)], listing.missing_split_hint)


def check_copies(source: ImageFiles, digests: Sequence[bytes]) -> None:
    """Raise DataError if a file is in two splits that the user has made."""
    assert source.declared is not None  # noqa: S101 - for the type checker
    first: dict[bytes, int] = {}
    declared, copied = source.declared.tolist(), []
    for index, digest in enumerate(digests):
        if index not in source.problems and declared[index] != declared[first.setdefault(digest, index)]:
            copied.append((source.where(index), source.where(first[digest])))
    if copied:
        raise copies_error(f"Images of one split of {source.name!r} are in another too", f"{len(copied):,}", copied)


def check_class_names(name: str, items: Sequence[Item]) -> None:
    """Raise DataError for two classes whose names differ only in letter case."""
    seen: dict[str, str] = {}
    for label in sorted({item.label for item in items}):
        other = seen.setdefault(label.casefold(), label)
        if other != label:
            raise DataError(
                f"Two classes differ only in letter case. Received: {other!r} and {label!r} in {name!r}. "
                "Merge them, or rename one."
            )


class _Scanned(NamedTuple):
    """What is known of a file after its first reading."""

    digest: bytes
    checksum: int = 0
    header: Header | None = None
    problem: str | None = None
    has_16_bits: bool = False


def _scan(path: str) -> _Scanned:
    """Read a file, and look whether it is an image."""
    try:
        content = read_file(path)
    except BadImage as error:
        # Its content is unknown, so that its name has to stand for it.
        name = os.fsencode(os.path.basename(path))  # noqa: PTH119
        return _Scanned(_digest(b"unreadable " + name), problem=str(error))
    scanned = _Scanned(_digest(content), google_crc32c.value(content), has_16_bits=is_16_bit(content))
    try:
        header = images.header(content)
        if not images.looks_complete(content):
            images.decode(content, (8, 8), 3)  # a small size: of a large JPEG an eighth is decoded
    except BadImage as error:
        return scanned._replace(problem=str(error))
    return scanned._replace(header=header)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _splits(labels: np.ndarray, declared: np.ndarray, digests: Sequence[bytes]) -> np.ndarray:
    """The split of each image: the declared one; a dataset without splits is cut 80/10/10, one without val 90/10."""
    if (declared == NONE).all():
        return stratify(labels, digests)
    splits = declared.copy()
    train = np.flatnonzero(declared == TRAIN)
    if len(train) and not (declared == VALIDATION).any():
        splits[train] = stratify(labels[train], [digests[index] for index in train.tolist()], (VALIDATION,))
    return splits


def _fingerprint(items: list[Item], digests: Sequence[bytes]) -> str:
    """A hash of what is in the dataset (content, label, declared split), whatever the files' names and order."""
    lines = sorted(
        (item.label.encode("utf-8", "surrogateescape"), item.declared, digest)
        for item, digest in zip(items, digests, strict=True)
    )
    total = hashlib.blake2b(digest_size=16)
    for label, part, digest in lines:
        total.update(b"%d %d %b %b" % (len(label), part, label, digest))
    return total.hexdigest()
