"""What every model builder shares: the input, the preprocessing inside the model, the head. Validated here, once."""

from kzoo import console
from kzoo.arguments import integer, is_integer, rate
from kzoo.augment import mirrors, recommended
from kzoo.backend import keras
from kzoo.classifier import set_metadata, set_rates
from kzoo.data.pixels import RAW
from kzoo.errors import InvalidArgument, unknown
from kzoo.layers import ReverseChannels
from kzoo.models.card import Card
from kzoo.weights import labels
from kzoo.weights.convert import convert
from kzoo.weights.formats import read
from kzoo.weights.resolve import ResolvedWeights, resolve

POOLING = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


def assemble(
    card: Card,
    *,
    weights,
    classes,
    input_shape,
    include_top,
    pooling,
    dropout,
    classifier_activation,
    include_preprocessing,
    auxiliary_heads,
):
    """Build one Functional model. `kzoo.create_model` documents the arguments."""
    name = card.name
    chosen = None if weights is None else resolve(name, weights)
    if auxiliary_heads and card.auxiliary is None:
        raise InvalidArgument(f"{name} has no auxiliary heads. Received: auxiliary_heads=True. Valid: False.")
    if not include_top:
        _refuse_head_arguments(classes, dropout, auxiliary_heads or None)
    elif pooling is not None:
        raise InvalidArgument(
            f"pooling is for include_top=False; the top of {name} has its own. Received: pooling={pooling!r}."
        )
    if pooling not in (None, *POOLING):
        raise unknown("pooling", pooling, [*POOLING, "None"])
    if chosen is not None and include_top and classes is None and not chosen.record.include_top:
        raise InvalidArgument(
            f"{chosen.record.tag} for {name} has no classifier. Received: classes=None. "
            "Pass classes=N for a new one or include_top=False, or take weights that have one."
        )
    default_shape, default_classes = card.input_shape, card.classes
    if chosen is not None:
        default_shape, default_classes = chosen.record.input_size, chosen.record.classes
    input_shape = default_shape if input_shape is None else input_shape
    input_shape = _check_input_shape(card, input_shape, include_top, auxiliary_heads)
    classes, dropout = check_head(
        default_classes if classes is None else classes,
        card.dropout if dropout is None else dropout,
        classifier_activation,
    )

    # The layers may run in half precision; pixels and logits are always float32.
    images = keras.Input(input_shape, name="images", dtype="float32")
    preprocessing = card.preprocessing if chosen is None else chosen.record.preprocessing
    x = preprocess(preprocessing, images) if include_preprocessing else images
    x = card.features(x)
    if include_top:
        x = card.neck(x, dropout) if card.neck else _pool_and_drop(x, dropout)
        x = _classifier(classes, classifier_activation)(x)
        if auxiliary_heads:
            x = {"predictions": x, **_auxiliary(card.auxiliary, images, x, classes, classifier_activation)}
    elif pooling:
        x = POOLING[pooling](name=f"{pooling}_pool")(x)
    model = keras.Model(images, x, name=name)
    if chosen is not None:
        _load(model, chosen, with_head=include_top, classes=classes)
        return model
    return set_rates(model, card.rates)


def check_head(classes, dropout, activation) -> tuple[int, float]:
    """The classes of a head and the rate of its dropout, as Python's numbers.

    Raises:
        InvalidArgument: One of the three that no head can have.
    """
    if activation not in ("softmax", None, "linear"):
        raise unknown("classifier_activation", activation, ["softmax", "linear", "None"])
    return integer("classes", classes, 2), rate("dropout", dropout)


def _load(model, chosen: ResolvedWeights, *, with_head, classes):
    """Set the weights of a new model; its classifier keeps its random ones where the record has none that fits it."""
    record = chosen.record
    head = with_head and record.include_top and classes == record.classes
    tensors = read(chosen.path, chosen.format) if chosen.tensors is None else chosen.tensors
    convert(tensors, model, chosen.source, head=head, bgr=record.preprocessing.channel_order == "bgr")
    if head:
        class_names = None if record.labels is None else labels.names(record.labels)
        interpolation = record.preprocessing.interpolation
        set_metadata(
            model,
            class_names=class_names,
            crop_fraction=record.crop_fraction,
            interpolation=interpolation,
            pixel_range=RAW,
            mirrored=mirrors(recommended(record.labels)) if isinstance(record.labels, str) else None,
        )
    elif with_head:
        had = f"its {record.classes} classes" if record.include_top else "no classifier"
        console.log(
            f"{record.tag} for {model.name} has {had}: the new classifier of {classes} classes has random weights"
        )


def preprocess(preprocessing, images):
    """Scale and shift each channel; for a channel count other than the weights', by its mean over channels.

    Channels are then not reordered either: what they mean is not known.
    """
    channels = images.shape[-1]
    mean, std = preprocessing.mean, preprocessing.std
    known = len(mean) == channels
    if not known:
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    scale = [1 / (preprocessing.unit * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    x = keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(images)
    is_reversed = preprocessing.channel_order == "bgr" and known
    return ReverseChannels(dtype="float32", name="preprocessing_bgr")(x) if is_reversed else x


def _pool_and_drop(x, dropout):
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.Dropout(dropout, name="dropout")(x) if dropout else x


def _auxiliary(heads, images, predictions, classes, activation):
    """The outputs of the auxiliary heads by name."""
    model = keras.Model(images, predictions)
    necks = {name: heads.neck(model.get_layer(layer).output, name) for name, layer in heads.layers.items()}
    return {name: _classifier(classes, activation, name)(x) for name, x in necks.items()}


def _classifier(classes, activation, name="predictions"):
    return keras.layers.Dense(classes, activation=activation, dtype="float32", name=name)


def _refuse_head_arguments(classes, dropout, auxiliary_heads):
    for argument, value in (("classes", classes), ("dropout", dropout), ("auxiliary_heads", auxiliary_heads)):
        if value is not None:
            raise InvalidArgument(
                f"{argument} describes the top, which include_top=False leaves out. Received: {argument}={value!r}."
            )


def _check_input_shape(card, input_shape, include_top, auxiliary_heads):
    shape: tuple = tuple(input_shape) if isinstance(input_shape, tuple | list) else (input_shape,)
    flexible = not include_top or (card.takes_any_size and not auxiliary_heads)
    least = card.auxiliary.minimum_size if auxiliary_heads else card.minimum_size
    sizes_ok = len(shape) == 3 and all((is_integer(s) and s >= least) or (s is None and flexible) for s in shape[:2])
    if not sizes_ok or not (is_integer(shape[2]) and shape[2] >= 1):
        heads = " with auxiliary heads" if auxiliary_heads else ""
        raise InvalidArgument(
            f"{card.name}{heads} takes input_shape=(height, width, channels) of at least {least} x {least} x 1. "
            f"Received: {input_shape!r}. Default: {card.input_shape}."
        )
    return tuple(None if n is None else int(n) for n in shape)
