"""What kzoo expects of a classifier: one output of shape (batch, classes), probabilities or logits.

In training it may have auxiliary heads: its output is a dict then, of "predictions" and any other names.
"""

from kzoo.backend import keras
from kzoo.errors import InvalidArgument

PREDICTIONS = "predictions"


def metadata(model) -> dict:
    """Return what is stored with a classifier besides its layers: `class_names`, and how images are scaled for it.

    It is saved with the model by `kzoo.saving` and carried over to copies by kzoo's own functions.
    """
    return dict(getattr(model, "_kzoo_metadata", {}))


def set_metadata(
    model, *, class_names=None, crop_fraction: float = 1.0, interpolation: str | None = None, range_16_bit=None
):
    """Store the class names of `model` and how images are scaled for it; returns the model.

    The defaults of `kzoo.data.load` are not stored.
    """
    known = {
        "class_names": None if class_names is None else list(class_names),
        "crop_fraction": None if crop_fraction == 1 else crop_fraction,
        "interpolation": interpolation,
        "range_16_bit": None if range_16_bit is None else tuple(range_16_bit),
    }
    model._kzoo_metadata = {name: value for name, value in known.items() if value is not None}
    return model


def class_names_of(model) -> tuple[str, ...] | None:
    """The names of a model's classes, in the order of its outputs, or None."""
    names = metadata(model).get("class_names")
    return None if names is None else tuple(names)


def scaling_of(model) -> dict:
    """How images are scaled for a model, as arguments of `kzoo.data.load`; what is missing has its default there."""
    return {name: value for name, value in metadata(model).items() if name != "class_names"}


def auxiliary_heads(model) -> tuple[str, ...]:
    """The names of a model's outputs besides "predictions", in a fixed order; empty for an ordinary classifier."""
    output = getattr(model, "output", None)  # a model that is not Functional may have none
    if not isinstance(output, dict) or PREDICTIONS not in output:
        return ()
    if "val" in output:
        raise InvalidArgument("An auxiliary head cannot be called 'val': val_loss is the validation loss. Rename it.")
    return tuple(sorted(name for name in output if name != PREDICTIONS))


def head(model, name: str):
    """The model that ends in one of the outputs of `model`, with the same weights."""
    return set_metadata(keras.Model(model.input, model.output[name], name=model.name), **metadata(model))


def without_auxiliary_heads(model):
    """The classifier alone, with the same weights: `model` itself where it has no auxiliary heads."""
    return head(model, PREDICTIONS) if auxiliary_heads(model) else model


def output_layer(model):
    """The layer whose output is the model's.

    Raises:
        InvalidArgument: The model does not have exactly one output of shape (batch, classes).
    """
    if not isinstance(model, keras.Model):
        raise InvalidArgument(f"A classifier must be a keras.Model. Received: {type(model).__name__}.")
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):
        raise InvalidArgument(
            f"The model {model.name!r} is not built. Give it its input shape, for example by a keras.Input first."
        ) from None
    if not (isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int)):
        raise InvalidArgument(
            f"A classifier must have one output of shape (batch, classes). Received: output_shape={shape!r}."
        )
    layer = model.layers[-1]
    while isinstance(layer, keras.Model):  # a model within the model
        layer = layer.layers[-1]
    if isinstance(layer, keras.layers.Softmax):
        raise InvalidArgument(
            "A classifier must have its softmax as the activation of its last layer. Received: a Softmax layer. "
            'Use Dense(classes, activation="softmax"), or leave the softmax off.'
        )
    activation = getattr(layer, "activation", keras.activations.linear)
    if activation not in (keras.activations.softmax, keras.activations.linear):
        raise InvalidArgument(
            "A classifier must end in softmax or in logits. "
            f"Received: {getattr(activation, '__name__', activation)!r} in its last layer {layer.name!r}."
        )
    return layer


def ends_in_softmax(layer) -> bool:
    """Whether a model's output layer turns logits into probabilities."""
    return getattr(layer, "activation", None) is keras.activations.softmax
