"""A user's own tf.data.Dataset: its labels, and the seeds of its images, whatever its batches are."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.errors import DataError
from kzoo.train.inputs import Stream


def ragged(*sizes):
    """Batches of these sizes; the pixel of each image is its number."""
    spec = (tf.TensorSpec((None, 1, 1, 1), tf.float32), tf.TensorSpec((None,), tf.int32))

    def batches():
        start = 0
        for size in sizes:
            numbers = np.arange(start, start + size)
            yield numbers.astype("float32").reshape(-1, 1, 1, 1), numbers % 3
            start += size

    return Stream(tf.data.Dataset.from_generator(batches, output_signature=spec), None)


def seeds_of(stream, **order):
    """{image's number: its seeds}."""

    def record(images, seeds):
        return tf.concat([tf.cast(images[:, 0, 0], tf.int32), seeds], axis=-1)

    rows = np.concatenate([rows for rows, _ in stream.batches(0, augment=record, **order).as_numpy_iterator()])
    return {int(row[0]): (int(row[1]), int(row[2])) for row in rows}


def test_every_image_of_an_epoch_has_seeds_of_its_own():
    # More rows than 4096, and fewer in the first batch than in later ones.
    found = seeds_of(ragged(3, 5000, 1, 700), seed=3, epoch=1)
    assert len(found) == len(set(found.values())) == 5704


def test_a_stream_resumed_at_a_batch_has_the_same_seeds():
    stream = ragged(4, 6, 5, 2)
    whole = seeds_of(stream, seed=3, epoch=1)
    assert seeds_of(stream, seed=3, epoch=1, start_batch=2) == {i: whole[i] for i in range(10, 17)}
    assert not set(whole.values()) & set(seeds_of(stream, seed=3, epoch=2).values())
    assert not set(whole.values()) & set(seeds_of(stream, seed=4, epoch=1).values())


def test_seeds_of_a_stream_are_the_same_in_every_release():
    # Philox([3, 1])'s first word as two int32; then the row and the batch are added.
    words = np.random.Philox(key=[3, 1]).random_raw(1).astype("<u8").view("<i4").astype("int64")
    expected = [(words + [row, batch] + 2**31) % 2**32 - 2**31 for batch in range(2) for row in range(2)]
    assert list(seeds_of(ragged(2, 2), seed=3, epoch=1).values()) == [tuple(row) for row in expected]


def stream(labels, batch=2):
    pairs = tf.data.Dataset.from_tensor_slices((np.zeros((4, 2, 2, 1), "uint8"), np.asarray(labels)))
    return Stream(pairs.batch(batch) if batch else pairs, 2)


@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize(
    "labels", [[[0], [1], [2], [1]], [0.0, 1.0, 2.0, 1.0], np.array([[0], [1], [2], [1]], "float32")]
)
def test_labels_of_a_stream_in_one_column_or_as_whole_floats(labels, batch):
    found = stream(labels, batch)
    assert [batch.numpy().tolist() for _, batch in found.batches(2)] == [[0, 1], [2, 1]]
    assert (found.batch_size, found.steps) == (2, 2)
    assert found.dataset.element_spec[1].dtype == tf.int32


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(4), r"one-hot labels take dataset.map\(lambda x, y: \(x, tf.argmax\(y, axis=-1\)\)\)"),
        ([[1, 1], [0, 1], [1, 0], [0, 1]], "where image 0 has 2"),
        (["a", "b", "a", "b"], r"Received: the label b'a'"),
        ([0.5, 1, 0, 0], "Received: 0.5 for image 0"),
        ([-1, 1, 0, 0], "count from 0. Received: -1"),
    ],
)
def test_labels_of_a_stream_that_cannot_be_used(labels, message):
    with pytest.raises(DataError, match=message):
        stream(labels)
