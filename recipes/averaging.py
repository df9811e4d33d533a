"""What averaging brings: weights by EMA, SWA and schedule-free AdamW, and test-time augmentation, against plain AdamW.

Source:  kzoo's comparison of Izmailov et al. (2018, SWA), Defazio et al. (2024, schedule-free AdamW) and the moving
         average of weights, on MNIST with 100 and 1,000 images of each class and on CIFAR-10 with 500.
Command: tfds build mnist; tfds build cifar10
         python recipes/averaging.py    # stopped, it continues when it is called again
Time:    not measured; 36 trainings, of 15 epochs of 4,000 to 10,000 images.
Result:  docs/averaging.md.

The trainings of a row differ in their averaging alone, which changes the end of the schedule for SWA, and all of it for
schedule-free AdamW. A seed also chooses the images. There is no validation: the last model counts, and the test images
choose nothing. `--images`, `--epochs` and `--seeds` make it smaller, to see that it runs.
"""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import kzoo
from kzoo import console
from kzoo.data import Dataset
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit
from kzoo.train.config import EPOCHS
from reporting import few_of_each_class, parser, percent, take, write_page

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Experiment:
    """A small training set, and the net that is trained on it."""

    title: str
    dataset: str
    model: str
    images: int
    """Of each class."""
    pixels: int


EXPERIMENTS = (
    Experiment("MNIST, 100 images a class", "mnist", "mnist_net", 100, 28),
    Experiment("MNIST, 1,000 images a class", "mnist", "mnist_net", 1000, 28),
    Experiment("CIFAR-10, 500 images a class", "cifar10", "resnet20_cifar", 500, 32),
)
# All else is kzoo's default for the images.
METHODS = {
    "none": TrainConfig(),
    "ema": TrainConfig(ema_momentum=0.999),
    "swa": TrainConfig(swa_epochs=round(EPOCHS / 4)),  # the last quarter, as in its paper
    "schedule-free": TrainConfig(optimizer="schedule_free_adamw"),
}


def main() -> None:
    """Train what is not trained yet, then write the page."""
    arguments = parser(__doc__, "averaging")
    arguments.add_argument("--images", type=int, help="of each class, instead of those above")
    arguments.add_argument("--epochs", type=int, help="passes over the images, at least 5, instead of kzoo's default")
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = arguments.parse_args()
    found = {}
    for experiment in EXPERIMENTS:
        if options.images is not None:
            experiment = replace(experiment, images=options.images)
        data, test = (kzoo.data.load(experiment.dataset, split, experiment.pixels) for split in ("train", "test"))
        for method in METHODS:
            found[experiment.title, method] = [
                accuracy(experiment, method, seed, data, test, options.epochs, options.runs) for seed in options.seeds
            ]
    write_page("averaging", {"accuracies": table(found)}, options.output)


def accuracy(
    experiment: Experiment, method: str, seed: int, data: Dataset, test: Dataset, epochs: int | None, folder: Path
) -> tuple[float, float | None]:
    """Test accuracy after a training; of the plain one also with test-time augmentation."""
    run_dir = folder / f"{experiment.dataset}-{experiment.images}-{method}-{seed}"
    console.log(f"{run_dir}")
    train = take(data, few_of_each_class(data, experiment.images, seed))

    def build():
        return kzoo.create_model(experiment.model, input_shape=train.image_shape, classes=len(train.class_names))

    config = replace(METHODS[method], epochs=epochs, seed=seed)
    model = fit(build, train, config=config, run_dir=run_dir, resume=True).model
    with_tta = evaluate(model, test, tta=True)["accuracy"] if method == "none" else None
    return evaluate(model, test)["accuracy"], with_tta


def table(found: dict[tuple[str, str], list[tuple[float, float | None]]]) -> str:
    """Accuracies by method, and how far their means are from those without averaging."""
    methods, rows = [method for method in METHODS if method != "none"], []
    for experiment in EXPERIMENTS:
        plain = [accuracy for accuracy, _ in found[experiment.title, "none"]]
        averaged = [[accuracy for accuracy, _ in found[experiment.title, method]] for method in methods]
        averaged.append([accuracy for _, accuracy in found[experiment.title, "none"] if accuracy is not None])
        cells = [percent(plain, ".2f")]
        for values in averaged:
            points = 100 * (statistics.mean(values) - statistics.mean(plain))
            cells.append(f"{percent(values, '.2f')}, {points:+.2f}")
        rows.append((experiment.title, experiment.model, *cells))
    return markdown_table([("training images", "model", "plain AdamW", *methods, "plain, --tta"), *rows])


if __name__ == "__main__":
    main()
