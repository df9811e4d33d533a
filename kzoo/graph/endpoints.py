"""The stages of a network by the names of its paper, and their outputs as features of several scales."""

import difflib
import re
from collections.abc import Sequence

from kzoo import functional
from kzoo.backend import keras
from kzoo.errors import InvalidArgument, unknown
from kzoo.models.registry import CARDS


def stages(model) -> dict[str, str]:
    """The name of the layer that ends each stage of a model, by the name of the stage in its paper.

    The cards of the zoo say what the layers that end stages are called; where they differ, the card that finds the most
    stages in this model is right. So it makes no difference where a model comes from: `create_model`, a file, a run, or
    keras.applications' ResNets and VGGs, whose layers have the same names. What a model has no layer of is left out.

    - ResNets: conv1, and the sums of conv2 to conv5 after their ReLU, at strides 2, 4, 8, 16 and 32; the CIFAR nets
      conv1 to conv4, at strides 1, 1, 2 and 4.
    - Pre-activation ResNets: at the same strides, what each stage hands on, normalized and rectified.
    - VGG: block1 to block5, before their pooling, at strides 1, 2, 4, 8 and 16. (The layer `block5_pool` has 32.)
    - Inception v1: conv1, conv2, and inception_3a to inception_5b.
    - mnist_net: conv1 and conv2, before their pooling.

    >>> import kzoo
    >>> stages(kzoo.create_model("mnist_net"))
    {'conv1': 'conv1_relu', 'conv2': 'conv2_relu'}
    """
    names = [layer.name for layer in model.layers]
    candidates = []
    for ends in dict.fromkeys(tuple(card.stages.items()) for card in CARDS.values()):
        matches = [(re.fullmatch(pattern, name), stage) for name in names for pattern, stage in ends]
        found = {match.expand(stage): match.string for match, stage in matches if match}
        if any(re.fullmatch(ends[0][0], name) for name in names):
            candidates.append(found)
    # Where two have as many stages, the one whose layers come later.
    candidates.sort(key=lambda found: (len(found), sorted(map(names.index, found.values()), reverse=True)))
    found = {stage: layer for candidate in candidates for stage, layer in candidate.items()}
    return dict(sorted(found.items(), key=lambda item: names.index(item[1])))


def feature_extractor(model, endpoints: str | Sequence[str] | None = None):
    """Make a model of the features inside another: a dict of named outputs, of several scales.

    The layers are those of `model`, not copies: the two share their weights. What no endpoint needs, such as the
    classifier, is left out. `kzoo.describe` of the result lists the shape, stride, channels and receptive field of each
    output.

    Args:
        model: A model of the zoo, from wherever, with or without its top; or any Functional or Sequential
            `keras.Model`.
        endpoints: Names of stages or of layers; by default all stages. `kzoo.graph.endpoints.stages` says which stages
            there are.

    Returns:
        A `keras.Model` of the input of `model`, pixels from 0 to 255, to a dict by endpoint of (batch, height, width,
        channels), in the order of `endpoints`. Each has the dtype in which its layer computes: float32, unless `model`
        was built under a policy of half precision.

    Raises:
        InvalidArgument: An endpoint that `model` does not have, or a model without a graph.

    >>> import kzoo
    >>> pyramid = kzoo.feature_extractor(kzoo.create_model("resnet18"), ["conv3", "conv4", "conv5"])
    >>> {name: features.shape for name, features in pyramid.output.items()}
    {'conv3': (None, 28, 28, 128), 'conv4': (None, 14, 14, 256), 'conv5': (None, 7, 7, 512)}
    """
    tensors = functional.tensors_by_layer(model)
    known = {stage: layer for stage, layer in stages(model).items() if layer in tensors}
    if endpoints is None:
        endpoints = list(known)
    elif isinstance(endpoints, str):
        endpoints = [endpoints]
    if not endpoints:
        raise InvalidArgument(
            f"endpoints must name at least one stage or layer of {model.name}. Received: {endpoints!r}. "
            f"Valid: {', '.join(known) or 'the names of its layers'}."
        )
    features = {}
    for endpoint in endpoints:
        layer = known.get(endpoint, endpoint)
        if layer not in tensors:
            close = difflib.get_close_matches(str(endpoint), tensors, n=1) or list(tensors)[-1:]
            raise unknown(
                f"endpoint of {model.name}", endpoint, known, f"Or the name of a layer, such as {close[0]!r}."
            )
        features[endpoint] = tensors[layer]
    images = model.inputs[0] if len(model.inputs) == 1 else model.input
    return keras.Model(images, features, name=f"{model.name}_features")
