"""Questions that several augmentation layers ask of their arguments."""

from kzoo.errors import InvalidArgument


def is_number(value) -> bool:
    """Whether `value` is a real number: no bool, no array."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_pair(value) -> bool:
    """Whether `value` is two numbers."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))


def channels_of(images) -> int:
    """The number of channels of images (..., channels).

    Raises:
        InvalidArgument: It is not known, as in a pipeline whose images have no shape.
    """
    if images.shape[-1] is None:
        raise InvalidArgument(
            f"The number of channels of the images must be known. Received: images of shape {images.shape}. "
            "Set it: `images.set_shape((None, None, None, 3))`."
        )
    return images.shape[-1]
