"""What a search brings where there are few images: from a poor start, against kzoo's defaults, with paired seeds.

    tfds build mnist
    python recipes/search_small_data.py mnist
    python recipes/search_small_data.py photos --photos hymenoptera

mnist: 10 images of each class to train on and 10 to validate on, drawn by the seed; tested on the 10,000 test images.
photos: the ants and bees of PyTorch's tutorial (https://download.pytorch.org/tutorial/hymenoptera_data.zip); of its 244
training photos a fifth is for validation, and its 153 `val` photos are the test.

For each of five seeds (0 is not among them: its test images were looked at when the ranking of trials was chosen), a
search of a fixed number of trials starts from a deliberately poor configuration, and kzoo's defaults are trained with
the same images and epochs. Both are tested on images that neither has seen. The images are a file's, of which kzoo
knows nothing, in the search as by default: it does not augment. What it does for MNIST by its name is shown besides.
Stopped, it goes on where it was when it is called again. It writes docs/search_small_data_NAME.md.
"""

import argparse
import csv
import io
import os
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

import kzoo
from kzoo import console
from kzoo.data.order import permutation
from kzoo.files import write_text
from kzoo.search import SearchConfig, resume, search, store
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit, runs
from kzoo.train import resume as resume_run

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("KZOO_TEST_DATA") or ROOT.parent / "shared" / "data")
MACHINE = "2 cores of an AMD EPYC with AVX512-BF16"
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Setting:
    """A small dataset, and what it is searched with."""

    model: str
    pixels: int
    epochs: int
    trials: int
    defaults: dict[str, str]
    """How kzoo augments by default."""


SETTINGS = {
    "mnist": Setting("mnist_net", 28, 60, 16, {"defaults": "auto", "defaults for MNIST by name": "digits"}),
    "photos": Setting("resnet18", 64, 15, 8, {"defaults": "auto"}),
}
# Plain SGD at a rate where nearly nothing is learned.
POOR = {"optimizer": "sgd", "learning_rate": 1e-5, "momentum": 0.0, "label_smoothing": 0.2, "augment": ("none",)}


def main() -> None:
    """Search and train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description="Search where there are few images.")
    parser.add_argument("name", choices=SETTINGS)
    parser.add_argument("--runs", type=Path, default=Path("runs/search_small_data"), help="folder of the searches")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--photos", type=Path, default=DATA / "hymenoptera", help="folder of the photos")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found = [one_seed(options, seed) for seed in SEEDS]
    write_text(options.output / f"search_small_data_{options.name}.md", page(options.name, found))


def one_seed(options: argparse.Namespace, seed: int) -> tuple[dict[str, float], float, dict]:
    """Test accuracies of the defaults and of the search, and the values that were found."""
    setting, folder = SETTINGS[options.name], options.runs / f"{options.name}-{seed}"
    table = folder / "images.csv"
    if not table.exists():
        rows = few_digits(folder, seed) if options.name == "mnist" else few_photos(options.photos, seed)
        write_table(table, rows)
    base = TrainConfig(epochs=setting.epochs, seed=seed)
    if (folder / "search" / store.SEARCH).exists():
        result = resume(folder / "search")
    else:
        config = SearchConfig(trials=setting.trials, workers=options.workers)
        train = replace(base, **POOR)
        result = search(
            setting.model, str(table), folder / "search", config=config, train=train, image_size=setting.pixels
        )
    defaults = {
        name: defaults_accuracy(setting, table, replace(base, augment=policy), folder / name)
        for name, policy in setting.defaults.items()
    }
    console.log(f"seed {seed}: {defaults}, search {result.best['test']['accuracy']:.4f}")
    best = runs.read_record(store.run_dir(result.search_dir, result.best["run"])).train
    values = {**result.best["values"], "learning_rate": best.learning_rate, "weight_decay": best.decay}
    return defaults, result.best["test"]["accuracy"], values


def defaults_accuracy(setting: Setting, table: Path, config: TrainConfig, run_dir: Path) -> float:
    """Test accuracy after a training with kzoo's defaults."""
    train, validation, test = (
        kzoo.data.load(table, split, setting.pixels) for split in ("train", "validation", "test")
    )

    def build():
        return kzoo.create_model(setting.model, input_shape=train.image_shape, classes=len(train.class_names))

    if (run_dir / "checkpoint.safetensors").exists():
        return evaluate(resume_run(run_dir).model, test)["accuracy"]
    return evaluate(fit(build, train, validation, config, run_dir, overwrite=True).model, test)["accuracy"]


def few_digits(folder: Path, seed: int) -> list[tuple[str, str, str]]:
    """Rows (path, label, split) of 10 + 10 images a class, and of all test images, written as PNG files."""
    train, test = (kzoo.data.load("mnist", split, 28) for split in ("train", "test"))
    order = permutation(seed, 0, len(train))
    rows = []
    for label in range(10):
        chosen = order[train.labels[order] == label][:20]
        rows += [(train, int(i), "train" if n < 10 else "val") for n, i in enumerate(chosen)]
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


def write_table(path: Path, rows: list[tuple[str, str, str]]) -> None:
    """Write the CSV file that kzoo reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text).writerows([("path", "label", "split"), *rows])
    write_text(path, text.getvalue())


def page(name: str, found: list[tuple[dict[str, float], float, dict]]) -> str:
    """The results in Markdown."""
    setting = SETTINGS[name]
    titles = ("seed", *(f"kzoo's {kind}" for kind in setting.defaults), "search", "what was found")
    rows = [
        (
            str(seed),
            *(f"{100 * own[kind]:.2f}" for kind in setting.defaults),
            f"{100 * searched:.2f}",
            ", ".join(f"{name} {store.shown(value)}" for name, value in values.items()),
        )
        for seed, (own, searched, values) in zip(SEEDS, found, strict=True)
    ]
    against = "\n".join(difference(kind, found) for kind in setting.defaults)
    return f"""# What a search brings where there are few images: {name}

Made by `python recipes/search_small_data.py {name}`, which says on which images, on {MACHINE}:
{setting.trials} trials of {setting.epochs} epochs of `{setting.model}`, from a poor start. Test accuracy in %.

{markdown_table([titles, *rows])}

{against}
"""


def difference(kind: str, found: list[tuple[dict[str, float], float, dict]]) -> str:
    """By how much the search is better than one kind of defaults, over the seeds."""
    points = [100 * (searched - own[kind]) for own, searched, _ in found]
    mean, deviation = statistics.mean(points), statistics.stdev(points)
    return f"- search less kzoo's {kind}: {mean:+.2f} points on average, standard deviation {deviation:.2f}"


if __name__ == "__main__":
    main()
