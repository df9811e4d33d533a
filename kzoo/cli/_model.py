"""The model that a command uses: of a run, of a file, or one by name with pretrained weights."""

from typing import Annotated, Any

from cyclopts import Parameter

from kzoo.errors import InvalidArgument
from kzoo.models.registry import check_name
from kzoo.paths import expand, exported_format, find_model
from kzoo.transfer.loading import check_has_weights

Weights = Annotated[
    str | None,
    Parameter(help="Pretrained weights of a model of `kzoo list`: a tag of `kzoo weights list`, or a file or folder."),
]
Like = Annotated[
    str | None,
    Parameter(help="For weights in a file of your own: the tag whose preprocessing and class names they take."),
]


def find(name: str, weights: str | None, like: str | None, which: str = "best") -> Any:
    """The pretrained weights that a command means, before TensorFlow is started; None for a run or a model file."""
    check(name, weights, like)
    if weights is None:
        find_model(name, which)
        return None
    from kzoo.weights.resolve import resolve

    return resolve(name, weights, like)


def is_exported(name: str, weights: str | None) -> bool:
    """Whether a command means an exported model."""
    return weights is None and exported_format(expand(name)) is not None


def check_exported(name: str, like: str | None, which: str) -> None:
    """Raise InvalidArgument for flags that mean nothing of an exported model."""
    for flag, given in (("--like", like), ("--which", None if which == "best" else which)):
        if given is not None:
            raise InvalidArgument(
                f"{flag} is not for an exported model. Received: {name!r}, {flag} {given}. Leave it out."
            )


def check(name: str, weights: str | None, like: str | None) -> None:
    """Raise InvalidArgument for a model without weights, or weights without a model."""
    if weights is not None:
        check_name(name)
        return
    if like is not None:
        raise InvalidArgument(f"--like is for --weights. Received: --like {like}, without weights.")
    check_has_weights(name)


def load(name: str, chosen: Any, which: str, precision: str, size: tuple[int, int] | None = None):
    """The model of what `find` found; one of the zoo is made for images of the size."""
    from kzoo import create_model, load_model

    if chosen is None:
        model = load_model(name, which)
    else:
        shape = None if size is None else (*size, chosen.record.input_size[2])
        model = create_model(name, weights=chosen, input_shape=shape)
    if precision == "float32":  # as it is saved
        return model
    from kzoo.train.precision import in_precision

    return in_precision(model, precision)
