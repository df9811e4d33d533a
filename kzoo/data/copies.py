"""Copies of images: the same pixels, or the same photo saved again in another quality, size or format.

An image's mark is a hash of its pixels and, for images that are large enough, a perceptual hash of 256 bits
(`imagehash.phash`). Of 3,625 photos, drawings and characters of five sets, at 64 to 320 pixels a side, no two had
perceptual hashes that differ in fewer than 34 bits. Saved again as JPEG of quality 30 or 50, as WebP, at half, 1.5 or
3 times the size, they differed from themselves in 2 to 8, at most in 22. Below 64 pixels, and where an image is nearly
one colour, different images do look alike.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from kzoo.errors import DataError

# Perceptual hashes that differ in no more bits are of one photo.
MOST_BITS = 24

# Images smaller than this have no perceptual hash; nor have those whose grey levels deviate less from their mean.
_SMALLEST_SIDE, _LEAST_DEVIATION = 64, 4.0

_SIDE = 16  # of the square of frequencies that the perceptual hash compares

MARK = np.dtype([("pixels", "V16"), ("look", "<u8", (_SIDE * _SIDE // 64,)), ("has_look", "?")])

# How many pairs a message shows.
_EXAMPLES = 3


def mark_of(image: np.ndarray) -> np.void:
    """The mark of an image `[height, width, channels]`, values 0 to 255."""
    mark = np.zeros((), MARK)
    mark["pixels"] = np.void(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest())
    height, width, channels = image.shape
    if min(height, width) >= _SMALLEST_SIDE and channels in (1, 3):
        import imagehash
        from PIL import Image

        # What it sees is so coarse that every nth pixel, and a quick filter, do as well as all of them.
        step = max(1, min(height, width) // 100)
        few = image[::step, ::step, 0 if channels == 1 else slice(None)]
        pixels = np.ascontiguousarray(few if few.dtype == np.uint8 else np.rint(few).astype(np.uint8))
        small = Image.fromarray(pixels).convert("L").resize((4 * _SIDE, 4 * _SIDE), Image.Resampling.BOX)
        if np.asarray(small).std() >= _LEAST_DEVIATION:
            bits = imagehash.phash(small, hash_size=_SIDE).hash
            mark["look"], mark["has_look"] = np.packbits(bits).view("<u8"), True
    return cast(np.void, mark[()])


def equal(marks: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """(row, row of the others) of each image whose pixels are those of one of the others."""
    first = {mark.tobytes(): row for row, mark in reversed(list(enumerate(others["pixels"])))}
    found = ((row, first.get(mark.tobytes())) for row, mark in enumerate(marks["pixels"]))
    return [(row, other) for row, other in found if other is not None]


def alike(marks: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """(row, row of the others) of each image that looks like one of the others: the likest."""
    rows, candidates = (np.flatnonzero(one["has_look"]) for one in (marks, others))
    looks = np.ascontiguousarray(others["look"][candidates].T)  # a row for each word
    found = []
    for row in rows.tolist():
        words = marks["look"][row]
        # One word is compared with all, the others with the few that pass.
        passed = np.flatnonzero(np.bitwise_count(looks[0] ^ words[0]) <= MOST_BITS)
        bits = np.bitwise_count(looks[:, passed] ^ words[:, np.newaxis]).sum(axis=0)
        if len(bits) and bits.min() <= MOST_BITS:
            found.append((row, int(candidates[passed[bits.argmin()]])))
    return found


def copies_error(start: str, count: str, pairs: Sequence[tuple[str, str]]) -> DataError:
    """The error of equal images where there may be none: what is learned by heart would pass for what is understood."""
    return DataError(f"{start}, by content. Received: {count}, first {examples(pairs)}. Delete one of each pair.")


def examples(pairs: Iterable[tuple[str, str]]) -> str:
    """Some pairs of images, by where they are."""
    return ", ".join(f"{one} = {other}" for one, other in list(pairs)[:_EXAMPLES])
