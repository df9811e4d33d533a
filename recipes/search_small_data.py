"""On few images, a search from a poor start ends at kzoo's defaults or above: ten of each digit, and 244 photos.

Source:  kzoo's comparison; the photos are those of PyTorch's transfer-learning tutorial,
         https://download.pytorch.org/tutorial/hymenoptera_data.zip. Nothing is transferred: the nets start at random.
Command: tfds build mnist
         python recipes/search_small_data.py mnist    # stopped, it continues when it is called again
         python recipes/search_small_data.py photos --photos hymenoptera
Time:    not measured; for each of five seeds 16 trials of 60 epochs (mnist), or 8 of 15 (photos), two at a time.
Result:  docs/search_small_data_mnist.md and docs/search_small_data_photos.md.

A seed also draws the images. Search and defaults get the same images and epochs, and are tested on images that neither
has seen. Seed 0 is left out: its test images were looked at when the ranking of trials was chosen.
"""

import argparse
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

import kzoo
from kzoo import console
from kzoo.data.order import permutation
from kzoo.search import SearchConfig, store
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, run_record, runs, start
from reporting import few_of_each_class, parser, search_or_resume, write_csv, write_page

SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Experiment:
    """A small dataset, and what it is searched with."""

    model: str
    pixels: int
    epochs: int
    trials: int
    defaults: dict[str, str]
    """The policies that kzoo takes by default, by what they are called in the table."""


EXPERIMENTS = {
    "mnist": Experiment("mnist_net", 28, 60, 16, {"defaults": "auto", "defaults for MNIST by name": "digits"}),
    "photos": Experiment("resnet18", 64, 15, 8, {"defaults": "auto"}),
}
# Plain SGD at a rate where nearly nothing is learned.
POOR = {"optimizer": "sgd", "learning_rate": 1e-5, "momentum": 0.0, "label_smoothing": 0.2, "augment": ("none",)}


def main() -> None:
    """Search and train what is missing, then write the page."""
    arguments = parser(__doc__, "search_small_data")
    arguments.add_argument("name", choices=EXPERIMENTS)
    arguments.add_argument("--photos", type=Path, default=Path("hymenoptera"), help="folder of the photos")
    arguments.add_argument("--workers", type=int, default=2)
    options = arguments.parse_args()
    found = [one_seed(options, seed) for seed in SEEDS]
    write_page(f"search_small_data_{options.name}", tables(options.name, found), options.output)


def one_seed(options: argparse.Namespace, seed: int) -> tuple[dict[str, float], float, dict]:
    """Test accuracies of the defaults and of the search, and the values that were found."""
    experiment, folder = EXPERIMENTS[options.name], options.runs / f"{options.name}-{seed}"
    images = folder / "images.csv"
    if not images.exists():
        write_csv(images, few_digits(folder, seed) if options.name == "mnist" else few_photos(options.photos, seed))
    base = TrainConfig(epochs=experiment.epochs, seed=seed)
    result = search_or_resume(
        experiment.model,
        str(images),
        folder / "search",
        config=SearchConfig(trials=experiment.trials, workers=options.workers),
        train=replace(base, **POOR),
        image_size=experiment.pixels,
    )
    defaults = {
        name: defaults_accuracy(experiment, images, replace(base, augment=policy), folder / name)
        for name, policy in experiment.defaults.items()
    }
    console.log(f"seed {seed}: {defaults}, search {result.best['test']['accuracy']:.4f}")
    best = runs.read_record(store.run_dir(result.search_dir, result.best["run"])).train
    values = {**result.best["values"], "learning_rate": best.learning_rate, "weight_decay": best.decay}
    return defaults, result.best["test"]["accuracy"], values


def defaults_accuracy(experiment: Experiment, images: Path, config: TrainConfig, run_dir: Path) -> float:
    """Test accuracy after a training with kzoo's defaults."""
    record = run_record(experiment.model, str(images), config=config, image_size=experiment.pixels)
    model = start(record, run_dir, resume=True).model
    return evaluate(model, kzoo.data.load(images, "test", experiment.pixels))["accuracy"]


def few_digits(folder: Path, seed: int) -> list[tuple[str, str, str]]:
    """Rows (path, label, split) of 10 + 10 images of each class, and of all test images, written as PNG files."""
    train, test = (kzoo.data.load("mnist", split, 28) for split in ("train", "test"))
    chosen = few_of_each_class(train, 20, seed)
    rows = [(train, int(i), "train" if n % 20 < 10 else "val") for n, i in enumerate(chosen)]
    rows += [(test, i, "test") for i in range(len(test))]
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    written = []
    for data, i, split in rows:
        path = images / f"{split}-{i:05d}.png"
        Image.fromarray(np.asarray(data.images[i, :, :, 0])).save(path)
        written.append((str(path.relative_to(folder)), data.class_names[data.labels[i]], split))
    return written


def few_photos(photos: Path, seed: int) -> list[tuple[str, str, str]]:
    """Rows (path, label, split) of the photos, a fifth of each training class for validation."""
    rows = []
    for label in ("ants", "bees"):
        paths = sorted((photos / "train" / label).iterdir())
        order = permutation(seed, 0, len(paths))
        rows += [
            (str(paths[i].resolve()), label, "val" if n < len(paths) // 5 else "train") for n, i in enumerate(order)
        ]
        rows += [(str(path.resolve()), label, "test") for path in sorted((photos / "val" / label).iterdir())]
    return rows


def tables(name: str, found: list[tuple[dict[str, float], float, dict]]) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    kinds = EXPERIMENTS[name].defaults
    titles = ("seed", *(f"kzoo's {kind}" for kind in kinds), "search", "what was found")
    rows = [
        (
            str(seed),
            *(f"{100 * defaults[kind]:.2f}" for kind in kinds),
            f"{100 * searched:.2f}",
            ", ".join(f"{name} {store.shown(value)}" for name, value in values.items()),
        )
        for seed, (defaults, searched, values) in zip(SEEDS, found, strict=True)
    ]
    return {
        "accuracies": markdown_table([titles, *rows]),
        "differences": "\n".join(difference(kind, found) for kind in kinds),
    }


def difference(kind: str, found: list[tuple[dict[str, float], float, dict]]) -> str:
    """By how much the search is better than one kind of defaults, over the seeds."""
    points = [100 * (searched - defaults[kind]) for defaults, searched, _ in found]
    mean, deviation = statistics.mean(points), statistics.stdev(points)
    return f"- search less kzoo's {kind}: {mean:+.2f} points on average, standard deviation {deviation:.2f}"


if __name__ == "__main__":
    main()
