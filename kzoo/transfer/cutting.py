"""A model cut in two where training no longer reaches: what is below has to be computed but once for each image."""

from collections import Counter

from kzoo import functional
from kzoo.backend import keras, layers_within
from kzoo.transfer.freezing import direct_weights

# Of the layers with weights, the share that must be below a cut. NASNet's cells read the two before them, so that only
# its stem could be.
LEAST_SHARE = 0.02


def find_cut(model) -> str | None:
    """The layer after which a model can be cut, as high as can be, so that what is below gives the same at every step.

    All that the upper part computes from must be that one layer's output, and below there must be nothing that training
    changes, and nothing random.

    Returns:
        The layer's name; None if there is no such layer above the first that has weights, or only one with so little
        below that its features, which are larger than images, are not worth their room.

    >>> import kzoo
    >>> from kzoo.transfer import freeze
    >>> find_cut(freeze(kzoo.create_model("inception_v1", dropout=0.0)))
    'avg_pool'
    """
    calls = list(functional.calls(functional.outputs(model), set()))  # each after those that it computes from
    maker = {id(tensor): call for call in calls for tensor in call.outputs}
    constant: set[int] = set()
    for call in calls:
        if _is_constant(call.operation) and all(id(maker[id(x)]) in constant for x in call.input_tensors):
            constant.add(id(call))
    names = Counter(call.operation.name for call in calls)
    weighted = {id(call) for call in calls if getattr(call.operation, "weights", None)}
    best, most = None, 0
    for call in calls:
        # An operation that is no layer, or a layer that is called twice, cannot be named.
        is_named = isinstance(call.operation, keras.layers.Layer) and names[call.operation.name] == 1
        if id(call) not in constant or len(call.outputs) != 1 or not is_named:
            continue
        below = _ancestors(call, maker)
        is_worth_it = len(weighted & below) > LEAST_SHARE * len(weighted)
        if is_worth_it and len(below) > most and _separates(call, below, calls):
            best, most = call.operation.name, len(below)
    return best


def split(model, layer: str):
    """The two parts of a model, below and above the output of a layer; they share its layers."""
    middle = functional.tensors_by_layer(model)[layer]
    return keras.Model(model.inputs[0], middle, name="below"), keras.Model(middle, model.outputs[0], name="above")


def _is_constant(operation) -> bool:
    """Whether a layer's output depends on nothing but its input, in all steps of a training."""
    if not isinstance(operation, keras.layers.Layer):
        return True
    return not any(one._seed_generators or (one.trainable and direct_weights(one)) for one in layers_within(operation))


def _ancestors(call, maker: dict) -> set[int]:
    found, stack = set(), [call]
    while stack:
        one = stack.pop()
        if id(one) not in found:
            found.add(id(one))
            stack.extend(maker[id(tensor)] for tensor in one.input_tensors)
    return found


def _separates(call, below: set[int], calls: list) -> bool:
    """Whether nothing above reads anything from below but the output of `call`."""
    inner = {id(tensor) for one in calls if id(one) in below and one is not call for tensor in one.outputs}
    return not any(id(tensor) in inner for one in calls if id(one) not in below for tensor in one.input_tensors)
