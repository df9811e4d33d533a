"""The order of an epoch: a pure function of (seed, epoch)."""

from kzoo.data.order import permutation, sample_seeds


def test_order_is_the_same_on_every_machine_and_in_every_release():
    assert permutation(7, 3, 10).tolist() == [2, 5, 9, 7, 3, 0, 6, 8, 4, 1]
    assert sample_seeds(7, 3, 2).tolist() == sample_seeds(7, 3, 10)[:2].tolist()
