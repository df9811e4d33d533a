"""The classes that weights were trained on, in the order of their outputs.

ImageNet's are in imagenet_classes.csv: the WordNet ids as timm 1.0.31 lists them (timm/data/_info/imagenet_synsets.txt)
and the names as torchvision 0.28.0 does (torchvision/models/_meta.py), of which no two are alike.
"""

import csv
import functools
from importlib import resources

from kzoo.errors import unknown

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def names(labels: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes of a record's `labels`: "imagenet", "cifar10", "mnist", or the names themselves.

    >>> names("imagenet")[281], len(names("imagenet"))
    ('tabby', 1000)
    """
    if isinstance(labels, tuple):
        return labels
    lists = {"imagenet": tuple(name for _, name in _imagenet()), "cifar10": CIFAR10, "mnist": DIGITS}
    if labels not in lists:
        raise unknown("list of labels", labels, lists)
    return lists[labels]


def aliases(class_names: tuple[str, ...] | None) -> dict[str, int]:
    """Other names of the classes, by which a folder may call them: of ImageNet's, WordNet ids and indices.

    >>> tabby = aliases(names("imagenet"))
    >>> tabby["n02123045"], tabby["281"], aliases(("cat", "dog"))
    (281, 281, {})
    """
    if class_names != names("imagenet"):
        return {}
    ids = {wordnet_id: index for index, (wordnet_id, _) in enumerate(_imagenet())}
    return ids | {str(index): index for index in range(len(ids))}


@functools.cache
def _imagenet() -> tuple[tuple[str, str], ...]:
    text = resources.files("kzoo.weights").joinpath("imagenet_classes.csv").read_text("utf-8")
    return tuple((row["wordnet_id"], row["name"]) for row in csv.DictReader(text.splitlines()))
