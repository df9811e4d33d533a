"""The models of the zoo by name. Looking them up imports neither Keras nor TensorFlow; building one does."""

import fnmatch
import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from kzoo.errors import InvalidArgument, unknown
from kzoo.models.card import Card
from kzoo.weights.records import applications

MODULES = (
    "mnist",
    "vgg",
    "inception",
    "resnet",
    "resnet_v2",
    "resnet_v2_basic",
    "resnet_cifar",
)
FAMILIES: dict[str, tuple[Card, ...]] = {
    module: importlib.import_module(f"kzoo.models.{module}").CARDS for module in MODULES
}
CARDS = {card.name: card for cards in FAMILIES.values() for card in cards}


def get_card(name: str) -> Card:
    """The card of a model.

    >>> get_card("resnet50").keras, get_card("vgg16").takes_any_size
    ('ResNet50', False)
    """
    if name not in CARDS:
        raise unknown("model", name, CARDS)
    return CARDS[name]


def check_name(name: str) -> None:
    """Raise InvalidArgument unless `name` is a model of the zoo, or "keras:NAME" of keras.applications."""
    if not applications.is_application(name):
        get_card(name)
    elif name not in applications.RECORDS:
        raise unknown("model of keras.applications", name, applications.RECORDS)


def is_name(name: Any) -> bool:
    """Whether `check_name` finds nothing wrong.

    >>> is_name("vgg16"), is_name("keras:VGG16"), is_name("photos")
    (True, True, False)
    """
    return name in CARDS or name in applications.RECORDS


def defaults(name: str) -> tuple[tuple[int, int, int], int]:
    """The default input shape and number of classes of a model.

    >>> defaults("mnist_net")
    ((28, 28, 1), 10)
    """
    if name in applications.RECORDS:
        record = applications.RECORDS[name][0]
        return record.input_size, record.classes
    card = get_card(name)
    return card.input_shape, card.classes


def list_models(pattern: str = "*") -> list[str]:
    """List the model names that match a shell pattern, sorted.

    >>> list_models("mnist*")
    ['mnist_net']
    """
    return sorted(fnmatch.filter(CARDS, pattern))


def create_model(
    name: str,
    *,
    weights: Any = None,
    classes: int | None = None,
    input_shape: Sequence[int | None] | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    dropout: float | None = None,
    classifier_activation: str | None = "softmax",
    include_preprocessing: bool = True,
    auxiliary_heads: bool = False,
) -> Any:
    """Build a model of the zoo: an ordinary Functional `keras.Model`.

    Its input is images of shape (batch, height, width, channels), uint8 or float, with values from 0 to 255: the
    preprocessing is part of the model and is saved with it. Its output is (batch, classes), float32 whatever the dtype
    policy.

    Args:
        name: One of `kzoo.list_models()`; or `keras:NAME` for a classifier of keras.applications, whose dropout and
            preprocessing are Keras's.
        weights: None for random weights; a tag of `kzoo.list_weights(name)`; "imagenet", the model's default ImageNet
            weights; or the path of a file or of a folder of raw files. They must be on this machine: nothing is ever
            downloaded here. The preprocessing is then the record's, and its classes and input size are the defaults.
        classes: Number of classes; by default the model's (10 for the MNIST and CIFAR nets, otherwise 1000). With
            other classes than the weights have, the classifier is new and a log line says so.
        input_shape: (height, width, channels); by default the model's.
        include_top: Whether to end in the classifier; without it the output is the last feature map.
        pooling: With `include_top=False`: None, "avg" or "max", global pooling of that feature map.
        dropout: Rate before the classifier, from 0 up to 1; by default the model's.
        classifier_activation: "softmax", or None for logits.
        include_preprocessing: False leaves the preprocessing to the caller.
        auxiliary_heads: Whether to add the auxiliary classifiers of a model that has them (Inception v1): the output
            is a dict then, of `predictions`, `auxiliary_1` and `auxiliary_2`.

    Raises:
        kzoo.errors.InvalidArgument: An unknown name, or an argument out of its range.
        kzoo.errors.WeightsError: Weights that are not on this machine, are damaged, or do not fit the model.

    >>> model = create_model("mnist_net", classes=3, input_shape=(32, 32, 3))
    >>> model.output_shape
    (None, 3)
    """
    if applications.is_application(name):
        not_theirs = {
            "pooling": pooling,
            "dropout": dropout,
            "auxiliary_heads": auxiliary_heads or None,
            "include_preprocessing": None if include_preprocessing else False,
        }
        for argument, value in not_theirs.items():
            if value is not None:
                raise InvalidArgument(f"{argument} is for a model of kzoo list. Received: {value!r} with {name!r}.")
        from kzoo.models.applications import assemble_application

        return assemble_application(
            name,
            weights=weights,
            classes=classes,
            input_shape=input_shape,
            include_top=include_top,
            classifier_activation=classifier_activation,
        )
    card = get_card(name)
    from kzoo.models.assemble import assemble  # and with it Keras

    return assemble(
        card,
        weights=weights,
        classes=classes,
        input_shape=input_shape,
        include_top=include_top,
        pooling=pooling,
        dropout=dropout,
        classifier_activation=classifier_activation,
        include_preprocessing=include_preprocessing,
        auxiliary_heads=auxiliary_heads,
    )


def _constructor(card: Card) -> Callable[..., Any]:
    """`create_model` of one model, such as `kzoo.ResNet50`."""
    build: Any = functools.partial(create_model, card.name)
    build.__name__ = build.__qualname__ = card.constructor
    build.__module__ = "kzoo"
    shape = ", ".join(map(str, card.input_shape))
    _, start, described = (inspect.getdoc(create_model) or "").partition("    weights: ")  # after the name
    build.__doc__ = (
        f"Build `{card.name}`.\n\nInput: (batch, {shape}) by default, pixels from 0 to 255. "
        f"Output: (batch, {card.classes}) probabilities.\n\nArgs:\n{start}{described.partition('>>>')[0]}"
    )
    return build


CONSTRUCTORS = {card.constructor: _constructor(card) for card in CARDS.values()}
