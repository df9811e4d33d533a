"""Image files: folders with a subfolder per class, and CSV files that list paths and labels."""

import csv
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from kzoo import console
from kzoo.data import images
from kzoo.data.images import BadImage, Header
from kzoo.data.source import Source
from kzoo.data.splits import SPLIT_OF_NAME, SPLITS, TRAIN, VALIDATION, stratify
from kzoo.errors import DataError
from kzoo.files import check_regular

# What else a name can be, where it is no path: "mnist", "emnist/letters", "mnist:3.0.1".
_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:[\w.*]+)?")

# Image files that are not read. Saying so is better than a class that is silently smaller than its folder.
_UNSUPPORTED = frozenset(
    {".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".jfif", ".ppm", ".pgm", ".svg", ".dng"}
)

_READABLE = ".jpg, .jpeg, .png, .gif, .bmp, .webp"

# The declared split of images that have none.
_NONE = -1


class Item(NamedTuple):
    """One image file as the folder or the CSV file lists it."""

    path: str
    label: str
    declared: int  # TRAIN, VALIDATION, TEST, or _NONE


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
        items, missing_split_hint = _find_items(name)
        class_names = sorted({item.label for item in items})
        _check_class_names(name, class_names)
        index_of = {label: index for index, label in enumerate(class_names)}
        labels = np.fromiter((index_of[item.label] for item in items), np.int32, len(items))
        declared = np.fromiter((item.declared for item in items), np.int8, len(items))
        paths = [item.path for item in items]
        with images.no_warnings():
            digests, headers, problems = zip(*images.in_parallel(_scan, paths, f"reading {name}"), strict=True)
        return cls(
            name=name,
            class_names=tuple(class_names),
            labels=labels,
            splits=_splits(labels, declared, digests),
            fingerprint=_fingerprint(items, digests),
            headers=headers,
            problems={index: problem for index, problem in enumerate(problems) if problem is not None},
            declared=declared,
            missing_split_hint=missing_split_hint,
            paths=paths,
        )

    def read(self, index: int) -> bytes:
        """The bytes of a file."""
        return _read_file(self.paths[index])

    def where(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]


def _find_items(name: str) -> tuple[list[Item], str]:
    """The images of a folder or CSV file, and what to do where a split is missing."""
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _items_of_folder(path)
        if path.suffix.lower() == ".csv" and path.exists():
            return _items_of_csv(path)
        if path.exists():
            raise DataError(
                f"A dataset in a file must be a .csv file. Received: {name!r}. Pass a folder or a CSV file."
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: "~name" of an unknown user
        raise DataError(f"Cannot look at a dataset's path. Received: {name!r} ({error}). Check the path.") from None
    raise DataError(f"No such folder or CSV file. Received: {name!r}. Check the path; here is {str(Path.cwd())!r}.")


def _items_of_folder(root: Path) -> tuple[list[Item], str]:
    """The images of `root/label/*` or `root/{train,val,test}/label/*`."""
    subfolders = _subfolders(root)
    split_folders = [
        folder for folder in subfolders if folder.name.lower() in SPLIT_OF_NAME and not _holds_images(folder)
    ]
    parts = [SPLIT_OF_NAME[folder.name.lower()] for folder in split_folders]
    # A folder of vehicles may well have a class "train": that one holds images, and a split holds folders.
    if TRAIN in parts or (parts and len(parts) == len(subfolders)):
        for part in set(parts):
            same = [folder.name for folder, other in zip(split_folders, parts, strict=True) if other == part]
            if len(same) > 1:
                raise DataError(
                    f"Several folders stand for the {SPLITS[part]} split. Received: {', '.join(same)} in "
                    f"{str(root)!r}. Keep one."
                )
        ignored = [folder.name for folder in subfolders if folder not in split_folders]
        if ignored:
            console.warn(f"ignored in {str(root)!r}, which has a folder per split: {', '.join(sorted(ignored)[:5])}")
        folders = list(zip(split_folders, parts, strict=True))
        hint = " Add a folder of that name, or use another split."
    else:
        folders = [(root, _NONE)]
        hint = " A class needs at least three different images to have one of each split."
    items: list[Item] = []
    unread: list[str] = []
    for folder, part in folders:
        _collect(folder, part, items, unread)
    if unread:
        console.warn(
            f"ignored {len(unread)} image file{'s' * (len(unread) > 1)} of unread types or subfolders of classes in "
            f"{str(root)!r}, first {unread[0]!r}; read are {_READABLE}"
        )
    return items, hint


def _items_of_csv(path: Path) -> tuple[list[Item], str]:
    """The images that a CSV file with the columns path, label and optionally split lists, relative to its folder."""
    items: list[Item] = []
    label_of: dict[str, str] = {}
    for line, row in _csv_rows(path):
        image_path = os.path.join(path.parent, row["path"])  # noqa: PTH118 - a Path per row is slow
        if label_of.setdefault(image_path, row["label"]) != row["label"]:
            raise DataError(
                f"A CSV file gives one image two labels. Received: {row['path']!r}: {label_of[image_path]!r} and "
                f"{row['label']!r} ({str(path)!r} line {line}). Keep one."
            )
        part = _NONE
        if "split" in row:
            if row["split"].lower() not in SPLIT_OF_NAME:
                raise DataError(
                    f"Unknown split in a CSV file. Received: {row['split']!r} in {str(path)!r} line {line}. "
                    f"Valid: {', '.join(SPLITS)}."
                )
            part = SPLIT_OF_NAME[row["split"].lower()]
        items.append(Item(image_path, row["label"], part))
    if not items:
        raise DataError(f"A CSV file lists no images. Received: {str(path)!r}, which has no rows below its header.")
    if all(item.declared == _NONE for item in items):
        hint = " A class needs at least three different images to have one of each split."
    else:
        hint = " Add rows of that split, or use another split."
    return items, hint


def _csv_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers, stripped of spaces around the values."""
    try:
        check_regular(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [column.strip().lower() for column in next(reader, [])]
            if not header:
                raise DataError(f"A CSV file is empty. Received: {str(path)!r}. Its first line must be path,label.")
            if not {"path", "label"} <= set(header) or len(set(header)) < len(header):
                raise DataError(
                    f"A CSV file needs the columns path and label, once each. Received: {', '.join(header)!r} in "
                    f"{str(path)!r}. Its first line must be path,label or path,label,split."
                )
            rows = []
            for values in reader:
                if not values:
                    continue  # an empty line
                row = dict(zip(header, (value.strip() for value in values), strict=False))
                if len(values) != len(header) or not row["path"] or not row["label"]:
                    raise DataError(
                        f"A row of a CSV file is incomplete. Received: {','.join(values)!r} in {str(path)!r} line "
                        f"{reader.line_num}. Valid: {','.join(header)}."
                    )
                rows.append((reader.line_num, row))
            return rows
    except PermissionError:
        raise DataError(f"No permission to read a CSV file. Received: {str(path)!r}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"A CSV file cannot be read. Received: {str(path)!r} ({error}). Save it as CSV, UTF-8, with commas."
        ) from None


def _subfolders(folder: Path) -> list[Path]:
    """The folders within a folder, except hidden ones, sorted by Unicode code point."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except PermissionError:
        raise DataError(f"No permission to read a folder. Received: {str(folder)!r}. Change its permissions.") from None
    return [folder / name for name in sorted(found)]


def _holds_images(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(_suffix(entry.name) in images.SUFFIXES and not entry.is_dir() for entry in entries)
    except PermissionError:
        return False  # _collect reports it


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path per file is slow


def _collect(folder: Path, declared: int, items: list[Item], unread: list[str]) -> None:
    """Add the images of every class folder in `folder` to `items`, and image files of other types to `unread`."""
    class_folders = _subfolders(folder)
    if not class_folders:
        stray = " It holds images itself: move each into a folder named after its class." * _holds_images(folder)
        raise DataError(
            f"A folder of images needs a subfolder for each class. Received: {str(folder)!r}, which has none.{stray}"
        )
    for class_folder in class_folders:
        before = len(items)
        try:
            names = sorted(name for name in os.listdir(class_folder) if not name.startswith("."))  # noqa: PTH208
        except PermissionError:
            raise DataError(
                f"No permission to read a class folder. Received: {str(class_folder)!r}. Change its permissions."
            ) from None
        for name in names:
            path = os.path.join(class_folder, name)  # noqa: PTH118 - a Path per file is slow
            if _suffix(name) in images.SUFFIXES:
                items.append(Item(path, class_folder.name, declared))
            elif _suffix(name) in _UNSUPPORTED or os.path.isdir(path):  # noqa: PTH112
                unread.append(path)
        if len(items) == before:
            inside = "nothing" if not names else f"no image ({len(names)} other entries)"
            raise DataError(
                f"A class folder is empty. Received: {str(class_folder)!r}, which holds {inside}. "
                f"Read are {_READABLE}. Add images, or remove the folder."
            )


def _check_class_names(name: str, class_names: list[str]) -> None:
    seen: dict[str, str] = {}
    for label in class_names:
        other = seen.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
        if other != label:
            raise DataError(
                f"Two classes differ only in letter case. Received: {other!r} and {label!r} in {name!r}. "
                "Merge them, or rename one."
            )


def _scan(path: str) -> tuple[bytes, Header | None, str | None]:
    """The hash of a file's content, its header, and why it is bad if it is."""
    try:
        content = _read_file(path)
    except BadImage as error:
        # Its content is unknown, so that its name has to stand for it.
        return _digest(b"unreadable " + os.fsencode(os.path.basename(path))), None, str(error)  # noqa: PTH119
    digest = _digest(content)
    try:
        header = images.header(content)
        if not images.looks_complete(content):
            images.decode(content, None, 3)
    except BadImage as error:
        return digest, None, str(error)
    return digest, header, None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _read_file(path: str) -> bytes:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - before open(), which waits for ever at a named pipe
        if stat.S_ISDIR(mode):
            raise BadImage("it is a folder")
        if not stat.S_ISREG(mode):
            raise BadImage("it is no regular file")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise BadImage("there is no such file") from None
    except PermissionError:
        raise BadImage("no permission to read it") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in a path of a CSV file
        raise BadImage(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _splits(labels: np.ndarray, declared: np.ndarray, digests: Sequence[bytes]) -> np.ndarray:
    """The split of each image: the declared one; a dataset without splits is cut 80/10/10, one without val 90/10."""
    if (declared == _NONE).all():
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
