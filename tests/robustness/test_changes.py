"""What is done to images, against its definition."""

import numpy as np
import pytest
import scipy.stats

from kzoo.robustness.changes import CORRUPTIONS, blurred, compressed, faded, noisy, standard_noise


@pytest.fixture
def photos():
    """Smooth colours, of which JPEG loses little."""
    y, x = np.mgrid[0:32, 0:48] / 48
    return np.stack([np.stack([255 * x, 255 * y, 128 + 64 * x * y], axis=-1)] * 2).astype(np.float32)


def test_noise_is_standard_normal_and_a_function_of_the_batch():
    noise = standard_noise(1, (64, 32, 32, 3))
    assert noise.dtype == np.float32
    assert scipy.stats.kstest(noise.ravel()[:20_000], "norm").pvalue > 0.01
    assert not np.array_equal(noise, standard_noise(2, noise.shape))
    np.testing.assert_array_equal(noise, standard_noise(1, noise.shape))


def test_noise_is_scaled_and_clipped():
    images = np.full((16, 32, 32, 1), 128, np.float32)
    changed = noisy(images, standard_noise(0, images.shape), 16)
    # The standard error of a standard deviation of so many draws is 0.09.
    assert changed.std() == pytest.approx(16, abs=0.5)
    black = noisy(0 * images, standard_noise(0, images.shape), 16)
    assert black.min() == 0
    assert np.mean(black == 0) == pytest.approx(0.5, abs=0.02)


def test_blur_spreads_a_point_by_a_share_of_the_shorter_side():
    point = np.zeros((1, 100, 160, 1), np.float32)
    point[0, 50, 80, 0] = 255
    spread = blurred(point, 0.02)[0, :, :, 0]
    assert spread.sum() == pytest.approx(255, rel=1e-4)
    assert np.sum(spread * (np.arange(100)[:, None] - 50) ** 2) / 255 == pytest.approx(2.0**2, rel=0.02)
    # Images and channels are not mixed.
    assert blurred(np.concatenate([point, 0 * point]), 0.02)[1].max() == 0
    assert blurred(np.concatenate([point, 0 * point], axis=-1), 0.02)[..., 1].max() == 0


def test_contrast_keeps_the_mean_of_each_channel(photos):
    changed = faded(photos, 0.25)
    np.testing.assert_allclose(changed.mean(axis=(1, 2)), photos.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(changed.std(axis=(1, 2)), photos.std(axis=(1, 2)) / 4, rtol=1e-4)


def test_jpeg_loses_more_at_lower_quality(photos):
    losses = [np.abs(compressed(photos, quality) - photos).mean() for quality in (95, 50, 5)]
    assert losses[0] < losses[1] < losses[2] < 32
    assert losses[0] < 2


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_grow_and_keep_the_form(name, photos):
    noise = np.random.default_rng(0).normal(0, 20, photos.shape)
    images = np.clip(photos + noise, 0, 255).astype(np.float32)
    distances = []
    for level in CORRUPTIONS[name].levels:
        changed = CORRUPTIONS[name].apply(images, level)
        assert (changed.shape, changed.dtype) == (images.shape, np.float32)
        assert changed.min() >= -1e-3
        assert changed.max() <= 255 + 1e-3
        distances.append(np.abs(changed - images).mean())
    assert distances == sorted(distances)
    assert distances[0] > 0
