"""The classifiers of keras.applications: with their preprocessing inside, and layers whose names last.

Keras names many of their layers by how many of a kind the process has made, so that a model that is made again has
other names. What is written to disk by name (features, checkpoints) needs names that stay. A file of weights is read by
`kzoo.weights`, which checks it, and loaded as Keras loads it: by the order of the layers. Their names in the published
files are those of many versions of Keras.
"""

import math
import re
from itertools import groupby
from typing import Any

import numpy as np

from kzoo import functional
from kzoo.arguments import is_integer
from kzoo.backend import keras
from kzoo.classifier import set_metadata
from kzoo.data.pixels import RAW
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.models.assemble import preprocess
from kzoo.models.registry import check_name
from kzoo.saving import FASTER
from kzoo.weights import checksums, labels
from kzoo.weights.formats import read
from kzoo.weights.records import applications
from kzoo.weights.resolve import ResolvedWeights, resolve

# Their classifier reads a feature map of one size.
OF_ONE_SIZE = ("keras:VGG16", "keras:VGG19")
# With ImageNet's weights Keras divides by these, which it leaves out without: "the original implementation uses
# (input - mean) / var" (keras/src/applications/efficientnet.py).
EFFICIENTNETS = "keras:EfficientNetB"
ROOTS_OF_STD = tuple(math.sqrt(std) for std in (0.229, 0.224, 0.225))


def assemble_application(
    name: str,
    *,
    weights: Any,
    classes: int | None,
    input_shape: Any,
    include_top: bool,
    classifier_activation: str | None,
):
    """Build a model of keras.applications. `kzoo.create_model` documents the arguments."""
    check_name(name)
    chosen = None if weights is None else resolve(name, weights)
    record = applications.RECORDS[name][0] if chosen is None else chosen.record
    if chosen is not None and record.include_top != include_top:
        raise InvalidArgument(
            f"{record.tag} for {name} has {'a' if record.include_top else 'no'} classifier. Received: "
            f"include_top={include_top}. Pass include_top={record.include_top}, or take other weights: kzoo weights "
            f"list {name}."
        )
    if chosen is not None and classes not in (None, record.classes):
        raise InvalidArgument(
            f"{record.tag} for {name} has {record.classes} classes. Received: classes={classes!r}. For other classes "
            "fine-tune it: kzoo finetune, kzoo.transfer.fine_tune."
        )
    shape = _checked_shape(name, record.input_size if input_shape is None else input_shape, include_top, chosen)
    try:
        theirs = getattr(keras.applications, name.removeprefix(applications.PREFIX))(
            weights=None,
            include_top=include_top,
            input_shape=shape,
            classes=classes or record.classes,
            classifier_activation=classifier_activation,
        )
    except ValueError as error:
        raise InvalidArgument(f"Keras does not build {name}. Received: input_shape={shape}: {error}") from None
    ours, copies = _renamed(theirs, name, record.preprocessing)
    if chosen is not None:
        _load(theirs, copies, chosen, name)
        if include_top:
            set_metadata(
                ours,
                class_names=None if record.labels is None else labels.names(record.labels),
                crop_fraction=record.crop_fraction,
                interpolation=record.preprocessing.interpolation,
                pixel_range=RAW,
            )
    return ours


def _checked_shape(name: str, shape: Any, include_top: bool, chosen: ResolvedWeights | None) -> tuple[int, int, int]:
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if len(shape) != 3 or not all(is_integer(side) and side > 0 for side in shape[:2]) or shape[2] != 3:
        raise InvalidArgument(
            f"{name} takes RGB images: input_shape=(height, width, 3). Received: {shape!r}. Grey images can be loaded "
            "with channels=3."
        )
    if name in OF_ONE_SIZE and include_top and chosen is not None and shape != chosen.record.input_size:
        height, width, _ = chosen.record.input_size
        raise InvalidArgument(
            f"{name} with its classifier takes images of {height}x{width}. Received: {shape[0]}x{shape[1]}. For other "
            "sizes take the weights without it: --weights keras_in1k_notop."
        )
    height, width, channels = map(int, shape)
    return height, width, channels


def _renamed(theirs, name: str, preprocessing) -> tuple[Any, dict[int, Any]]:
    """The same model with its preprocessing in front, and its layers by the `id` of Keras's that they replace.

    Sums that are no layers become layers: a model can be cut at those alone. Stochastic depth, which drops blocks of
    EfficientNets in training, is off: the pretrained part runs as in inference, as in Keras's guide to fine-tuning.
    """
    images = keras.Input(theirs.input_shape[1:], name="images", dtype="float32")
    pixels = images if preprocessing == applications.INSIDE else preprocess(preprocessing, images)
    names, sums, copies = {}, set(), {}
    for call in functional.calls(functional.outputs(theirs), set()):
        operation = call.operation
        names.setdefault(id(operation), operation.name)
        if _is_operation(operation) and type(operation).__name__ == "Add" and len(call.input_tensors) == 2:
            sums.add(id(operation))
    names = _lasting(theirs, names)

    def copy(operation):
        if id(operation) in sums:
            return keras.layers.Add(name=names[id(operation)])
        config = keras.saving.serialize_keras_object(operation)
        config["config"]["name"] = names[id(operation)]
        if config["class_name"] in FASTER:
            config["registered_name"] = config["class_name"]  # by which custom_objects are looked up
        if isinstance(operation, keras.layers.Dropout) and operation.noise_shape is not None:
            config["config"]["rate"] = 0.0
        copies[id(operation)] = keras.saving.deserialize_keras_object(config, custom_objects=FASTER)
        return copies[id(operation)]

    def call(operation, *arguments, **options):
        arguments, options = keras.tree.map_structure(
            lambda one: pixels if one is images else one, (arguments, options)
        )
        if isinstance(operation, keras.layers.Add) and len(arguments) == 2:
            return operation(list(arguments))
        outputs = operation(*arguments, **options)
        if isinstance(operation, keras.layers.Normalization) and name.startswith(EFFICIENTNETS):
            scale = [1 / root for root in ROOTS_OF_STD]
            outputs = keras.layers.Rescaling(scale, dtype="float32", name="preprocessing_scale")(outputs)
        return outputs

    cloned = keras.models.clone_model(theirs, input_tensors=images, clone_function=copy, call_function=call)
    return keras.Model(cloned.inputs[0], cloned.outputs[0], name=name.removeprefix(applications.PREFIX)), copies


def _is_operation(operation) -> bool:
    return not isinstance(operation, keras.layers.Layer)


def _lasting(model, names: dict[int, str]) -> dict[int, str]:
    """Names by the `id` of a layer: what Keras has numbered by the process is numbered by the model."""
    kinds = {id(one): _base(type(one)) for one in model.operations}
    counts: dict[str, int] = {}
    found = {}
    for key, name in names.items():
        kind = kinds.get(key)
        if kind is not None and re.fullmatch(rf"{kind}(_\d+)?", name):
            count = counts[kind] = counts.get(kind, -1) + 1
            name = f"{kind}_{count}" if count else kind
        found[key] = name
    return found


def _base(kind: type) -> str:
    """What Keras calls a layer of a class that is given no name.

    >>> _base(keras.layers.GlobalAveragePooling2D), _base(keras.layers.ReLU)
    ('global_average_pooling2d', 're_lu')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind.__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _load(theirs, copies: dict[int, Any], chosen: ResolvedWeights, name: str) -> None:
    """Set every weight from a file, layer by layer in Keras's order; of a file that does not fit, none."""
    tensors = read(chosen.path, chosen.format) if chosen.tensors is None else chosen.tensors
    found = [(layer, [array for _, array in group]) for layer, group in groupby(tensors.items(), _layer)]
    wanted = [(layer.name, copies[id(layer)]) for layer in theirs.layers if layer.weights]
    if len(found) != len(wanted):
        raise _misfit(name, chosen, f"it has {len(found)} layers with weights, the model {len(wanted)}")
    places = {layer: index for index, (layer, _) in enumerate(wanted)}
    is_known = chosen.tensors is None and any(map(checksums.hash_kind, chosen.record.files))
    pairs = []
    for index, ((there, arrays), (here, layer)) in enumerate(zip(found, wanted, strict=True)):
        weights = [*layer.trainable_weights, *layer.non_trainable_weights]
        shapes = [array.shape for array in arrays], [tuple(weight.shape) for weight in weights]
        if shapes[0] != shapes[1]:
            raise _misfit(name, chosen, f"its layer {there!r:.100} holds {shapes[0]}, where {here!r} holds {shapes[1]}")
        # Keras would load two layers that have changed places into each other's.
        if not is_known and places.get(there, index) != index and not re.search(r"_\d+$", there):
            raise _misfit(name, chosen, f"its layer {there!r:.100} is in the place of {here!r}")
        pairs += zip(weights, arrays, strict=True)
    for weight, array in pairs:
        if array.dtype.kind != np.dtype(weight.dtype).kind:
            raise _misfit(name, chosen, f"it holds {array.dtype} for {weight.path}, which is {weight.dtype}")
    for weight, array in pairs:
        weight.assign(array)
    for layer in copies.values():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _layer(item: tuple[str, Any]) -> str:
    return item[0].rpartition("/")[0]


def _misfit(name: str, chosen: ResolvedWeights, reason: str) -> WeightsError:
    return WeightsError(f"The weights do not fit {name}: {reason}. Received: {str(chosen.path)!r}. Of another model?")
