"""What a dataset holds, and what is wrong with it, found out before anything is trained: plain data.

Every image is decoded once. A bad one is counted, and ends nothing; nor does what a training would stop at.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kzoo.data import checks, copies, decoding, folders, images
from kzoo.data.copies import MARK, mark_of
from kzoo.data.encoded import BadImage, format_of
from kzoo.data.images import Header, Scaling
from kzoo.data.loading import SOURCES, kind
from kzoo.data.sheets import LARGEST, Cell, sheet
from kzoo.data.source import Source
from kzoo.data.splits import SPLITS, TRAIN
from kzoo.errors import DataError

# Images are compared at this size, unless all are of one size that is no larger.
_SIDE = 224
# Bad images, and pairs of copies, that are named.
_FIRST = 5
# Of a contact sheet.
_MOST_IMAGES, _MOST_OF_A_CLASS, _COLUMNS = 160, 8, 10


def inspect(name: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Look at a dataset of labelled images: what `kzoo info` shows of it.

    Args:
        name: As for `kzoo.data.load`. A TFDS dataset must be on this machine.
        data_dir: Where TFDS datasets lie. By default $TFDS_DATA_DIR, or else ~/tensorflow_datasets.

    Returns:
        Plain data:

        - `name`, and `public_name`: the name, where it says what the images are, else "";
        - `images`: how many can be decoded; `splits`: how many of these are for training, validation and testing, as
          kzoo would take them, and `has_splits`: whether the dataset says so itself;
        - `classes`: class name -> images in each split;
        - `sizes`: [height, width] of the `smallest`, the `median` and the `largest` image by their pixels, and how many
          sizes there are (`different`);
        - `channels`: how many are `grey` and how many `colour`, by their files, and how many have `no_colours`;
          `formats`: how many are JPEG, ...; `bits_16`: how many have 16 bits; `range_16_bit`: the values of these that
          would become 0 and 255;
        - `bad`: how many cannot be decoded, and the `first` of them, with reasons; `left_out`: other files, by kind;
        - `copies`: images that are `equal` to another, or look `alike` (the same photo saved again; None where there
          are too many to compare), `within` a split and `across` splits; how many of both have a label of their own
          (`other_label`); the `first` pairs;
        - `problems`: at what a training would stop; `warnings`: what else to look at.

    Raises:
        DataError: There is no such dataset, or no image in it.

    >>> found = inspect("digits")
    >>> found["splits"], found["sizes"]["median"], found["problems"]
    ({'train': 1439, 'validation': 179, 'test': 179}, [8, 8], [])
    """
    return look(name, data_dir)[0]


def look(
    name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> tuple[dict[str, Any], Source, np.ndarray]:
    """The same, with the source, and which of its images are good: bool [N]."""
    source, problems, warnings, left_out = _opened(name, data_dir)
    seen = _Seen(source)
    good = np.array([index not in seen.bad for index in range(len(source.labels))])
    if not good.any():
        first = min(seen.bad)
        raise DataError(
            f"Every image is bad. Received: {source.name!r}, first {source.where(first)!r}: {seen.bad[first]}."
        )
    counts = np.zeros((len(SPLITS), len(source.class_names)), np.int64)
    np.add.at(counts, (source.splits[good], source.labels[good]), 1)
    imbalance = checks.imbalance(counts[TRAIN], source.class_names) if counts[TRAIN].any() else None
    found = {
        "name": source.name,
        "public_name": source.name if source.is_public else "",
        "images": int(good.sum()),
        "splits": dict(zip(SPLITS, counts.sum(axis=1).tolist(), strict=True)),
        "has_splits": source.is_public or bool(source.declared is not None and (source.declared >= 0).any()),
        "classes": {
            class_name: dict(zip(SPLITS, counts[:, label].tolist(), strict=True))
            for label, class_name in enumerate(source.class_names)
        },
        **seen.form(),
        "bad": {
            "images": len(seen.bad),
            "first": [{"where": source.where(i), "reason": reason} for i, reason in sorted(seen.bad.items())[:_FIRST]],
        },
        "left_out": left_out,
        "copies": _copies(source, seen.marks, good),
        "problems": problems + _problems(source, seen.bad),
        "warnings": warnings if imbalance is None else [*warnings, imbalance],
    }
    return found, source, good


def _opened(
    given: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None
) -> tuple[Source, list[str], list[str], dict[str, int]]:
    """The source of a name; problems and warnings that are known by then; what was left out, by kind."""
    name, source = os.fspath(given), SOURCES[kind(given)]
    if source is not folders.ImageFiles:
        return source.open(name, ["all"], data_dir, download=False), [], [], {}
    listing = folders.list_files(name)
    if not listing.items:
        listing.check()
    source, digests = folders.scan(name, listing)
    problems = _said_by(listing.check) + _said_by(lambda: folders.check_class_names(name, listing.items))
    problems += _said_by(lambda: folders.check_copies(source, digests))
    return source, problems, listing.left_out.remarks, dict(listing.left_out.kinds.most_common())


def _said_by(check: Callable[[], Any]) -> list[str]:
    """What a check of the data complains of."""
    try:
        check()
    except DataError as error:
        return [str(error)]
    return []


def _problems(source: Source, bad: dict[int, str]) -> list[str]:
    """At what loading the splits for training would stop."""
    found = []
    for split in ("train", "validation"):
        found += _said_by(lambda split=split: decoding.members_of(source, split))
        if found:
            break  # of the next one it would be the same
    if bad:
        first = min(bad)
        found.append(str(decoding.bad_image(source.where(first), bad[first], len(bad) - 1)))
    return found


class _Seen:
    """What decoding each image has shown."""

    def __init__(self, source: Source):
        self.source = source
        count = len(source.labels)
        self.bad = dict(source.problems)
        self.headers: list[Header | None] = list(source.headers) if source.headers is not None else [None] * count
        self.formats: list[str | None] = [None] * count
        self.marks = np.zeros(count, MARK)
        self.has_colours = np.zeros(count, bool)
        self.range_16_bit = decoding.range_of_16_bit(source)
        self._scaling = Scaling(range_16_bit=self.range_16_bit)
        with images.no_warnings():
            if source.headers is None and source.size is None:
                self._each(self._read_header, "reading")
            self._size, self._channels = self._common()
            self._each(self._decode, "looking at")

    def _each(self, function: Callable[[int], str | None], doing: str) -> None:
        """Call a function of the images that are not bad; what it gives is why one is."""
        rows = [row for row in range(len(self.marks)) if row not in self.bad]
        described = f"{doing} {self.source.name}" if len(rows) >= 1000 else None
        for row, reason in zip(rows, images.in_parallel(function, rows, described), strict=True):
            if reason is not None:
                self.bad[row] = reason

    def _common(self) -> tuple[tuple[int, int] | None, int]:
        """The size and the channels in which images are compared."""
        known = [one for one in self.headers if one is not None]
        sizes = {self.source.size} if self.source.size else {(one.height, one.width) for one in known}
        are_small = len(sizes) == 1 and all(max(size) <= _SIDE for size in sizes)
        return None if are_small else (_SIDE, _SIDE), self.source.channels or (
            1 if all(one.grey for one in known) else 3
        )

    def _read_header(self, row: int) -> str | None:
        try:
            content = self.source.read(row)
            assert isinstance(content, bytes)  # noqa: S101 - sources of pixels state their size
            self.headers[row] = images.header(content)
        except BadImage as error:
            return str(error)
        return None

    def _decode(self, row: int) -> str | None:
        try:
            content = self.source.read(row)
            self.formats[row] = format_of(content) if isinstance(content, bytes) else None
            image = images.decode(content, self._size, self._channels, self._scaling)
            self.marks[row] = mark_of(image)
            self.has_colours[row] = bool((image != image[..., :1]).any())
        except BadImage as error:
            return str(error)
        return None

    def form(self) -> dict[str, Any]:
        """Sizes, channels, formats and bits of the images that are good."""
        rows = [row for row in range(len(self.marks)) if row not in self.bad]
        size, channels = self.source.size, self.source.channels
        known = [header for row in rows if (header := self.headers[row]) is not None]
        sizes = [size] * len(rows) if size else sorted(((one.height, one.width) for one in known), key=np.prod)
        grey = len(rows) * (channels == 1) if channels else sum(one.grey for one in known)
        has_16_bits = self.source.has_16_bits
        return {
            "sizes": {
                "smallest": list(sizes[0]),
                "median": list(sizes[len(sizes) // 2]),
                "largest": list(sizes[-1]),
                "different": len(set(sizes)),
            },
            "channels": {
                "grey": int(grey),
                "colour": int(len(rows) - grey),
                "no_colours": int((~self.has_colours[rows]).sum()),
            },
            "formats": dict(Counter(one for row in rows if (one := self.formats[row])).most_common()),
            "bits_16": 0 if has_16_bits is None else int(has_16_bits[rows].sum()),
            "range_16_bit": None if self.range_16_bit is None else list(self.range_16_bit),
        }


def _copies(source: Source, marks: np.ndarray, good: np.ndarray) -> dict[str, Any]:
    """Images that are equal to others or look so: within a split to one before it, across to earlier splits."""
    by_split = [np.flatnonzero(good & (source.splits == part)) for part in range(len(SPLITS))]
    within = _compared(marks, [(rows, None) for rows in by_split])
    earlier = [(by_split[part], np.concatenate(by_split[:part])) for part in range(1, len(SPLITS))]
    across = _compared(marks, earlier)
    pairs = [pair for found in (across, within) for pair in [*found[0], *(found[1] or [])]]
    labels = source.labels.tolist()
    return {
        **{
            name: {"equal": len(equal), "alike": None if alike is None else len(alike)}
            for name, (equal, alike) in (("within", within), ("across", across))
        },
        "other_label": sum(labels[one] != labels[other] for one, other in pairs),
        "first": [[source.where(one), source.where(other)] for one, other in pairs[:_FIRST]],
    }


_Pairs = list[tuple[int, int]]


def _compared(marks: np.ndarray, sets: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> tuple[_Pairs, _Pairs | None]:
    """The pairs that are equal, and the others that look alike, by index; of None, among the first ones themselves."""
    equal, similar, can_compare = [], [], True
    for rows, others in sets:
        targets = rows if others is None else others
        compared = None if others is None else marks[others]
        pairs = copies.equal(marks[rows], compared)
        equal += [(int(rows[one]), int(targets[other])) for one, other in pairs]
        known = {one for one, _ in pairs}
        can_compare = can_compare and not copies.are_too_many(marks[rows], marks[targets])
        pairs = [pair for pair in copies.alike(marks[rows], compared) if pair[0] not in known]
        similar += [(int(rows[one]), int(targets[other])) for one, other in pairs]
    return equal, similar if can_compare else None


def contact_sheet(source: Source, good: np.ndarray, range_16_bit: Sequence[int] | None = None) -> bytes:
    """A PNG with some images of each class, spread over all that it has; of very many classes of the first ones.

    Args:
        source: The images.
        good: Bool [N], which of them can be decoded.
        range_16_bit: The values of 16-bit images that become 0 and 255.
    """
    total = len(source.class_names)
    classes = min(total, _MOST_IMAGES)
    each = max(1, min(_MOST_OF_A_CLASS, _MOST_IMAGES // classes))
    scaling = Scaling(range_16_bit=None if range_16_bit is None else (range_16_bit[0], range_16_bit[1]))
    cells: list[Cell | None] = []
    with images.no_warnings():
        for label in range(classes):
            members = np.flatnonzero(good & (source.labels == label))
            chosen = (
                members[np.unique(np.linspace(0, len(members) - 1, each).round().astype(int))] if len(members) else []
            )
            cells += [Cell(_small(source, int(index), scaling), (source.class_names[label],)) for index in chosen]
            cells += [None] * (each - len(chosen))
    heading = f"{source.name}: {int(good.sum()):,} images, {total:,} classes"
    if classes < total:
        heading += f", the first {classes}"
    return sheet(heading, cells, each * max(1, _COLUMNS // each))


def _small(source: Source, index: int, scaling: Scaling) -> np.ndarray:
    """An image as it is shown, with its sides as they are to each other."""
    content = source.read(index)
    if not isinstance(content, bytes):
        return content
    header = images.header(content)
    scale = min(1.0, LARGEST / max(header.height, header.width))
    size = (max(1, round(header.height * scale)), max(1, round(header.width * scale)))
    return images.decode(content, size, 1 if header.grey else 3, scaling)
