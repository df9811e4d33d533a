"""Which files of a folder are images, of which class and split; what to do with a folder that is laid out otherwise.

A dataset is `root/label/*` or `root/{train,val,test}/label/*`. Anything else is an error that names the path or the
name that would work: people pass a folder above or below the right one, or call a split "seg_train".
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from kzoo import console
from kzoo.data import images
from kzoo.data.splits import SPLITS, TEST, TRAIN, VALIDATION, split_of
from kzoo.errors import DataError
from kzoo.paths import command

# The declared split of images that have none.
NONE = -1

READ = "JPEG, PNG, GIF, BMP and WebP images"

_HIDDEN = "hidden or of the system"

# What operating systems leave beside a user's files; the names that begin with a dot are theirs as well.
_SYSTEM = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information",
     "lost+found", "__pycache__"}
)  # fmt: skip

# Image files that are not read. Saying so is better than a class that is silently smaller than its folder.
_UNREAD_IMAGES = frozenset(
    {".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".ppm", ".pgm", ".pbm", ".svg", ".ico", ".tga", ".psd",
     ".dng", ".cr2", ".cr3", ".nef", ".arw", ".dcm", ".npy", ".exr", ".hdr"}
)  # fmt: skip

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})

# How far, and through how many folders, the right one is looked for; by how many of its files a folder is judged.
_DEPTH, _MOST_FOLDERS, _FILES_TO_LOOK_AT = 4, 1000, 20


class Item(NamedTuple):
    """One image file as the folder or the CSV file lists it."""

    path: str
    label: str
    declared: int  # TRAIN, VALIDATION, TEST, or NONE


class Folder:
    """What is in a folder, looked at once. Names are sorted by Unicode code point."""

    def __init__(self, path: str, above: tuple[tuple[int, int], ...] = ()):
        self.path, self.name = path, os.path.basename(path)  # noqa: PTH119 - a Path per folder is slow
        self._above = above

    @cached_property
    def _entries(self) -> "_Entries":
        found = _Entries([], [], [], [])
        here = os.stat(self.path)  # noqa: PTH116
        above = (*self._above, (here.st_dev, here.st_ino))
        with os.scandir(self.path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.casefold() in _SYSTEM or entry.name.startswith("."):
                    found.passed_over.append((entry.path, _HIDDEN))
                elif _suffix(entry.name) in images.SUFFIXES:
                    found.named.append(entry.path)
                elif not _is_folder(entry):
                    found.unknown.append(entry.path)
                elif entry.is_symlink() and _identity(entry.path) in above:
                    found.passed_over.append((entry.path, "link to a folder above"))
                else:
                    found.folders.append(Folder(entry.path, above))
        return found

    def check_readable(self, kind: str = "folder") -> None:
        """Raise DataError unless its content can be listed."""
        try:
            _ = self._entries
        except PermissionError:
            raise DataError(
                f"No permission to read a {kind}. Received: {self.path!r}. Change its permissions."
            ) from None
        except OSError as error:
            raise DataError(f"A {kind} cannot be read. Received: {self.path!r} ({error.strerror}).") from None

    @property
    def entries(self) -> "_Entries":
        """What is in it; nothing, where it cannot be listed: `check_readable` says so."""
        try:
            return self._entries
        except OSError:
            return _Entries([], [], [], [])

    @cached_property
    def images(self) -> list[str]:
        """The paths of the images that lie in it."""
        return sorted(self.entries.named + [path for path in self.entries.unknown if _begins_as_image(path)])

    @cached_property
    def holds_images(self) -> bool:
        """Whether images lie in it, as far as a look at some of its files tells."""
        return bool(self.entries.named) or any(map(_begins_as_image, self.entries.unknown[:_FILES_TO_LOOK_AT]))

    @property
    def folders(self) -> list["Folder"]:
        """The folders that lie in it, except those of the system and hidden ones."""
        return self.entries.folders

    @property
    def others(self) -> list[tuple[str, str]]:
        """(path, kind) of what is neither an image nor a folder: a suffix, for example."""
        unread = sorted(set(self.entries.unknown).difference(self.images))
        return self.entries.passed_over + [(path, _suffix(path) or "without a suffix") for path in unread]

    @property
    def classes(self) -> list["Folder"]:
        """Its folders that hold images."""
        return [folder for folder in self.folders if folder.holds_images]

    @property
    def splits(self) -> list["Folder"]:
        """Its folders that are called as a split and hold classes, not images. A class may well be called "train"."""
        named = [(part, folder) for folder in self.folders if (part := split_of(folder.name)) is not None]
        named.sort(key=lambda pair: pair[0])
        return [folder for _, folder in named if folder.classes or (folder.folders and not folder.holds_images)]

    @property
    def is_dataset(self) -> bool:
        """Whether it can be loaded, by the look of it."""
        if any(split.classes for split in self.splits):
            return True
        return sum(split_of(folder.name) is None for folder in self.classes) > 1


class _Entries(NamedTuple):
    named: list[str]
    """Paths with the suffix of an image."""
    unknown: list[str]
    """Other files, whose content tells."""
    folders: list[Folder]
    passed_over: list[tuple[str, str]]
    """(path, kind) of what is the system's, for example."""


class LeftOut:
    """Files that are not images of the dataset, by kind, so that a line can say what was left out."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.remarks: list[str] = []
        """What else is to be said: of folders that are not read, for example."""
        self._first = self._first_that_matters = ""

    def add(self, path: str, kind: str, *, matters: bool = False) -> None:
        """Count a file; one that `matters` may be an image of the user's."""
        self.kinds[kind] += 1
        self._first = self._first or path
        if matters or kind in _UNREAD_IMAGES:
            self._first_that_matters = self._first_that_matters or path

    def add_others(self, folder: Folder) -> None:
        """Count what is in a folder beside images and folders."""
        for path, kind in folder.others:
            self.add(path, kind)

    def say(self, name: str) -> None:
        """Say what was left out of a folder: a warning, if it may be an image."""
        for remark in self.remarks:
            console.warn(remark)
        if not self.kinds:
            return
        first = self._first_that_matters or self._first
        line = f"left out of {name!r}: {listed_kinds(self.kinds)}; first {first!r}; kzoo reads {READ}"
        (console.warn if self._first_that_matters else console.log)(line)


@dataclass
class Listing:
    """What a folder or a CSV file lists."""

    items: list[Item]
    missing_split_hint: str
    """What to do where a split is missing."""
    left_out: LeftOut = field(default_factory=LeftOut)
    problems: list[DataError] = field(default_factory=list)
    """Why it cannot be loaded, though it can be looked at: class folders without images."""

    def check(self) -> None:
        """Raise the first problem, if there is one."""
        for problem in self.problems:
            raise problem


def listed_kinds(kinds: Counter[str], most: int = 8) -> str:
    """Kinds of files with their counts.

    >>> listed_kinds(Counter({".txt": 3, ".tif": 10, "folder within a class": 2}))
    '10 .tif, 3 .txt, 2 folders within a class'
    """
    ranked = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in ranked[most:])
    shown = [f"{count:,} {_several(kind) if count > 1 else kind}" for kind, count in ranked[:most]]
    return ", ".join(shown) + (f", {rest:,} others" if rest else "")


def _several(kind: str) -> str:
    noun, *more = kind.split(" ", 1)
    return " ".join((f"{noun}s" if noun in ("folder", "image", "link") else noun, *more))


def list_folder(root: Path) -> Listing:
    """The images of a folder.

    Raises:
        DataError: It is laid out otherwise.
    """
    top, listing = Folder(str(root)), Listing([], "")
    top.check_readable()
    splits = top.splits
    if splits and not any(split_of(folder.name) == TRAIN for folder in splits) and top.classes:
        raise _mixed(top, splits)
    if not splits and top.classes and all(split_of(folder.name) is not None for folder in top.classes):
        raise _without_classes(top)
    if splits:
        listing.items = _items_of_splits(top, splits, listing)
        listing.missing_split_hint = " Add a folder of that name, or use another split."
    else:
        listing.items = _items_of_classes(top, NONE, listing)
        if len(top.folders) == 1 and (other := _other_sources(top)):
            listing.left_out.remarks.append(f"{top.path!r} has one class folder only, {top.folders[0].name!r}.{other}")
        listing.missing_split_hint = " A class needs at least three different images to have one of each split."
    return listing


def images_of_folder(folder: Path) -> list[str]:
    """The images that lie in a folder itself, by the same rule as for training; says what was left out.

    Raises:
        DataError: There is none.
    """
    found, left_out = Folder(str(folder)), LeftOut()
    found.check_readable()
    if not found.images:
        deeper = [one for one in _within(found) if one.holds_images]
        names = ", ".join(repr(one.path) for one in deeper[:3])
        raise DataError(
            f"No image lies in the folder itself. Received: {found.path!r}, which {_content(found)}. "
            + (f"Pass a folder that holds images: {names}." if deeper else f"kzoo reads {READ}.")
        )
    left_out.add_others(found)
    for one in found.folders:
        left_out.add(one.path, "folder", matters=one.holds_images)
    left_out.say(found.path)
    return found.images


def _items_of_splits(top: Folder, splits: list[Folder], listing: Listing) -> list[Item]:
    """The images of `root/{train,val,test}/label/*`."""
    for part, split in enumerate(SPLITS):
        same = [folder.name for folder in splits if split_of(folder.name) == part]
        if len(same) > 1:
            raise DataError(
                f"Several folders stand for the {split} split. Received: {', '.join(same)} in {top.path!r}. Keep one."
            )
    by_part: dict[int, list[Item]] = {}
    for folder in splits:
        part = split_of(folder.name)
        assert part is not None  # noqa: S101 - for the type checker
        by_part[part] = _items_of_classes(folder, part, listing)
    known = {item.label for item in by_part.get(TRAIN, ())}
    for part in (VALIDATION, TEST):
        labels = {item.label for item in by_part.get(part, ())}
        if known and len(labels) == 1 and not labels & known:
            folder = next(folder for folder in splits if split_of(folder.name) == part)
            listing.left_out.remarks.append(_unlabelled(folder.classes[0]))
            del by_part[part]
    _look_at_the_rest(top, splits, listing.left_out)
    return [item for items in by_part.values() for item in items]


def _look_at_the_rest(top: Folder, splits: list[Folder], left_out: LeftOut) -> None:
    """Note which folders beside those of the splits are not read, and why."""
    left_out.add_others(top)
    for path in top.images:
        left_out.add(path, "image outside the class folders", matters=True)
    ignored = []
    for folder in top.folders:
        if folder in splits:
            continue
        if split_of(folder.name) is not None and folder.holds_images:
            left_out.remarks.append(_unlabelled(folder))
        elif folder.classes:
            left_out.remarks.append(
                f"ignored {folder.path!r}: it has class folders, but its name is of no split; rename it to train, val "
                "or test to use it"
            )
        else:
            ignored.append(folder.name)
    if ignored:
        left_out.remarks.append(f"ignored in {top.path!r}, which has a folder per split: {', '.join(ignored[:5])}")


def _unlabelled(folder: Folder) -> str:
    return (
        f"left out {len(folder.images):,} images of {folder.path!r}: they lie in no folder of a class of train, so "
        f"that they have no label; classify them with {command('kzoo', 'predict', 'RUN', folder.path)}"
    )


def _items_of_classes(folder: Folder, declared: int, listing: Listing) -> list[Item]:
    """The images of every class folder in `folder`."""
    folder.check_readable()
    if not folder.folders:
        raise _without_folders(folder)
    for one in folder.folders:
        one.check_readable("class folder")
    if not folder.classes and any(one.folders or one.entries.unknown for one in folder.folders):
        raise _at_another_level(folder)
    items, left_out = [], listing.left_out
    for one in folder.folders:
        if not one.images:
            listing.problems.append(_empty_class(one))
            continue
        # One name in the two forms that Unicode has for an accented letter is one class.
        label = unicodedata.normalize("NFC", one.name)
        items += [Item(path, label, declared) for path in one.images]
        left_out.add_others(one)
        for within in one.folders:
            left_out.add(within.path, "folder within a class", matters=True)
    left_out.add_others(folder)
    for path in folder.images:
        left_out.add(path, "image outside the class folders", matters=True)
    return items


def _without_folders(folder: Folder) -> DataError:
    """The error of a folder in which there are no class folders."""
    advice = ""
    if folder.images:
        advice = " It holds images itself: move each into a folder named after its class"
        parent = Folder(os.path.dirname(os.path.abspath(folder.path)))  # noqa: PTH100, PTH120
        if len(parent.classes) > 1 and parent.is_dataset:
            advice += f", or pass the folder of all classes, {parent.path!r}"
        advice += "."
    return DataError(
        f"A folder of images needs a subfolder for each class. Received: {folder.path!r}, which has none and "
        f"{_content(folder)}.{advice}{_other_sources(folder)}"
    )


def _at_another_level(folder: Folder) -> DataError:
    """The error of a folder none of whose folders holds images: the right one is above them, or there is none."""
    start = f"A folder of images needs a subfolder for each class, with its images. Received: {folder.path!r}, "
    children = [one.name for one in folder.folders]
    by_split = [one for one in folder.folders if one.classes and all(split_of(x.name) is not None for x in one.classes)]
    if by_split:
        wrong, example = by_split[0], by_split[0].classes[0]
        if len(by_split) > 1:
            return DataError(
                f"{start}where each class has its splits: {wrong.name}/{example.name}. kzoo reads "
                f"{example.name}/{wrong.name}: move the folders so, or list the images in a CSV file with the columns "
                "path,label,split."
            )
        return DataError(
            f"{start}whose splits hold images without classes: {wrong.name}/{example.name}. Move the images of each "
            "class into a folder of its name there, or list them in a CSV file with the columns path,label,split."
        )
    found: list[Folder] = []
    for one in _within(folder):
        if one.is_dataset and not any(one.path.startswith(other.path + os.sep) for other in found):
            found.append(one)
    if len(found) == 1 and split_of(folder.name) is None:
        return DataError(f"{start}whose class folders lie deeper. Pass {found[0].path!r}.")
    if len(found) == 1:
        return DataError(
            f"{start}whose class folders lie deeper. Move what is in {found[0].path!r} up into {folder.path!r}, or "
            f"pass {found[0].path!r} alone."
        )
    if found:
        names = ", ".join(repr(os.path.relpath(one.path, folder.path)) for one in found[:3])
        return DataError(
            f"{start}with class folders in {names}{' and more' * (len(found) > 3)}. If these are splits, name them "
            f"train, val and test in one folder, with the class folders in them; or pass one of them, such as "
            f"{found[0].path!r}."
        )
    if len(inner := {tuple(one.name for one in child.classes) for child in folder.folders}) == 1 and len(*inner) == 1:
        child = folder.folders[0]
        return DataError(
            f"{start}whose images lie a level deeper: {child.name}/{child.classes[0].name}. Move the images of each "
            "class up into the folder of its name, or list them in a CSV file with the columns path,label,split."
        )
    return DataError(
        f"{start}which has the folders {', '.join(map(repr, children[:5]))}{' and more' * (len(children) > 5)}, with "
        f"no image in them. kzoo reads {READ}.{_other_sources(folder)}"
    )


def _mixed(top: Folder, splits: list[Folder]) -> DataError:
    """The error of class folders beside a split."""
    classes = ", ".join(repr(one.name) for one in top.classes[:3])
    return DataError(
        f"Folders of classes and of splits are mixed. Received: {classes} and {splits[0].name!r} in {top.path!r}. Move "
        f"the class folders into {os.path.join(top.path, 'train')!r}, or move {splits[0].name!r} out of the dataset."  # noqa: PTH118
    )


def _without_classes(top: Folder) -> DataError:
    """The error of splits that hold images without a class."""
    names = ", ".join(repr(one.name) for one in top.classes)
    example = os.path.join(top.classes[0].path, "CLASS")  # noqa: PTH118
    return DataError(
        f"The folders of splits hold images without classes. Received: {names} in {top.path!r}. Move the images of "
        f"each class into a folder of its name, {example!r}, or list them in a CSV file with the columns "
        "path,label,split." + _other_sources(top)
    )


def _empty_class(folder: Folder) -> DataError:
    """The error of a class folder without images, beside others that have some."""
    entries = len(folder.folders) + len(folder.others)
    kinds = [kind for _, kind in folder.others]
    if not folder.folders and all(kind == _HIDDEN for kind in kinds):
        return DataError(
            f"A class folder is empty. Received: {folder.path!r}, which holds nothing. Add images of the class, or "
            "remove the folder."
        )
    start = f"A class folder holds no image ({entries} other entries). Received: {folder.path!r}, "
    deeper = next((one for one in _within(folder) if one.holds_images), None)
    if deeper is not None:
        return DataError(
            f"{start}whose images lie deeper, as in {os.path.relpath(deeper.path, folder.path)!r}. Move them up into "
            f"{folder.path!r}; or, if it is no class, move it out of the dataset."
        )
    return DataError(
        f"{start}which {_content(folder)}. kzoo reads {READ}: convert the files, or move the folder elsewhere."
    )


def _content(folder: Folder) -> str:
    """What is in a folder, as a clause: "holds 3 .tif"."""
    kinds = Counter(kind for _, kind in folder.others)
    kinds.update({kind: len(found) for kind, found in (("folder", folder.folders), ("image", folder.images)) if found})
    return f"holds {listed_kinds(kinds)}" if kinds else "is empty"


def _other_sources(folder: Folder) -> str:
    """What else in a folder, or not far below, may be the dataset that is meant."""
    for one in [folder, *_within(folder)]:
        paths = {_suffix(path): path for path in reversed(one.entries.unknown)}
        names = {os.path.basename(path) for path in one.entries.unknown}  # noqa: PTH119
        if "dataset_info.json" in names:
            return " It was prepared by TFDS: pass the dataset's name, and its folder with --data-dir (data_dir=)."
        if ".csv" in paths:
            return f" If {paths['.csv']!r} lists paths and labels, pass that file."
        if archive := next((path for suffix, path in paths.items() if suffix in _ARCHIVES), None):
            return f" Unpack {archive!r}, and pass the folder."
    return ""


def _within(folder: Folder) -> Iterator[Folder]:
    """The folders below one, the nearest first."""
    level, left = folder.folders, _MOST_FOLDERS
    for _ in range(_DEPTH):
        level, left = level[:left], left - len(level)
        yield from level
        if left <= 0:
            return
        level = [below for one in level for below in one.folders]


def _begins_as_image(path: str) -> bool:
    """Whether a file without the suffix of an image is one by its first bytes.

    One with the suffix that holds something else is a bad image, which is not left out silently.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - before open(), which waits for ever at a named pipe
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return False
        with open(path, "rb") as file:
            return images.looks_like_one(file.read(32))
    except OSError:
        return False


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116
    return found.st_dev, found.st_ino


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path per file is slow
