"""Datasets of arrays: validation, batches that are functions of (seed, epoch), and labels matched by name."""

import time

import numpy as np
import pytest
import tensorflow as tf

from kzoo.data import Dataset, match_labels
from kzoo.errors import DataError, InvalidArgument


def numbered(count: int = 23) -> Dataset:
    """Image i is filled with i."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 5, 3))
    return Dataset.from_arrays(images, np.arange(count) % 3, ["a", "b", "c"])


def numbers(batches: tf.data.Dataset) -> list[list[int]]:
    return [images[:, 0, 0, 0].tolist() for images, _ in batches.as_numpy_iterator()]


def test_batches_in_order_with_static_shapes():
    batches = numbered().batches(5)
    assert batches.element_spec == (tf.TensorSpec((None, 4, 5, 3), tf.uint8), tf.TensorSpec((None,), tf.int32))
    assert numbers(batches) == [list(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]
    assert len(batches) == 5


def test_labels_follow_their_images_through_the_shuffle():
    for images, labels in numbered().batches(4, shuffle=True, seed=3).as_numpy_iterator():
        np.testing.assert_array_equal(images[:, 0, 0, 0] % 3, labels)


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        batches = numbers(numbered().batches(7, shuffle=True, seed=seed, epoch=epoch))
        return [number for batch in batches for number in batch]

    assert order(1, 2) == order(1, 2)
    assert sorted(order(1, 2)) == list(range(23))
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def augment(images, seeds):
    """Draws noise per sample from its own seed."""
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_uniform((4, 5, 3), seed, 0, 256, tf.int32), seeds, fn_output_signature=tf.int32
    )
    return tf.cast((tf.cast(images, tf.int32) + noise) % 256, tf.uint8)


def test_start_batch_continues_bit_for_bit():
    data = numbered()
    options = {"shuffle": True, "seed": 5, "epoch": 2, "augment": augment}
    whole = list(data.batches(4, **options).as_numpy_iterator())
    for start in range(7):
        rest = list(data.batches(4, start_batch=start, **options).as_numpy_iterator())
        assert len(rest) == len(whole) - start
        for (images, labels), (expected_images, expected_labels) in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(images, expected_images)
            np.testing.assert_array_equal(labels, expected_labels)


def test_an_epoch_of_several_passes_is_that_many_epochs_of_one():
    data = numbered()
    options = {"shuffle": True, "seed": 5, "augment": augment}
    images, labels = zip(*data.batches(4, epoch=2, passes=3, **options).as_numpy_iterator(), strict=True)
    assert [len(one) for one in labels] == [4] * 17 + [1]  # 3 * 23 images: no small batch between the passes
    single = [batch for epoch in (6, 7, 8) for batch in data.batches(4, epoch=epoch, **options).as_numpy_iterator()]
    np.testing.assert_array_equal(np.concatenate(images), np.concatenate([one for one, _ in single]))
    np.testing.assert_array_equal(np.concatenate(labels), np.concatenate([one for _, one in single]))
    rest = data.batches(4, epoch=2, passes=3, start_batch=7, **options).as_numpy_iterator()
    for number, (some, their_labels) in enumerate(rest, start=7):
        np.testing.assert_array_equal(some, images[number])
        np.testing.assert_array_equal(their_labels, labels[number])


def test_grey_images_in_three_channels():
    grey = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 1), "uint8")
    coloured = np.repeat(grey, 3, axis=-1)
    assert Dataset.from_arrays(grey, np.zeros(40)).is_grey
    assert Dataset.from_arrays(coloured, np.zeros(40)).is_grey
    coloured[39, 0, 0, 1] ^= 1
    assert not Dataset.from_arrays(coloured, np.zeros(40)).is_grey
    assert not Dataset.from_arrays(np.repeat(grey, 4, axis=-1), np.zeros(40)).is_grey


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_same_bytes_with_any_number_of_workers(workers):
    """Also where the first batches take longest, so that with several workers later ones are ready before them."""

    def late(images, seeds):
        def wait(seeds):
            time.sleep(0.02 if seeds[0, 0] % 2 else 0.0)
            return seeds

        return augment(images, tf.ensure_shape(tf.numpy_function(wait, [seeds], tf.int32), (None, 2)))

    options = tf.data.Options()
    options.threading.private_threadpool_size = workers
    batches = numbered().batches(3, shuffle=True, seed=5, epoch=2, augment=late).with_options(options)
    expected = numbered().batches(3, shuffle=True, seed=5, epoch=2, augment=augment)
    assert batches.options().threading.private_threadpool_size == workers
    for found, (images, labels) in zip(batches.as_numpy_iterator(), expected.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(found[0], images)
        np.testing.assert_array_equal(found[1], labels)


def test_an_augmentation_that_mixes_gets_the_labels_and_gives_them():
    class Half:
        mixes = True

        def __call__(self, inputs, seeds):
            images, labels = inputs
            assert seeds.shape.as_list() == [None, 2]
            return images // 2, tf.one_hot(labels, 3) / 2

    [(images, labels)] = numbered(4).batches(8, augment=Half()).as_numpy_iterator()
    np.testing.assert_array_equal(images, numbered(4).images // 2)
    np.testing.assert_array_equal(labels, np.eye(3, dtype="float32")[[0, 1, 2, 0]] / 2)


def test_seeds_depend_on_the_sample_not_on_its_place_in_the_epoch():
    def seed_of_image(batch_size, shuffle, epoch):
        found = {}

        def record(images, seeds):
            return tf.concat([tf.cast(images[:, 0, 0, :1], tf.int32), seeds], -1)

        batches = numbered().batches(batch_size, shuffle=shuffle, seed=9, epoch=epoch, augment=record)
        for rows, _ in batches.as_numpy_iterator():
            found |= {int(row[0]): tuple(row[1:]) for row in rows}
        return found

    in_order = seed_of_image(4, False, 1)
    assert in_order == seed_of_image(7, True, 1)
    assert len(set(in_order.values())) == 23
    assert not set(in_order.values()) & set(seed_of_image(4, False, 2).values())


def test_floats_stay_floats():
    data = Dataset.from_arrays(np.full((2, 3, 3), 100.5), [0, 1])
    (images, _), *_ = data.batches(2).as_numpy_iterator()
    assert (images.dtype, images[0, 0, 0, 0], data.dtype) == (np.float32, 100.5, "float32")


def test_what_is_handed_out_cannot_be_written():
    source = np.zeros((2, 3, 3), np.uint8)
    data = Dataset.from_arrays(source, [0, 1])
    for array in (data.images, data.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    source[0] = 1  # the caller's own array stays theirs


IMAGES = np.zeros((3, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (IMAGES, [0, 1], None, "differ in length. Received: 3 images, 2 labels"),
        (IMAGES[:0], [], None, r"not empty. Received: shape \(0, 4, 4, 1\)"),
        (IMAGES[0], [0], None, r"must be \[N, H, W\]"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], [0, 1], None, "a list whose items differ in shape"),
        (IMAGES, [0, 1, -1], None, "count from 0. Received: -1"),
        (IMAGES, [0, 1, 10**9], None, "count from 0. Received: 1000000000"),
        (IMAGES, [0.0, 1.0, 1.5], None, "whole numbers. Received: 1.5 for image 2"),
        (IMAGES, np.eye(3, dtype=int), None, r"one-hot labels take labels.argmax\(axis=1\)"),
        (IMAGES, [0, 1, 2], ["a", "b"], "beyond the 2 class names. Received: 2"),
        (IMAGES, [0, 1, 1], ["a", "a"], "twice. Received: 'a'"),
        (IMAGES - np.float32(1), [0, 1, 1], None, "0 to 255. Received: -1 to -1"),
        (IMAGES + np.int64(256), [0, 1, 1], None, "0 to 255. Received: 256 to 256"),
        (np.stack([IMAGES[0], IMAGES[0] * np.nan]), [0, 1], None, "NaN or infinity. Received: first in image 1"),
        (IMAGES.astype(str), [0, 1, 1], None, "must be uint8 or float"),
    ],
)
def test_arrays_that_cannot_be_used(images, labels, names, message):
    with pytest.raises(DataError, match=message) as error:
        Dataset.from_arrays(images, labels, names)
    assert "\n" not in str(error.value)


def test_warns_of_images_already_divided_by_255(caplog):
    Dataset.from_arrays(np.linspace(0, 1, 32).reshape(2, 4, 4), [0, 1])
    assert "were they divided by 255?" in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 0}, {"batch_size": 2.0}, {"batch_size": 4, "seed": -1}, {"batch_size": 4, "start_batch": 7}],
)
def test_batches_refuses_numbers_out_of_range(arguments):
    with pytest.raises(InvalidArgument, match="Received: "):
        numbered().batches(**arguments)


def test_fingerprint_is_of_the_content():
    def fingerprint(images, labels=(0, 1, 1), names=None):
        return Dataset.from_arrays(images, labels, names).fingerprint

    changed = IMAGES.copy()
    changed[2, 3, 3] = 1
    assert fingerprint(IMAGES) == fingerprint(IMAGES[::-1][::-1])
    assert len({fingerprint(IMAGES), fingerprint(changed), fingerprint(IMAGES, (0, 1, 0))}) == 3
    assert fingerprint(IMAGES, names=["a", "b"]) != fingerprint(IMAGES, names=["a", "c"])


def test_class_weights_are_balanced():
    data = Dataset.from_arrays(np.zeros((6, 2, 2)), [0, 0, 0, 0, 1, 1], ["a", "b", "never"])
    np.testing.assert_allclose(data.class_weights(), [6 / (3 * 4), 6 / (3 * 2), 0])


def test_match_labels_by_name():
    data = numbered(6)
    matched = match_labels(data, ["c", "x", "a", "b"])
    assert matched.labels.tolist() == [2, 3, 0, 2, 3, 0]
    assert matched.class_names == ("c", "x", "a", "b")
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(matched.images, data.images)
    batch_labels = [labels.tolist() for _, labels in matched.batches(6).as_numpy_iterator()]
    assert batch_labels == [[2, 3, 0, 2, 3, 0]]


def test_match_labels_names_what_the_model_does_not_know():
    data = Dataset.from_arrays(IMAGES, [0, 1, 1], ["cat", "dgo", "unused"][:2])
    with pytest.raises(DataError, match=r"Received: 'dgo'. Did you mean 'dog'\? Valid, 2 in all: cat, dog"):
        match_labels(data, ["cat", "dog"])
    with pytest.raises(DataError, match="several classes named 'cat'"):
        match_labels(data, ["cat", "cat", "dgo"])


def test_a_class_without_images_need_not_be_known():
    data = Dataset.from_arrays(IMAGES, [0, 1, 1], ["cat", "dog", "unused"])
    assert match_labels(data, ["dog", "cat"]).labels.tolist() == [1, 0, 0]


def test_batches_are_fast_enough_for_small_images():
    data = Dataset.from_arrays(np.zeros((60000, 28, 28), np.uint8), np.arange(60000) % 10)
    rates = []
    for epoch in range(3):
        start = time.perf_counter()
        for _ in data.batches(512, shuffle=True, epoch=epoch):
            pass
        rates.append(60000 / (time.perf_counter() - start))
    assert max(rates) > 50_000  # an idle machine reaches ten times that


def test_the_autotuner_is_off():
    # Deleting an iterator with it can take as long as the epoch did: TensorFlow 2.21 loses the notice to its thread.
    data = Dataset.from_arrays(np.zeros((5, 8, 8), np.uint8), [0, 1, 0, 1, 0])
    options = data.batches(2).options()
    assert options.autotune.enabled is False
    assert options.deterministic is True  # the options before it are kept
