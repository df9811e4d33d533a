"""What `fit` and `evaluate` take as data, brought to one form."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from kzoo.augment import Policy
from kzoo.backend import tf
from kzoo.data import Dataset, match_labels
from kzoo.data.pipeline import augmented, without_autotuner
from kzoo.errors import DataError, InvalidArgument
from kzoo.outputs import check_classifier, classes_of
from kzoo.train.config import default_batch_size
from kzoo.weights.labels import aliases


class Stream:
    """A user's own `tf.data.Dataset` of (images, labels), read as it comes.

    Its order is the user's, so a run on it resumes at the right batch, but bit for bit only if that order repeats. Its
    autotuner is turned off (`without_autotuner`).
    """

    def __init__(self, dataset, batch_size: int | None):
        """Batch the dataset, unless it is batched."""
        _check_elements(dataset)
        images, _ = dataset.element_spec
        if images.shape.rank == 3:
            dataset = dataset.batch(batch_size or default_batch_size(0, images.shape))
        self.dataset = dataset.map(lambda x, y: (x, tf.cast(y, tf.int32)), num_parallel_calls=tf.data.AUTOTUNE)
        self.image_shape = tuple(self.dataset.element_spec[0].shape[1:])
        self.name, self.public_name = "tf.data", ""
        self.steps = _count_batches(self.dataset)
        self.batch_size = len(next(iter(self.dataset))[1])

    def __len__(self) -> int:
        """The number of images, up to the size of the last batch."""
        return self.steps * self.batch_size

    def batches(self, batch_size, *, shuffle=False, seed=0, epoch=0, start_batch=0, augment=None):
        """The batches from `start_batch` on; shuffling is up to the dataset itself."""
        dataset = self.dataset.skip(start_batch) if start_batch else self.dataset
        if augment is not None:

            def apply(number, batch):
                images, labels = batch
                return augmented(augment, images, labels, seeds_of_rows(seed, epoch, number + start_batch, images))

            dataset = dataset.enumerate().map(apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return without_autotuner(dataset.prefetch(tf.data.AUTOTUNE))


def seeds_of_rows(seed: int, epoch: int, batch, images):
    """A seed for each image of a batch of a Stream: int32 (rows, 2), by (seed, epoch, batch, row).

    Of a stream nothing else is known of an image: batches may differ in size. No two images of an epoch get the same.
    """
    words = np.random.Philox(key=[seed, epoch]).random_raw(1).astype("<u8").view("<i4")
    rows = tf.range(tf.shape(images)[0]) + int(words[0])
    return tf.stack([rows, tf.fill(tf.shape(rows), tf.cast(batch, tf.int32) + int(words[1]))], axis=-1)


def as_data(data: Any, batch_size: int | None) -> Dataset | Stream:
    """Bring data to one form.

    Args:
        data: A Dataset of kzoo, a pair of NumPy arrays (images, labels), or a `tf.data.Dataset` of such pairs. Images
            (N, height, width, channels), values 0 to 255; labels (N,) int.
        batch_size: For a `tf.data.Dataset` that is not batched.

    Raises:
        InvalidArgument: `data` is none of these.
        DataError: Its content cannot be used.
    """
    if isinstance(data, Dataset | Stream):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return Dataset.from_arrays(*data)
    if tf is not None and isinstance(data, tf.data.Dataset):
        return Stream(data, batch_size)
    raise InvalidArgument(
        "Data must be a kzoo Dataset, a pair of arrays (images, labels) or a tf.data.Dataset of such pairs. "
        f"Received: {type(data).__name__}. kzoo.data.load makes a Dataset of a name or a folder."
    )


def batches_per_epoch(data: Dataset | Stream, batch_size: int) -> int:
    """Batches in an epoch; the last may be smaller."""
    return data.steps if isinstance(data, Stream) else -(-len(data) // batch_size)


def check_fit(data: Dataset | Stream, model, which: str, augment: Policy | None = None) -> None:
    """Raise InvalidArgument unless the model takes these images and has an output for each of their classes.

    With `augment`, what that makes of them: it may crop, and must make soft labels of as many classes.
    """
    check_classifier(model)
    wanted, given, after = tuple(model.input_shape[1:]), tuple(data.image_shape), ""
    if augment is not None:
        augment.check_classes(classes_of(model))
        spec: Any = data.batches(1, augment=augment).element_spec
        given, after = tuple(spec[0].shape[1:]), " after augmentation"
    if any(w not in (None, got) for w, got in zip(wanted, given, strict=False)) or len(wanted) != 3:
        raise InvalidArgument(
            f"The model takes images of shape {wanted}. Received: {which} images of shape {given}{after}. "
            "Load them with image_size=, or build the model with input_shape=."
        )
    classes = classes_of(model)
    if isinstance(data, Stream):
        return
    if data.has_class_names and len(data.class_names) != classes:
        raise InvalidArgument(
            f"The model has {classes} outputs. Received: {which} data of {len(data.class_names)} classes. "
            f"Build the model with classes={len(data.class_names)}."
        )
    if data.labels.max() >= classes:
        raise InvalidArgument(
            f"The model has {classes} outputs. Received: the label {data.labels.max()} in the {which} data. "
            "Labels count from 0: build the model with more classes, or correct the labels."
        )


def class_names_of_data(data: Dataset | Stream) -> tuple[str, ...] | None:
    """The names of the classes, or None where the data has none of its own."""
    return data.class_names if isinstance(data, Dataset) and data.has_class_names else None


def metadata_of_data(data: Dataset | Stream) -> dict:
    """What the data says of a model that is trained on it, as `set_metadata` takes it."""
    names, arguments = class_names_of_data(data), getattr(data, "load_arguments", None)
    known = {} if names is None else {"class_names": names}
    if arguments is not None:  # kzoo has scaled the images
        known.update(crop_fraction=arguments["crop_fraction"], interpolation=arguments["interpolation"])
    return known


def with_labels_of(data: Dataset | Stream, class_names: tuple[str, ...] | None) -> Dataset | Stream:
    """`data` with its labels in the order of `class_names`, matched by name where both have names."""
    if class_names is None or class_names_of_data(data) is None:
        return data
    assert isinstance(data, Dataset)  # noqa: S101 - for the type checker: a Stream has no names
    return match_labels(data, class_names, aliases(class_names))


@contextmanager
def data_errors() -> Iterator[None]:
    """Give back the one line that an image's DataError has, which TensorFlow wraps in a page of its own."""
    try:
        yield
    except tf.errors.OpError as error:
        line = re.search(r"^(?:kzoo\.errors\.)?DataError: (.*)$", str(error), re.MULTILINE)
        if line is None:
            raise
        raise DataError(line[1]) from None


def _check_elements(dataset) -> None:
    """Raise DataError unless the elements are images with labels, or batches of them."""
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(s, tf.TensorSpec) for s in spec)):
        raise DataError(f"The tf.data.Dataset must give pairs (images, labels). Received: elements {spec}.")
    images, labels = spec
    if images.shape.rank not in (3, 4) or labels.shape.rank != images.shape.rank - 3 or not labels.dtype.is_integer:
        raise DataError(
            "The tf.data.Dataset must give images (height, width, channels) with an integer label each, or batches of "
            f"them. Received: images {images.shape} {images.dtype.name}, labels {labels.shape} {labels.dtype.name}."
        )


def _count_batches(dataset) -> int:
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"The tf.data.Dataset never ends. Received: {dataset!r}. Bound it with take().")
    if count == tf.data.UNKNOWN_CARDINALITY:
        count = sum(1 for _ in dataset)
    if count == 0:
        raise DataError(f"The tf.data.Dataset has no elements. Received: {dataset!r}.")
    return count
