"""`average`: several classifiers as one Keras model.

The layers of all members stand in one graph, each under a name of its own, with its weights and its dtype policy. What
several members do alike to the image before their first weights, such as scaling its pixels, is there once.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kzoo import console, functional
from kzoo.agreement import are_of_one_shape, check_agree, meaning_of
from kzoo.backend import keras, weights_digest
from kzoo.classifier import (
    image_shape_of,
    metadata,
    pixel_range_of,
    scaling_of,
    set_metadata,
    without_auxiliary_heads,
)
from kzoo.errors import InvalidArgument
from kzoo.outputs import check_classifier, gives_probabilities
from kzoo.saving import MOST_LAYERS
from kzoo.text import dimensions

NAME = "ensemble"


def average(models: Sequence[Any]):
    """The mean of the probabilities of several classifiers, as one model.

    Args:
        models: Two or more `keras.Model` with the same classes in the same order, which take pixels of one range and
            as many channels. Each gives probabilities or logits, (batch, classes), or (batch, 1) for two classes;
            auxiliary heads are left out. Sizes may differ if the images have one shape, such as square: the model takes
            the largest, and smaller ones are made of it inside. A model that comes twice counts once.

    Returns:
        A `keras.Model` from images to probabilities (batch, classes) float32, or (batch, 1) if all members give that.
        It has copies of the members' weights, and their class names. Each member computes in its own precision.

    Raises:
        InvalidArgument: Fewer than two models, or models that do not fit together.

    >>> import kzoo, numpy as np
    >>> models = [kzoo.create_model("mnist_net") for _ in range(2)]
    >>> images = np.zeros((1, 28, 28, 1), "float32")
    >>> mean = np.mean([model(images) for model in models], axis=0)
    >>> bool(np.allclose(average(models)(images), mean, atol=1e-6))
    True
    """
    models = list(models)
    return average_of(models, [f"model {number}" for number in range(len(models))])[0]


def average_of(models: Sequence[Any], labels: Sequence[str]) -> tuple[Any, list[int]]:
    """`average` of models that messages call by `labels`; also the positions of those that are in it."""
    for model in models:
        check_classifier(model)
    classifiers = [without_auxiliary_heads(model) for model in models]
    kept = _without_copies(classifiers, labels)
    if len(kept) < 2:
        raise InvalidArgument(f"An ensemble has at least two different members. Received: {', '.join(labels)}.")
    models, labels = [classifiers[i] for i in kept], [labels[i] for i in kept]
    names = check_agree([meaning_of(model, label) for model, label in zip(models, labels, strict=True)])
    view = _common_view(models, labels)
    images = keras.Input((*view.size, image_shape_of(models[0])[2]), dtype="float32", name="images")
    copy = _Copy()
    outputs = [copy.classifier(model, images, part) for model, part in zip(models, view.parts, strict=True)]
    both = any(output.shape[1] == 2 for output in outputs)
    probabilities = [copy.of_both_classes(one) if both and one.shape[1] == 1 else one for one in outputs]
    mean = keras.layers.Average(dtype="float32", name="predictions")(probabilities)
    ensemble = keras.Model(images, mean, name=NAME)
    if len(ensemble.layers) > MOST_LAYERS:
        raise InvalidArgument(
            f"A model has at most {MOST_LAYERS:,} layers. Received: {len(ensemble.layers):,} of {len(models)} members. "
            "Name fewer."
        )
    copy.set_weights()
    mirrored = {known for model in models if (known := metadata(model).get("mirrored")) is not None}
    known = {"class_names": names, **view.scaling, "mirrored": all(mirrored) if mirrored else None}
    if any("pixel_range" in metadata(model) for model in models):
        known["pixel_range"] = pixel_range_of(models[0])
    return set_metadata(ensemble, **known), kept


def _without_copies(models: Sequence[Any], labels: Sequence[str]) -> list[int]:
    """The positions of the models that are not equal to one before them."""
    first: dict[tuple, int] = {}
    for number, model in enumerate(models):
        key = (weights_digest(model), model.input_shape, len(model.layers))
        if first.setdefault(key, number) != number:
            same = labels[first[key]]
            what = "is named twice" if same == labels[number] else f"is the same model as {same!r}"
            console.warn(f"{labels[number]!r} {what}: it counts once")
    return list(first.values())


class _Part(NamedTuple):
    """What a member takes of the ensemble's image: the centre, and that resized; None where it stays as it is."""

    centre: tuple[int, int] | None
    size: tuple[int, int] | None


class _View(NamedTuple):
    """The image that an ensemble takes: large enough for every member, with all that any of them sees."""

    size: tuple[int | None, int | None]
    scaling: dict[str, Any]
    parts: list[_Part]


def _common_view(models: Sequence[Any], labels: Sequence[str]) -> _View:
    """The image of which each member's is the centre, made smaller.

    A member whose images are scaled to 256x256 and cropped to 224x224 sees the central 224x224 of what one sees whole.

    Raises:
        InvalidArgument: Images of several shapes.
    """
    shapes, scalings = [image_shape_of(model)[:2] for model in models], [scaling_of(model) for model in models]
    fractions = [scaling.get("crop_fraction", 1.0) for scaling in scalings]
    scaling = {"crop_fraction": max(fractions), **_one_interpolation(scalings, labels)}
    if "range_16_bit" in scalings[0]:  # all have it, or none
        scaling["range_16_bit"] = scalings[0]["range_16_bit"]
    fixed = [i for i, shape in enumerate(shapes) if None not in shape]
    if not fixed:
        if min(fractions) < max(fractions):
            raise InvalidArgument(
                "Models that take images of any size must crop them alike. Received: crop fractions "
                f"{_listed(fractions, labels)}. Give one a size."
            )
        return _View((None, None), scaling, [_Part(None, None)] * len(models))
    if not are_of_one_shape([shapes[i] for i in fixed]):
        raise InvalidArgument(
            f"The models must take images of one shape. Received: {_listed(map(dimensions, shapes), labels)}. Train "
            "them with the same --image-size."
        )
    shares = [fraction / max(fractions) for fraction in fractions]
    height, width = (max(round(shapes[i][axis] / shares[i]) for i in fixed) for axis in (0, 1))
    parts = []
    for shape, share in zip(shapes, shares, strict=True):
        centre = round(height * share), round(width * share)
        parts.append(
            _Part(centre if centre != (height, width) else None, None if None in shape or shape == centre else shape)
        )
    if any(part != _Part(None, None) for part in parts):
        console.log(
            f"the ensemble takes images of {dimensions((height, width))}; members of another size get them resized "
            f"inside: {_listed(map(dimensions, shapes), labels)}"
        )
    return _View((height, width), scaling, parts)


def _one_interpolation(scalings: Sequence[dict], labels: Sequence[str]) -> dict[str, Any]:
    """The first member's interpolation, with a line where others have another."""
    found = [scaling.get("interpolation") for scaling in scalings]
    if len(set(found)) > 1:
        console.log(f"images are resized {found[0] or 'as by default'}, as for {labels[0]!r}: {_listed(found, labels)}")
    return {"interpolation": found[0]}


def _listed(values: Any, labels: Sequence[str]) -> str:
    return ", ".join(f"{label!r} {value or 'default'}" for label, value in zip(labels, values, strict=True))


class _Copy:
    """Copies classifiers into one graph."""

    def __init__(self):
        self._names: set[str] = {"images", "predictions"}
        self._shared: dict[tuple, list] = {}
        """The outputs of what has no weights and was computed from the image alone, by what it is and its inputs."""
        self._parts: dict[_Part, Any] = {}
        self._of_image: set[int] = set()
        """The tensors that are the image, or what was shared so."""
        self._pairs: list[tuple[Any, Any]] = []
        """Layers with weights, and their copies."""
        self._members = 0

    def classifier(self, model, images, part: _Part):
        """The probabilities of a copy of a classifier, (batch, classes) or (batch, 1), on a part of the images."""
        self._prefix = f"member{self._members}_"
        self._members += 1
        images = self._part_of(images, part)
        copies: dict[int, Any] = {}

        def compute(operation, arguments, named):
            return self._call(operation, arguments, named, copies)

        [output] = functional.computed_anew(model.outputs, {id(model.inputs[0]): images}, compute)
        if gives_probabilities(model):
            return output
        return self._new(keras.layers.Softmax if output.shape[1] > 1 else _sigmoid, "probabilities")(output)

    def _part_of(self, images, part: _Part):
        """What a member takes of the images, which members of one size share.

        Not by Keras's CenterCrop and Resizing: they take it for training where nothing is said, and in a model called
        without `training` all layers after them then do, too.
        """
        if part not in self._parts:
            found = images
            if part.centre is not None:
                over = [whole - some for whole, some in zip(images.shape[1:3], part.centre, strict=True)]
                borders = tuple((n // 2, n - n // 2) for n in over)
                found = self._new(keras.layers.Cropping2D, "centre", cropping=borders)(found)
            if part.size is not None:
                found = keras.ops.image.resize(found, part.size, antialias=True)
            self._parts[part] = found
            self._of_image.add(id(found))
        return self._parts[part]

    def of_both_classes(self, probability):
        """The probabilities of both classes, (batch, 2), of that of class 1, (batch, 1)."""
        self._prefix = f"{functional.layer_of(probability).name}_"
        other = self._new(keras.layers.Rescaling, "complement", scale=-1.0, offset=1.0)(probability)
        return self._new(keras.layers.Concatenate, "both")([other, probability])

    def set_weights(self) -> None:
        """Give the copies the weights, once they are in a model and so are built."""
        for layer, copy in self._pairs:
            copy.set_weights(layer.get_weights())

    def _call(self, operation, arguments: tuple, named: dict, copies: dict[int, Any]) -> Any:
        """Call a copy of an operation, unless another member has done the same to the image."""
        description = keras.saving.serialize_keras_object(operation)
        inputs = [x for x in keras.tree.flatten((arguments, named)) if isinstance(x, keras.KerasTensor)]
        is_stateless = not getattr(operation, "variables", ())
        if not (is_stateless and inputs and all(id(x) in self._of_image for x in inputs)):
            return self._copy_of(operation, description, copies)(*arguments, **named)
        key = (_without_names(description), repr(keras.tree.map_structure(_place, (arguments, named))))
        if key not in self._shared:
            copy = _renamed(description, self._free(operation.name))
            self._shared[key] = copy(*arguments, **named)
            self._of_image.update(id(x) for x in keras.tree.flatten(self._shared[key]))
        return self._shared[key]

    def _copy_of(self, operation, description: dict, copies: dict[int, Any]) -> Any:
        """The copy of an operation, one for all of its calls."""
        if id(operation) not in copies:
            copies[id(operation)] = _renamed(description, self._free(self._prefix + operation.name))
            if getattr(operation, "weights", ()):
                self._pairs.append((operation, copies[id(operation)]))
        return copies[id(operation)]

    def _new(self, make: Callable[..., Any], name: str, **arguments: Any) -> Any:
        return make(dtype="float32", name=self._free(self._prefix + name), **arguments)

    def _free(self, name: str) -> str:
        while name in self._names:
            name = f"{self._prefix}{name}"
        self._names.add(name)
        return name


def _sigmoid(**arguments: Any):
    return keras.layers.Activation("sigmoid", **arguments)


def _renamed(description: dict, name: str):
    """The layer or operation that Keras has described, under another name."""
    return keras.saving.deserialize_keras_object({**description, "config": {**description["config"], "name": name}})


def _without_names(description: dict) -> str:
    """What a layer without weights is, besides its name."""
    kind = {key: description[key] for key in ("module", "class_name", "registered_name")}
    config = {key: value for key, value in description["config"].items() if key not in ("name", "trainable")}
    return json.dumps([kind, config], sort_keys=True, default=repr)


def _place(value: Any) -> Any:
    """A tensor by its identity; another argument as it is."""
    return ("tensor", id(value)) if isinstance(value, keras.KerasTensor) else value
