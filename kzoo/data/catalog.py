"""From a list of images that are somewhere to a Dataset: what digits, TFDS, folders and CSV files share."""

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kzoo import console
from kzoo.data import images
from kzoo.data.dataset import Dataset, available_memory, in_memory, read_only
from kzoo.data.images import BadImage, Header, Scaling
from kzoo.data.splits import SPLITS, TRAIN
from kzoo.errors import DataError

# Images that one task of the thread pool decodes: enough to make the pool's own work small.
_CHUNK = 32

# Fewer images than this need no progress bar.
_FEW = 1000

_HOW_TO_SKIP = "on_bad_image='skip' (command line: --on-bad-image skip)"


class Source(Protocol):
    """Where images come from, one by one."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes | np.ndarray:
        """An encoded image, or pixels uint8 `[H, W, C]`. Raises BadImage."""
        ...

    def where(self, index: int) -> str:
        """A path, or for example "mnist train #12"."""
        ...


@dataclass(frozen=True)
class Catalog:
    """A dataset before its images are decoded."""

    name: str
    class_names: tuple[str, ...]
    source: Source
    labels: np.ndarray  # int32 [N]
    parts: np.ndarray  # int8 [N]: TRAIN, VALIDATION or TEST
    fingerprint: str
    # The images' own (height, width) and channels, where the format states them; otherwise the headers tell.
    size: tuple[int, int] | None = None
    channels: int | None = None
    headers: Sequence[Header | None] | None = None
    # The images already known to be bad, by index, and the folder's own division into splits: a bad image stops the
    # loading of every split that is cut from the same images.
    problems: dict[int, str] = dataclasses.field(default_factory=dict)
    declared: np.ndarray | None = None
    # What to do about a split that is missing.
    missing_split_hint: str = ""


def build(
    catalog: Catalog,
    split: str,
    size: tuple[int, int] | None,
    channels: int | None,
    scaling: Scaling,
    *,
    skip_bad: bool,
) -> Dataset:
    """Decode one split of a catalog."""
    members = _members(catalog, split)
    skipped: dict[int, str] = {}
    if catalog.problems:
        skipped = _known_problems(catalog, members, skip_bad)
        members = members[~np.isin(members, list(skipped))]
    with images.no_warnings():
        size, channels = _shape(catalog, members, size, channels)
        fits = len(members) * size[0] * size[1] * channels <= available_memory() // 4
        pixels, bad = _decoded(catalog, split, members, size, channels, scaling, keep=fits, skip_bad=skip_bad)
    if bad:
        good = np.array([position not in bad for position in range(len(members))], bool)
        skipped |= {int(members[position]): reason for position, reason in bad.items()}
        members, pixels = members[good], None if pixels is None else pixels[good]
    _check_after_skipping(catalog, split, members, skipped)
    where = tuple((catalog.source.where(index), reason) for index, reason in sorted(skipped.items()))
    return _dataset(catalog, split, members, pixels, size, channels, scaling, where)


def _members(catalog: Catalog, split: str) -> np.ndarray:
    """The indices of a split's images, after checking that the splits fit together."""
    if split == "all":
        return np.arange(len(catalog.labels))
    if len(catalog.class_names) < 2:
        raise DataError(
            f"A classifier needs at least two classes. Received: only "
            f"{_listed(list(catalog.class_names))} in {catalog.name!r}. Add a class, or use "
            "split='all' to evaluate on these images."
        )
    part = SPLITS.index(split)
    members = np.flatnonzero(catalog.parts == part)
    if len(members) == 0:
        present = [SPLITS[part] for part in np.unique(catalog.parts).tolist()]
        raise DataError(
            f"There is no {split} split in {catalog.name!r}. Received: split={split!r}. "
            f"Valid: {', '.join(present)}, all." + catalog.missing_split_hint
        )
    trained = np.unique(catalog.labels[catalog.parts == TRAIN])
    present = np.unique(catalog.labels[members])
    if len(trained):
        for other in SPLITS[1:]:
            found = np.unique(catalog.labels[catalog.parts == SPLITS.index(other)])
            alien = [catalog.class_names[label] for label in np.setdiff1d(found, trained).tolist()]
            if alien:
                raise DataError(
                    f"The {other} split of {catalog.name!r} has classes that train lacks. Received: {_listed(alien)}. "
                    "Add them to train, or remove them."
                )
        missing = [catalog.class_names[label] for label in np.setdiff1d(trained, present).tolist()]
        if missing:
            console.warn(
                f"the {split} split of {catalog.name!r} has no image of {len(missing)} classes: {_listed(missing)}"
            )
    return members


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _known_problems(catalog: Catalog, members: np.ndarray, skip_bad: bool) -> dict[int, str]:
    """The problems that concern `members`; raises if bad images are not to be skipped."""
    if not skip_bad:
        concerned = sorted(catalog.problems)
        if catalog.declared is not None:
            asked = set(catalog.declared[members].tolist())
            concerned = [index for index in concerned if catalog.declared[index] in asked]
        if concerned:
            raise _bad_image(catalog.source.where(concerned[0]), catalog.problems[concerned[0]], len(concerned) - 1)
    inside = set(members.tolist())
    return {index: reason for index, reason in catalog.problems.items() if index in inside}


def _bad_image(where: str, reason: str, more: int = 0) -> DataError:
    others = f" (and {more} more)" if more else ""
    return DataError(
        f"Bad image. Received: {where!r}: {reason}{others}. Repair or remove it, or leave bad images out with "
        f"{_HOW_TO_SKIP}."
    )


def _shape(
    catalog: Catalog, members: np.ndarray, size: tuple[int, int] | None, channels: int | None
) -> tuple[tuple[int, int], int]:
    """The (height, width) and channels that the images will have."""
    headers = catalog.headers
    size = size or catalog.size
    channels = channels or catalog.channels
    if headers is None and (size is None or channels is None):
        headers = list(images.pool().map(lambda index: _header(catalog.source, int(index)), members, chunksize=_CHUNK))
    known = [(index, header) for index, header in enumerate(headers or ()) if header is not None]
    if channels is None:
        channels = 1 if known and all(header.grey for _, header in known) else 3
    if size is None:
        sizes = {(header.height, header.width) for _, header in known}
        if len(sizes) > 1:
            first, second = sorted(sizes)[0], sorted(sizes)[-1]
            raise DataError(
                f"The images of {catalog.name!r} have different sizes. Received: from {first[0]}x{first[1]} to "
                f"{second[0]}x{second[1]} (height x width). Pass image_size (command line: --image-size)."
            )
        size = sizes.pop() if sizes else (1, 1)
    return size, channels


def _header(source: Source, index: int) -> Header | None:
    try:
        content = source.read(index)
        assert isinstance(content, bytes)  # noqa: S101 - sources of pixels state their size
        return images.header(content)
    except BadImage:
        return None  # decoding reports it


def _decoded(
    catalog: Catalog,
    split: str,
    members: np.ndarray,
    size: tuple[int, int],
    channels: int,
    scaling: Scaling,
    *,
    keep: bool,
    skip_bad: bool,
) -> tuple[np.ndarray | None, dict[int, str]]:
    """Decode every image once; keep the pixels or only find the bad ones (position -> reason)."""
    count = len(members)
    pixels = np.empty((count, *size, channels), np.uint8) if keep else None

    def work(start: int) -> dict[int, str]:
        bad = {}
        for position in range(start, min(start + _CHUNK, count)):
            try:
                image = images.decode(catalog.source.read(int(members[position])), size, channels, scaling)
            except BadImage as error:
                bad[position] = str(error)
            else:
                if pixels is not None:
                    pixels[position] = image
        return bad

    bad: dict[int, str] = {}
    starts = range(0, count, _CHUNK)
    description = f"{'decoding' if keep else 'checking'} {catalog.name} {split}"
    with nullcontext(_silent) if count < _FEW else console.progress(description, count) as advance:
        results = images.pool().map(work, starts)
        for start, found in zip(starts, results, strict=True):
            advance(min(_CHUNK, count - start), "")
            if found and not skip_bad:
                results.close()  # type: ignore[attr-defined] - a generator, which cancels what has not begun
                position, reason = next(iter(found.items()))
                raise _bad_image(catalog.source.where(int(members[position])), reason)
            bad |= found
    return pixels, bad


def _silent(units: int, detail: str) -> None:
    pass


def _check_after_skipping(catalog: Catalog, split: str, members: np.ndarray, skipped: dict[int, str]) -> None:
    if not skipped:
        return
    first = min(skipped)
    example = f"{catalog.source.where(first)!r}: {skipped[first]}"
    if len(members) == 0:
        raise DataError(f"Every image of the {split} split of {catalog.name!r} is bad. Received: first {example}.")
    if split == "train":
        lost = np.setdiff1d(catalog.labels[list(skipped)], catalog.labels[members]).tolist()
        if lost:
            names = _listed([catalog.class_names[label] for label in lost])
            raise DataError(
                f"A class of {catalog.name!r} has no good image left for training. Received: {names}; first bad image "
                f"{example}. Add images, or remove the class."
            )
    console.warn(
        f"left out {len(skipped)} bad image{'s' * (len(skipped) > 1)} of {catalog.name!r} {split}, first {example}"
    )


def _dataset(
    catalog: Catalog,
    split: str,
    members: np.ndarray,
    pixels: np.ndarray | None,
    size: tuple[int, int],
    channels: int,
    scaling: Scaling,
    skipped: tuple[tuple[str, str], ...],
) -> Dataset:
    source, labels = catalog.source, catalog.labels[members]

    def where(position: int) -> str:
        return source.where(int(members[position]))

    if pixels is not None:
        return in_memory(
            pixels,
            name=catalog.name,
            split=split,
            class_names=catalog.class_names,
            labels=labels,
            fingerprint=catalog.fingerprint,
            where=where,
            skipped=skipped,
        )

    def decode(position: int) -> np.ndarray:
        try:
            return images.decode(source.read(int(members[position])), size, channels, scaling)
        except BadImage as error:  # it was good when the dataset was loaded
            raise DataError(
                f"An image has changed since it was checked. Received: {where(position)!r}: {error}."
            ) from None

    def fetch(positions: np.ndarray) -> np.ndarray:
        return np.stack(list(images.pool().map(decode, positions.tolist())))

    images.ignore_pillow_warnings()
    return Dataset(
        name=catalog.name,
        split=split,
        class_names=catalog.class_names,
        labels=read_only(labels),
        image_shape=(*size, channels),
        fingerprint=catalog.fingerprint,
        skipped=skipped,
        _fetch=fetch,
        _where=where,
    )
