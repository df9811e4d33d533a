"""What `fit` and `evaluate` take as data, brought to one form."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from kzoo import console
from kzoo.augment import Policy
from kzoo.backend import tf
from kzoo.data import Dataset, match_labels
from kzoo.data.labels import class_indices
from kzoo.data.pipeline import augmented, without_autotuner
from kzoo.data.pixels import (
    RAW,
    SAMPLE,
    UNIT,
    Range,
    are_different,
    can_scale,
    common,
    is_grey,
    is_same,
    pixel_range,
    shown,
)
from kzoo.errors import DataError, InvalidArgument
from kzoo.outputs import check_classifier, classes_of
from kzoo.train.config import TrainConfig, default_batch_size
from kzoo.weights.labels import aliases


class Stream:
    """A user's own `tf.data.Dataset` of (images, labels), read as it comes.

    Its order is the user's, so a run on it resumes at the right batch, but bit for bit only if that order repeats. Its
    autotuner is turned off (`without_autotuner`).

    Attributes:
        pixel_range: Of its first images, as `kzoo.data.pixels.pixel_range` finds it.
        is_grey: Whether its first images have no colour.
        classes: How many its labels may tell apart, once it is known.
    """

    def __init__(self, dataset, batch_size: int | None):
        """Batch the dataset, unless it is batched, and look at its first images.

        Raises:
            DataError: Its elements are no images with labels, or the first images hold NaN.
        """
        _check_elements(dataset)
        images, _ = dataset.element_spec
        if images.shape.rank == 3:
            dataset = dataset.batch(batch_size or default_batch_size(0, images.shape))
        self.steps = _count_batches(dataset)
        self.batch_size = len(_first_labels(dataset))
        self.dataset = dataset.map(lambda x, y: (x, _class_indices(y)), num_parallel_calls=tf.data.AUTOTUNE)
        self.image_shape = tuple(self.dataset.element_spec[0].shape[1:])
        self.name, self.public_name = "tf.data", ""
        self.classes: int | None = None
        self.pixel_range, self.is_grey = _look_at(self.dataset)

    def __len__(self) -> int:
        """The number of images, up to the size of the last batch."""
        return self.steps * self.batch_size

    def batches(self, batch_size, *, shuffle=False, seed=0, epoch=0, start_batch=0, passes=1, augment=None):
        """The batches from `start_batch` on; shuffling is up to the dataset itself.

        Raises:
            DataError: From the iterator, at a batch with NaN or with a label that is none of `classes`.
        """

        def finish(number, batch):
            images, labels = self._checked(number, *batch)
            if augment is None:
                return images, labels
            return augmented(augment, images, labels, seeds_of_rows(seed, epoch, number, images))

        numbered = self.dataset.repeat(passes).enumerate()
        numbered = numbered.skip(start_batch) if start_batch else numbered
        dataset = numbered.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return without_autotuner(dataset.prefetch(tf.data.AUTOTUNE))

    def _checked(self, number, images, labels):
        """A batch as it is, after a look at every number in it: a NaN would look like training that diverges."""

        def complain(number, images, labels):
            _check_finite(images, int(number))
            _check_labels(labels, int(number), self.classes)
            return True

        good = tf.reduce_all(labels >= 0)
        if self.classes is not None:
            good &= tf.reduce_all(labels < self.classes)
        if images.dtype.is_floating:
            good &= tf.reduce_all(tf.math.is_finite(images))
        checked = tf.cond(
            good, lambda: tf.constant(True), lambda: tf.numpy_function(complain, [number, images, labels], tf.bool)
        )
        with tf.control_dependencies([checked]):
            return tf.identity(images), tf.identity(labels)


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
            (N, height, width, channels), values 0 to 255; labels (N,) or (N, 1), whole numbers.
        batch_size: For a `tf.data.Dataset` that is not batched.

    Raises:
        InvalidArgument: `data` is none of these.
        DataError: Its content cannot be used.
    """
    if isinstance(data, Dataset | Stream):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return Dataset.from_arrays_as_they_are(*data)
    if tf is not None and isinstance(data, tf.data.Dataset):
        return Stream(data, batch_size)
    raise InvalidArgument(
        "Data must be a kzoo Dataset, a pair of arrays (images, labels) or a tf.data.Dataset of such pairs. "
        f"Received: {type(data).__name__}. kzoo.data.load makes a Dataset of a name or a folder."
    )


def batches_per_epoch(data: Dataset | Stream, batch_size: int, passes: int = 1) -> int:
    """Batches in an epoch of some passes; the last may be smaller."""
    return data.steps * passes if isinstance(data, Stream) else -(-len(data) * passes // batch_size)


def loss_of_guessing(data: Dataset | Stream, config: TrainConfig, classes: int) -> float:
    """The least cross-entropy, in nats, of a model that gives the same answer for every image.

    It answers with the shares of the classes, which of a stream are not known: they count as equal there.

    >>> data = Dataset.from_arrays(np.zeros((4, 8, 8)), [0, 1, 1, 1])
    >>> round(loss_of_guessing(data, TrainConfig(), 2), 3)
    0.562
    >>> round(loss_of_guessing(data, TrainConfig(class_weight="balanced"), 2), 3)
    0.693
    """
    if isinstance(data, Stream):
        return math.log(classes)
    counts = np.bincount(data.labels, minlength=classes)
    if config.class_weight == "balanced":
        counts = counts > 0
    smoothing = config.label_smoothing or 0.0
    shares = (1 - smoothing) * counts / counts.sum() + smoothing / classes
    return -float(sum(share * math.log(share) for share in shares if share))


def share_of_commonest(data: Dataset | Stream) -> float:
    """The accuracy of a model that gives the commonest class for every image; 0 for a stream, whose labels are unknown.

    >>> share_of_commonest(Dataset.from_arrays(np.zeros((4, 8, 8)), [0, 1, 1, 1]))
    0.75
    """
    return 0.0 if isinstance(data, Stream) else float(np.bincount(data.labels).max() / len(data))


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
        data.classes = classes  # its labels are seen when they come
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


def looks_of(train_data: Dataset | Stream) -> dict[str, Any]:
    """What augmentation depends on besides the shape of the images, as arguments of `augment.suggested`."""
    return {"is_grey": train_data.is_grey, "is_raw": range_of_training(train_data, None) in (RAW, None)}


def range_of_training(train_data: Dataset | Stream, validation_data: Dataset | Stream | None) -> Range | None:
    """The range of pixel values that a model is trained on: validation images are not augmented, and may show it."""
    return common(train_data.pixel_range, None if validation_data is None else validation_data.pixel_range)


def check_pixels(train_data: Dataset | Stream, validation_data: Dataset | Stream | None) -> None:
    """Say where training images are not of 0 to 255, or seem to differ from the validation images.

    Raises:
        InvalidArgument: Those of the validation data are surely of another range.
    """
    own, other = train_data.pixel_range, None if validation_data is None else validation_data.pixel_range
    if own is not None and other is not None and not is_same(own, other):
        if are_different(own, other):
            raise InvalidArgument(
                "Training and validation images must have pixels of one range. Received: training images of "
                f"{shown(own)}, validation images of {shown(other)}. Prepare both alike, best as 0 to 255."
            )
        console.warn(
            f"the training images hold values {shown(own)}, the validation images {shown(other)}: both must be "
            "prepared alike"
        )
    found = range_of_training(train_data, validation_data)
    if found in (None, RAW):
        return
    divided = " (divided by 255?)" if found == UNIT else ""
    later = "Image files will be scaled to that for this model"
    if not can_scale(RAW, found):
        later = "This model will be wrong on image files: better scale inside the model, by keras.layers.Rescaling"
    console.warn(f"the training images hold values {shown(found)}{divided}; kzoo expects 0 to 255. {later}")


def class_names_of_data(data: Dataset | Stream) -> tuple[str, ...] | None:
    """The names of the classes, or None where the data has none of its own."""
    return data.class_names if isinstance(data, Dataset) and data.has_class_names else None


def metadata_of_data(data: Dataset | Stream) -> dict:
    """What the data says of a model that is trained on it, as `set_metadata` takes it."""
    names, arguments = class_names_of_data(data), getattr(data, "load_arguments", None)
    known: dict[str, Any] = {} if names is None else {"class_names": names}
    if arguments is not None:  # kzoo has scaled the images
        known.update({name: arguments[name] for name in ("crop_fraction", "interpolation", "range_16_bit")})
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
    ranks = (images.shape.rank, labels.shape.rank)
    if ranks not in ((3, 0), (3, 1), (4, 1), (4, 2)):
        raise DataError(
            "The tf.data.Dataset must give images (height, width, channels) with an integer label each, or batches of "
            f"them. Received: images {images.shape} {images.dtype.name}, labels {labels.shape} {labels.dtype.name}."
        )


def _first_labels(dataset) -> np.ndarray:
    """The labels of the first batch; raises DataError unless they can be brought to class indices."""
    labels = next(iter(dataset))[1].numpy()
    if labels.dtype.kind in "SO":
        raise DataError(
            f"The tf.data.Dataset must give class indices. Received: the label {labels.flat[0]!r}. Map the names to "
            "their indices, as with keras.layers.StringLookup."
        )
    return class_indices(labels, "dataset.map(lambda x, y: (x, tf.argmax(y, axis=-1)))")


def _class_indices(labels):
    """A batch's labels (batch,) or (batch, 1) as int32 (batch,). What is not a whole number becomes -1, no label."""
    labels = tf.reshape(labels, [-1])
    if labels.dtype.is_floating:
        labels = tf.where(tf.round(labels) == labels, labels, -1)
    return tf.cast(labels, tf.int32)


def _look_at(dataset) -> tuple[Range | None, bool]:
    """The range of the pixels in the first images, and whether those of the first batch have no colour.

    More than the first batch is read where that is small or dark.
    """
    seen: list[np.ndarray] = []
    has_no_colour = False
    for number, (images, _) in enumerate(dataset.take(SAMPLE).as_numpy_iterator()):
        _check_finite(images, number)
        has_no_colour = is_grey(images) if number == 0 else has_no_colour
        seen += list(images[: SAMPLE - len(seen)])
        if len(seen) >= SAMPLE or (images.size and images.max() >= 2):
            break
    return pixel_range(seen), has_no_colour


def _check_finite(images: np.ndarray, number: int) -> None:
    values = images.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
        raise DataError(
            f"An image of the tf.data.Dataset holds NaN or infinity. Received: image {row} of batch {number}, counted "
            "from 0. Repair the images, or leave such ones out with filter()."
        )


def _check_labels(labels: np.ndarray, number: int, classes: int | None) -> None:
    wrong = labels[(labels < 0) | (labels >= (classes or np.inf))]
    if len(wrong):
        beyond = wrong[0] == classes
        hint = "If they count from 1, subtract 1: map(lambda x, y: (x, y - 1))." if beyond else "Correct the labels."
        raise DataError(
            f"A label of the tf.data.Dataset is none of the model's {classes} classes. Received: {wrong[0]} in batch "
            f"{number}. Labels count from 0. {hint}"
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
