"""kzoo's defaults do not starve a small net, and half precision costs it no accuracy.

Source:  kzoo's measurement of mnist_net by precision, batch size and steps per execution.
Command: tfds build mnist
         python recipes/mnist_settings.py    # stopped, it continues when it is called again
Time:    twelve trainings of about two minutes each, then the timing, on 2 cores of an AMD EPYC with AVX512-BF16.
Result:  docs/mnist_settings.md.
"""

import statistics
from pathlib import Path
from typing import Literal

import kzoo
from kzoo import console
from kzoo.bench import Contender, Work, measure_precisions, measure_speeds
from kzoo.text import markdown_table, megabytes
from kzoo.train import TrainConfig, evaluate, run_record, start
from reporting import parser, percent, write_page

Precision = Literal["float32", "mixed_bfloat16"]
DEFAULT = ("mixed_bfloat16", 256)
# What is trained to the end: precision and batch size. Smaller batches are slower.
TRAININGS: list[tuple[Precision, int]] = [
    ("float32", 256),
    ("mixed_bfloat16", 256),
    ("mixed_bfloat16", 512),
    ("mixed_bfloat16", 1024),
]
SEEDS = (0, 1, 2)
# What is timed; None is the number of steps that kzoo chooses.
BATCH_SIZES = (128, 256, 512, 1024)
STEPS_PER_EXECUTION = (1, 5, 20, None)
ROUNDS, IMAGES = 5, 16_384


def main() -> None:
    """Train what is not trained yet, time, then write the page."""
    options = parser(__doc__, "mnist_settings").parse_args()
    accuracies = {setting: [accuracy(*setting, seed, options.runs) for seed in SEEDS] for setting in TRAININGS}
    precisions = measure_precisions("mnist_net", batch_size=DEFAULT[1], images=IMAGES, rounds=ROUNDS)["rows"]
    write_page("mnist_settings", tables(accuracies, precisions, sweep()), options.output)


def accuracy(precision: Precision, batch_size: int, seed: int, folder: Path) -> float:
    """Test accuracy after a training with all other options at their defaults."""
    run_dir = folder / f"{precision}-{batch_size}-{seed}"
    console.log(f"{run_dir}")
    config = TrainConfig(precision=precision, batch_size=batch_size, seed=seed)
    result = start(run_record("mnist_net", "mnist", config=config), run_dir, resume=True)
    return evaluate(result.model, kzoo.data.load("mnist", "test", 28))["accuracy"]


def sweep() -> dict[tuple[int, int | None], list[float]]:
    """Images per second in each round, by batch size and steps per execution, augmentation included."""
    settings = [(batch, steps) for batch in BATCH_SIZES for steps in STEPS_PER_EXECUTION]
    contenders = [
        Contender(f"{batch} x {steps}", DEFAULT[0], batch, "kzoo", "kzoo", "digits", steps) for batch, steps in settings
    ]
    return dict(zip(settings, measure_speeds(Work("train-step", "mnist_net", IMAGES), contenders, ROUNDS), strict=True))


def tables(accuracies: dict, precisions: list[dict], speeds: dict) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    default = speeds[DEFAULT[1], None]
    ratios = {
        setting: statistics.median(a / b for a, b in zip(found, default, strict=True))
        for setting, found in speeds.items()
    }
    trained = {batch: found for (precision, batch), found in accuracies.items() if precision == DEFAULT[0]}
    as_good = [batch for batch, found in trained.items() if is_as_good(found, trained[DEFAULT[1]])]
    best = max((setting for setting in ratios if setting[0] in as_good), key=ratios.__getitem__)
    difference = statistics.mean(accuracies[DEFAULT]) - statistics.mean(accuracies["float32", DEFAULT[1]])
    return {
        "sweep": sweep_table(ratios, trained),
        "fastest": f"The fastest of those is a batch size of {best[0]} with {best[1] or 'as many as kzoo takes'} steps "
        f"an execution: {ratios[best]:.2f} times the defaults' speed.",
        "precisions": precision_table(accuracies, precisions),
        "difference": f"mixed_bfloat16 less float32: {100 * difference:+.2f} points.",
    }


def sweep_table(ratios: dict, trained: dict[int, list[float]]) -> str:
    """Speeds by batch size and steps per execution, and the accuracy with each batch size."""
    rows = [
        (
            f"{batch}" + (" (default)" if batch == DEFAULT[1] else ""),
            *(f"{ratios[batch, steps]:.2f}" for steps in STEPS_PER_EXECUTION),
            accuracy_cell(trained.get(batch)),
        )
        for batch in BATCH_SIZES
    ]
    return markdown_table(
        [("batch size", *(f"{steps or 'default'}" for steps in STEPS_PER_EXECUTION), "test accuracy, %"), *rows]
    )


def precision_table(accuracies: dict, precisions: list[dict]) -> str:
    """Speed, memory and accuracy under each dtype policy."""
    titles = (
        "precision", "batch size", "images/s", "ratio", "peak memory", "weights", "activations per image",
        "test accuracy, %",
    )  # fmt: skip
    rows = [
        (
            row["precision"],
            f"{row['batch_size']}",
            f"{row['images_per_second']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
            megabytes(row["weight_bytes"]),
            megabytes(row["activation_bytes"]),
            accuracy_cell(accuracies.get((row["precision"], row["batch_size"]))),
        )
        for row in precisions
    ]
    return markdown_table([titles, *rows])


def is_as_good(found: list[float], default: list[float]) -> bool:
    """Whether the mean over the seeds is lower by no more than the default's own spread."""
    return statistics.mean(found) >= statistics.mean(default) - (max(default) - min(default))


def accuracy_cell(found: list[float] | None) -> str:
    """Mean and range over the seeds, if a setting was trained."""
    return "not measured" if found is None else percent(found, ".2f")


if __name__ == "__main__":
    main()
