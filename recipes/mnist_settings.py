"""The MNIST net by precision, batch size and steps per execution: speed, memory and accuracy.

    tfds build mnist
    python recipes/mnist_settings.py

Says whether kzoo's defaults starve a small net: how near they come to the fastest setting of a sweep that ends at the
same accuracy. And whether half precision costs accuracy. Stopped, it goes on where it was when it is called again. It
writes docs/mnist_settings.md, which has the result.

A small net's step is short beside what surrounds it: Python's loop, which steps per execution take out, and the fixed
cost of each of TensorFlow's operations, which a larger batch shares among more images.
"""

import argparse
import statistics
from pathlib import Path
from typing import Literal

import kzoo
from kzoo import console
from kzoo.bench import Contender, Work, measure_precisions, measure_speeds
from kzoo.files import write_text
from kzoo.text import markdown_table, megabytes
from kzoo.train import TrainConfig, evaluate, fit, resume

MACHINE = "2 cores of an AMD EPYC with AVX512-BF16, 2026-11-22"
DOCS = Path(__file__).resolve().parent.parent / "docs"
Precision = Literal["float32", "mixed_bfloat16"]
DEFAULT = ("mixed_bfloat16", 256)
# What is trained to the end, with seeds 0, 1 and 2: precision and batch size. Smaller batches are slower.
TRAININGS: list[tuple[Precision, int]] = [
    ("float32", 256),
    ("mixed_bfloat16", 256),
    ("mixed_bfloat16", 512),
    ("mixed_bfloat16", 1024),
]
SEEDS = (0, 1, 2)
# What is timed; None is as many steps as kzoo takes by itself.
BATCH_SIZES = (128, 256, 512, 1024)
STEPS_PER_EXECUTION = (1, 5, 20, None)
ROUNDS, IMAGES = 5, 16_384


def main() -> None:
    """Train what is not trained yet, time, then write the page."""
    parser = argparse.ArgumentParser(description="Measure the MNIST net under many settings.")
    parser.add_argument("--output", type=Path, default=DOCS, help="folder of the page")
    parser.add_argument("--runs", type=Path, default=Path("runs/mnist_settings"), help="folder of the trainings")
    options = parser.parse_args()
    accuracies = {setting: [accuracy(*setting, seed, options.runs) for seed in SEEDS] for setting in TRAININGS}
    precisions = measure_precisions("mnist_net", batch_size=DEFAULT[1], images=IMAGES, rounds=ROUNDS)["rows"]
    speeds = sweep()
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "mnist_settings.md", page(accuracies, precisions, speeds))
    console.log(f"wrote {options.output / 'mnist_settings.md'}")


def accuracy(precision: Precision, batch_size: int, seed: int, folder: Path) -> float:
    """Test accuracy after a training with all other options at their defaults."""
    run_dir = folder / f"{precision}-{batch_size}-{seed}"
    console.log(f"{run_dir}")
    if (run_dir / "checkpoint.safetensors").exists():
        model = resume(run_dir).model
    else:
        train, validation = (kzoo.data.load("mnist", split, image_size=28) for split in ("train", "validation"))
        config = TrainConfig(precision=precision, batch_size=batch_size, seed=seed)
        model = fit(lambda: kzoo.create_model("mnist_net"), train, validation, config, run_dir, overwrite=True).model
    return evaluate(model, kzoo.data.load("mnist", "test", image_size=28))["accuracy"]


def sweep() -> dict[tuple[int, int | None], list[float]]:
    """Images per second in each round, by batch size and steps per execution, augmentation included."""
    settings = [(batch, steps) for batch in BATCH_SIZES for steps in STEPS_PER_EXECUTION]
    contenders = [
        Contender(f"{batch} x {steps}", DEFAULT[0], batch, "kzoo", "kzoo", "digits", steps) for batch, steps in settings
    ]
    return dict(zip(settings, measure_speeds(Work("train-step", "mnist_net", IMAGES), contenders, ROUNDS), strict=True))


def page(accuracies: dict, precisions: list[dict], speeds: dict) -> str:
    """The results in Markdown."""
    return f"""# The MNIST net by precision, batch size and steps per execution

Made by `python recipes/mnist_settings.py` on {MACHINE}.

{sweep_section(accuracies, speeds)}

{precision_section(accuracies, precisions)}
"""


def sweep_section(accuracies: dict, speeds: dict) -> str:
    """How near the defaults come to the best of the sweep."""
    default = speeds[DEFAULT[1], None]
    ratios = {
        setting: statistics.median(a / b for a, b in zip(found, default, strict=True))
        for setting, found in speeds.items()
    }
    trained = {batch: found for (precision, batch), found in accuracies.items() if precision == DEFAULT[0]}
    as_good = [batch for batch, found in trained.items() if is_as_good(found, trained[DEFAULT[1]])]
    best = max((setting for setting in ratios if setting[0] in as_good), key=ratios.__getitem__)
    titles = ("batch size", *(f"{steps or 'by itself'}" for steps in STEPS_PER_EXECUTION), "test accuracy, %")
    rows = [
        (
            f"{batch}" + (" (default)" if batch == DEFAULT[1] else ""),
            *(f"{ratios[batch, steps]:.2f}" for steps in STEPS_PER_EXECUTION),
            percent(trained.get(batch)),
        )
        for batch in BATCH_SIZES
    ]
    return f"""## Do the defaults starve it?

Training speed with kzoo's augmentation, as a multiple of the defaults' (batch size {DEFAULT[1]}, steps per execution
by itself), by steps per execution: the median over {ROUNDS} rounds of {IMAGES:,} images, all settings in turn in one
process. Accuracies are of whole trainings of 15 epochs, mean over seeds 0, 1 and 2 (lowest to highest); they do not
depend on the steps per execution. Settings that are slower than the defaults were not trained.

{markdown_table([titles, *rows])}

A setting counts as no less accurate if its mean is below the defaults' by no more than the defaults' own range over the
seeds. The fastest of those is a batch size of {best[0]} with {best[1] or "as many as kzoo takes"} steps an execution: \
{ratios[best]:.2f} times the defaults' speed."""


def precision_section(accuracies: dict, precisions: list[dict]) -> str:
    """Speed, memory and accuracy under each dtype policy."""
    difference = statistics.mean(accuracies[DEFAULT]) - statistics.mean(accuracies["float32", DEFAULT[1]])
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
            percent(accuracies.get((row["precision"], row["batch_size"]))),
        )
        for row in precisions
    ]
    return f"""## Does half precision cost accuracy?

Without augmentation in the timing; accuracies as above. mixed_bfloat16 less float32: {100 * difference:+.2f} points.

{markdown_table([titles, *rows])}

mixed_float16 has no kernels on this processor: it was timed on one small batch, and its accuracy was not measured, here
or on a GPU."""


def is_as_good(found: list[float], default: list[float]) -> bool:
    """Whether the mean over the seeds is lower by no more than the default's own spread."""
    return statistics.mean(found) >= statistics.mean(default) - (max(default) - min(default))


def percent(accuracies: list[float] | None) -> str:
    """Mean and range over the seeds."""
    if accuracies is None:
        return "not measured"
    return f"{100 * statistics.mean(accuracies):.2f} ({100 * min(accuracies):.2f} to {100 * max(accuracies):.2f})"


if __name__ == "__main__":
    main()
