"""The names of classes, and the other names that folders give them."""

import json

import numpy as np
import pytest

from kzoo.data import Dataset, match_labels
from kzoo.errors import DataError, InvalidArgument
from kzoo.weights import labels


def test_imagenets_are_all_different_and_those_of_keras(real_data):
    names, aliases = labels.names("imagenet"), labels.aliases(labels.names("imagenet"))
    assert len(set(names)) == 1000
    index = json.loads((real_data / "imagenet_samples" / "imagenet_class_index.json").read_text())
    assert {wordnet_id: int(i) for i, (wordnet_id, _) in index.items()}.items() <= aliases.items()
    differing = [i for i, (_, name) in index.items() if name.replace("_", " ").lower() != names[int(i)].lower()]
    assert differing == ["134", "639"]  # crane bird, maillot tank suit: Keras has "crane" and "maillot" twice


@pytest.mark.parametrize("folders", [("n02123045", "n02085620"), ("tabby", "Chihuahua"), ("281", "151")])
def test_a_folder_may_name_imagenets_classes_three_ways(folders):
    names = labels.names("imagenet")
    data = Dataset.from_arrays(np.zeros((3, 4, 4)), [0, 1, 0], folders)
    assert match_labels(data, names, labels.aliases(names)).labels.tolist() == [281, 151, 281]


def test_only_imagenet_has_other_names():
    data = Dataset.from_arrays(np.zeros((2, 4, 4)), [0, 1], ["0", "1"])
    with pytest.raises(DataError, match="does not know a label"):
        match_labels(data, labels.CIFAR10, labels.aliases(labels.CIFAR10))


def test_unknown_list():
    with pytest.raises(InvalidArgument, match=r"Unknown list of labels\. Received: 'imagenet21k'"):
        labels.names("imagenet21k")
