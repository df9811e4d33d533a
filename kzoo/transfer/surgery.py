"""Models made of others: a new head on a backbone, weights copied by name."""

from collections import Counter
from typing import Any, NamedTuple

from kzoo import functional
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.models.assemble import check_head
from kzoo.outputs import features_below_classifiers

# The layer that puts the features of an ensemble's members together.
_SIDE_BY_SIDE = "features_of_members"


def add_head(model, classes: int, *, dropout: float = 0.0, classifier_activation: str | None = "softmax"):
    """Put a new classifier on a model, whose layers it shares; one that the model has is left out.

    Args:
        model: A Functional or Sequential `keras.Model` that ends in a feature map (batch, height, width, channels), a
            vector (batch, channels), or a Dense layer, perhaps with a softmax after it, which the new one replaces. Of
            an ensemble, the new one replaces those of all members, and sees the features of all.
        classes: Outputs of the new classifier, a Dense layer "predictions" of zeros: all classes are equally likely.
        dropout: Rate of a dropout before it.
        classifier_activation: "softmax", or None for logits.

    Returns:
        A `keras.Model` of the input of `model` to (batch, classes) float32. A feature map is averaged over its pixels
        first.

    Raises:
        InvalidArgument: A number out of range, or a model that ends otherwise.

    >>> import kzoo
    >>> backbone = kzoo.create_model("resnet18", include_top=False)
    >>> add_head(backbone, 3).output_shape
    (None, 3)
    """
    classes, dropout = check_head(classes, dropout, classifier_activation)
    vectors = []
    for number, backbone in enumerate(found := features_below_classifiers(model)):
        rank = len(getattr(backbone, "shape", ()))
        if rank not in (2, 4):
            raise InvalidArgument(
                "A model must end in a feature map or a vector to get a head. "
                f"Received: {model.name} with output_shape={model.output_shape!r}."
            )
        name = "avg_pool" if len(found) == 1 else f"avg_pool_{number}"
        vectors.append(keras.layers.GlobalAveragePooling2D(name=name)(backbone) if rank == 4 else backbone)
    backbone = vectors[0] if len(vectors) == 1 else keras.layers.Concatenate(name=_SIDE_BY_SIDE)(vectors)
    if dropout:
        backbone = keras.layers.Dropout(dropout, name="dropout")(backbone)
    # From zeros, training adds to the kernel only what tells the classes apart. Of random weights, much lies in
    # directions that few images never train away.
    how: Any = {"kernel_initializer": "zeros", "dtype": "float32", "name": "predictions"}
    head = keras.layers.Dense(classes, activation=classifier_activation, **how)
    return keras.Model(model.inputs[0], head(backbone), name=model.name)


def side_by_side(model) -> list:
    """The networks that `add_head` has put a head on, image to features: of an ensemble several."""
    features = features_below_classifiers(model)
    call = functional.call_of(features[0])
    if call.operation.name != _SIDE_BY_SIDE:
        return [model]
    return [keras.Model(model.inputs[0], tensor) for tensor in call.input_tensors]


class NotCopied(NamedTuple):
    """The weights that `copy_weights` left alone, by their paths."""

    source: tuple[str, ...]
    """Of the source: no weight of the target has this name and shape."""
    target: tuple[str, ...]
    """Of the target: they are as they were."""


def copy_weights(source, target) -> NotCopied:
    """Copy the weights of a model into another, where path ("layer/kernel") and shape are the same.

    Args:
        source: A built `keras.Model`.
        target: Another. A path that it, or the source, has more than once is not copied.

    Returns:
        What was not copied, of either model. Nothing is left out in silence: look at it.

    >>> import kzoo
    >>> old, new = kzoo.create_model("mnist_net"), kzoo.create_model("mnist_net", classes=3)
    >>> copy_weights(old, new).target
    ('predictions/kernel', 'predictions/bias')
    """
    given = _unambiguous(source.weights)
    wanted = _unambiguous(target.weights)
    copied = {path for path, weight in wanted.items() if path in given and given[path].shape == weight.shape}
    for path in copied:
        wanted[path].assign(given[path])
    left = [tuple(w.path for w in model.weights if w.path not in copied) for model in (source, target)]
    return NotCopied(*left)


def _unambiguous(weights) -> dict:
    counts = Counter(weight.path for weight in weights)
    return {weight.path: weight for weight in weights if counts[weight.path] == 1}
