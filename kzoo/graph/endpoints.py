"""The stages of a network, by the names of its paper or by their strides, and their outputs as features."""

import difflib
import functools
import operator
import re
from collections import Counter
from collections.abc import Sequence

from kzoo import functional
from kzoo.backend import keras
from kzoo.errors import InvalidArgument, unknown
from kzoo.models.registry import CARDS

_OF_MEMBER = re.compile(r"(member\d+_)*")  # what `kzoo.ensemble` puts before the names of a member's layers


def stages(model) -> dict[str, str]:
    """The name of the layer that ends each stage of a model, by the name of the stage.

    That is the name in its paper, where the layers have names that a card of the zoo knows (`named_stages`). Any other
    network has a stage for each size of its feature maps, called by its stride: "stride8".

    >>> from kzoo.backend import keras
    >>> stages(keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3)))["stride16"]
    'block_13_expand_relu'
    """
    graph = _Graph(model)
    named = named_stages(model)
    return named if graph.is_mostly_below(list(named.values())[-1:]) else graph.ends_by_stride()


def named_stages(model) -> dict[str, str]:
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
    >>> named_stages(kzoo.create_model("mnist_net"))
    {'conv1': 'conv1_relu', 'conv2': 'conv2_relu'}
    """
    names = {layer.name: _OF_MEMBER.sub("", layer.name, count=1) for layer in model.layers}
    order = list(names)
    candidates = []
    for ends in dict.fromkeys(tuple(card.stages.items()) for card in CARDS.values()):
        matches = [
            (re.fullmatch(pattern, plain), stage, name) for name, plain in names.items() for pattern, stage in ends
        ]
        found = {match.expand(stage): name for match, stage, name in matches if match}
        if any(re.fullmatch(ends[0][0], plain) for plain in names.values()):
            candidates.append(found)
    # Where two have as many stages, the one whose layers come later.
    candidates.sort(key=lambda found: (len(found), sorted(map(order.index, found.values()), reverse=True)))
    found = {stage: layer for candidate in candidates for stage, layer in candidate.items()}
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


class _Graph:
    """The calls of a model from its input to its outputs, the strides of their maps, and what each depends on."""

    def __init__(self, model):
        # A model without a graph has no stages.
        try:
            self.calls = list(functional.calls(functional.outputs(model), set()))
        except InvalidArgument:
            self.calls = []
        self.index = {id(tensor): i for i, call in enumerate(self.calls) for tensor in call.outputs}
        self.strides = strides(self.calls)
        self.below: list[int] = []  # sets of calls, as the bits of a number
        for i, call in enumerate(self.calls):
            inputs = [self.below[self.index[id(tensor)]] for tensor in call.input_tensors]
            self.below.append(functools.reduce(operator.or_, inputs, 1 << i))
        # What convolves: layers with a kernel whose output is a feature map.
        self.convolutions = sum(1 << i for i, call in enumerate(self.calls) if self.strides[i] and _has_kernel(call))

    def is_mostly_below(self, layers: Sequence[str]) -> bool:
        """Whether at least half of the convolutions are what a layer depends on: the names are this network's."""
        ends = [i for i, call in enumerate(self.calls) if call.operation.name in layers]
        return any(2 * (self.below[i] & self.convolutions).bit_count() >= self.convolutions.bit_count() for i in ends)

    def ends_by_stride(self) -> dict[str, str]:
        """The layer that ends each size of the feature maps, by the stride.

        It is the last one that all above depends on the image through, so that the model can be cut there; where there
        is none, in a network whose cells read the two before them, the one that depends on the most.
        """
        names = Counter(call.operation.name for call in self.calls)
        read_until = [0] * len(self.calls)  # the last call that reads an output
        for i, call in enumerate(self.calls):
            for tensor in call.input_tensors:
                read_until[self.index[id(tensor)]] = i
        separating: dict[int, str | None] = {}  # None: an operation that is no layer
        deepest: dict[int, tuple[int, str]] = {}
        furthest = 0
        for i, call in enumerate(self.calls):
            stride, name = self.strides[i], call.operation.name
            separates, furthest = furthest <= i, max(furthest, read_until[i])
            if stride is None or not self.below[i] & self.convolutions or isinstance(call.operation, _BORDERS):
                continue
            is_named = isinstance(call.operation, keras.layers.Layer) and names[name] == 1
            if separates:
                separating[stride] = name if is_named else None
            if is_named:
                deepest[stride] = max(deepest.get(stride, (0, "")), (self.below[i].bit_count(), name))
        return {f"stride{stride}": separating.get(stride) or deepest[stride][1] for stride in sorted(deepest)}


def strides(calls: Sequence) -> list[int | None]:
    """The pixels of the image between two neighbours of each call's output; None where it is no feature map."""
    known: dict[int, int | None] = {}
    found = []
    for call in calls:
        layer, below = call.operation, [one for x in call.input_tensors if (one := known[id(x)]) is not None]
        stride = max(below) if below else (None if call.input_tensors else 1)
        if stride is not None and (len(call.outputs[0].shape) != 4 or isinstance(layer, _NO_MAPS)):
            stride = None
        elif stride is not None:
            stride *= _stride_of(layer)
        known.update((id(tensor), stride) for tensor in call.outputs)
        found.append(stride)
    return found


# What a network of one path from large maps to small ones does not have, or what ends it.
_NO_MAPS = (
    keras.layers.Conv2DTranspose,
    keras.layers.UpSampling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Reshape,
)


_BORDERS = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)  # before a convolution: no end of a stage


def _stride_of(layer) -> int:
    """By what a layer divides the size of its map; of a model within the model all of its layers together."""
    if isinstance(layer, keras.Model):
        inner = list(functional.calls(layer.outputs, set()))
        return strides(inner)[-1] or 1
    stride = getattr(layer, "strides", 1)
    return max(stride) if isinstance(stride, tuple | list) else stride


def _has_kernel(call) -> bool:
    return any(len(weight.shape) > 1 for weight in getattr(call.operation, "weights", ()))


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
