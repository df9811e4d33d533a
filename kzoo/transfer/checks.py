"""What can be wrong with data that a model is fine-tuned on, found before it costs anything."""

from collections.abc import Sequence

import numpy as np

from kzoo import console
from kzoo.data import Dataset
from kzoo.errors import DataError

# A class of this many times fewer images than the largest is one that a classifier learns to leave out.
IMBALANCE = 3


def check_overlap(
    train: Dataset, train_digests: Sequence[bytes], validation: Dataset, validation_digests: Sequence[bytes]
) -> None:
    """Raise DataError if an image is in both: what is learned by heart would pass for what is understood."""
    known = {digest: index for index, digest in reversed(list(enumerate(train_digests)))}
    twice = [index for index, digest in enumerate(validation_digests) if digest in known]
    if not twice:
        return
    first = twice[0]
    raise DataError(
        f"Validation images are training images too, by content. Received: {len(twice)} of {len(validation)}, first "
        f"{validation.where(first)} = {train.where(known[validation_digests[first]])}. Delete them from one of the "
        "two, or leave the splitting of one folder to kzoo, which keeps equal images together."
    )


def warn_of_imbalance(train: Dataset, class_weight: str) -> None:
    """Warn if a class has far fewer images than another, and nothing is done about it."""
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[least] * IMBALANCE > counts[most] or (class_weight == "balanced" and counts[least]):
        return
    console.warn(
        f"the classes are imbalanced: {counts[least]} training images of {train.class_names[least]!r}, {counts[most]} "
        f"of {train.class_names[most]!r}; rare classes will be missed. Add images of them"
        + (", or weight the classes: --class-weight balanced" if counts[least] else "")
    )
