"""Edges first: the filters of the first layer, and what a linear classifier can read off each stage of a net.

Source:  Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014; linear probes: Alain & Bengio,
         "Understanding intermediate layers using linear classifier probes", 2016. The photos are those of PyTorch's
         transfer-learning tutorial, https://download.pytorch.org/tutorial/hymenoptera_data.zip.
Command: tfds build cifar10
         python recipes/edges_first.py --data DATA    # stopped, it continues when it is called again
         DATA has hymenoptera/{train,val}, weights/resnet20-12fca82f.th and weights/bvlc_googlenet.
Time:    18 minutes for 8 of the 10 seeds, on 2 cores of an Intel Xeon with AVX512-BF16 that others used too (load 14).
Result:  docs/edges_first.md.

A probe is scikit-learn's logistic regression on the features of a stage, averaged over their positions. It learns from
10 or 100 images of each class, drawn by a seed, and is scored on others: those of val, and CIFAR-10's test images. The
same seed makes the random weights of the net that the trained one is compared with. No weight of a net is trained here.

Expected, before the first run: the first filters of Inception v1 are mostly edges and blobs of colour. Of a trained net
each stage beats the one before it, but for some points between neighbours; the last stages of Inception v1 tell ants
from bees at more than 90 %, and ResNet-20's last stage is as good as ResNet-20. Random weights are about as good as
trained ones in the first stage, and no better in the last than in the first.
"""

import argparse
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import kzoo
from kzoo import console
from kzoo.backend import compiled, keras
from kzoo.classifier import loading_for
from kzoo.data import Dataset
from kzoo.files import write_bytes, write_json
from kzoo.plotting import new_figure
from kzoo.text import markdown_table
from kzoo.train.figures import interval
from reporting import DOCS, few_of_each_class, parser, percent, png, write_page

IMAGES, SEEDS = (10, 100), (0, 1, 2, 3, 4)
STARTS = ("trained", "random")
BATCH_SIZE = 64
PENALTIES = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1]}


class Net(NamedTuple):
    """A net, and images for its probes."""

    title: str
    name: str
    weights: str
    """In the folder of the data."""
    images: str
    """A folder there, or a dataset of TFDS."""
    test_split: str


NETS = (
    Net("Inception v1, ants and bees", "inception_v1", "weights/bvlc_googlenet", "hymenoptera", "val"),
    Net("ResNet-20, CIFAR-10", "resnet20_cifar", "weights/resnet20-12fca82f.th", "cifar10", "test"),
)


class Features(NamedTuple):
    """What a net makes of images, by stage."""

    rows: np.ndarray
    """Of the training images, in ascending order."""
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


# Accuracies by stage, in the order of the net, by "trained 10" and so on.
Scores = dict[str, dict[str, float]]


def main() -> None:
    """Measure what is not measured yet, then write the page and the pictures."""
    arguments = parser(__doc__, "edges_first")
    default = Path(os.environ.get("KZOO_TEST_DATA") or DOCS.parent.parent / "shared" / "data")
    arguments.add_argument("--data", type=Path, default=default, help="folder of weights and photos [KZOO_TEST_DATA]")
    options = arguments.parse_args()
    found = {net.title: measured(net, options) for net in NETS}
    write_page("edges_first", tables(found), options.output, plot(found))
    models = {net.title.split(",")[0]: pretrained(net, options.data) for net in NETS}
    models["mnist_net"] = kzoo.create_model("mnist_net", weights="mnist")
    write_bytes(options.output / "edges_first_filters.png", filters(models))


def measured(net: Net, options: argparse.Namespace) -> dict[str, Any]:
    """The scores of a net's stages by seed, and how many images were scored; those from before are taken."""
    path = options.runs / f"{net.name}.json"
    found = json.loads(path.read_text()) if path.exists() else {"test_images": 0, "seeds": {}}
    missing = [seed for seed in SEEDS if str(seed) not in found["seeds"]]
    if not missing:
        return found
    trained = pretrained(net, options.data)
    source = options.data / net.images if (options.data / net.images / "train").is_dir() else net.images
    train, test = (kzoo.data.load(source, split, **loading_for(trained, None)) for split in ("train", net.test_split))
    drawn = np.unique(np.concatenate([few_of_each_class(train, max(IMAGES), seed) for seed in missing]))
    of_trained = Features(drawn, features(trained, train, drawn), features(trained, test, np.arange(len(test))))
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in missing:
        console.log(f"{net.title}, seed {seed}")
        found["seeds"][str(seed)] = scores(net, of_trained, train, test, seed)
        found["test_images"] = len(test)
        write_json(path, found)
    return found


def pretrained(net: Net, data: Path):
    """The net with its trained weights."""
    return kzoo.create_model(net.name, weights=data / net.weights)


def scores(net: Net, of_trained: Features, train: Dataset, test: Dataset, seed: int) -> Scores:
    """The accuracy of a probe of each stage, with trained and with random weights."""
    keras.utils.set_random_seed(seed)
    model, drawn = kzoo.create_model(net.name), np.sort(few_of_each_class(train, max(IMAGES), seed))
    of_random = Features(drawn, features(model, train, drawn), features(model, test, np.arange(len(test))))
    found: Scores = {}
    for start, (known_rows, known, asked) in zip(STARTS, (of_trained, of_random), strict=True):
        for stage, count in itertools.product(known, IMAGES):
            rows = few_of_each_class(train, count, seed)
            chosen = known[stage][np.searchsorted(known_rows, rows)]
            predicted = probe(chosen, train.labels[rows]).predict(asked[stage])
            found.setdefault(stage, {})[f"{start} {count}"] = float(np.mean(predicted == test.labels))
    return found


def features(model, data: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What each stage makes of images, averaged over the positions: float32 (N, channels) by stage."""
    extractor = kzoo.feature_extractor(model)

    def averaged(images):
        return {stage: keras.ops.mean(x, (1, 2)) for stage, x in extractor(images, training=False).items()}

    averaged, parts = compiled(averaged), []
    with console.progress("features", len(rows)) as advance:
        for start in range(0, len(rows), BATCH_SIZE):
            images = data.reader.fetch(rows[start : start + BATCH_SIZE]).astype(np.float32)
            parts.append({stage: x.numpy() for stage, x in averaged(images).items()})
            advance(len(images))
    return {stage: np.concatenate([part[stage] for part in parts]) for stage in extractor.output}


def probe(known: np.ndarray, labels: np.ndarray):
    """Logistic regression on standardized features, with the penalty that 5-fold cross-validation prefers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    with threadpool_limits(1):  # the matrices are small: threads would wait for each other
        return GridSearchCV(pipeline, PENALTIES, cv=5, scoring="neg_log_loss").fit(known, labels)


def tables(found: dict[str, dict]) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    return {net.name: table(found[net.title]) for net in NETS}


def columns(figures: dict) -> dict[str, dict[str, list[float]]]:
    """Accuracies of all seeds, by stage and column."""
    seeds = list(figures["seeds"].values())
    return {stage: {key: [one[stage][key] for one in seeds] for key in seeds[0][stage]} for stage in seeds[0]}


def table(figures: dict) -> str:
    """A row for each stage: mean accuracies of the probes in percent, lowest and highest, and what that is worth."""
    by_stage, keys = columns(figures), [f"{start} {count}" for count in IMAGES for start in STARTS]
    titles = [f"{start}, {count} a class" for count in IMAGES for start in STARTS]
    rows = [(stage, *(percent(values[key]) for key in keys)) for stage, values in by_stage.items()]
    images = figures["test_images"]
    low, high = interval(round(0.8 * images), images)
    worth = f"Of {images:,} test images, 80 % have a 95 % interval of {100 * low:.1f} to {100 * high:.1f} %."
    return f"{markdown_table([('stage', *titles), *rows])}\n\n{worth}"


def plot(found: dict[str, dict]) -> bytes:
    """Draw the accuracy of the probes by stage: means over the seeds, with lowest and highest."""
    figure = new_figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, len(found), width_ratios=[2, 1])
    for axes, (title, figures) in zip(panels, found.items(), strict=True):
        by_stage = columns(figures)
        for start, style in zip(STARTS, ("-", "--"), strict=True):
            for count, color in zip(IMAGES, ("tab:orange", "tab:blue"), strict=True):
                values = 100 * np.array([by_stage[stage][f"{start} {count}"] for stage in by_stage])
                mean = values.mean(axis=1)
                ends = np.abs(np.stack([values.min(axis=1), values.max(axis=1)]) - mean)
                label = f"{start}, {count} images a class"
                axes.errorbar(range(len(mean)), mean, ends, fmt=f"o{style}", ms=4, color=color, capsize=3, label=label)
        axes.set_xticks(range(len(by_stage)), by_stage, rotation=45, ha="right", rotation_mode="anchor")
        axes.set(title=title, ylim=(0, 101))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy of the probe, %")
    panels[0].legend(loc="lower left")
    return png(figure)


def filters(models: dict[str, Any]) -> bytes:
    """Draw the filters of the first convolution of some nets, each scaled by its largest weight; grey is zero."""
    figure = new_figure(figsize=(3.6 * len(models), 3.9), layout="constrained")
    for axes, (title, model) in zip(figure.subplots(1, len(models)), models.items(), strict=True):
        first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
        kernel = np.moveaxis(first.kernel.numpy(), -1, 0)
        if any(isinstance(layer, kzoo.layers.ReverseChannels) for layer in model.layers):
            kernel = kernel[..., ::-1]  # of images in BGR
        axes.imshow(grid(kernel), cmap="grey", vmin=0, vmax=1, interpolation="nearest")
        axes.set(title=f"{title}: {len(kernel)} of {kernel.shape[1]}x{kernel.shape[2]}")
        axes.axis("off")
    return png(figure)


def grid(kernels: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Filters side by side, 0 to 1, with white lines between them: (height, width, 1 or 3)."""
    side = int(np.ceil(len(kernels) ** 0.5))
    height, width, channels = kernels[0].shape
    whole = np.ones((-(-len(kernels) // side) * (height + 1) - 1, side * (width + 1) - 1, channels))
    for i, kernel in enumerate(kernels):
        row, column = (i // side) * (height + 1), (i % side) * (width + 1)
        whole[row : row + height, column : column + width] = 0.5 + kernel / (2 * np.abs(kernel).max())
    return whole


if __name__ == "__main__":
    main()
