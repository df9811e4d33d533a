"""Augmentation policies by name: what is done at random to training images, and to no others."""

from collections.abc import Callable

from kzoo.errors import unknown

# Arguments of RandomAffine, as data.
POLICIES: dict[str, dict] = {
    "none": {},
    # Characters: never mirrored, little turned, slanted as handwriting is.
    "digits": {
        "rotation_factor": 10 / 360,
        "translation_factor": 0.07,
        "zoom_factor": 0.1,
        "shear_factor": 0.2,
        "fill_mode": "constant",
    },
    # Things seen from the side, as in photos: the mirror image is as likely.
    "photos": {
        "rotation_factor": 10 / 360,
        "translation_factor": 0.1,
        "zoom_factor": 0.15,
        "horizontal_flip": True,
        "fill_mode": "reflect",
    },
}

# The policy for a dataset, by its name. A folder of images can hold anything, so there is none for it: a policy that
# suits photos mirrors text.
RECOMMENDED = {"digits": "digits", "mnist": "digits", "kmnist": "digits", "emnist": "digits"}


def policy(name: str) -> Callable | None:
    """The augmentation of a name: a function of (images, seeds), or None for "none".

    Images are (batch, height, width, channels), uint8 or float, 0 to 255; seeds are (batch, 2) int32. Each image's
    draws depend on its own seed only.

    Raises:
        InvalidArgument: No such policy.

    >>> policy("none") is None
    True
    """
    check_name(name)
    if not POLICIES[name]:
        return None
    from kzoo.layers import RandomAffine

    layer = RandomAffine(**POLICIES[name])
    return lambda images, seeds: layer(images, seeds=seeds, training=True)


def check_name(name: str) -> None:
    """Raise InvalidArgument unless `name` is a policy."""
    if name not in POLICIES:
        raise unknown("augmentation policy", name, POLICIES)
