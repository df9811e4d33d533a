"""The page says what the measurements say."""

import mnist_settings as recipe
import reporting


def figures():
    accuracies = {setting: [0.995, 0.996, 0.997] for setting in recipe.TRAININGS}
    accuracies["mixed_bfloat16", 1024] = [0.990, 0.991, 0.992]
    accuracies["float32", 256] = [0.9945, 0.9955, 0.9965]
    speeds = {(batch, steps): [100.0, 100.0, 100.0] for batch in (128, 256, 512, 1024) for steps in (1, 5, 20, None)}
    speeds[1024, None] = [300.0, 300.0, 300.0]
    speeds[512, 20] = [108.0, 54.0, 120.0]
    row = {
        "images_per_second": 2000.0, "ratio": 1.0, "peak_memory_bytes": 2**30, "weight_bytes": 2_000_000,
        "activation_bytes": 500_000,
    }  # fmt: skip
    precisions = [
        {**row, "precision": "float32", "batch_size": 256},
        {**row, "precision": "mixed_float16", "batch_size": 8},
    ]
    return accuracies, precisions, speeds


def test_a_faster_setting_of_lower_accuracy_does_not_count():
    page = reporting.page("mnist_settings", recipe.tables(*figures()))
    # The median of the rounds: 1.08, 0.54 and 1.2.
    assert "is a batch size of 512 with 20 steps an execution: 1.08 times the defaults' speed." in page
    assert "| 128 | 1.00 | 1.00 | 1.00 | 1.00 | not measured |" in page
    assert "| 1024 | 1.00 | 1.00 | 1.00 | 3.00 | 99.10 (99.00 to 99.20) |" in page
    assert "mixed_bfloat16 less float32: +0.05 points." in page


def test_what_was_not_measured_says_so():
    page = reporting.page("mnist_settings", recipe.tables(*figures()))
    assert "| mixed_float16 | 8 | 2,000 | 1.00 | 1.00 GiB | 2.00 MB | 0.50 MB | not measured |" in page
    assert "| float32 | 256 | 2,000 | 1.00 | 1.00 GiB | 2.00 MB | 0.50 MB | 99.55 (99.45 to 99.65) |" in page
