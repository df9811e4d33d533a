"""The graph of a Functional model: what its layers are called on, in order.

Keras keeps it in attributes that begin with an underscore; nothing else in kzoo reads those.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kzoo.backend import keras
from kzoo.errors import InvalidArgument

# Where Keras defines the `call` of a model that computes its graph.
_GRAPH_MODELS = ("keras.src.models.functional", "keras.src.models.sequential")

AUXILIARY = "auxiliary_"  # how the names of Inception v1's further classifiers begin


def outputs(model) -> list:
    """The symbolic outputs of a model; those of auxiliary classifiers are left out.

    Raises:
        InvalidArgument: Not a model whose graph is known.
    """
    try:
        found = list(model.outputs)
    except (AttributeError, ValueError):
        raise InvalidArgument(
            "The model must be a Functional or Sequential keras.Model that knows its input shape. "
            f"Received: {type(model).__name__}."
        ) from None
    named = named_outputs(model)
    return [tensor for name, tensor in named.items() if not name.startswith(AUXILIARY)] or found


def named_outputs(model) -> dict:
    """The symbolic outputs of a model whose output is a dict; otherwise none."""
    try:
        output = model.output
    except (AttributeError, ValueError):  # a Sequential model has none
        return {}
    return output if isinstance(output, dict) else {}


def calls(tensors: Iterable, seen: set[int]) -> Iterator:
    """The calls of layers that `tensors` depend on, each after those it depends on itself.

    Calls whose id is in `seen` are left out, and those that are given are added to it.
    """
    stack = [(call_of(tensor), False) for tensor in reversed(list(tensors))]
    while stack:
        call, is_ready = stack.pop()
        if is_ready:
            yield call
        elif id(call) not in seen:
            seen.add(id(call))
            stack.append((call, True))
            stack.extend((call_of(tensor), False) for tensor in reversed(call.input_tensors))


def computed_anew(tensors: Iterable, values: dict[int, Any], compute: Callable[[Any, tuple, dict], Any]) -> list:
    """What `tensors` become when their graph is computed from other inputs.

    Args:
        tensors: Symbolic tensors of one graph.
        values: What takes the place of its inputs, by the `id` of the symbolic tensors.
        compute: Called with each operation, its arguments and its keyword arguments, in the order of the graph.
    """
    tensors, known = list(tensors), dict(values)
    for call in calls(tensors, set()):
        if any(id(tensor) not in known for tensor in call.outputs):
            arguments, named = call.arguments.fill_in(known)
            found = keras.tree.flatten(compute(call.operation, arguments, named))
            known.update(zip(map(id, call.outputs), found, strict=True))
    return [known[id(tensor)] for tensor in tensors]


def tensors_by_layer(model) -> dict:
    """The output of each layer of a model by the layer's name, in the order of the graph."""
    return {
        call.operation.name: call.outputs[0]
        for call in calls(outputs(model), set())
        if isinstance(call.operation, keras.layers.Layer)
    }


def layer_of(tensor):
    """The layer whose output `tensor` is."""
    return tensor._keras_history.operation


def call_of(tensor):
    """The call of a layer or operation that `tensor` is an output of."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def inner_tensor(tensor) -> Any:
    """Of an output of a model within a model: the tensor in the inner model's own graph; None for any other layer.

    A subclass that has a graph but overrides `call` may compute something else: it counts as any other layer.
    """
    model = layer_of(tensor)
    return model.outputs[tensor._keras_history.tensor_index] if has_graph(model) else None


def has_graph(layer) -> bool:
    """Whether a layer is a model that computes its graph."""
    return isinstance(layer, keras.Model) and type(layer).call.__module__ in _GRAPH_MODELS
