"""Labelled images, and the order in which training sees them."""

import dataclasses
import difflib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from kzoo import console
from kzoo.chatter import tensorflow
from kzoo.errors import DataError, InvalidArgument
from kzoo.text import by

if TYPE_CHECKING:
    import tensorflow as tf

# How many classes an error lists.
_NAMES_IN_ERRORS = 12

# A label beyond this is no class index but, say, an identifier.
_MOST_CLASSES = 1_000_000


def available_memory() -> int:
    """Bytes of memory that are free for the taking now."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 2 << 30


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The shuffled order of an epoch: int64 `[count]`, a pure function of the arguments.

    It sorts raw Philox words: NumPy keeps a bit generator's stream for ever, but not what `permutation` makes of it.

    >>> permutation(0, 0, 5).tolist() == permutation(0, 0, 5).tolist() != permutation(0, 1, 5).tolist()
    True
    """
    return np.argsort(np.random.Philox(key=[seed, epoch]).random_raw(count), kind="stable")


def sample_seeds(seed: int, epoch: int, count: int) -> np.ndarray:
    """A seed per sample for augmentation: int32 `[count, 2]`.

    Row i depends on (seed, epoch, i) only, never on the order of the samples or on `count`. The counter's high word
    keeps these words apart from those of `permutation`.
    """
    words = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, 1]).random_raw(count)
    return words.astype("<u8").view("<i4").astype(np.int32, copy=False).reshape(count, 2)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images: one split of a dataset. Make one with `kzoo.data.load` or `Dataset.from_arrays`.

    Attributes:
        name: What was loaded: "digits", "mnist", a folder, a CSV file.
        split: "train", "validation", "test" or "all".
        class_names: The name of each class; a label is an index into it.
        labels: int32 `[N]`, read-only.
        image_shape: (height, width, channels).
        fingerprint: A hash of the content of the whole dataset, all splits: images and labels, not where they lie.
        skipped: (where, reason) of each bad image that was left out.
        has_class_names: Whether the classes have names of their own; arrays without get "0", "1", ...
        load_arguments: What `kzoo.data.load` made this of, the split aside, for loading it again; None for arrays.
        dtype: "uint8", or "float32" for arrays that were given as floats. Values are 0 to 255 either way.

    >>> data = Dataset.from_arrays(np.zeros((3, 8, 8), np.uint8), np.array([0, 1, 1]), ["cat", "dog"])
    >>> len(data), data.image_shape, data.class_names
    (3, (8, 8, 1), ('cat', 'dog'))
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    image_shape: tuple[int, int, int]
    fingerprint: str
    skipped: tuple[tuple[str, str], ...] = ()
    dtype: str = "uint8"
    has_class_names: bool = True
    load_arguments: Mapping[str, Any] | None = None
    # Rows of images by their index: from memory, or decoded on the way.
    _fetch: Callable[[np.ndarray], np.ndarray] = field(kw_only=True)
    _where: Callable[[int], str] = field(kw_only=True)
    # All images, where they are in memory.
    _pixels: np.ndarray | None = field(default=None, kw_only=True)

    @classmethod
    def from_arrays(
        cls, images: Any, labels: Any, class_names: Sequence[str] | None = None, name: str = "arrays"
    ) -> "Dataset":
        """Make a dataset of NumPy arrays.

        Args:
            images: `[N, H, W]` or `[N, H, W, C]`, values 0 to 255. Integers become uint8; floats become float32 and
                stay floats. Arrays of those types are used as they are, without a copy.
            labels: integers `[N]`, 0 to classes - 1.
            class_names: By default "0", "1", ... up to the largest label.
            name: For messages.

        Raises:
            DataError: The arrays are empty, differ in length, or hold values that are no images or labels.

        >>> Dataset.from_arrays(np.zeros((2, 4, 4)), [0, 1]).dtype
        'float32'
        """
        try:
            images, labels = np.asarray(images), np.asarray(labels)
        except ValueError:
            raise DataError(
                "images and labels must be arrays. Received: a list whose items differ in shape. "
                "Resize the images first."
            ) from None
        images, labels = _checked_images(images), _checked_labels(labels)
        has_class_names = class_names is not None
        if len(images) != len(labels):
            raise DataError(
                f"images and labels differ in length. Received: {len(images)} images, {len(labels)} labels."
            )
        if class_names is None:
            class_names = [str(index) for index in range(int(labels.max()) + 1)]
        names = tuple(str(name) for name in class_names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"class_names holds a name twice. Received: {twice!r}. Give each class its own name.")
        if labels.max() >= len(names):
            raise DataError(
                f"A label is beyond the {len(names)} class names. Received: {labels.max()}. "
                f"Labels count from 0: give {labels.max() + 1} names, or correct the labels."
            )
        digest = hashlib.blake2b(repr((images.shape, images.dtype.str, names)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(images).data)
        digest.update(labels.data)
        made = in_memory(
            images,
            name=name,
            split="all",
            class_names=names,
            labels=labels,
            fingerprint=digest.hexdigest(),
            where=lambda index: f"{name} #{index}",
        )
        return dataclasses.replace(made, has_class_names=has_class_names)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = by(self.image_shape)
        return f"<Dataset {self.name!r} {self.split}: {len(self)} images {shape}, {len(self.class_names)} classes>"

    @property
    def images(self) -> np.ndarray:
        """All images: `[N, H, W, C]`, uint8 (or float32, see `dtype`), values 0 to 255, read-only.

        Images that are decoded on the way are decoded again at each use of this property.

        Raises:
            DataError: They do not fit into memory.
        """
        if self._pixels is not None:
            return self._pixels
        needed = len(self) * int(np.prod(self.image_shape))
        if needed > available_memory() * 0.8:
            raise DataError(
                f"The images of {self.name!r} do not fit into memory. Received: {needed / 1e9:.1f} GB of pixels. "
                "Use batches(), which decodes them on the way, or a smaller image_size."
            )
        return self._fetch(np.arange(len(self)))

    def where(self, index: int) -> str:
        """Where image `index` comes from: a path, or for example "mnist train #12"."""
        if not 0 <= index < len(self):
            raise InvalidArgument(f"index is out of range. Received: {index}. Valid: 0 to {len(self) - 1}.")
        return self._where(index)

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
        augment: Callable[[Any, Any], Any] | None = None,
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
            augment: Called inside tf.data with (images uint8 `[B, H, W, C]`, seeds int32 `[B, 2]`), returns images.
                Row i of the seeds depends on (seed, epoch, the sample's index in this dataset) only. If its attribute
                `mixes` is true, it is called with ((images, labels), seeds) and returns both; the labels of the batch
                are then float32 `[B, classes]`.

        Raises:
            InvalidArgument: A number is out of range.

        >>> data = Dataset.from_arrays(np.zeros((5, 8, 8), np.uint8), [0, 1, 0, 1, 0])
        >>> [labels.tolist() for _, labels in data.batches(2, start_batch=1).as_numpy_iterator()]
        [[0, 1], [0]]
        """
        for argument, value, lowest in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("epoch", epoch, 0),
            ("start_batch", start_batch, 0),
        ):
            is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not is_integer or not lowest <= value < 2**64:
                raise InvalidArgument(f"{argument} must be an integer, at least {lowest}. Received: {value!r}.")
        count = len(self)
        batch_count = -(-count // batch_size)
        if start_batch > batch_count:
            raise InvalidArgument(
                f"start_batch is beyond the end of the epoch. Received: {start_batch}. Valid: 0 to {batch_count}."
            )
        tf = tensorflow()
        order = permutation(seed, epoch, count) if shuffle else np.arange(count)
        seeds = sample_seeds(seed, epoch, count) if augment is not None else np.zeros((count, 2), np.int32)

        def rows(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            chosen = order[positions]
            return self._fetch(chosen), self.labels[chosen], seeds[chosen]

        def read(positions: Any) -> tuple[Any, Any, Any]:
            types = (tf.as_dtype(self.dtype), tf.int32, tf.int32)
            images, labels, row_seeds = tf.numpy_function(rows, [positions], types, stateful=False)
            images.set_shape((None, *self.image_shape))
            labels.set_shape((None,))
            row_seeds.set_shape((None, 2))
            return images, labels, row_seeds

        def finish(images: Any, labels: Any, row_seeds: Any) -> tuple[Any, Any]:
            return augmented(augment, images, labels, row_seeds)

        options = tf.data.Options()
        options.deterministic = True
        # Files are read behind TensorFlow's back, so that there is nothing to shard by file.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
        # The pipeline lives on the host, whichever device the caller has chosen.
        with tf.device("CPU:0"):
            positions = tf.data.Dataset.range(start_batch * batch_size, count).batch(batch_size)
            batches = positions.map(read, **parallel).map(finish, **parallel).prefetch(tf.data.AUTOTUNE)
            return without_autotuner(batches.with_options(options))


def joined(parts: Sequence[Dataset]) -> Dataset:
    """The images of several splits of one dataset, one after the other."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *map(len, parts)])

    def fetch(positions: np.ndarray) -> np.ndarray:
        images = np.empty((len(positions), *parts[0].image_shape), parts[0].dtype)
        for part, start, end in zip(parts, starts, starts[1:], strict=False):
            inside = (start <= positions) & (positions < end)
            if inside.any():
                images[inside] = part._fetch(positions[inside] - start)
        return images

    def where(position: int) -> str:
        index = int(np.searchsorted(starts, position, side="right")) - 1
        return parts[index]._where(position - int(starts[index]))

    return dataclasses.replace(
        parts[0],
        split="+".join(part.split for part in parts),
        labels=read_only(np.concatenate([part.labels for part in parts])),
        skipped=sum((part.skipped for part in parts), ()),
        _fetch=fetch,
        _where=where,
        _pixels=None,
    )


def augmented(augment: Callable[[Any, Any], Any] | None, images: Any, labels: Any, seeds: Any) -> tuple[Any, Any]:
    """A batch of (images, labels) after `augment`, which is as for `Dataset.batches`."""
    if augment is None:
        return images, labels
    if getattr(augment, "mixes", False):
        return augment((images, labels), seeds)
    return augment(images, seeds), labels


def without_autotuner(batches: "tf.data.Dataset") -> "tf.data.Dataset":
    """The same batches without tf.data's autotuner, which can make an epoch take up to twice its time.

    Its thread wakes after 10 ms, 20 ms, 40 ms, and so on, and in TensorFlow 2.21 often misses the notice that the epoch
    is over: who deletes the iterator then waits for it to wake, after an epoch of 2.6 s another 2.5 s. Without it maps
    run on up to 16 cores and the prefetch buffer grows as it is found empty.
    """
    options = tensorflow().data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def in_memory(
    pixels: np.ndarray,
    *,
    name: str,
    split: str,
    class_names: tuple[str, ...],
    labels: np.ndarray,
    fingerprint: str,
    where: Callable[[int], str],
    skipped: tuple[tuple[str, str], ...] = (),
) -> Dataset:
    """Make a Dataset of images that are in memory: `[N, H, W, C]`, uint8 or float32."""
    pixels = pixels.view()
    pixels.setflags(write=False)
    return Dataset(
        name=name,
        split=split,
        class_names=class_names,
        labels=read_only(labels),
        image_shape=pixels.shape[1:],
        fingerprint=fingerprint,
        skipped=skipped,
        dtype=str(pixels.dtype),
        _fetch=lambda rows: pixels[rows],
        _where=where,
        _pixels=pixels,
    )


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written through: what a Dataset hands out stays what was loaded."""
    array = array.view()
    array.setflags(write=False)
    return array


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
    return dataclasses.replace(dataset, class_names=target, labels=read_only(table[dataset.labels]))


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
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        index = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
        raise DataError(f"images hold NaN or infinity. Received: first in image {index}. Remove or repair such images.")
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise DataError(
            f"images must hold values 0 to 255. Received: {low:g} to {high:g}. Pass raw pixels: kzoo's models "
            "preprocess inside."
        )
    if images.dtype.kind != "f":
        return images.astype(np.uint8)
    if 0 < high <= 1:
        console.warn(f"images hold values {low:g} to {high:g}, but kzoo expects 0 to 255: were they divided by 255?")
    return images.astype(np.float32, copy=False)


def _checked_labels(labels: np.ndarray) -> np.ndarray:
    """Labels as int32 `[N]`."""
    if labels.ndim == 2:
        raise DataError(
            f"labels must be integers [N]. Received: shape {labels.shape}. From one-hot labels take "
            "labels.argmax(axis=1)."
        )
    if labels.ndim != 1 or len(labels) == 0 or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels must be integers [N], and not empty. Received: shape {labels.shape}, dtype {labels.dtype}."
        )
    if labels.min() < 0 or labels.max() >= _MOST_CLASSES:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"labels must be class indices that count from 0. Received: {wrong}.")
    return np.ascontiguousarray(labels, dtype=np.int32)
