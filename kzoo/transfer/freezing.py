"""What of a model is trained: its layers up to a stage frozen, the rest not, down to the last leaf."""

from typing import get_args

from kzoo import functional
from kzoo.backend import keras, layers_within, models_within
from kzoo.errors import InvalidArgument, unknown
from kzoo.graph.endpoints import named_stages, stages
from kzoo.layers.batch_normalization import keep_statistics
from kzoo.outputs import classifier_layer
from kzoo.train.config import BatchNorm


def freeze(model, through: str | None = None):
    """Keep the layers of a model, from its input on, as they are while it is trained.

    Every weight of theirs, in models within the model too, and the statistics of their batch normalizations stay the
    same to the bit, and those normalize as in inference, whatever `fit` asks for. Other layers are left as they are.

    A model that was compiled must be compiled again, with a new optimizer: Keras would go on with the weights that
    were trainable before, without a word, so that it is no longer compiled after this.

    Args:
        model: A Functional or Sequential `keras.Model`, perhaps with others within it.
        through: The last stage to freeze, by the name in its paper ("conv4", "block3", "inception_4a") or by its stride
            ("stride16"; see `kzoo.graph.endpoints.stages`), or the name of a layer. What it is computed from is frozen
            with it. By default all but the classifier: the Dense layer, or 1x1 convolution, whose output or softmax is
            the model's.

    Returns:
        The model.

    Raises:
        InvalidArgument: The model has no such stage or layer, or more than one; or no classifier was found.

    >>> import kzoo
    >>> model = freeze(kzoo.create_model("resnet18"), through="conv5")
    >>> [weight.path for weight in model.trainable_weights]
    ['predictions/kernel', 'predictions/bias']
    """
    if through is None:
        classifier = classifier_layer(model)
        if classifier is None:
            raise InvalidArgument(
                f"No classifier was found at the end of the model. Received: {model.name!r}. Name the last stage or "
                "layer to freeze with through=."
            )
        layers = [layer for layer in leaves(model) if layer is not classifier]
    else:
        layers = list(_up_to(model, through))
    for layer in layers:
        layer.trainable = False
    _take_back_compilation(model)
    return model


def unfreeze(model, down_to: str | None = None, *, batch_norm: BatchNorm = "frozen"):
    """Let the layers of a model be trained: all of them, or those at its top. Layers below are left as they are.

    Compile the model again, as after `freeze`.

    Args:
        model: As for `freeze`.
        down_to: The lowest stage or layer to be trained, with all that is not before it. By default all layers.
        batch_norm: What happens to their batch normalizations. With few images the statistics of small batches do harm:
            "frozen" keeps them as they are, "affine" trains gamma and beta but keeps the statistics and normalizes by
            them, "train" trains them as any other layer. "affine" lasts until the model is saved.

    Returns:
        The model.

    Raises:
        InvalidArgument: No such stage, layer or `batch_norm`.

    >>> import kzoo
    >>> model = unfreeze(freeze(kzoo.create_model("resnet18")), down_to="conv5")
    >>> sorted(layer.name for layer in model.layers if layer.trainable_weights)[:2]
    ['conv5_block1_0_conv', 'conv5_block1_1_conv']
    """
    if batch_norm not in get_args(BatchNorm):
        raise unknown("batch_norm", batch_norm, get_args(BatchNorm))
    below = [] if down_to is None else _below(model, down_to)
    frozen = {id(layer): layer.trainable for layer in leaves(model)}
    # A model that is frozen hides what its layers are: thaw the containers, then say it of each leaf.
    for container in layers_within(model):
        if container._layers:
            container.trainable = True
    before = {id(layer) for layer in below}
    for layer in leaves(model):
        if id(layer) in before:
            layer.trainable = frozen[id(layer)]
            continue
        is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not (is_batch_norm and batch_norm == "frozen")
        if is_batch_norm:
            keep_statistics(layer, batch_norm == "affine")
    _take_back_compilation(model)
    return model


def leaves(layer) -> list:
    """The layers that have weights of their own or no layers: of a model without itself; the outer before the inner."""
    found = [one for one in layers_within(layer) if not one._layers or direct_weights(one)]
    return [one for one in found if one is not layer or not isinstance(layer, keras.Model)]


def direct_weights(layer) -> list:
    """A layer's weights without those of the layers in it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _up_to(model, name: str) -> list:
    """The leaves that a stage or layer is computed from, its own included."""
    inner, layer = _find(model, name)
    layers = ancestors(inner, layer)
    while inner is not model:  # and all that is before the model within the model
        outer = parent(model, inner)
        layers = [one for one in ancestors(outer, inner.name) if one is not inner] + layers
        inner = outer
    return [leaf for one in layers for leaf in leaves(one)]


def _below(model, name: str) -> list:
    """The leaves that are before a stage or layer."""
    inner, layer = _find(model, name)
    stage = {id(leaf) for one in _of_the_stage(inner, name, layer) for leaf in leaves(one)}
    return [leaf for leaf in _up_to(model, name) if id(leaf) not in stage]


def _of_the_stage(model, name: str, layer: str) -> list:
    """The layers of a stage alone: not those of the stage before it."""
    known = stages(model)
    if name not in known:
        return [model.get_layer(layer)]
    index = list(known).index(name)
    earlier = {id(one) for one in ancestors(model, list(known.values())[index - 1])} if index else set()
    return [one for one in ancestors(model, layer) if id(one) not in earlier]


def ancestors(model, layer: str) -> list:
    """The layers that a layer's output is computed from, its own included."""
    return keras.Model(model.inputs, functional.tensors_by_layer(model)[layer]).layers


def _find(model, name: str):
    """The model, this one or one within it, that has a stage or layer, and the layer's name."""
    found, valid = [], {}
    models = models_within(model)
    # Strides name the stages of one model, that which has the most; in a block within it they count from its input.
    main = max(models, key=lambda one: len(stages(one)))
    for one in models:
        known, tensors = stages(one) if one is main else named_stages(one), functional.tensors_by_layer(one)
        valid.update(known)
        layer = known.get(name, name)
        if layer in tensors:
            found.append((one, layer))
    if not found:
        raise unknown(f"stage of {model.name}", name, valid, "Or the name of a layer.")
    if len(found) > 1:
        names = ", ".join(one.name for one, _ in found)
        raise InvalidArgument(f"Several models within {model.name} have this layer. Received: {name!r} of {names}.")
    return found[0]


def parent(model, inner):
    """The model that has a model within it."""
    return next(one for one in models_within(model) if any(layer is inner for layer in one.layers))


def _take_back_compilation(model) -> None:
    """Make Keras's `fit` ask for `compile`, which alone notices what is trainable now."""
    model.compiled = False
    model.optimizer = None
    model.train_function = None
