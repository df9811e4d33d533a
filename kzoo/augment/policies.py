"""Augmentation policies: what is done at random to training images, and to no others.

A policy is a list, in order, of names of `POLICIES` and of augmentation layers of `kzoo.layers`.
"""

import re
from collections.abc import Sequence
from typing import Any

from kzoo.errors import InvalidArgument, unknown

# For each name its layers, in order: a class of kzoo.layers and its arguments. Crops get the size of the images.
POLICIES: dict[str, tuple[tuple[str, dict], ...]] = {
    "none": (),
    # Characters: never mirrored, little turned, slanted as handwriting is.
    "digits": (
        (
            "RandomAffine",
            {
                "rotation_factor": 10 / 360,
                "translation_factor": 0.07,
                "zoom_factor": 0.1,
                "shear_factor": 0.2,
                "fill_mode": "nearest",  # black around MNIST's digits, white on paper
            },
        ),
    ),
    # Small photos of one thing each. Reflected, where the nets' papers pad with black.
    "cifar": (
        ("RandomCrop", {"padding": 4, "fill_mode": "reflect"}),
        ("RandomAffine", {"horizontal_flip": True}),
    ),
    # Things seen from the side, as in photos: the mirror image is as likely.
    "photos": (
        (
            "RandomAffine",
            {
                "rotation_factor": 10 / 360,
                "translation_factor": 0.1,
                "zoom_factor": 0.15,
                "horizontal_flip": True,
                "fill_mode": "reflect",
            },
        ),
        (
            "RandomColorJitter",
            {"brightness_factor": 0.2, "contrast_factor": 0.2, "saturation_factor": 0.2, "hue_factor": 0.02},
        ),
    ),
    # A part of the image, as Inception was trained (Szegedy et al., 2015, section 6), but of at least 35 % of its area:
    # from the paper's 8 % on, many do not show the thing that the label says.
    "imagenet": (
        ("RandomResizedCrop", {"scale": (0.35, 1.0)}),
        ("RandomAffine", {"horizontal_flip": True}),
    ),
    # One of 14 operations, strong ones among them: turns of up to 135 degrees change what a character says.
    "trivial": (("TrivialAugment", {"fill_mode": "reflect"}),),
}

_CROPS = ("RandomCrop", "RandomResizedCrop")

# The policy for a dataset, by its name.
RECOMMENDED = {
    **dict.fromkeys(("digits", "mnist", "mnist_corrupted", "kmnist", "emnist"), "digits"),
    **dict.fromkeys(("cifar10", "cifar100", "fashion_mnist", "imagenet_resized"), "cifar"),
    **dict.fromkeys(
        ("cats_vs_dogs", "oxford_flowers102", "oxford_iiit_pet", "stanford_dogs", "stl10", "tf_flowers"), "photos"
    ),
    **dict.fromkeys(
        ("food101", "imagenet2012", "imagenet2012_subset", "imagenette", "imagewang", "places365_small", "sun397"),
        "imagenet",
    ),
}

# Colour images of a dataset without a recommendation that are no smaller are augmented as photos.
PHOTO_SIZE = 64

# The first word of a layer's seeds is the image's, moved on by this for each layer before it.
_SEED_STRIDE = 0x85EBCA6B


class Policy:
    """Augmentation layers one after the other; `policy` makes it.

    Called with images and seeds it gives images: (batch, height, width, channels), uint8 or float, 0 to 255, and int32
    (batch, 2). Called with (images, labels) and seeds it gives both. Each image's draws depend on its own seed only,
    and each layer draws independently of the others. Layers that mix images (MixUp, CutMix) need the labels, (batch,)
    int or (batch, classes) float, and make them float32 (batch, classes).
    """

    def __init__(self, steps: Sequence[Any]):
        """Keep the steps: layers, or class names with arguments."""
        self._steps = tuple(steps)
        self._by_size: dict[tuple, list] = {}
        self._mixing = [step for step in self._steps if not isinstance(step, tuple) and _mixes(step)]

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other: it is then called with labels, and makes them soft."""
        return bool(self._mixing)

    def check_classes(self, classes: int) -> None:
        """Raise InvalidArgument unless soft labels have as many classes as the model."""
        for layer in self._mixing:
            if layer.classes != classes:
                raise InvalidArgument(
                    f"{type(layer).__name__} must make labels of the model's {classes} classes. "
                    f"Received: classes={layer.classes}."
                )

    def __call__(self, inputs: Any, seeds: Any) -> Any:
        """Augment images, or (images, labels)."""
        images, labels = inputs if isinstance(inputs, tuple) else (inputs, None)
        if self.mixes and labels is None:
            raise InvalidArgument(
                "A policy that mixes images takes (images, labels). "
                f"Received: images of shape {tuple(images.shape)} without labels."
            )
        for position, layer in enumerate(self._layers(tuple(images.shape[1:3]))):
            own: dict[str, Any] = {"seeds": layer_seeds(seeds, position)}
            if layer in self._mixing:
                images, labels = layer((images, labels), **own)
            else:
                images = layer(images, **own)
        return (images, labels) if isinstance(inputs, tuple) else images

    def _layers(self, size: tuple) -> list:
        """The layers for images of a size; made once, outside of the graph that tf.data may be tracing."""
        from kzoo.backend import tf

        if size not in self._by_size:
            with tf.init_scope():
                self._by_size[size] = [_make_layer(s, size) if isinstance(s, tuple) else s for s in self._steps]
        return self._by_size[size]


def policy(augment: Any) -> Policy | None:
    """The augmentation of a name, of a layer, or of a list of both; None where nothing is to be done.

    Args:
        augment: A name of `POLICIES`; an augmentation layer of `kzoo.layers`; or a sequence of these, in order.

    Raises:
        InvalidArgument: No such policy, or no such layer.

    >>> policy("none") is None
    True
    >>> import numpy as np
    >>> images, seeds = np.zeros((2, 28, 28, 1), "uint8"), np.array([[1, 2], [3, 4]], "int32")
    >>> policy(["digits", "photos"])(images, seeds).shape
    TensorShape([2, 28, 28, 1])
    """
    steps = []
    for item in _as_list(augment):
        if isinstance(item, str):
            check_name(item)
            steps += POLICIES[item]
        elif isinstance(item, dict):
            steps.append(_from_description(item))
        else:
            _describe(item)  # raises unless it is one of these layers
            steps.append(item)
    return Policy(steps) if steps else None


def describe(augment: Any) -> tuple[str | dict, ...]:
    """What `policy` takes, as plain data for JSON: names, and layers by registered name and config.

    Raises:
        InvalidArgument: No such policy or layer.

    >>> describe("digits"), describe(["digits", "photos"])
    (('digits',), ('digits', 'photos'))
    """
    return tuple(item if isinstance(item, str) else _describe(item) for item in _as_list(augment))


def title(augment: Any) -> str:
    """What `policy` takes, for a reader.

    >>> title(["digits", {"registered_name": "kzoo>RandomAffine", "config": {"rotation_factor": 0.1}}])
    'digits + RandomAffine'
    """
    names = [item if isinstance(item, str) else item["registered_name"].split(">")[-1] for item in describe(augment)]
    return " + ".join(names) or "none"


def suggested(
    dataset: str,
    image_shape: Sequence[int | None],
    *,
    is_grey: bool = False,
    is_raw: bool = True,
    fine_tunes: bool = False,
) -> tuple[str, str]:
    """The policy for a dataset and the reason: by its name, else by what its images are.

    Fine-tuning augments colour photos alone: on other images it was no better for it (docs/finetune_photos.md).

    Args:
        dataset: The name; of a folder or file "" (`Dataset.public_name`).
        image_shape: (height, width, channels); height and width may be None.
        is_grey: Whether images of three channels have no colour.
        is_raw: Whether pixels are 0 to 255, as changes of colour take them.
        fine_tunes: Whether pretrained weights are fine-tuned.

    >>> suggested("mnist", (28, 28, 1)), suggested("", (105, 105, 3), is_grey=True)
    (('digits', 'mnist'), ('digits', 'greyscale images, never mirrored'))
    >>> suggested("", (224, 224, 3)), suggested("", (32, 32, 3))
    (('photos', 'colour images, also mirrored'), ('cifar', 'small colour images, also mirrored'))
    >>> suggested("", (224, 224, 3), is_grey=True, fine_tunes=True)
    ('none', 'fine-tuning augments colour photos alone')
    """
    height, width, channels = image_shape
    by_name = recommended(dataset)
    if by_name != "none":
        return by_name, base_name(dataset)
    is_large = (height or PHOTO_SIZE) >= PHOTO_SIZE <= (width or PHOTO_SIZE)
    is_photo = channels == 3 and not is_grey and is_raw and is_large
    if fine_tunes and not is_photo:
        return "none", "fine-tuning augments colour photos alone"
    if channels == 1 or is_grey:
        return "digits", "greyscale images, never mirrored"
    if channels != 3:
        return "none", f"images of {channels} channels"
    if is_photo:
        return "photos", "colour images, also mirrored"
    if None in (height, width):
        return "none", "images of unknown size"
    return "cifar", "small colour images, also mirrored" if is_raw else "colour images, also mirrored"


def mirrors(augment: Any) -> bool | None:
    """Whether what `policy` takes mirrors some images from left to right; None where it does nothing.

    >>> mirrors("photos"), mirrors("digits"), mirrors("none")
    (True, False, None)
    """
    found = []
    for item in describe(augment):
        steps = POLICIES[item] if isinstance(item, str) else [(item["registered_name"], item["config"])]
        found += [bool(arguments.get("horizontal_flip")) for _, arguments in steps]
    return any(found) if found else None


def recommended(dataset: str) -> str:
    """The policy for a dataset by its name alone; of a folder or file say "" (`Dataset.public_name`), which has none.

    >>> recommended("emnist/letters"), recommended("cats"), recommended("")
    ('digits', 'none', 'none')
    """
    return RECOMMENDED.get(base_name(dataset), "none")


def base_name(dataset: str) -> str:
    """The name of a dataset without config and version.

    >>> base_name("emnist/letters"), base_name("mnist:3.0.1")
    ('emnist', 'mnist')
    """
    return re.split("[/:]", dataset)[0]


def check_name(name: str) -> None:
    """Raise InvalidArgument unless `name` is a policy."""
    if name not in POLICIES:
        raise unknown("augmentation policy", name, POLICIES)


def layer_seeds(seeds: Any, position: int) -> Any:
    """The seeds of the layer at a position, of the images' own: int32 (batch, 2); those of the first are the images'.

    Layers hash their seeds, so that draws by seeds that differ in any bit are independent.
    """
    from kzoo.backend import tf

    stride = (position * _SEED_STRIDE + 2**31) % 2**32 - 2**31  # as int32, which wraps around
    return tf.convert_to_tensor(seeds, tf.int32) + tf.constant([stride, 0], tf.int32)


def _as_list(augment: Any) -> list:
    return list(augment) if isinstance(augment, list | tuple) else [augment]


def _make_layer(step: tuple[str, dict], size: tuple):
    """A layer of a policy, for images of a size."""
    from kzoo import augment

    class_name, arguments = step
    if class_name in _CROPS and None in size:
        raise InvalidArgument(
            "A policy that crops needs images of a known size. Received: height and width "
            f"{size}. Resize them, or set the shape of the tf.data.Dataset."
        )
    cropped = {"height": size[0], "width": size[1]} if class_name in _CROPS else {}
    return getattr(augment, class_name)(**arguments, **cropped)


def _mixes(layer) -> bool:
    from kzoo.augment.mixing import Mixing

    return isinstance(layer, Mixing)


# Of a layer's config, what does not change an image.
_WITHOUT_EFFECT = ("name", "trainable", "dtype")


def _describe(item: Any) -> dict:
    """A layer as plain data; plain data is checked.

    It is what Keras's serialization of registered classes has, but for the module, since nothing is to be imported:
    {"registered_name": "kzoo>RandomAffine", "config": {"rotation_factor": 0.1}}.
    """
    if isinstance(item, dict):
        is_layer = item.keys() == {"registered_name", "config"} and isinstance(item["registered_name"], str)
        if not (is_layer and isinstance(item["config"], dict)):
            raise _not_a_layer(item)
        return {"registered_name": item["registered_name"], "config": _plain(item["config"], item)}
    from kzoo.backend import keras

    name = keras.saving.get_registered_name(type(item))
    _layer_class(name, item)
    config = {key: value for key, value in item.get_config().items() if key not in _WITHOUT_EFFECT}
    return {"registered_name": name, "config": _plain(config, item)}


def _from_description(description: dict):
    """The layer of plain data. Its class is looked up among those that this process has registered, never imported."""
    description = _describe(description)
    kind = _layer_class(description["registered_name"], description["registered_name"])
    try:
        return kind.from_config({**description["config"], "dtype": "float32"})
    except Exception as error:  # whatever a class makes of arguments that a damaged file has
        reason = str(error).strip().split("\n")[-1]
        raise InvalidArgument(
            f"A layer cannot be made of what was written of it. Received: {description!r}: {reason}"
        ) from None


def _layer_class(name: str, received: Any):
    """The augmentation layer of a registered name."""
    from kzoo import augment
    from kzoo.augment.image_augmentation import ImageAugmentation
    from kzoo.backend import keras

    for layer in dir(augment):
        getattr(augment, layer)  # importing a layer registers it
    kind = keras.saving.get_registered_object(name)
    if not (isinstance(kind, type) and issubclass(kind, ImageAugmentation)):
        raise _not_a_layer(received)
    return kind


def _plain(value: Any, item: Any) -> Any:
    """`value` as JSON has it: numbers, text, and lists and dicts of these."""
    if isinstance(value, dict):
        return {str(key): _plain(one, item) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, item) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _not_a_layer(item)


def _not_a_layer(received: Any) -> InvalidArgument:
    return InvalidArgument(
        "Augmentation must be names of policies and layers of kzoo.layers, or of registered subclasses of "
        f"ImageAugmentation whose config is numbers and text. Received: {received!r}. Valid names: "
        f"{', '.join(sorted(POLICIES))}."
    )
