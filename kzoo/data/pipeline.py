"""The tf.data pipeline: rows of an epoch to batches of images and labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kzoo.chatter import tensorflow
from kzoo.data.readers import Reader

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Replicas:
    """Those of all replicas of a training whose images this process reads."""

    own: range
    of: int
    """How many there are."""


def pipeline(
    reader: Reader,
    labels: np.ndarray,
    seeds: np.ndarray,
    order: np.ndarray,
    *,
    batch_size: int,
    start_batch: int,
    augment: Callable[[Any, Any], Any] | None,
    replicas: Replicas | None = None,
) -> "tf.data.Dataset":
    """Make the batches of one epoch, or what some replicas take of them.

    Args:
        reader: Where the images come from.
        labels: int32 `[N]`.
        seeds: int32 `[passes * N, 2]`, for the augmentation of each image in each pass.
        order: int64 `[passes * N]`: image i in pass p, which is p * N + i, in the order of the epoch.
        batch_size: Images in a batch; the last may be smaller.
        start_batch: How many batches to leave out.
        augment: As for `Dataset.batches`.
        replicas: Likewise.
    """
    tf = tensorflow()

    def fetch(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        picks = order[positions]
        rows = picks % len(labels)
        return reader.fetch(rows), labels[rows], seeds[picks]

    def read(positions: Any, *weight: Any) -> tuple[Any, ...]:
        types = (tf.as_dtype(reader.dtype), tf.int32, tf.int32)
        images, batch_labels, batch_seeds = tf.numpy_function(fetch, [positions], types, stateful=False)
        images.set_shape((None, *reader.image_shape))
        batch_labels.set_shape((None,))
        batch_seeds.set_shape((None, 2))
        return images, batch_labels, batch_seeds, *weight

    def finish(images: Any, batch_labels: Any, batch_seeds: Any, *weight: Any) -> tuple[Any, ...]:
        return *augmented(augment, images, batch_labels, batch_seeds), *weight

    options = tf.data.Options()
    options.deterministic = True
    # Files are read behind TensorFlow's back, so that there is nothing to shard by file.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    # The pipeline lives on the host, whichever device the caller has chosen.
    with tf.device("CPU:0"):
        positions = tf.data.Dataset.range(start_batch * batch_size, len(order)).batch(batch_size)
        mixes = getattr(augment, "mixes", False)  # the images of a whole batch
        if replicas is not None and not mixes:
            positions = shared_out(positions, replicas)
        batches = positions.map(read, **parallel).map(finish, **parallel)
        if replicas is not None and mixes:
            batches = shared_out(batches, replicas)
        return without_autotuner(batches.prefetch(tf.data.AUTOTUNE).with_options(options))


def shared_out(batches: "tf.data.Dataset", replicas: Replicas) -> "tf.data.Dataset":
    """Batches as some replicas take them: for each of them in turn its rows of a batch, and the weight of each row.

    Args:
        batches: Of tensors with a row for each image.
        replicas: Each of N gets a run of a batch's rows, of as near the same length as can be, with weight 1. A batch
            of fewer rows than replicas goes whole to each of them, with weight 1/N: an empty part has no batch
            statistics, and TensorFlow's convolutions fail on it.
    """
    tf, of = tensorflow(), replicas.of

    def parts(*tensors: Any) -> "tf.data.Dataset":
        rows = tf.shape(tensors[-1], tf.int64)[0]  # soft labels have a row of shares for each image
        whole = rows < of

        def part(replica: Any) -> tuple[Any, ...]:
            start = tf.where(whole, tf.zeros_like(rows), replica * rows // of)
            stop = tf.where(whole, rows, (replica + 1) * rows // of)
            return *(tensor[start:stop] for tensor in tensors), tf.where(whole, 1.0 / of, 1.0)

        return tf.data.Dataset.range(replicas.own.start, replicas.own.stop).map(part)

    return batches.flat_map(parts)


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
