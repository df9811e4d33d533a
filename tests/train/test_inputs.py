"""A user's own tf.data.Dataset: the seeds of its images, whatever its batches are."""

import numpy as np
import tensorflow as tf

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
