"""CSV files that list images: path, label and optionally split, with the cause of whatever is wrong with them."""

import codecs
import csv
import io
import os
import re
import unicodedata
from pathlib import Path

from kzoo.data.images import SUFFIXES
from kzoo.data.layouts import NONE, Item, Listing
from kzoo.data.splits import SPLITS, split_of
from kzoo.errors import DataError

_WANTED = "Save it as CSV, UTF-8, with commas."

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def list_csv(path: Path) -> Listing:
    """The images that a CSV file lists, relative to its folder.

    Raises:
        DataError: The file cannot be used.
    """
    items: list[Item] = []
    label_of: dict[str, str] = {}
    for line, row in _rows(path):
        image_path, label = os.path.join(path.parent, row["path"]), unicodedata.normalize("NFC", row["label"])  # noqa: PTH118 - a Path per row is slow
        if label_of.setdefault(image_path, label) != label:
            raise DataError(
                f"A CSV file gives one image two labels. Received: {row['path']!r}: {label_of[image_path]!r} and "
                f"{label!r} ({str(path)!r} line {line}). Keep one: several labels per image are not supported."
            )
        part = NONE
        if "split" in row:
            found = split_of(row["split"])
            if found is None:
                raise DataError(
                    f"Unknown split in a CSV file. Received: {row['split']!r} in {str(path)!r} line {line}. "
                    f"Valid: {', '.join(SPLITS)}."
                )
            part = found
        items.append(Item(image_path, label, part))
    if not items:
        raise DataError(f"A CSV file lists no images. Received: {str(path)!r}, which has no rows below its header.")
    if all(item.declared == NONE for item in items):
        hint = " A class needs at least three different images to have one of each split."
    else:
        hint = " Add rows of that split, or use another split."
    return Listing(items, hint)


def why_missing(path: str, csv_path: Path) -> str:
    """Why there is no file at a path of a CSV file, as a clause to add; "" where nothing else is like it."""
    folder = str(csv_path.parent)
    listed = os.path.relpath(path, folder) if path.startswith(folder + os.sep) else path
    if re.match(r"[a-z][a-z0-9+.-]+:/", listed):
        return "; it is an address: download the images"
    with_slashes = listed.replace("\\", "/")
    if with_slashes != listed:
        there = os.path.exists(os.path.join(folder, with_slashes))  # noqa: PTH110, PTH118
        return "; its path has backslashes, as on Windows: write /" + (", with which it is there" if there else "")
    parent, name = os.path.split(path)
    try:
        beside = os.listdir(parent)  # noqa: PTH208
    except OSError:
        beside = []
    same = [other for other in beside if _normal(other) == _normal(name)]
    same += [other for other in beside if os.path.splitext(other)[0] == name and _is_named(other)]  # noqa: PTH122
    if same:
        what = "other letters" if _normal(same[0]) == _normal(name) else "its suffix"
        return f"; {same[0]!r} is: write the path with {what}"
    if os.path.exists(listed):  # noqa: PTH110
        return f"; paths count from the CSV file's folder, {folder!r}, not from the current one"
    with os.scandir(folder) as entries:
        places = sorted(entry.name for entry in entries if entry.is_dir())
    for place in places[:100]:
        if os.path.exists(os.path.join(folder, place, listed)):  # noqa: PTH110, PTH118
            return f"; it is in {place!r}: write {place}/ before the paths, which count from the CSV file's folder"
    return ""


def _is_named(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers, stripped of spaces around the values."""
    try:
        if not path.is_file():  # a named pipe would be waited for
            raise DataError(f"A CSV file is no regular file. Received: {str(path)!r}. Pass the path of one.")
        reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        header = [column.strip().lower() for column in next(reader, [])]
        _check_header(path, header)
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
    except csv.Error as error:
        raise DataError(f"A CSV file cannot be read. Received: {str(path)!r} ({error}). {_WANTED}") from None


def _text(path: Path) -> str:
    """The text of a CSV file."""
    content = path.read_bytes()
    # Of a text in one of these every second byte, or three of four, are zero; in UTF-8 none is.
    if content.startswith(_UTF_16) or b"\0" in content[:1000]:
        raise DataError(
            f'A CSV file is in UTF-16, as Excel\'s "Unicode text" is. Received: {str(path)!r}. {_WANTED}'
            if content.startswith(_UTF_16) or content[:1000].count(b"\0") > len(content[:1000]) // 4
            else f"A CSV file holds binary data. Received: {str(path)!r}. {_WANTED}"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"A CSV file is not in UTF-8. Received: {str(path)!r}, whose line {line} holds the byte "
            f"0x{content[error.start]:02x}. {_WANTED}"
        ) from None


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise DataError(f"A CSV file is empty. Received: {str(path)!r}. Its first line must be path,label.")
    if {"path", "label"} <= set(header) and len(set(header)) == len(header):
        return
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(
                f"A CSV file is separated by {name}. Received: {header[0]!r} in {str(path)!r}. {_WANTED} Its first "
                "line must be path,label or path,label,split."
            )
    raise DataError(
        f"A CSV file needs the columns path and label, once each. Received: {', '.join(header)!r} in {str(path)!r}. "
        "Its first line must be path,label or path,label,split."
    )
