"""What a search brings on few images, against kzoo's defaults: MNIST with ten of each digit, and 244 photos.

Source:  kzoo's comparison; the photos are those of PyTorch's transfer-learning tutorial,
         https://download.pytorch.org/tutorial/hymenoptera_data.zip
Command: tfds build mnist
         python recipes/search_small_data.py mnist    # stopped, it continues when it is called again
         kzoo weights fetch inception_v1
         python recipes/search_small_data.py photos --photos hymenoptera
Time:    not measured; for each of five seeds 16 trials (mnist) or 8 (photos), two at a time, then the best three with
         two more seeds.
Result:  docs/search_small_data_mnist.md and docs/search_small_data_photos.md.

Digits are trained from scratch, and the search starts where nearly nothing is learned; photos are fine-tuned, and it
starts from the defaults. A seed also draws the images. Search and defaults get the same ones, and are tested on images
that neither has seen. Seed 0 is left out: its test images were looked at when the ranking of trials was chosen.
"""

import argparse
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kzoo
from kzoo import console
from kzoo.data.order import permutation
from kzoo.search import SearchConfig, store
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, run_record, start
from reporting import few_of_each_class, parser, search_or_resume, write_csv, write_page

SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Experiment:
    """A small dataset, and what it is searched with."""

    model: str
    trials: int
    weights: str | None = None
    start: dict[str, Any] = field(default_factory=dict)
    """Where the search starts, if not from kzoo's defaults."""


# Plain SGD at a rate where nearly nothing is learned.
POOR = {"optimizer": "sgd", "learning_rate": 1e-5, "momentum": 0.0, "label_smoothing": 0.2, "augment": ("none",)}
EXPERIMENTS = {
    "mnist": Experiment("mnist_net", 16, start=POOR),
    "photos": Experiment("inception_v1", 8, weights="imagenet"),
}


def main() -> None:
    """Search and train what is missing, then write the page."""
    arguments = parser(__doc__, "search_small_data")
    arguments.add_argument("name", choices=EXPERIMENTS)
    arguments.add_argument("--photos", type=Path, default=Path("hymenoptera"), help="folder of the photos")
    arguments.add_argument("--workers", type=int, default=2)
    options = arguments.parse_args()
    found = [one_seed(options, seed) for seed in SEEDS]
    write_page(f"search_small_data_{options.name}", tables(found), options.output)


def one_seed(options: argparse.Namespace, seed: int) -> tuple[float, float, dict]:
    """Test accuracies of the defaults and of the search, and the values that were found."""
    experiment, folder = EXPERIMENTS[options.name], options.runs / f"{options.name}-{seed}"
    images = folder / "images.csv"
    if not images.exists():
        write_csv(images, few_digits(folder, seed) if options.name == "mnist" else few_photos(options.photos, seed))
    base = TrainConfig(seed=seed)
    result = search_or_resume(
        experiment.model,
        str(images),
        folder / "search",
        config=SearchConfig(trials=experiment.trials, workers=options.workers),
        train=replace(base, **experiment.start),
        weights=experiment.weights,
    )
    defaults = defaults_accuracy(experiment, images, base, folder / "defaults")
    best = result.best
    console.log(f"seed {seed}: defaults {defaults:.4f}, search {best['test']['accuracy']:.4f}")
    return defaults, best["test"]["accuracy"], best["values"]


def defaults_accuracy(experiment: Experiment, images: Path, config: TrainConfig, run_dir: Path) -> float:
    """Test accuracy after a training with kzoo's defaults."""
    record = run_record(experiment.model, str(images), config=config, weights=experiment.weights)
    assert record.data.load is not None  # noqa: S101 - for the type checker
    model = start(record, run_dir, resume=True).model
    return evaluate(model, kzoo.data.load(**asdict(record.data.load), split="test"))["accuracy"]


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
    for folder in sorted((photos / "train").iterdir()):
        paths = sorted(folder.iterdir())
        order = permutation(seed, 0, len(paths))
        rows += [
            (str(paths[i].resolve()), folder.name, "val" if n < len(paths) // 5 else "train")
            for n, i in enumerate(order)
        ]
        test = sorted((photos / "val" / folder.name).iterdir())
        rows += [(str(path.resolve()), folder.name, "test") for path in test]
    return rows


def tables(found: list[tuple[float, float, dict]]) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    rows = [
        (
            str(seed),
            f"{100 * defaults:.2f}",
            f"{100 * searched:.2f}",
            ", ".join(f"{name} {store.shown(value)}" for name, value in values.items()),
        )
        for seed, (defaults, searched, values) in zip(SEEDS, found, strict=True)
    ]
    points = [100 * (searched - defaults) for defaults, searched, _ in found]
    mean, error = statistics.mean(points), statistics.stdev(points) / len(points) ** 0.5
    return {
        "accuracies": markdown_table([("seed", "kzoo's defaults", "search", "what was found"), *rows]),
        "difference": f"Search less kzoo's defaults: {mean:+.2f} points on average, standard error {error:.2f}.",
    }


if __name__ == "__main__":
    main()
