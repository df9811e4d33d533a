"""What a network is, counted: parameters, multiply-adds, depth, and what each of its stages sees."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from kzoo import functional
from kzoo.arguments import is_integer
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.graph.counting import Layer, LayerCounter, Output
from kzoo.graph.endpoints import stages, strides
from kzoo.models.registry import create_model, defaults
from kzoo.text import dimensions, markdown_table, quantity


@dataclass(frozen=True)
class Stage:
    """One stage of a network, or one output of a feature extractor."""

    name: str
    layer: str
    """The layer that ends it."""
    output_shape: tuple[int, ...]
    """(height, width, channels)"""
    stride: int
    """Pixels of the image between two neighbours of the output; the larger of down and right."""
    channels: int
    receptive_field: int | None
    """The side, in pixels, of what one output depends on, padding included; the longer of the two. None is the whole
    image."""
    depth: int
    """Layers with weights from the image to here, on the longest path."""
    parameters: int
    """Of the layers that this stage needs and the stages before it do not."""
    multiply_adds: int
    """Of the same layers."""


@dataclass(frozen=True)
class Description:
    """What `describe` found; `print` shows it as a table."""

    name: str
    input_shape: tuple[int, int, int]
    classes: int | None
    """None where the model does not end in a classifier."""
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    """Of one image, forward: those of convolutions and dense layers, without biases."""
    depth: int
    """Layers with weights on the longest path: the 50 of ResNet-50."""
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...] = field(repr=False)

    def to_dict(self) -> dict:
        """All of it, in the types that JSON has."""
        return asdict(self)

    def summary(self) -> str:
        """The totals in a line."""
        classes = f", {self.classes} classes" if self.classes else ""
        return (
            f"{self.name}: {self.parameters:,} parameters, {self.trainable_parameters:,} of them trainable; "
            f"{quantity(self.multiply_adds)} multiply-adds; {self.depth} layers deep; "
            f"input {dimensions(self.input_shape)}{classes}"
        )

    def table(self) -> list[tuple[str, ...]]:
        """The stages as rows of text, titles first; the last row is what lies behind the stages."""
        rows = [("stage", "output", "stride", "channels", "receptive field", "parameters", "multiply-adds")]
        for stage in self.stages:
            sees = "whole image" if stage.receptive_field is None else str(stage.receptive_field)
            place = (stage.name, dimensions(stage.output_shape), str(stage.stride), str(stage.channels), sees)
            rows.append((*place, f"{stage.parameters:,}", quantity(stage.multiply_adds)))
        end = self.layers[-1]
        if end.name not in [stage.layer for stage in self.stages]:
            parameters = self.parameters - sum(stage.parameters for stage in self.stages)
            multiply_adds = self.multiply_adds - sum(stage.multiply_adds for stage in self.stages)
            place = (end.name, dimensions(end.output_shape), "", str(end.output_shape[-1]), "")
            rows.append((*place, f"{parameters:,}", quantity(multiply_adds)))
        return rows

    def layer_table(self) -> list[tuple[str, ...]]:
        """The layers as rows of text, titles first."""
        rows = [("layer", "type", "output", "parameters", "multiply-adds")]
        for layer in self.layers:
            counts = (f"{layer.parameters:,}", quantity(layer.multiply_adds))
            rows.append((layer.name, layer.type, dimensions(layer.output_shape), *counts))
        return rows

    def markdown(self) -> str:
        """The totals, and the stages as a Markdown table."""
        return f"{self.summary()}\n\n{markdown_table(self.table())}"

    def __str__(self):
        rows = self.table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.summary(), *lines])


def describe(name, input_shape: Sequence[int] | None = None, *, classes: int | None = None) -> Description:
    """Count what a network is made of, for any size of image.

    A model of the zoo is built without its weights, in a fraction of a second.

    Args:
        name: One of `kzoo.list_models()`, or "keras:NAME" of keras.applications; or a Functional or Sequential
            `keras.Model` of one input, such as a loaded run. Its stages are those of `kzoo.graph.endpoints.stages`;
            those of a `kzoo.feature_extractor` are its outputs. Auxiliary classifiers (outputs whose names begin with
            `auxiliary_`), and what only they need, are left out.
        input_shape: (height, width, channels); by default the model's.
        classes: Number of classes; by default the model's.

    Returns:
        A `Description`: `parameters`, `multiply_adds` and `depth` of the whole; `stages`, each with its `output_shape`,
        `stride`, `channels`, `receptive_field` and its share of the counts; `layers`.

    Raises:
        InvalidArgument: An unknown name, a shape that the model does not take, or a layer that kzoo cannot describe.

    >>> resnet = describe("resnet50")
    >>> resnet.depth, resnet.parameters, resnet.multiply_adds
    (50, 25636712, 3857973248)
    >>> [(stage.name, stage.stride, stage.channels, stage.receptive_field) for stage in resnet.stages[1:]]
    [('conv2', 4, 256, 35), ('conv3', 8, 512, 99), ('conv4', 16, 1024, 291), ('conv5', 32, 2048, 483)]
    """
    if isinstance(name, str):
        shape = _sizes(defaults(name)[0] if input_shape is None else input_shape)
        # In a thread of its own: Keras keeps by thread which variables it has yet to fill in, and would fill in these
        # when the caller builds the next layer.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_describe_by_name, name, shape, classes).result()
    if classes is not None:
        raise InvalidArgument(
            f"classes is for a model by name; a built one has its own. Received: classes={classes!r}."
        )
    return _describe(name, input_shape)


def _describe_by_name(name, input_shape, classes):
    with keras.StatelessScope(initialize_variables=False):
        return _describe(create_model(name, input_shape=input_shape, classes=classes), input_shape)


def _describe(model, input_shape):
    targets, ends = functional.outputs(model), _stage_tensors(model)
    if len(model.inputs) != 1:
        raise InvalidArgument(f"The model must have one input. Received: {len(model.inputs)} in {model.name}.")
    [image] = model.inputs
    shape = _checked_shape(model, image.shape[1:], input_shape)
    counter = LayerCounter([image], [Output(keras.KerasTensor((None, *shape)))])
    source = functional.layer_of(image)
    counter.layers.append(Layer(source.name, type(source).__name__, shape, 0, 0, 0))
    calls = list(functional.calls([*targets, *ends.values()], set()))
    stride_of = {id(x): stride for call, stride in zip(calls, strides(calls), strict=True) for x in call.outputs}
    found = []
    for name, tensor in ends.items():
        before = len(counter.layers)
        end = counter.count_to(tensor)
        layer, stride = functional.layer_of(tensor).name, stride_of[id(tensor)]
        found.append(_stage(name, layer, end, counter.layers[before:], stride))
    depth = max(counter.count_to(target).depth for target in targets)
    return Description(
        name=model.name,
        input_shape=shape,
        classes=_classes(targets),
        parameters=sum(layer.parameters for layer in counter.layers),
        trainable_parameters=sum(layer.trainable_parameters for layer in counter.layers),
        multiply_adds=sum(layer.multiply_adds for layer in counter.layers),
        depth=depth,
        stages=tuple(found),
        layers=tuple(counter.layers),
    )


def _stage(name, layer, end, layers, stride):
    axes = end.receptive_field
    return Stage(
        name=name,
        layer=layer,
        output_shape=end.shape,
        stride=max(axis.stride for axis in axes) if axes else stride or 1,
        channels=end.shape[-1],
        receptive_field=max(axis.size for axis in axes) if axes else None,
        depth=end.depth,
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
    )


def _stage_tensors(model):
    """The tensors that end the stages of a model, by stage, in the order of its graph."""
    tensors = functional.tensors_by_layer(model)
    named = functional.named_outputs(model)
    if any(name.startswith(functional.AUXILIARY) for name in named):
        named = {}
    found = {name: functional.layer_of(tensor).name for name, tensor in named.items()} or stages(model)
    order = list(tensors)
    inside = [name for name, layer in found.items() if layer in tensors]
    return {name: tensors[found[name]] for name in sorted(inside, key=lambda name: order.index(found[name]))}


def _classes(targets):
    last = targets[-1]
    is_classifier = (
        len(targets) == 1 and len(last.shape) == 2 and isinstance(functional.layer_of(last), keras.layers.Dense)
    )
    return last.shape[-1] if is_classifier else None


def _checked_shape(model, own, asked):
    """The shape to describe: the model's own, with what it leaves open as asked for."""
    shape = _sizes(own if asked is None else asked)
    if len(shape) != len(own) or any(size not in (None, want) for size, want in zip(own, shape, strict=True)):
        raise InvalidArgument(
            f"{model.name} is built for input_shape={tuple(own)}. Received: input_shape={shape}. "
            "For another size describe the model by its name, or build it anew."
        )
    return shape


def _sizes(shape):
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if len(sizes) != 3 or not all(is_integer(size) and size >= 1 for size in sizes):
        raise InvalidArgument(
            "What is described is one size: input_shape=(height, width, channels), whole numbers of at least 1. "
            f"Received: input_shape={shape!r}. On the command line --image-size says it."
        )
    height, width, channels = map(int, sizes)
    return height, width, channels
