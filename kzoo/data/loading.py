"""`load`: from the name of a dataset to a Dataset."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kzoo.data import digits, folders, tfds_records
from kzoo.data.catalog import Catalog, build
from kzoo.data.dataset import Dataset, joined
from kzoo.data.images import INTERPOLATIONS, Scaling
from kzoo.data.splits import SPLITS, TRAIN_AND_VALIDATION, canonical_split
from kzoo.errors import DataError, InvalidArgument, unknown

_TFDS_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:[\w.*]+)?")


def load(
    name: str | os.PathLike[str],
    split: str = "train",
    image_size: int | tuple[int, int] | None = None,
    *,
    channels: int | None = None,
    crop_fraction: float = 1.0,
    interpolation: str | None = None,
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
    arguments = {
        "name": name,
        "image_size": image_size,
        "channels": channels,
        "crop_fraction": crop_fraction,
        "interpolation": interpolation,
        "data_dir": data_dir,
        "download": download,
        "on_bad_image": on_bad_image,
    }
    [dataset] = load_splits([split], **arguments)
    return dataset


def load_splits(
    splits: Sequence[str],
    name: str | os.PathLike[str],
    image_size: int | tuple[int, int] | None = None,
    *,
    channels: int | None = None,
    crop_fraction: float = 1.0,
    interpolation: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    on_bad_image: str = "stop",
) -> list[Dataset]:
    """Load several splits of one dataset, which is looked through once; otherwise as `load`."""
    splits = [canonical_split(split) for split in splits]
    size = checked_size(image_size)
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise InvalidArgument(f"channels must be 1, 3 or None. Received: {channels!r}.")
    if not isinstance(crop_fraction, int | float) or not 0 < crop_fraction <= 1:
        raise InvalidArgument(f"crop_fraction must be above 0 and at most 1. Received: {crop_fraction!r}.")
    if interpolation not in (None, *INTERPOLATIONS):
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    if on_bad_image not in ("stop", "skip"):
        raise unknown("value of on_bad_image", on_bad_image, ("stop", "skip"))
    scaling = Scaling(crop_fraction, interpolation)
    found, catalog = {}, None
    for part in [part for split in splits for part in _parts(split)]:
        # A catalog of TFDS holds the splits that the one it was made for is cut from; any other holds all.
        if catalog is None or part == "all" or SPLITS.index(part) not in catalog.parts:
            catalog = _find(name, part, data_dir, download)
        found[part] = build(catalog, part, size, channels, scaling, skip_bad=on_bad_image == "skip")
    datasets = [joined([found[part] for part in _parts(split)]) for split in splits]
    arguments = {
        **absolute(name, data_dir),
        "image_size": None if size is None else list(size),
        "channels": channels,
        "crop_fraction": crop_fraction,
        "interpolation": interpolation,
        "on_bad_image": on_bad_image,
    }
    return [dataclasses.replace(dataset, load_arguments=arguments) for dataset in datasets]


def kind(name: str | os.PathLike[str]) -> str:
    """What a dataset's name stands for: "digits", "path" (a folder or file that exists) or "tfds".

    >>> kind("digits"), kind("mnist"), kind(".")
    ('digits', 'tfds', 'path')
    """
    if os.fspath(name) == "digits":
        return "digits"
    try:
        return "path" if Path(name).expanduser().exists() else "tfds"
    except (OSError, RuntimeError):  # "~name" of an unknown user; loading says what is wrong with it
        return "tfds"


def absolute(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None) -> dict[str, str | None]:
    """`name` and `data_dir` in a form that means the same from any folder and with other environment variables."""
    what = kind(name)
    return {
        "name": str(Path(name).expanduser().resolve()) if what == "path" else os.fspath(name),
        "data_dir": str(tfds_records.data_folder(data_dir).resolve()) if what == "tfds" else None,
    }


def fingerprint(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> str:
    """The `fingerprint` that a Dataset of this name has, without decoding an image.

    Raises:
        DataError: There is no such dataset.
    """
    return _find(name, "all", data_dir, download=False).fingerprint


def _parts(split: str) -> list[str]:
    """The splits that one is made of."""
    return list(SPLITS[:2]) if split == TRAIN_AND_VALIDATION else [split]


def _find(name: str | os.PathLike[str], split: str, data_dir: str | os.PathLike[str] | None, download: bool) -> Catalog:
    """What `name` stands for: digits, then a path that exists, then TFDS."""
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise InvalidArgument(f"A dataset is named by a string or a path. Received: {name!r}.")
    text = os.fspath(name)
    if text == "digits":
        return digits.catalog()
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return folders.folder_catalog(text, path)
        if path.exists():
            if path.suffix.lower() == ".csv":
                return folders.csv_catalog(text, path)
            raise DataError(
                f"A dataset in a file must be a .csv file. Received: {text!r}. Pass a folder or a CSV file."
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: "~name" of an unknown user
        raise DataError(f"Cannot look at a dataset's path. Received: {text!r} ({error}). Check the path.") from None
    looks_like_path = text[0] in ".~" or text.lower().endswith(".csv") or not _TFDS_NAME.fullmatch(text)
    if looks_like_path or not isinstance(name, str):
        raise DataError(f"No such folder or CSV file. Received: {text!r}. Check the path; here is {str(Path.cwd())!r}.")
    return tfds_records.catalog(text, split, data_dir, download)


def checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The (height, width) of an argument `image_size`; None stays.

    Raises:
        InvalidArgument: It is no size.
    """
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int | np.integer) else image_size
    if (
        not isinstance(size, tuple | list)
        or len(size) != 2
        or not all(isinstance(side, int | np.integer) and not isinstance(side, bool) and side > 0 for side in size)
    ):
        raise InvalidArgument(
            f"image_size must be a positive integer, (height, width) or None. Received: {image_size!r}."
        )
    return int(size[0]), int(size[1])
