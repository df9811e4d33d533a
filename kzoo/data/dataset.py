"""Labelled images: what they are, and a reader that fetches them."""

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kzoo import arguments, console
from kzoo.data.copies import MARK, mark_of
from kzoo.data.images import in_parallel
from kzoo.data.labels import class_indices, count_from_one
from kzoo.data.order import permutation, sample_seeds, spread
from kzoo.data.pipeline import Replicas, pipeline
from kzoo.data.pixels import RAW, SAMPLE, UNIT, Range, is_grey, pixel_range
from kzoo.data.readers import ArrayReader, Reader, read_only
from kzoo.errors import DataError
from kzoo.hardware import available_memory
from kzoo.text import dimensions

if TYPE_CHECKING:
    import tensorflow as tf

# How many classes an error lists.
_NAMES_IN_ERRORS = 12

# How many images are fetched at a time, to be marked.
_CHUNK = 256

# How many images are looked at for colour.
_GREY_SAMPLE = 16


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images: one split of a dataset. Make one with `kzoo.data.load` or `Dataset.from_arrays`.

    Attributes:
        name: What was loaded: "digits", "mnist", a folder, a CSV file.
        split: "train", "validation", "test", "train+validation" or "all".
        class_names: The name of each class; a label is an index into it.
        labels: int32 `[N]`, read-only.
        fingerprint: A hash of the content of the whole dataset, all splits: images and labels, not where they lie.
        reader: Where the images come from, by their rows: from memory, or decoded on the way.
        skipped: (where, reason) of each bad image that was left out.
        has_class_names: Whether the classes have names of their own; arrays without get "0", "1", ...
        load_arguments: What `kzoo.data.load` made this of, the split aside, for loading it again; None for arrays.
        public_name: The name, where it says what the images are; "" for a folder or a CSV file, whose name is a path.
        known_marks: The `marks`, where they were found while the images were decoded.

    >>> data = Dataset.from_arrays(np.zeros((3, 8, 8), np.uint8), np.array([0, 1, 1]), ["cat", "dog"])
    >>> len(data), data.image_shape, data.class_names
    (3, (8, 8, 1), ('cat', 'dog'))
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    fingerprint: str
    reader: Reader
    skipped: tuple[tuple[str, str], ...] = ()
    has_class_names: bool = True
    load_arguments: Mapping[str, Any] | None = None
    public_name: str = ""
    known_marks: np.ndarray | None = None

    @property
    def is_published(self) -> bool:
        """Whether its splits are published ones, and not the user's."""
        return self.load_arguments is not None and bool(self.public_name)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", read_only(self.labels))

    @classmethod
    def from_arrays(
        cls, images: Any, labels: Any, class_names: Sequence[str] | None = None, name: str = "arrays"
    ) -> "Dataset":
        """Make a dataset of NumPy arrays.

        Args:
            images: `[N, H, W]` or `[N, H, W, C]`, values 0 to 255. Integers become uint8; floats become float32 and
                stay floats. Arrays of those types are used as they are, without a copy.
            labels: integers `[N]` or `[N, 1]`, 0 to classes - 1, also as booleans or floats that are whole numbers.
            class_names: By default "0", "1", ... up to the largest label.
            name: For messages; where it is that of a public dataset, its augmentation is recommended for this one.

        Raises:
            DataError: The arrays are empty, differ in length, or hold values that are no images or labels.

        >>> Dataset.from_arrays(np.zeros((2, 4, 4)), [0, 1]).dtype
        'float32'
        """
        data = cls.from_arrays_as_they_are(images, labels, class_names, name)
        if data.dtype != "uint8":
            _check_range(data.images)
        if data.pixel_range == UNIT:
            console.warn("images hold values 0 to 1, but kzoo expects 0 to 255: were they divided by 255?")
        return data

    @classmethod
    def from_arrays_as_they_are(
        cls, images: Any, labels: Any, class_names: Sequence[str] | None = None, name: str = "arrays"
    ) -> "Dataset":
        """The same without a word on the range of the pixels, of floats any: for who compares it with a model's."""
        try:
            images = np.asarray(images)
        except ValueError:
            raise DataError(
                "images must be an array. Received: a list whose items differ in shape. Resize the images first."
            ) from None
        images, labels = _checked_images(images), class_indices(labels)
        if len(images) != len(labels):
            raise DataError(
                f"images and labels differ in length. Received: {len(images)} images, {len(labels)} labels."
            )
        names = tuple(map(str, range(int(labels.max()) + 1) if class_names is None else class_names))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"class_names holds a name twice. Received: {twice!r}. Give each class its own name.")
        if labels.max() >= len(names):
            advice = (
                "subtract 1 from them" if count_from_one(labels) else f"give {labels.max() + 1} names, or correct them"
            )
            raise DataError(
                f"A label is beyond the {len(names)} class names. Received: {labels.max()}. "
                f"Labels count from 0: {advice}."
            )
        if class_names is None and count_from_one(labels):
            console.warn(
                f"no image has the label 0, with which labels begin, and each from 1 to {labels.max()} is there: if "
                "they count from 1, subtract 1"
            )
        digest = hashlib.blake2b(repr((images.shape, images.dtype.str, names)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(images).data)
        digest.update(labels.data)
        return cls(
            name=name,
            split="all",
            class_names=names,
            labels=labels,
            fingerprint=digest.hexdigest(),
            reader=ArrayReader(images, lambda row: f"{name} #{row}"),
            has_class_names=class_names is not None,
            public_name=name,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = dimensions(self.image_shape)
        return f"<Dataset {self.name!r} {self.split}: {len(self)} images {shape}, {len(self.class_names)} classes>"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.reader.image_shape

    @property
    def dtype(self) -> str:
        """Of values from 0 to 255: "uint8", or "float32" for arrays that were given as floats."""
        return self.reader.dtype

    @property
    def pixel_range(self) -> Range | None:
        """Of the pixel values, as `kzoo.data.pixels.pixel_range` finds it: what kzoo decodes is from 0 to 255."""
        if self.load_arguments is not None:
            return RAW
        rows = spread(len(self), SAMPLE)
        return pixel_range(self.reader.fetch(rows))

    @property
    def is_grey(self) -> bool:
        """Whether images have no colour: one channel, or three that are equal, as those of a sample are."""
        if self.image_shape[2] != 3:
            return self.image_shape[2] == 1
        rows = spread(len(self), _GREY_SAMPLE)
        return is_grey(self.reader.fetch(rows))

    @property
    def images(self) -> np.ndarray:
        """All images: `[N, H, W, C]`, uint8 (or float32, see `dtype`), values 0 to 255, read-only.

        Images that are decoded on the way are decoded again at each use of this property.

        Raises:
            DataError: They do not fit into memory.
        """
        if isinstance(self.reader, ArrayReader):
            return self.reader.images
        needed = len(self) * int(np.prod(self.image_shape))
        if needed > available_memory() * 0.8:
            raise DataError(
                f"The images of {self.name!r} do not fit into memory. Received: {needed / 1e9:.1f} GB of pixels. "
                "Use batches(), which decodes them on the way, or a smaller image_size."
            )
        return self.reader.fetch(np.arange(len(self)))

    @property
    def marks(self) -> np.ndarray:
        """What each image is known by among others: `kzoo.data.copies.MARK` `[N]`."""
        if self.known_marks is None:
            found = np.zeros(len(self), MARK)
            with console.progress("reading images", len(self)) as advance:
                for start in range(0, len(self), _CHUNK):
                    rows = np.arange(start, min(start + _CHUNK, len(self)))
                    found[rows] = list(in_parallel(mark_of, list(self.reader.fetch(rows))))
                    advance(len(rows))
            object.__setattr__(self, "known_marks", found)
        return cast(np.ndarray, self.known_marks)

    def where(self, index: int) -> str:
        """Where image `index` comes from: a path, or for example "mnist train #12"."""
        return self.reader.where(arguments.integer("index", index, 0, len(self) - 1))

    def class_weights(self) -> np.ndarray:
        """Weights that make every class count alike: float32 `[classes]`, N / (classes * images of the class).

        A class without images has weight 0.

        >>> Dataset.from_arrays(np.zeros((4, 2, 2)), [0, 0, 0, 1]).class_weights().tolist()
        [0.6666666865348816, 2.0]
        """
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        weights = len(self) / (len(self.class_names) * np.maximum(counts, 1))
        return np.where(counts > 0, weights, 0.0).astype(np.float32)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start_batch: int = 0,
        passes: int = 1,
        augment: Callable[[Any, Any], Any] | None = None,
        replicas: Replicas | None = None,
    ) -> "tf.data.Dataset":
        """Make one epoch of batches (images `[B, H, W, C]`, labels int32 `[B]`); the last may be smaller.

        Everything is a pure function of (seed, epoch) and the data: `start_batch=k` yields exactly what an epoch that
        is read from its start yields from batch k on, bit for bit, without reading the batches before it.

        Args:
            batch_size: Images in a batch.
            shuffle: Whether to shuffle by (seed, epoch).
            seed: Of the shuffle and the augmentation, 0 to 2**64 - 1.
            epoch: The same, counted from 0.
            start_batch: How many batches to leave out.
            passes: How often the epoch takes each image. Pass i of epoch e has the order and the seeds of epoch
                e * passes + i of one pass. A batch may hold the end of one pass and the start of the next.
            augment: Called inside tf.data with (images uint8 `[B, H, W, C]`, seeds int32 `[B, 2]`), returns images.
                Row i of the seeds depends on (seed, pass, the sample's index in this dataset) only. If its attribute
                `mixes` is true, it is called with ((images, labels), seeds) and returns both; the labels of the batch
                are then float32 `[B, classes]`.
            replicas: Where several machines share out the batches: the replicas of this one. For each of them in turn
                come its rows of a batch, with their weight (`pipeline.shared_out`); the others are read only where
                images are mixed.

        Raises:
            InvalidArgument: A number is out of range.

        >>> data = Dataset.from_arrays(np.zeros((5, 8, 8), np.uint8), [0, 1, 0, 1, 0])
        >>> [labels.tolist() for _, labels in data.batches(2, start_batch=1).as_numpy_iterator()]
        [[0, 1], [0]]
        """
        count = len(self)
        batch_size = arguments.integer("batch_size", batch_size, 1)
        seed = arguments.integer("seed", seed, 0, 2**64 - 1)
        epoch = arguments.integer("epoch", epoch, 0, 2**64 - 1)
        passes = arguments.integer("passes", passes, 1)
        start_batch = arguments.integer("start_batch", start_batch, 0, -(-count * passes // batch_size))
        numbers = [epoch * passes + i for i in range(passes)]
        seeds = [sample_seeds(seed, n, count) for n in numbers] if augment is not None else []
        orders = [permutation(seed, n, count) if shuffle else np.arange(count) for n in numbers]
        return pipeline(
            self.reader,
            self.labels,
            np.concatenate(seeds) if seeds else np.zeros((count * passes, 2), np.int32),
            np.concatenate([order + i * count for i, order in enumerate(orders)]),
            batch_size=batch_size,
            start_batch=start_batch,
            augment=augment,
            replicas=replicas,
        )


def match_labels(
    dataset: Dataset, class_names: Sequence[str], aliases: Mapping[str, int] = MappingProxyType({})
) -> Dataset:
    """The same dataset with its labels re-indexed by name to the classes of a model.

    Args:
        dataset: What to evaluate on.
        class_names: The model's classes. Classes that the dataset lacks are fine.
        aliases: Other names of the classes, such as WordNet ids, to their indices.

    Raises:
        DataError: An image has a label that the model does not know, or a name that stands for several classes.

    >>> data = Dataset.from_arrays(np.zeros((2, 4, 4)), [0, 1], ["cat", "dog"])
    >>> match_labels(data, ["bird", "dog", "cat"]).labels.tolist()
    [2, 1]
    """
    target = tuple(class_names)
    if dataset.class_names == target:
        return dataset
    index_of = {**aliases, **{name: index for index, name in enumerate(target)}}
    ambiguous = {name for name in target if target.count(name) > 1} if len(set(target)) < len(target) else set()
    table = np.full(len(dataset.class_names), -1, np.int32)
    for label in np.unique(dataset.labels).tolist():
        name = dataset.class_names[label]
        if name in ambiguous:
            raise DataError(
                f"The model has several classes named {name!r}. Received: label {name!r} in {dataset.name!r}."
            )
        if name not in index_of:
            close = difflib.get_close_matches(name, index_of, n=1, cutoff=0.5)
            listed = ", ".join(target[:_NAMES_IN_ERRORS]) + (", ..." if len(target) > _NAMES_IN_ERRORS else "")
            raise DataError(
                f"The model does not know a label of {dataset.name!r}. Received: {name!r}. "
                + (f"Did you mean {close[0]!r}? " if close else "")
                + f"Valid, {len(target)} in all: {listed}. Rename the class in the data, or leave its images out."
            )
        table[label] = index_of[name]
    return dataclasses.replace(dataset, class_names=target, labels=table[dataset.labels])


def _checked_images(images: np.ndarray) -> np.ndarray:
    """Images as `[N, H, W, C]`, uint8 or float32."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"images must be [N, H, W] or [N, H, W, C], and not empty. Received: shape {images.shape}.")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "iuf":
        raise DataError(f"images must be uint8 or float, values 0 to 255. Received: dtype {images.dtype}.")
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a number that float32 does not hold becomes infinity
            images = images.astype(np.float32, copy=False)
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        index = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
        raise DataError(f"images hold NaN or infinity. Received: first in image {index}. Remove or repair such images.")
    if images.dtype.kind == "f":
        return images
    _check_range(images)
    return images.astype(np.uint8)


def _check_range(images: np.ndarray) -> None:
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise DataError(
            f"images must hold values 0 to 255. Received: {low:g} to {high:g}. Pass raw pixels: kzoo's models "
            "preprocess inside."
        )
