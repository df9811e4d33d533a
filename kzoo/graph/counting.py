"""One pass over the graph of a model: the size, depth and receptive field of each tensor, the counts of each layer."""

import math
from dataclasses import dataclass
from typing import Any

from kzoo import functional
from kzoo.backend import keras
from kzoo.graph.receptive_fields import WEIGHTED, Axis, ReceptiveField, receptive_field


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
class Output:
    """What is known of a tensor: its symbolic form, the weighted layers on the longest path to it, what it sees."""

    spec: Any
    depth: int = 0
    receptive_field: ReceptiveField = (Axis(), Axis())

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch."""
        return tuple(self.spec.shape[1:])


class LayerCounter:
    """Counts the layers of a graph from its input as far as is asked for; `layers` grows by what it comes across."""

    def __init__(self, inputs, known):
        """Begin at the symbolic tensors `inputs`, of which `known` says what is known."""
        self.layers: list[Layer] = []
        self._outputs = {id(tensor): value for tensor, value in zip(inputs, known, strict=True)}
        self._calls: set[int] = set()
        self._weights: set[int] = set()

    def count_to(self, target) -> Output:
        """Go to the tensor `target`, by way of all that it needs."""
        for call in functional.calls([target], self._calls):
            if id(call.outputs[0]) in self._outputs:
                continue  # where it began
            inputs = [self._outputs[id(tensor)] for tensor in call.input_tensors]
            is_model = isinstance(call.operation, keras.Model)
            found = self._count_model(call, inputs) if is_model else self._count_layer(call, inputs)
            self._outputs.update((id(tensor), value) for tensor, value in zip(call.outputs, found, strict=True))
        return self._outputs[id(target)]

    def _count_model(self, call, inputs):
        """What is known of the outputs of a model within the model."""
        inner = LayerCounter(call.operation.inputs, inputs)
        inner.layers, inner._weights = self.layers, self._weights
        return [inner.count_to(tensor) for tensor in call.operation.outputs]

    def _count_layer(self, call, inputs):
        """What is known of the outputs of a layer."""
        layer = call.operation
        axes = receptive_field(layer, [known.receptive_field for known in inputs], inputs[0].spec.shape)
        is_weighted = isinstance(layer, WEIGHTED)
        depth = max(tensor.depth for tensor in inputs) + is_weighted
        specs = self._specs(call)
        shape = tuple(specs[0].shape[1:])
        weights = getattr(layer, "weights", ())  # an operation that is no layer has none
        kernels = sum(math.prod(w.shape) for w in weights if len(w.shape) > 1) if is_weighted else 0
        new = [w for w in weights if id(w) not in self._weights]
        self._weights.update(map(id, new))
        parameters, trainable = (sum(math.prod(w.shape) for w in new if w.trainable >= least) for least in (0, 1))
        # Each kernel is applied once at each place.
        multiply_adds = math.prod(shape[:-1]) * kernels
        self.layers.append(Layer(layer.name, type(layer).__name__, shape, parameters, trainable, multiply_adds))
        return [Output(spec, depth, axes) for spec in specs]

    def _specs(self, call):
        """The symbolic outputs of a call, computed again: where the model takes any size, they tell this one's."""
        arguments, options = call.arguments.convert(
            lambda x: self._outputs[id(x)].spec if isinstance(x, keras.KerasTensor) else x
        )
        return keras.tree.flatten(call.operation.compute_output_spec(*arguments, **options))
