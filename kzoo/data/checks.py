"""What can be wrong with the data of a run, found before it costs anything: the one check of every command.

Equal images in the training data and in the data that a model is scored on are an error where the user has made the
splits, and a warning in a public dataset, whose splits are published. Images that only look equal are a warning.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kzoo import console
from kzoo.data import copies
from kzoo.data.dataset import Dataset

# A class of this many times fewer images than the largest is one that a classifier learns to leave out.
IMBALANCE = 3


def check(train: Dataset, validation: Dataset | None, class_weight: str = "none") -> None:
    """Look for copies of training images in the validation data, and for classes with too few images.

    Raises:
        DataError: Images of the one are in the other.
    """
    # Of arrays the fingerprint is that of these images, of what is loaded that of all splits.
    if validation is not None and validation.load_arguments is None and validation.fingerprint == train.fingerprint:
        console.warn("the validation images are the training images: figures on them say nothing of other images")
    elif validation is not None:
        check_copies("Validation", validation, train.marks, train.where, copies.DELETE)
    warn_of_imbalance(train, class_weight)


def check_copies(name: str, scored: Dataset, trained_on: np.ndarray, where: Callable[[int], str], advice: str) -> None:
    """Raise DataError if images to score a model on are training images; warn of those that look so.

    Args:
        name: What the images to score it on are called: "Validation".
        scored: These images.
        trained_on: The marks of the training images.
        where: Where one of these comes from.
        advice: What to do about copies.
    """
    equal = copies.equal(scored.marks, trained_on)
    pairs = [(scored.where(row), where(other)) for row, other in equal]
    count = f"{len(equal):,} of {len(scored):,}"
    if pairs and not scored.is_published:
        raise copies.copies_error(f"{name} images are training images too", count, pairs, advice)
    if pairs:
        console.warn(f"{count} {name.lower()} images are training images too, first {copies.examples(pairs)}")
    known = {row for row, _ in equal}
    alike = [(row, other) for row, other in copies.alike(scored.marks, trained_on) if row not in known]
    if alike:
        pairs = [(scored.where(row), where(other)) for row, other in alike]
        console.warn(
            f"{len(alike):,} of {len(scored):,} {name.lower()} images look like training images saved again, first "
            f"{copies.examples(pairs)}; look at them, and delete one of each pair of copies"
        )


def warn_of_imbalance(train: Dataset, class_weight: str) -> None:
    """Warn if a class has far fewer images than another, and nothing is done about it."""
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    warning = imbalance(counts, train.class_names, class_weight)
    if warning is not None:
        console.warn(warning)


def imbalance(counts: np.ndarray, class_names: Sequence[str], class_weight: str = "none") -> str | None:
    """What is to be said of classes with so many training images; None where they are balanced, or weighted so.

    >>> imbalance(np.array([10, 29]), ["ants", "bees"]) is None
    True
    """
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[least] * IMBALANCE > counts[most] or (class_weight == "balanced" and counts[least]):
        return None
    return (
        f"the classes are imbalanced: {counts[least]} training images of {class_names[least]!r}, {counts[most]} of "
        f"{class_names[most]!r}; rare classes will be missed. Add images of them"
        + (", or weight the classes: --class-weight balanced" if counts[least] else "")
    )
