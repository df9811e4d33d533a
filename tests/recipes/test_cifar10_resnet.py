"""The settings are the paper's, and the page has a row for what was trained and scored."""

import math
import shutil

import numpy as np
import pytest

import cifar10_resnet as recipe
import reporting
from kzoo.augment import policy
from kzoo.train import TrainConfig, run_record, start
from kzoo.train.config import with_data_defaults
from kzoo.train.runs import read_metrics


def resolved(model, schedule):
    config = recipe.configuration(model, schedule, recipe.EPOCHS[schedule], 3)
    return with_data_defaults(config, "cifar10", 50_000, (32, 32, 3))


@pytest.mark.parametrize(("model", "warmup"), [("resnet56_cifar", 0), ("resnet110_cifar", 400 * 128 / 45_000)])
def test_the_schedule_resnet_is_the_papers(model, warmup):
    config = resolved(model, "resnet")
    assert (config.epochs, config.batch_size) == (164, 128)
    assert abs(164 * math.ceil(50_000 / 128) - 64_000) < 391  # steps: less than an epoch too many
    assert config.decay_epochs == (82, 123)
    assert (config.optimizer, config.learning_rate, config.weight_decay) == ("sgd", pytest.approx(0.1), 1e-4)
    assert config.warmup_epochs == pytest.approx(warmup)
    assert config.seed == 3


def test_the_short_schedule_is_what_the_page_says():
    config = resolved("resnet20_cifar", "cosine")
    assert (config.optimizer, config.schedule, config.batch_size) == ("adamw", "cosine", 128)
    assert (config.epochs, config.learning_rate, config.final_learning_rate) == (40, pytest.approx(0.003), 0)


def test_images_are_moved_by_up_to_4_pixels_over_black_and_mirrored():
    image = np.full((32, 32, 3), 100, np.uint8)
    image[:, 16:] = 200
    seeds = np.random.default_rng(0).integers(0, 2**31 - 1, (400, 2)).astype("int32")
    augment = policy(recipe.configuration("resnet20_cifar", "resnet", 164, 0).augment)
    assert augment is not None
    found = np.asarray(augment(np.tile(image, (400, 1, 1, 1)), seeds))[..., 0]
    assert set(np.unique(found)) == {0, 100, 200}
    black_rows, black_columns = ((found == 0).all(axis=axis).sum(axis=1) for axis in (2, 1))
    assert set(black_rows) == set(black_columns) == {0, 1, 2, 3, 4}
    is_mirrored = found[:, 16, 8] == 200
    assert 150 < is_mirrored.sum() < 250  # five standard deviations


def test_runs_are_scored_once_and_read_by_their_setting(tmp_path):
    run_dir = tmp_path / "resnet20_cifar-cosine-1-7"
    config = TrainConfig(epochs=1, batch_size=256, augment="none", seed=7)
    start(run_record("resnet20_cifar", "digits", config=config, all_data=True), run_dir)
    shutil.copytree(run_dir, tmp_path / "not-scored")
    assert recipe.scored(tmp_path) == {}
    recipe.score(run_dir)
    metrics, written = read_metrics(run_dir), (run_dir / "metrics.json").stat().st_mtime_ns
    assert metrics["test"]["images"] == 179
    run = recipe.Run(7, 1 - metrics["test"]["accuracy"], metrics["training_seconds"])
    assert recipe.scored(tmp_path) == {recipe.Setting("resnet20_cifar", "cosine", 1): [run]}
    recipe.score(run_dir)
    assert (run_dir / "metrics.json").stat().st_mtime_ns == written


def test_the_page_has_each_setting_and_the_rows_that_are_missing():
    short, long = (recipe.Setting("resnet20_cifar", *how) for how in (("cosine", 40), ("resnet", 164)))
    found = {
        short: [recipe.Run(0, 0.0875, 60.0), recipe.Run(1, 0.0895, 80.0)],
        long: [recipe.Run(0, 0.0875, 7200.0)],
    }
    page = reporting.page("cifar10_resnet", {"errors": recipe.errors(found), "expected": recipe.expected(found)})
    assert "| ResNet-20 | 8.75 | 8.85 (8.75 to 8.95) | cosine | 40 | 0, 1 | 1 min 10 s |" in page
    assert "| ResNet-20 | 8.75 | 8.75 | resnet | 164 | 0 | 2 h 0 min |" in page
    assert "| ResNet-110 | 6.43 | not measured | - | - | - | - |" in page
    assert page.count("not measured") == 4
    assert "- ResNet-20, cosine, 40 epochs: +0.10 points, it did not hold." in page
    assert "- ResNet-20, resnet, 164 epochs: +0.00 points, it held." in page
