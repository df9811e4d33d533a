"""Copies of images: the same pixels, or the same photo saved again in another quality, size or format.

An image's mark is a hash of its pixels and, for images that are large enough, a look: 16 x 16 grey levels. Two images
are alike if their looks differ by little of what either varies within itself. On 1,548 photos, drawings and characters
and 147 smooth pictures, that was 0.24 at the least between different ones; saved again as JPEG of quality 30, as WebP,
at half or twice the size, it was 0.07 at the most. Perceptual hashes (`imagehash.phash`) were tried: one of 64 bits
takes different drawings for one, one of 256 misses smooth pictures, whose high frequencies are noise.

Below 64 pixels, and where an image is nearly one colour, different images do look alike: such ones have no look.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from kzoo.errors import DataError

# Looks that differ by no more of their standard deviation are of one photo.
LARGEST_DIFFERENCE = 0.12

# Images smaller than this have no look; nor have those whose grey levels deviate less from their mean.
_SMALLEST_SIDE, _LEAST_DEVIATION = 64, 4.0

_SIDE = 16

MARK = np.dtype([("pixels", "V16"), ("look", "u1", (_SIDE * _SIDE,)), ("has_look", "?")])

# How many pairs of images are compared at a time, and at all: it takes half a minute. More images than that are
# compared by their pixels alone.
_PAIRS_AT_A_TIME = 2**24
_MOST_PAIRS = 2_000_000_000

DELETE = "Delete one of each pair."

# How many pairs a message shows.
_EXAMPLES = 3


def mark_of(image: np.ndarray) -> np.void:
    """The mark of an image `[height, width, channels]`, values 0 to 255; of others it has no look, or a poor one.

    An image of a single colour is no one's copy.
    """
    mark = np.zeros((), MARK)
    if (image == image[0, 0]).all():
        return cast(np.void, mark[()])
    mark["pixels"] = np.void(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest())
    height, width, channels = image.shape
    if min(height, width) >= _SMALLEST_SIDE and channels in (1, 3):
        from PIL import Image

        # A look is so coarse that of a large image every nth pixel does as well as all of them.
        step = max(1, min(height, width) // 100)
        few = image[::step, ::step, 0 if channels == 1 else slice(None)]
        pixels = np.ascontiguousarray(few if few.dtype == np.uint8 else np.rint(few.clip(0, 255)).astype(np.uint8))
        look = np.asarray(Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX))
        if look.std() >= _LEAST_DEVIATION:
            mark["look"], mark["has_look"] = look.reshape(-1), True
    return cast(np.void, mark[()])


def equal(marks: np.ndarray, others: np.ndarray | None = None) -> list[tuple[int, int]]:
    """(row, row of the others) of each image whose pixels are those of one of the others.

    Without others, of each that is equal to one before it, and that one's row.
    """
    if others is None:
        return [(row, other) for row, other in equal(marks, marks) if other < row]
    first = {mark.tobytes(): row for row, mark in reversed(list(enumerate(others["pixels"])))}
    first.pop(bytes(MARK["pixels"].itemsize), None)  # of a single colour
    found = ((row, first.get(mark.tobytes())) for row, mark in enumerate(marks["pixels"]))
    return [(row, other) for row, other in found if other is not None]


def are_too_many(marks: np.ndarray, others: np.ndarray) -> bool:
    """Whether there are too many images to compare the looks of all of them."""
    return int(marks["has_look"].sum()) * int(others["has_look"].sum()) > _MOST_PAIRS


def alike(marks: np.ndarray, others: np.ndarray | None = None) -> list[tuple[int, int]]:
    """(row, row of the others) of each image that looks like one of the others: the likest. None of very many.

    Without others, of each that looks like one before it, and that one's row.
    """
    only_before = others is None
    others = marks if others is None else others
    rows, candidates = (np.flatnonzero(one["has_look"]) for one in (marks, others))
    if not len(candidates) or are_too_many(marks, others):
        return []
    known = others["look"][candidates].astype(np.float32) - 128
    squares, variances = (known**2).sum(axis=1), known.var(axis=1)
    found, step = [], max(1, _PAIRS_AT_A_TIME // len(candidates))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        looks = marks["look"][some].astype(np.float32) - 128
        differences = (looks**2).sum(axis=1)[:, np.newaxis] + squares - 2 * looks @ known.T
        # Of the mean square, by the smaller variance of the two.
        differences /= _SIDE**2 * np.minimum(looks.var(axis=1)[:, np.newaxis], variances)
        if only_before:
            differences[candidates >= some[:, np.newaxis]] = np.inf
        least = differences.argmin(axis=1)
        near = differences[np.arange(len(some)), least] <= LARGEST_DIFFERENCE**2
        found += zip(some[near].tolist(), candidates[least[near]].tolist(), strict=True)
    return found


def copies_error(start: str, count: str, pairs: Sequence[tuple[str, str]], advice: str = DELETE) -> DataError:
    """The error of equal images where there may be none: what is learned by heart would pass for what is understood."""
    return DataError(f"{start}, by content. Received: {count}, first {examples(pairs)}. {advice}")


def examples(pairs: Iterable[tuple[str, str]]) -> str:
    """Some pairs of images, by where they are."""
    return ", ".join(f"{one} = {other}" for one, other in list(pairs)[:_EXAMPLES])
