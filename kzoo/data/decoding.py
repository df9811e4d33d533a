"""From a Source to a Dataset: decode every image of one split, and refuse or leave out those that are bad."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import google_crc32c
import numpy as np

from kzoo import console
from kzoo.data import images
from kzoo.data.copies import MARK, mark_of
from kzoo.data.dataset import Dataset
from kzoo.data.encoded import BadImage, is_16_bit
from kzoo.data.images import Header, Scaling
from kzoo.data.readers import ArrayReader
from kzoo.data.source import Source
from kzoo.data.splits import SPLITS, TRAIN, missing_split, parts_of
from kzoo.errors import DataError
from kzoo.hardware import available_memory

# Fewer images than this need no progress bar.
_FEW = 1000


def decode_split(
    source: Source, split: str, size: tuple[int, int] | None, channels: int | None, scaling: Scaling, *, skip_bad: bool
) -> Dataset:
    """Decode one split of a source. Its images stay in memory if they fit into a quarter of what is free."""
    members = np.concatenate([members_of(source, part) for part in parts_of(split)])
    skipped = _known_bad(source, members, skip_bad)
    members = members[~np.isin(members, list(skipped))]
    with images.no_warnings():
        reader = DecodingReader(source, members, _image_shape(source, members, size, channels), scaling)
        keep = len(members) * np.prod(reader.image_shape) <= available_memory() // 4
        pixels, marks, bad = _decode_all(reader, f"{source.name} {split}", keep=bool(keep), skip_bad=skip_bad)
    if bad:
        skipped |= {int(members[row]): reason for row, reason in bad.items()}
        good = np.delete(np.arange(len(members)), list(bad))
        reader = replace(reader, members=members[good])
        pixels, marks = None if pixels is None else pixels[good], marks[good]
    if skipped:
        _check_after_skipping(source, split, reader.members, skipped)
    if pixels is None:
        images.ignore_pillow_warnings()
    return Dataset(
        name=source.name,
        split=split,
        class_names=source.class_names,
        labels=source.labels[reader.members],
        fingerprint=source.fingerprint,
        reader=reader if pixels is None else ArrayReader(pixels, reader.where),
        skipped=tuple((source.where(index), reason) for index, reason in sorted(skipped.items())),
        public_name=source.name if source.is_public else "",
        known_marks=marks,
    )


def range_of_16_bit(source: Source) -> tuple[int, int] | None:
    """The range of values that 16-bit images use, by those of the training split; None where there are none.

    Sensors of 9 to 14 bits, depth in millimetres and temperatures use a small part of the 65,536 values. It is the
    lowest and highest value, unless less than one pixel in 10,000 more than doubles that range: such pixels are taken
    for dead ones.
    """
    if source.has_16_bits is None or not source.has_16_bits.any():
        return None
    members = np.flatnonzero(source.has_16_bits & (source.splits == TRAIN))
    if len(members) == 0:
        members = np.flatnonzero(source.has_16_bits)

    def read(index: int) -> bytes:
        content = source.read(index)
        assert isinstance(content, bytes)  # noqa: S101 - sources of pixels have 8 bits
        return content

    wanted = [index for index in members.tolist() if index not in source.problems]
    return range_of_16_bit_images(read, wanted, source.name)


def range_of_16_bit_images(read: Callable[[Any], bytes], wanted: Sequence[Any], name: str) -> tuple[int, int] | None:
    """The same of those encoded images among some that have 16 bits."""
    total, lock = np.zeros(images.VALUES_16_BIT, np.int64), threading.Lock()

    def count(one: Any) -> None:
        try:
            content = read(one)
            if not is_16_bit(content):
                return
            counts = images.histogram(content)
        except BadImage:
            return  # decoding reports it
        with lock:
            np.add(total, counts, out=total)

    with images.no_warnings():
        for _ in images.in_parallel(count, wanted, None if len(wanted) < _FEW else f"range of {name}"):
            pass
    return _range_of(total) if total.any() else None


def _range_of(counts: np.ndarray) -> tuple[int, int]:
    """The range of values that occur so often."""
    used = np.flatnonzero(counts)
    low, high = int(used[0]), int(used[-1])
    up_to, few = counts.cumsum(), int(counts.sum()) // 10_000
    inner_low = int(np.searchsorted(up_to, few, side="right"))
    inner_high = int(np.searchsorted(up_to, up_to[-1] - few))
    if high - low > 2 * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    return (low, high) if low < high else (max(0, low - 1), max(1, high))


@dataclass
class DecodingReader:
    """Some images of a source, decoded whenever they are fetched."""

    source: Source
    members: np.ndarray
    image_shape: tuple[int, int, int]
    scaling: Scaling
    dtype: str = "uint8"

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """The images of some rows."""
        return np.stack(list(images.pool().map(self._fetch_one, rows.tolist())))

    def where(self, row: int) -> str:
        """Where an image comes from."""
        return self.source.where(int(self.members[row]))

    def decode(self, row: int) -> np.ndarray:
        """One image.

        Raises:
            BadImage: It cannot be decoded.
            DataError: It is another one than when it was first read.
        """
        index = int(self.members[row])
        content = self.source.read(index)
        checksums = self.source.checksums
        if checksums is not None and isinstance(content, bytes) and google_crc32c.value(content) != checksums[index]:
            raise self._changed(row, "its content is another")
        return images.decode(content, self.image_shape[:2], self.image_shape[2], self.scaling)

    def _fetch_one(self, row: int) -> np.ndarray:
        try:
            return self.decode(row)
        except BadImage as error:  # it was good when the dataset was loaded
            raise self._changed(row, str(error)) from None

    def _changed(self, row: int, how: str) -> DataError:
        return DataError(
            f"An image has changed since it was checked. Received: {self.where(row)!r}: {how}. Restore it, or start "
            "anew with the data as it is now."
        )


def members_of(source: Source, split: str) -> np.ndarray:
    """The indices of a split's images, after checking that the splits fit together."""
    if split == "all":
        return np.arange(len(source.labels))
    if len(source.class_names) < 2:
        raise DataError(
            f"A classifier needs at least two classes. Received: only {_listed(source.class_names)} in "
            f"{source.name!r}. Add a class, or use split='all' to evaluate on these images."
        )
    labels_of = {other: source.labels[source.splits == number] for number, other in enumerate(SPLITS)}
    if len(labels_of[split]) == 0:
        present = [other for other, labels in labels_of.items() if len(labels)]
        raise missing_split(source.name, split, present, source.missing_split_hint)
    known = source.labels[source.splits == SPLITS.index("train")]
    if len(known):
        for other, labels in labels_of.items():
            if alien := _names(source, np.setdiff1d(labels, known)):
                raise DataError(
                    f"The {other} split of {source.name!r} has classes that train lacks. Received: {_listed(alien)}. "
                    "Add them to train, or remove them."
                )
        if missing := _names(source, np.setdiff1d(known, labels_of[split])):
            console.warn(
                f"the {split} split of {source.name!r} has no image of {len(missing)} classes: {_listed(missing)}"
            )
    return np.flatnonzero(source.splits == SPLITS.index(split))


def _names(source: Source, labels: np.ndarray) -> list[str]:
    return [source.class_names[label] for label in labels.tolist()]


def _listed(names) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _known_bad(source: Source, members: np.ndarray, skip_bad: bool) -> dict[int, str]:
    """The reasons of those members that are known to be bad; raises unless bad images are to be skipped."""
    if source.problems and not skip_bad:
        stopping = sorted(source.problems)
        if source.declared is not None:
            asked = set(source.declared[members].tolist())
            stopping = [index for index in stopping if source.declared[index] in asked]
        if stopping:
            raise bad_image(source.where(stopping[0]), source.problems[stopping[0]], len(stopping) - 1)
    inside = set(members.tolist())
    return {index: reason for index, reason in source.problems.items() if index in inside}


def bad_image(where: str, reason: str, more: int = 0) -> DataError:
    """The error of an image that cannot be decoded; `more` is how many others there are."""
    others = f" (and {more} more)" if more else ""
    return DataError(
        f"Bad image. Received: {where!r}: {reason}{others}. Repair or remove it, or leave bad images out with "
        "on_bad_image='skip' (command line: --on-bad-image skip)."
    )


def _image_shape(
    source: Source, members: np.ndarray, size: tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    """The shape that the images will have: what was asked for, or else what their format or their headers say."""
    size = size or source.size
    channels = channels or source.channels
    if size and channels:
        return (*size, channels)
    headers = source.headers
    if headers is None:
        headers = images.in_parallel(lambda index: _header(source, index), members.tolist())
    known = [header for header in headers if header is not None]
    sizes = {(header.height, header.width) for header in known}
    if size is None and len(sizes) > 1:
        (height, width), (other_height, other_width) = min(sizes), max(sizes)
        raise DataError(
            f"The images of {source.name!r} have different sizes. Received: from {height}x{width} to "
            f"{other_height}x{other_width} (height x width). Pass image_size (command line: --image-size)."
        )
    height, width = size or (sizes.pop() if sizes else (1, 1))
    return (height, width, channels or (1 if known and all(header.grey for header in known) else 3))


def _header(source: Source, index: int) -> Header | None:
    try:
        content = source.read(index)
        assert isinstance(content, bytes)  # noqa: S101 - sources of pixels state their size
        return images.header(content)
    except BadImage:
        return None  # decoding reports it


def _decode_all(
    reader: DecodingReader, name: str, *, keep: bool, skip_bad: bool
) -> tuple[np.ndarray | None, np.ndarray, dict[int, str]]:
    """Decode every image once and mark it, keeping the pixels if asked to; find the bad ones: reasons by row."""
    count = len(reader.members)
    pixels = np.empty((count, *reader.image_shape), np.uint8) if keep else None
    marks = np.zeros(count, MARK)

    def problem(row: int) -> str | None:
        try:
            image = reader.decode(row)
        except BadImage as error:
            return str(error)
        marks[row] = mark_of(image)
        if pixels is not None:
            pixels[row] = image
        return None

    description = None if count < _FEW else f"{'decoding' if keep else 'checking'} {name}"
    bad: dict[int, str] = {}
    with closing(images.in_parallel(problem, range(count), description)) as problems:
        for row, reason in enumerate(problems):
            if reason is not None:
                if not skip_bad:
                    raise bad_image(reader.where(row), reason)
                bad[row] = reason
    return pixels, marks, bad


def _check_after_skipping(source: Source, split: str, members: np.ndarray, skipped: dict[int, str]) -> None:
    """Raise if too little is left; otherwise warn."""
    first = min(skipped)
    example = f"{source.where(first)!r}: {skipped[first]}"
    if len(members) == 0:
        raise DataError(f"Every image of the {split} split of {source.name!r} is bad. Received: first {example}.")
    if "train" in parts_of(split) and (
        lost := _names(source, np.setdiff1d(source.labels[list(skipped)], source.labels[members]))
    ):
        raise DataError(
            f"A class of {source.name!r} has no good image left for training. Received: {_listed(lost)}; first bad "
            f"image {example}. Add images, or remove the class."
        )
    console.warn(
        f"left out {len(skipped)} bad image{'s' * (len(skipped) > 1)} of {source.name!r} {split}, first {example}"
    )
