"""`load`: from the name of a dataset to a Dataset."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kzoo import arguments, console
from kzoo.data.dataset import Dataset
from kzoo.data.decoding import decode_split, range_of_16_bit
from kzoo.data.digits import Digits
from kzoo.data.folders import ImageFiles
from kzoo.data.images import INTERPOLATIONS, MAX_PIXELS, VALUES_16_BIT, Scaling
from kzoo.data.source import Source
from kzoo.data.splits import canonical_split, refuse_slice
from kzoo.data.tfds_records import TfdsRecords
from kzoo.errors import InvalidArgument, unknown
from kzoo.text import dimensions

# What a dataset's name can mean: the first source that matches it. The last one takes every name that is left.
SOURCES: dict[str, type[Source]] = {"digits": Digits, "path": ImageFiles, "tfds": TfdsRecords}


def load(
    name: str | os.PathLike[str],
    split: str = "train",
    image_size: int | tuple[int, int] | None = None,
    *,
    channels: int | None = None,
    crop_fraction: float = 1.0,
    interpolation: str | None = None,
    range_16_bit: tuple[int, int] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    on_bad_image: str = "stop",
) -> Dataset:
    """Load one split of a dataset of labelled images.

    Every image is decoded once here, so that a bad one is found now and not in the middle of training. Images that fit
    into a quarter of the free memory stay there; otherwise `batches` decodes them again on the way.

    Args:
        name: "digits"; a folder (`root/label/*` or `root/{train,val,test}/label/*`); a CSV file with the columns
            path,label and optionally split; or a dataset of TFDS: "mnist", "name/config", "name:version".
        split: "train", "validation" (or "val"), "test", "train+validation", or "all" for every image. Digits, and
            folders and CSV files without splits, are split 80/10/10, stratified and fixed by the data alone; where only
            validation is missing it is a tenth of train.
        image_size: The height and width, or (height, width): images are scaled to cover it and cropped at the centre.
            None keeps the images' own size, which must be one for all.
        channels: 1 or 3; None takes 1 if every image is greyscale and 3 otherwise.
        crop_fraction: With less than 1, images are scaled to cover `image_size / crop_fraction` before the crop, as
            many pretrained models are evaluated: 224 / 256 for a shorter side of 256 pixels.
        interpolation: "bilinear" or "bicubic", both antialiased. None takes bilinear to make an image smaller and
            bicubic to make it larger.
        range_16_bit: The values of 16-bit images that become 0 and 255. None takes the range that the training images
            use, for every split.
        data_dir: Where TFDS datasets lie. By default $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
        download: Whether TFDS may download and prepare a dataset that is not there.
        on_bad_image: "stop" raises at an image that cannot be decoded; "skip" leaves it out, warns, and lists it in
            the dataset's `skipped`.

    Returns:
        A Dataset: images uint8 `[N, H, W, C]`, values 0 to 255, and labels int32 `[N]`.

    Raises:
        InvalidArgument: An argument has a value that is none of its choices.
        DataError: There is no such dataset or split, or its images or labels cannot be used.

    >>> data = load("digits", "test", image_size=28)
    >>> data.image_shape, data.class_names[:3]
    ((28, 28, 1), ('0', '1', '2'))
    """
    return load_splits(
        [split],
        name,
        image_size=image_size,
        channels=channels,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        range_16_bit=range_16_bit,
        data_dir=data_dir,
        download=download,
        on_bad_image=on_bad_image,
    )[0]


def load_splits(
    splits: list[str],
    name: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None,
    channels: int | None,
    crop_fraction: float,
    interpolation: str | None,
    range_16_bit: tuple[int, int] | None = None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    on_bad_image: str,
) -> list[Dataset]:
    """Load several splits of one dataset, which is looked through once; the other arguments are those of `load`."""
    splits = [canonical_split(split) for split in splits]
    size, crop_fraction = check_images(image_size, channels, crop_fraction), arguments.plain(crop_fraction)
    if interpolation not in (None, *INTERPOLATIONS):
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    range_16_bit = checked_range(range_16_bit)
    if on_bad_image not in ("stop", "skip"):
        raise unknown("value of on_bad_image", on_bad_image, ("stop", "skip"))
    source = SOURCES[kind(name)].open(os.fspath(name), splits, data_dir, download)
    whose = "given" if range_16_bit else "that of the training images"
    range_16_bit = range_16_bit or range_of_16_bit(source)
    if range_16_bit and source.has_16_bits is not None and source.has_16_bits.any():
        console.log(
            f"16-bit images of {source.name!r}: the values {range_16_bit[0]:,} to {range_16_bit[1]:,} become 0 to 255 "
            f"(the range is {whose})"
        )
    load_arguments = {**absolute(name, data_dir), "image_size": size and list(size), "channels": channels}
    load_arguments |= {"crop_fraction": crop_fraction, "interpolation": interpolation, "on_bad_image": on_bad_image}
    load_arguments |= {"range_16_bit": range_16_bit and list(range_16_bit)}
    scaling, skip_bad = Scaling(crop_fraction, interpolation, range_16_bit), on_bad_image == "skip"
    datasets = [decode_split(source, split, size, channels, scaling, skip_bad=skip_bad) for split in splits]
    return [replace(dataset, load_arguments=load_arguments) for dataset in datasets]


def kind(name: str | os.PathLike[str]) -> str:
    """What a dataset's name means, a key of `SOURCES`: "digits", "path" (a folder or a CSV file) or "tfds".

    Raises:
        InvalidArgument: It is no name, or a slice of one.

    >>> kind("digits"), kind("mnist"), kind(".")
    ('digits', 'tfds', 'path')
    """
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise InvalidArgument(f"A dataset is named by a string or a path. Received: {name!r}.")
    if not isinstance(name, os.PathLike) and not os.path.exists(name):  # noqa: PTH110 - False for what is no path
        refuse_slice(name)
    return next(key for key, source in SOURCES.items() if source.matches(name))


def public_name(name: str | os.PathLike[str]) -> str:
    """The `public_name` that a Dataset of this name has: "" for a folder or a CSV file.

    >>> public_name("mnist"), public_name(".")
    ('mnist', '')
    """
    return os.fspath(name) if SOURCES[kind(name)].is_public else ""


def absolute(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None) -> dict[str, str | None]:
    """`name` and `data_dir` in a form that means the same from any folder and with other environment variables."""
    name, data_dir = SOURCES[kind(name)].absolute(os.fspath(name), data_dir)
    return {"name": name, "data_dir": data_dir}


def fingerprint(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> str:
    """The `fingerprint` that a Dataset of this name has, without decoding an image.

    Raises:
        DataError: There is no such dataset.
    """
    return SOURCES[kind(name)].open(os.fspath(name), ["all"], data_dir, download=False).fingerprint


def check_images(image_size: Any, channels: Any, crop_fraction: Any) -> tuple[int, int] | None:
    """Check what is said of the form of images; returns the size, as `checked_size`."""
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise InvalidArgument(f"channels must be 1, 3 or None. Received: {channels!r}.")
    arguments.number("crop_fraction", crop_fraction, 0, 1, above=True)
    return checked_size(image_size)


def checked_range(range_16_bit: Any) -> tuple[int, int] | None:
    """The (low, high) of an argument `range_16_bit`; None stays.

    Raises:
        InvalidArgument: It is no range of 16-bit values.
    """
    if range_16_bit is None:
        return None
    if (
        isinstance(range_16_bit, tuple | list)
        and len(range_16_bit) == 2
        and all(map(arguments.is_integer, range_16_bit))
    ):
        low, high = map(int, range_16_bit)
        if 0 <= low < high < VALUES_16_BIT:
            return low, high
    raise InvalidArgument(
        f"range_16_bit must be two integers, 0 <= low < high <= {VALUES_16_BIT - 1}, or None. "
        f"Received: {range_16_bit!r}."
    )


def check_input(shape: Sequence[int | None]) -> None:
    """Raise InvalidArgument for a model whose input, (height, width, channels), is larger than any image may be."""
    height, width = shape[:2]
    if height is not None and width is not None and height * width > MAX_PIXELS:
        raise InvalidArgument(
            f"A model may take images of {MAX_PIXELS:,} pixels at most. Received: one that takes images of "
            f"{dimensions((height, width))}. Use another model."
        )


def checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The (height, width) of an argument `image_size`; None stays.

    Raises:
        InvalidArgument: It is no size.
    """
    if image_size is None:
        return None
    size = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(size) != 2 or not all(arguments.is_integer(side) and side > 0 for side in size):
        raise InvalidArgument(
            f"image_size must be a positive integer, (height, width) or None. Received: {image_size!r}."
        )
    return int(size[0]), int(size[1])
