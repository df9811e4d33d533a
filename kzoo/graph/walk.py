"""One pass over the graph of a model: the size, depth and reach of each tensor, and the counts of each layer."""

import math
from dataclasses import dataclass
from typing import Any

from kzoo.backend import keras
from kzoo.graph import topology
from kzoo.graph.receptive_fields import WEIGHTED, Axis, Reach, reach


@dataclass(frozen=True)
class Layer:
    """One layer. Weights that several layers share count once; the shape is without the batch."""

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable_parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Tensor:
    """What is known of an output: its symbolic tensor, the weighted layers on the longest path to it, what it sees."""

    spec: Any
    depth: int = 0
    reach: Reach = (Axis(), Axis())

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch."""
        return tuple(self.spec.shape[1:])


class Walk:
    """Follows a graph from its input as far as is asked for; `layers` grows by what it comes across."""

    def __init__(self, inputs, known):
        """Begin at the symbolic tensors `inputs`, of which `known` says what is known."""
        self.layers: list[Layer] = []
        self._tensors = {id(tensor): value for tensor, value in zip(inputs, known, strict=True)}
        self._calls: set[int] = set()
        self._weights: set[int] = set()

    def follow(self, target) -> Tensor:
        """Go to the tensor `target`, by way of all that it needs."""
        for node in topology.nodes([target], self._calls):
            if id(node.outputs[0]) in self._tensors:
                continue  # where it began
            inputs = [self._tensors[id(tensor)] for tensor in node.input_tensors]
            found = self._enter(node, inputs) if isinstance(node.operation, keras.Model) else self._pass(node, inputs)
            self._tensors.update((id(tensor), value) for tensor, value in zip(node.outputs, found, strict=True))
        return self._tensors[id(target)]

    def _enter(self, node, inputs):
        """What is known of the outputs of a model within the model."""
        inner = Walk(node.operation.inputs, inputs)
        inner.layers, inner._weights = self.layers, self._weights
        return [inner.follow(tensor) for tensor in node.operation.outputs]

    def _pass(self, node, inputs):
        """What is known of the outputs of a layer."""
        layer = node.operation
        axes = reach(layer, [tensor.reach for tensor in inputs], inputs[0].spec.shape)
        is_weighted = isinstance(layer, WEIGHTED)
        depth = max(tensor.depth for tensor in inputs) + is_weighted
        specs = self._specs(node)
        shape = tuple(specs[0].shape[1:])
        kernels = sum(math.prod(w.shape) for w in layer.weights if len(w.shape) > 1) if is_weighted else 0
        new = [w for w in layer.weights if id(w) not in self._weights]
        self._weights.update(map(id, new))
        parameters, trainable = (sum(math.prod(w.shape) for w in new if w.trainable >= least) for least in (0, 1))
        # Each kernel is applied once at each place.
        multiply_adds = math.prod(shape[:-1]) * kernels
        self.layers.append(Layer(layer.name, type(layer).__name__, shape, parameters, trainable, multiply_adds))
        return [Tensor(spec, depth, axes) for spec in specs]

    def _specs(self, node):
        """The symbolic outputs of a call, computed again: where the model takes any size, they tell this one's."""
        arguments, options = node.arguments.convert(
            lambda x: self._tensors[id(x)].spec if isinstance(x, keras.KerasTensor) else x
        )
        return keras.tree.flatten(node.operation.compute_output_spec(*arguments, **options))
