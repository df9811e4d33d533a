"""Which pretrained weights are fine-tuned, and how images are loaded for them. Needs neither Keras nor TensorFlow."""

from pathlib import Path
from typing import Any

from kzoo.data.loading import checked_size
from kzoo.errors import InvalidArgument
from kzoo.models.registry import get_card, is_name
from kzoo.paths import expand
from kzoo.weights.locations import on_disk
from kzoo.weights.record import Record
from kzoo.weights.records.applications import is_application
from kzoo.weights.registry import get_record, is_tag, list_weights
from kzoo.weights.resolve import ResolvedWeights, resolve

# What is fine-tuned where no model is named. docs/default_model.md has the figures and reasons.
DEFAULT_MODEL = "keras:EfficientNetV2B0"


def default_weights(model: str) -> Record | None:
    """The weights of a model that are fine-tuned where none are named: its default ones, as `kzoo weights list` has it.

    Of a model of keras.applications those without a classifier do as well, where only they are on this machine.

    Args:
        model: A name.

    Returns:
        Their record; None for a model without pretrained weights.

    >>> default_weights("keras:VGG16").tag, default_weights("mnist_net").tag, default_weights("plain18")
    ('keras_in1k', 'mnist', None)
    """
    records = list_weights(model)
    if is_application(model):
        records = sorted(records, key=lambda record: next(on_disk(record), None) is None)
    return next(iter(records), None)


def named(model: str | None, weights: Any) -> tuple[str, Any]:
    """The model and the weights that are meant, where they are left out; weights stay None for a model without any.

    >>> named("mnist_net", None), named("mnist_net", "digits.safetensors")
    (('mnist_net', 'mnist'), ('mnist_net', 'digits.safetensors'))
    """
    model = DEFAULT_MODEL if model is None else model
    if weights is None and (record := default_weights(model)):
        weights = record.tag
    return model, weights


def images_for(model: str | None, weights: Any = None, image_size: int | tuple[int, int] | None = None) -> dict:
    """The arguments of `kzoo.data.load` with which images look as pretrained weights know them.

    Most weights were evaluated on the centre of a larger image: 224 of 256 pixels. A network that takes any size gets
    the whole of that larger one, with things in it as large as the weights expect; one that does not, the centre.

    Args:
        model: A name; None is kzoo's default model.
        weights: As for `create_model`; they must be on this machine. By default the model's default ones.
        image_size: Another one, as for `kzoo.data.load`, to which the whole image is brought.

    Returns:
        `image_size`, `channels`, `crop_fraction` and `interpolation`.

    >>> images_for("mnist_net", "mnist")
    {'image_size': (28, 28), 'channels': 1, 'crop_fraction': 1.0, 'interpolation': None}
    """
    model, weights = named(model, weights)
    record = weights.record if isinstance(weights, ResolvedWeights) else resolve(model, weights).record
    (height, width, channels), fraction = record.input_size, record.crop_fraction
    if (given := checked_size(image_size)) is not None:
        (height, width), fraction = given, 1.0
    elif not is_application(model) and get_card(model).takes_any_size:
        height, width, fraction = round(height / fraction), round(width / fraction), 1.0
    return {
        "image_size": (height, width),
        "channels": channels,
        "crop_fraction": fraction,
        "interpolation": record.preprocessing.interpolation,
    }


def check_has_weights(model: str) -> None:
    """Raise InvalidArgument for a model's name, where a run or a model file is wanted."""
    if is_name(model) and not Path(model).exists():
        raise InvalidArgument(
            f"A model needs weights to be used. Received: {model!r}. Add --weights TAG (weights=), of kzoo weights "
            f"list {model}, or name a run."
        )


def portable(model: str, weights: str) -> str:
    """A tag, or the path of a file or folder of weights in a form that means the same from any folder."""
    if weights == "imagenet":  # what it means may change with kzoo
        return get_record(model, weights).tag
    path = expand(weights)
    # As for create_model, a tag is the tag, even beside a folder of that name.
    is_path = not is_tag(model, weights) and path.exists()
    return str(path.resolve()) if is_path else weights
