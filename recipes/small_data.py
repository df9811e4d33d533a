"""Augmentation helps most where images are few: MNIST with 10, 100 and 1,000 images of each class, and 244 photos.

Source:  kzoo's comparison; the photos are those of PyTorch's transfer-learning tutorial,
         https://download.pytorch.org/tutorial/hymenoptera_data.zip. Nothing is transferred: the nets start at random.
Command: tfds build mnist
         python recipes/small_data.py --photos hymenoptera    # stopped, it continues when it is called again
Time:    not measured; 24 trainings of 10 epochs, of 976 photos or of up to 10,000 digits an epoch.
Result:  docs/small_data.md.

The two trainings of a row differ in their augmentation alone. A seed also chooses which images of MNIST are used.
There is no validation: the last model counts, and the test images choose nothing.
"""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import kzoo
from kzoo import console
from kzoo.data import Dataset
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit
from reporting import few_of_each_class, parser, percent, take, write_page

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Experiment:
    """A small training set, and how a net is trained on it."""

    title: str
    name: str
    model: str
    policy: str
    images: int | None
    """Of each class; None takes all."""
    copies: int
    """How often an epoch takes each image, each time with other draws: a shorter epoch would be mostly its end."""
    config: TrainConfig
    pixels: int


# Learning rates by the square root of the batch size, whatever the number of images: rows shall differ in their images
# alone. kzoo's default is higher where images are few.
MNIST = TrainConfig(epochs=10, batch_size=64, learning_rate=0.003 * (64 / 256) ** 0.5)
PHOTOS = TrainConfig(epochs=10, batch_size=32, learning_rate=0.003 * (32 / 256) ** 0.5)
EXPERIMENTS = (
    Experiment("MNIST, 10 images a class", "mnist-10", "mnist_net", "digits", 10, 60, MNIST, 28),
    Experiment("MNIST, 100 images a class", "mnist-100", "mnist_net", "digits", 100, 6, MNIST, 28),
    Experiment("MNIST, 1,000 images a class", "mnist-1000", "mnist_net", "digits", 1000, 1, MNIST, 28),
    Experiment("ants and bees, 244 photos", "hymenoptera", "resnet18", "photos", None, 4, PHOTOS, 112),
)


def main() -> None:
    """Train what is not trained yet, then write the page."""
    arguments = parser(__doc__, "small_data")
    arguments.add_argument("--photos", type=Path, default=Path("hymenoptera"), help="folder of the photos")
    options = arguments.parse_args()
    found = {}
    for experiment in EXPERIMENTS:
        source, test_split = (options.photos, "val") if experiment.images is None else ("mnist", "test")
        data, test = (kzoo.data.load(source, split, experiment.pixels) for split in ("train", test_split))
        for policy in ("none", experiment.policy):
            found[experiment.title, policy] = [
                accuracy(experiment, policy, seed, data, test, options.runs) for seed in SEEDS
            ]
    write_page("small_data", {"accuracies": table(found)}, options.output)


def accuracy(experiment: Experiment, policy: str, seed: int, data: Dataset, test: Dataset, folder: Path) -> float:
    """Test accuracy after a training."""
    run_dir = folder / f"{experiment.name}-{policy}-{seed}"
    console.log(f"{run_dir}")
    train = small(data, experiment, seed)

    def build():
        return kzoo.create_model(experiment.model, input_shape=train.image_shape, classes=len(train.class_names))

    config = replace(experiment.config, augment=policy, seed=seed)
    return evaluate(fit(build, train, config=config, run_dir=run_dir, resume=True).model, test)["accuracy"]


def small(data: Dataset, experiment: Experiment, seed: int) -> Dataset:
    """The training set of an experiment: some images of each class by the seed, all of them several times."""
    return take(data, np.tile(np.sort(few_of_each_class(data, experiment.images, seed)), experiment.copies))


def table(found: dict[tuple[str, str], list[float]]) -> str:
    """Accuracies without and with augmentation."""
    rows = []
    for experiment in EXPERIMENTS:
        without, augmented = (found[experiment.title, policy] for policy in ("none", experiment.policy))
        points = 100 * (statistics.mean(augmented) - statistics.mean(without))
        shown = f"{percent(augmented)} ({experiment.policy})"
        rows.append((experiment.title, experiment.model, percent(without), shown, f"{points:+.1f}"))
    titles = ("training images", "model", "without augmentation", "with", "difference of the means, points")
    return markdown_table([titles, *rows])


if __name__ == "__main__":
    main()
