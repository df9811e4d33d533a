"""Which images, and in which order: those of an epoch, with their seeds, by (seed, epoch); and some of all."""

import numpy as np


def spread(count: int, most: int) -> np.ndarray:
    """Numbers of at most `most` of `count` images, from all over them: int64, ascending.

    >>> spread(10, 4).tolist(), spread(2, 4).tolist()
    ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, count - 1, most).astype(int))


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The shuffled order of an epoch: int64 `[count]`.

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
