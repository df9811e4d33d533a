"""What pretrained weights bring where there are few images: 5, 10 and 20 digits of each class, and no network needed.

    python recipes/few_images.py                          # all three, 3 seeds: some minutes
    python recipes/few_images.py --images 10 --seeds 0    # what `make demo` shows

mnist_net with the MNIST weights that travel with kzoo is fine-tuned on the 8x8 digits, which other people wrote; its
classifier is not kept. The same net is trained on the same images from random weights. Augmentation, optimizer and the
number of passes are the same. A seed also chooses the images. There is no validation: the last model counts, and the
179 test images choose nothing. --write puts the table into docs/few_images.md.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np

import kzoo
from kzoo import console
from kzoo.data import Dataset
from kzoo.data.order import permutation
from kzoo.files import write_text
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit
from kzoo.transfer import TransferConfig, fine_tune

MACHINE = "2 cores of an AMD EPYC with AVX512-BF16"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "few_images.md"
# Eight pixels a side, enlarged, are not MNIST: all stages are trained, at the rate for training from scratch. Chosen on
# the validation images, of 5 and 10 images a class.
TRANSFER = TransferConfig(unfreeze="conv1")
FINE_TUNING = TrainConfig(epochs=30, learning_rate=0.003)


def few(data: Dataset, images: int, seed: int) -> Dataset:
    """So many images of each class, chosen by the seed."""
    order = permutation(seed, 0, len(data))
    chosen = np.concatenate([order[data.labels[order] == label][:images] for label in range(len(data.class_names))])
    return Dataset.from_arrays(data.images[chosen], data.labels[chosen], data.class_names, name="digits")


def pretrained(train: Dataset, seed: int):
    """The fine-tuned model."""
    config = replace(FINE_TUNING, seed=seed)
    return fine_tune("mnist_net", train, weights="mnist", config=config, transfer=TRANSFER).model


def from_scratch(train: Dataset, seed: int):
    """The same net from random weights, in as many passes over the images."""
    config = TrainConfig(epochs=TRANSFER.head_epochs + FINE_TUNING.epochs, seed=seed)
    return fit(lambda: kzoo.create_model("mnist_net", input_shape=train.image_shape), train, config=config).model


def table(found: dict[tuple[int, str], list[float]]) -> str:
    """Mean and range of the accuracies by number of images and way."""
    ways = list(dict.fromkeys(way for _, way in found))
    counts = list(dict.fromkeys(count for count, _ in found))

    def spread(values: list[float]) -> str:
        low, high = (f"{100 * value:.1f}" for value in (min(values), max(values)))
        return f"{100 * statistics.mean(values):.1f} ({low} to {high})"

    rows = [(str(count), *(spread(found[count, way]) for way in ways)) for count in counts]
    return markdown_table([("images of each class", *ways), *rows])


def main() -> None:
    """Train all, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()

    digits, test = (kzoo.data.load("digits", split, image_size=28) for split in ("train", "test"))
    console.logger.setLevel("ERROR")  # the epochs of so many short runs
    found: dict[tuple[int, str], list[float]] = {}
    for count in given.images:
        for way, train_model in (("from scratch", from_scratch), ("fine-tuned", pretrained)):
            models = (train_model(few(digits, count, seed), seed) for seed in given.seeds)
            found[count, way] = [evaluate(model, test)["accuracy"] for model in models]
    seeds = ", ".join(map(str, given.seeds))
    print(f"test accuracy in %, of {len(test)} digits; mean over seeds {seeds} (lowest to highest)\n")
    print(table(found))
    if given.write:
        write_text(
            PAGE,
            "# What pretrained weights bring where there are few images\n\n"
            f"Made by `python recipes/few_images.py --write`, which says what is trained and how, on {MACHINE}.\n\n"
            f"Test accuracy in %, of the {len(test)} test images of the digits; mean over seeds {seeds} (lowest to "
            f"highest).\n\n{table(found)}\n",
        )


if __name__ == "__main__":
    main()
