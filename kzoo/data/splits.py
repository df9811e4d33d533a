"""Which images are for training, validation and testing: fixed by the data alone."""

import re
from collections.abc import Sequence

import numpy as np

from kzoo.errors import InvalidArgument, MissingSplit, unknown

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)

_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_ENDING = re.compile(r"[ _-]?(set|data|dataset|images|split)$")

# TFDS's "train[:10%]", "test[100:]"; not a folder that is called "photos[1]".
_SLICE = re.compile(r"\[[^\[\]]*[:%][^\[\]]*\]$")


def split_of(name: str) -> int | None:
    """The split that a folder or a value in a CSV file names: TRAIN, VALIDATION or TEST; None for any other name.

    >>> split_of("Val"), split_of("training_set"), split_of("trains")
    (1, 0, None)
    """
    return _NAMES.get(_ENDING.sub("", name.strip().casefold()))


def refuse_slice(name: str) -> None:
    """Raise InvalidArgument for a slice of TFDS: kzoo cuts splits by content, which a slice by position would undo.

    >>> refuse_slice("mnist")
    """
    if found := _SLICE.search(name):
        raise InvalidArgument(
            f"Slices as in TFDS are not supported. Received: {name!r}. Pass {name[: found.start()]!r}; for fewer "
            "images pass a CSV file that lists them, or arrays (kzoo.data.Dataset.from_arrays)."
        )


# Both at once, for the last training of a configuration that was chosen on the validation split.
TRAIN_AND_VALIDATION = "train+validation"


def canonical_split(split: object) -> str:
    """Check the name of a split: train, validation (or val), test, train+validation or all.

    >>> canonical_split("val")
    'validation'
    """
    if split == "val":
        return "validation"
    if isinstance(split, str):
        refuse_slice(split)
    if split not in (*SPLITS, TRAIN_AND_VALIDATION, "all"):
        raise unknown("split", split, (*SPLITS, TRAIN_AND_VALIDATION, "all"))
    return str(split)


def parts_of(split: str) -> Sequence[str]:
    """The splits that one is made of."""
    return SPLITS[:2] if split == TRAIN_AND_VALIDATION else [split]


def missing_split(name: str, split: str, present: Sequence[str], hint: str = "") -> MissingSplit:
    """The error for a split that a dataset does not have, of those that it has.

    >>> str(missing_split("photos", "test", ["train"]))
    "There is no test split in 'photos'. Received: split='test'. Valid: train, all."
    """
    valid = ", ".join((*present, "all"))
    return MissingSplit(f"There is no {split} split in {name!r}. Received: split={split!r}. Valid: {valid}.{hint}")


def stratify(labels: np.ndarray, keys: Sequence[bytes], cut: Sequence[int] = (TEST, VALIDATION)) -> np.ndarray:
    """Cut a tenth of each class off for every split in `cut`; the rest is for training.

    The images of a class are ranked by key, a hash of their content. The result therefore depends neither on the order
    of the files nor on their names, and an image that is added moves few others. Images of equal content share a key
    and land in one split, even under two labels, so that no image is both trained on and tested with.

    Args:
        labels: int32 `[N]`.
        keys: N hashes.
        cut: The splits that get a tenth, rounded half up, and at least one image of a class with three or more.

    Returns:
        int8 `[N]`, values TRAIN, VALIDATION or TEST.

    >>> stratify(np.zeros(10, np.int32), [bytes([i]) for i in range(10)])
    array([2, 1, 0, 0, 0, 0, 0, 0, 0, 0], dtype=int8)
    """
    if len(labels) != len(keys):
        raise InvalidArgument(f"labels and keys differ in length. Received: {len(labels)} and {len(keys)}.")
    by_class: dict[int, set[bytes]] = {}
    for label, key in zip(labels.tolist(), keys, strict=True):
        by_class.setdefault(label, set()).add(key)
    part_of: dict[bytes, int] = {}
    for label in sorted(by_class):
        ranked = sorted(by_class[label])
        count = (len(ranked) + 5) // 10
        count = max(count, 1) if len(ranked) >= 3 else count
        left = dict.fromkeys(cut, count)
        for key in ranked:  # contents that an earlier class has placed count towards this class's share
            if key in part_of and part_of[key] in left:
                left[part_of[key]] -= 1
        for key in ranked:
            if key not in part_of:
                part = next((part for part in cut if left[part] > 0), TRAIN)
                part_of[key] = part
                if part != TRAIN:
                    left[part] -= 1
    return np.fromiter((part_of[key] for key in keys), np.int8, len(keys))
