"""Learning-rate schedules at exact points, each with warm-up."""

import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from kzoo.train import TrainConfig
from kzoo.train.schedules import learning_rate, picture

# Ten epochs, the first two of warm-up, peak 0.8: the decay runs over the epochs 2 to 10.
BASE = {"epochs": 10, "learning_rate": 0.8, "warmup_epochs": 2}


def rates(times, **arguments):
    config = TrainConfig(**{**BASE, **arguments})
    return [learning_rate(config, time) for time in times]


@pytest.mark.parametrize(
    ("arguments", "expected"),  # at epochs 2, 4, 6, 8, 10, as fractions of the peak
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1]),
        ({"schedule": "plateau"}, [1, 1, 1, 1, 1]),
        ({"schedule": "step"}, [1, 1, 0.1, 0.01, 0.01]),
        ({"schedule": "step", "decay_epochs": (4, 8), "decay_rate": 0.5}, [1, 0.5, 0.5, 0.25, 0.25]),
        ({"schedule": "polynomial"}, [1, 0.75, 0.5, 0.25, 0]),
        ({"schedule": "polynomial", "power": 2}, [1, 0.5625, 0.25, 0.0625, 0]),
        ({"schedule": "polynomial", "final_learning_rate": 0.2}, [1, 0.8, 0.6, 0.4, 0.2]),
        ({"schedule": "exponential", "decay_rate": 0.0016}, [1, 0.2, 0.04, 0.008, 0.0016]),
        ({"schedule": "cosine"}, [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0]),
        ({"schedule": "cosine", "final_learning_rate": 0.1}, [1, 0.1 + 0.9 * (2 + 2**0.5) / 4, 0.55, None, 0.1]),
        ({"schedule": "one_cycle"}, [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0]),
    ],
)
def test_decay(arguments, expected):
    for rate, fraction in zip(rates((2, 4, 6, 8, 10), **arguments), expected, strict=True):
        if fraction is not None:
            assert rate == pytest.approx(0.8 * fraction, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "times", "expected"),  # as fractions of the peak, in 100 epochs
    [
        ("vgg", (0, 50, 99), [1, 1, 1]),  # lowered by what is seen
        ("resnet_imagenet", (0, 50, 99), [1, 1, 1]),
        ("googlenet", (0, 7.99, 8, 16, 23.9, 99), [1, 1, 0.96, 0.96**2, 0.96**2, 0.96**12]),
        ("resnet", (0, 49.9, 50, 74.9, 75, 99), [1, 1, 0.1, 0.1, 0.01, 0.01]),  # 32,000 and 48,000 of 64,000 steps
        ("resnet110", (0, 1.13, 1.14, 49.9, 50, 75), [0.1, 0.1, 1, 1, 0.1, 0.01]),
    ],
)
def test_schedules_of_papers(schedule, times, expected):
    config = TrainConfig(epochs=100, schedule=schedule, learning_rate=0.8)
    assert [learning_rate(config, time) / 0.8 for time in times] == pytest.approx(expected, rel=1e-12)


def test_the_warmup_of_110_layers_is_400_steps_of_the_paper_and_no_more_than_a_part_of_a_short_run():
    steps_per_epoch = 45_000 / 128
    assert TrainConfig(epochs=182, schedule="resnet110").warmup * steps_per_epoch == pytest.approx(400)
    assert TrainConfig(epochs=2, schedule="resnet110").warmup == pytest.approx(0.6)
    # Another length, at the same tenth.
    config = TrainConfig(epochs=100, schedule="resnet110", learning_rate=1.0, warmup_epochs=5)
    assert [learning_rate(config, time) for time in (0, 4.99, 5)] == pytest.approx([0.1, 0.1, 1.0])


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        ({}, (2 - 2**0.5) / 4),  # cosine at three quarters of its decay
        ({"schedule": "polynomial"}, 0.25),
        ({"schedule": "step", "decay_epochs": (4, 8)}, 0.1),  # the second step falls due when the average begins
        ({"schedule": "constant"}, 1.0),
    ],
)
def test_epochs_that_are_averaged_keep_the_rate_that_was_right_before_them(arguments, rate):
    assert rates((8, 8.5, 9.9, 10), swa_epochs=2, **arguments) == pytest.approx([0.8 * rate] * 4, rel=1e-12)
    before = rates((0, 1, 2, 5, 7.9), **arguments)
    assert rates((0, 1, 2, 5, 7.9), swa_epochs=2, **arguments) == before


def test_the_picture_has_all_phases():
    phases = [("head", TrainConfig(epochs=4)), ("fine-tuning", TrainConfig(epochs=6, swa_epochs=2, warmup_epochs=2))]
    with Image.open(io.BytesIO(picture(phases))) as image:
        both = np.asarray(image.convert("RGB")).astype(int)
    with Image.open(io.BytesIO(picture(phases[:1]))) as image:
        one = np.asarray(image.convert("RGB")).astype(int)

    def has(pixels, colour):  # of Matplotlib's cycle
        return (np.abs(pixels - colour).max(axis=-1) < 10).sum() > 200

    blue, green = (31, 119, 180), (44, 160, 44)
    assert has(both, blue)
    assert has(both, green)
    assert has(one, blue)
    assert not has(one, green)


@pytest.mark.parametrize("schedule", ["constant", "plateau", "step", "polynomial", "exponential", "cosine"])
def test_warmup_is_linear(schedule):
    assert rates((0, 0.5, 1, 1.5), schedule=schedule) == pytest.approx([0, 0.2, 0.4, 0.6], rel=1e-12)


def test_one_cycle_rises_along_a_cosine():
    assert rates((0, 0.5, 1, 1.5), schedule="one_cycle") == pytest.approx(
        [0, 0.8 * (2 - 2**0.5) / 4, 0.4, 0.8 * (2 + 2**0.5) / 4], rel=1e-12
    )


def test_one_cycle_peaks_at_thirty_percent():
    config = TrainConfig(epochs=10, learning_rate=0.8, schedule="one_cycle")
    assert config.warmup == 3
    curve = [learning_rate(config, t / 10) for t in range(101)]
    assert curve.index(max(curve)) == 30
    assert curve[30] == 0.8
    assert curve[0] == curve[100] == 0


def test_no_warmup_by_default():
    assert TrainConfig().warmup == 0
    assert rates((0,), warmup_epochs=None, schedule="cosine") == [0.8]


@pytest.mark.parametrize("schedule", ["constant", "step", "polynomial", "exponential", "cosine", "one_cycle"])
def test_never_outside_zero_and_the_peak(schedule):
    config = TrainConfig(**BASE, schedule=schedule)
    curve = [learning_rate(config, t / 7) for t in range(71)]
    assert all(0 <= rate <= 0.8 for rate in curve)
    falling = curve[15:]
    assert all(a >= b for a, b in itertools.pairwise(falling))


@pytest.mark.parametrize("schedule", ["step", "polynomial", "exponential", "cosine", "one_cycle"])
def test_the_batch_size_does_not_change_the_curve(schedule):
    few, many = (TrainConfig(**BASE, schedule=schedule, batch_size=size) for size in (1, 4096))
    assert [learning_rate(few, t / 3) for t in range(31)] == [learning_rate(many, t / 3) for t in range(31)]


def test_a_time_beyond_the_end_is_the_end():
    assert not math.isnan(rates((12,), schedule="polynomial", power=0.5)[0])
    assert rates((12,), schedule="cosine") == rates((10,), schedule="cosine")
