"""What the page says, of figures that are known."""

import pytest

import noise_and_bits as recipe
import reporting
from kzoo.robustness import curves
from kzoo.robustness.changes import CORRUPTIONS


def figures(noise, bits, *, photos=False):
    def rows(name, levels, accuracies):
        return [
            {name: level, "accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1]}
            for level, accuracy in zip(levels, accuracies, strict=True)
        ]

    return {
        "images": 100,
        "calibrated_on": "scored images",
        "noise": rows("deviation", (0, 4, 8), noise),
        "bits": rows("bits", (32, 8, 2), bits),
        "corruptions": {
            name: rows("level", one.levels, [0.5, 0.4, 0.3, 0.2]) for name, one in CORRUPTIONS.items() if photos
        },
    }


@pytest.fixture
def found():
    return {
        recipe.MNIST: figures((0.8, 0.8, 0.4), (0.8, 0.8, 0.2)),
        recipe.CIFAR: figures((0.8, 0.6, 0.2), (0.8, 0.4, 0.2), photos=True),
        recipe.PHOTOS: figures((0.8, 0.4, 0.2), (0.8, 0.4, 0.1), photos=True),
    }


def test_the_page_has_every_level_and_the_order(found):
    page = reporting.page("noise_and_bits", recipe.tables(found))
    assert "| float32 | 80.0 (70.0 to 90.0) | 80.0 (70.0 to 90.0) | 80.0 (70.0 to 90.0) |" in page
    assert "| 0.5 % | 50.0 (40.0 to 60.0) | 50.0 (40.0 to 60.0) |" in page
    # (0.8 + 0.4) / 2 / 0.8 and (0.8 + 0.2) / 2 / 0.8
    assert "| mnist_net, MNIST | 75.0 % | 62.5 % |" in page
    assert "Spearman's rank correlation of the two columns: +1.0." in page
    assert curves.picture(found)[:4] == b"\x89PNG"


def test_the_correlation_has_a_sign(found):
    found[recipe.PHOTOS]["bits"] = figures((0.8, 0.4, 0.2), (0.8, 0.8, 0.8))["bits"]
    # By noise 1, 2, 3; by bits 2, 3, 1: 1 - 6 (1 + 1 + 4) / (3 * 8)
    assert "columns: -0.5." in recipe.order(found)
