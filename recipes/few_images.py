"""Few images: what the defaults bring from scratch, and pretrained weights for 5, 10 and 20 digits of each class.

Source:  kzoo's comparison; the digits are 8x8 pixels, from the UCI repository, and were not written for MNIST.
Command: python recipes/few_images.py
         python recipes/few_images.py --images 5 --seeds 0    # one row, of one seed, as in `make demo`
         tfds build mnist && python recipes/few_images.py --mnist    # the defaults, on MNIST
Time:    some minutes each on 2 cores of an AMD EPYC with AVX512-BF16; the first two need no network.
Result:  docs/few_images.md, whose table --write replaces.

On MNIST a net starts from random weights, of ten images of each class, with kzoo's defaults and with other settings. On
the digits, one net starts from the MNIST weights that are part of kzoo, with a new classifier, the other from random
weights. Images, augmentation, optimizer and the number of epochs are the same. There is no validation: the last model
counts, and the test images choose nothing.
"""

import argparse
from dataclasses import replace

import kzoo
from kzoo import console
from kzoo.data import Dataset
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit
from kzoo.transfer import TransferConfig, fine_tune
from reporting import few_of_each_class, percent, take, write_page

IMAGES, SEEDS = (5, 10, 20), (0, 1, 2)
# Digits of eight pixels a side, enlarged, differ from MNIST's. So all stages are trained, at the learning rate of
# training from scratch. Chosen on the validation images, with 5 and 10 images of each class.
TRANSFER = TransferConfig(unfreeze="conv1")
FINE_TUNING = TrainConfig(epochs=30, learning_rate=0.003)
# On MNIST: what each row leaves out of the defaults.
MNIST_IMAGES = 10
DEFAULTS = {
    "an epoch is one pass: 15 passes": TrainConfig(epochs=15),
    "no augmentation": TrainConfig(augment="none"),
    "weight decay 0.05, as for many images": TrainConfig(weight_decay=0.05),
    "kzoo's defaults: 600 passes": TrainConfig(),
}
FROM_SCRATCH = TrainConfig(epochs=TRANSFER.head_epochs + FINE_TUNING.total_epochs)


def fine_tuned(train: Dataset, seed: int):
    """The net that starts from MNIST's weights."""
    config = replace(FINE_TUNING, seed=seed)
    return fine_tune("mnist_net", train, weights="mnist", config=config, transfer=TRANSFER).model


def from_scratch(train: Dataset, seed: int):
    """The net that starts from random weights."""
    config = replace(FROM_SCRATCH, seed=seed)
    return fit(lambda: kzoo.create_model("mnist_net", input_shape=train.image_shape), train, config=config).model


def mnist_table(seeds) -> str:
    """Train on some images of MNIST by each row's settings, and score the test images."""
    train, test = (kzoo.data.load("mnist", split) for split in ("train", "test"))
    rows = []
    for title, config in DEFAULTS.items():
        accuracies = []
        for seed in seeds:
            few = take(train, few_of_each_class(train, MNIST_IMAGES, seed))
            result = fit(lambda: kzoo.create_model("mnist_net"), few, config=replace(config, seed=seed))
            accuracies.append(evaluate(result.model, test)["accuracy"])
        rows.append((title, percent(accuracies)))
    return markdown_table([("mnist_net, 10 images of each class", "test accuracy, %"), *rows])


def table(found: dict[tuple[int, str], list[float]]) -> str:
    """Mean and range of the accuracies by number of images and start."""
    starts = list(dict.fromkeys(start for _, start in found))
    counts = list(dict.fromkeys(count for count, _ in found))
    rows = [(str(count), *(percent(found[count, start]) for start in starts)) for count in counts]
    return markdown_table([("images of each class", *starts), *rows])


def main() -> None:
    """Train all, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="of each class")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--mnist", action="store_true", help="the table of the defaults, on MNIST, alone")
    parser.add_argument("--write", action="store_true", help="replace the table of docs/few_images.md")
    options = parser.parse_args()
    if options.write and (tuple(options.images), tuple(options.seeds)) != (IMAGES, SEEDS):
        parser.error(f"The page is of {IMAGES} images and seeds {SEEDS}. Received: {options}. Leave out --write.")

    if options.mnist:
        console.logger.setLevel("ERROR")
        found_table = mnist_table(options.seeds)
        print(found_table)
        if options.write:
            write_page("few_images", {"defaults": found_table})
        return
    digits, test = (kzoo.data.load("digits", split, image_size=28) for split in ("train", "test"))
    console.logger.setLevel("ERROR")  # the epochs of so many short runs
    found: dict[tuple[int, str], list[float]] = {}
    for count in options.images:
        for start, train_model in (("from scratch", from_scratch), ("fine-tuned", fine_tuned)):
            few = [(take(digits, few_of_each_class(digits, count, seed)), seed) for seed in options.seeds]
            found[count, start] = [evaluate(train_model(*images), test)["accuracy"] for images in few]
    seeds = ", ".join(map(str, options.seeds))
    print(f"test accuracy in %, of {len(test)} digits; mean over seeds {seeds} (lowest to highest)\n")
    print(table(found))
    if options.write:
        write_page("few_images", {"accuracies": table(found)})


if __name__ == "__main__":
    main()
