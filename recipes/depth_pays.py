"""Is deeper better? On MNIST at equal training time, on CIFAR-10 and Fashion-MNIST at equal epochs.

Source:  kzoo's comparison of its mnist_net, a small net in the way of Simonyan & Zisserman (2015), and the ResNets for
         CIFAR-10 of He et al. (2015).
Command: tfds build mnist; tfds build cifar10
         apt install dataset-fashion-mnist    # Debian's package; without it: tfds build fashion_mnist
         python recipes/depth_pays.py    # stopped, it continues when it is called again
Time:    not measured; by short runs about 2 hours on 2 cores with AVX512-BF16: 27 trainings, on MNIST of 2 minutes,
         on the others of 15 epochs of 10,000 images.
Result:  docs/depth_pays.md.

A seed draws 1,000 training images of each class and the initial weights. All nets of a dataset get the same images. All
else is kzoo's default for them. For equal training time, an epoch of each net is timed first, and its number of epochs
is chosen from that, once: the runs folder keeps it in a file. There is no validation: the last model counts, and the
test images choose nothing. `--images`, `--epochs`, `--seconds` and `--seeds` make it smaller, to see that it runs.

Expected, before the first run: on MNIST the deepest net is not better, since two convolutions are enough for digits,
and it gets through fewer epochs. On CIFAR-10 it is better. On Fashion-MNIST the seeds cannot tell the two apart.
"""

import gzip
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import kzoo
from kzoo import console
from kzoo.backend import keras
from kzoo.data import Dataset
from kzoo.files import write_json
from kzoo.plotting import new_figure
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit
from reporting import few_of_each_class, parser, percent, png, spread, take, write_page

IMAGES, EPOCHS, SECONDS, SEEDS = 1000, 15, 120, (0, 1, 2)
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package has it
BETTER, WORSE, SAME = "better than", "worse than", "not told apart from"
CONFIDENCE = 0.95


class Net(NamedTuple):
    """What a net is called, and its layers that have kernels, as the papers count them."""

    title: str
    layers: int


NETS = {
    "mnist_net": Net("mnist_net", 4),
    "vgg8": Net("VGG-8", 8),
    "resnet20_cifar": Net("ResNet-20", 20),
    "resnet32_cifar": Net("ResNet-32", 32),
    "resnet56_cifar": Net("ResNet-56", 56),
}


@dataclass(frozen=True)
class Experiment:
    """A dataset, its nets from the shallowest to the deepest, and what the deepest was expected to be."""

    title: str
    dataset: str
    nets: tuple[str, ...]
    is_timed: bool
    """Whether the nets get the same training time instead of the same epochs."""
    expected: tuple[str, ...]

    @property
    def what_is_equal(self) -> str:
        """What the nets have in common."""
        return "equal training time" if self.is_timed else "equal epochs"


RESNETS = ("resnet20_cifar", "resnet32_cifar", "resnet56_cifar")
EXPERIMENTS = (
    Experiment("MNIST", "mnist", ("mnist_net", "vgg8", "resnet20_cifar"), True, (WORSE, SAME)),
    Experiment("CIFAR-10", "cifar10", RESNETS, False, (BETTER,)),
    Experiment("Fashion-MNIST", "fashion_mnist", RESNETS, False, (SAME,)),
)


@dataclass(frozen=True)
class Record:
    """What one training gave, as plain data."""

    dataset: str
    net: str
    seed: int
    images: int
    epochs: int
    seconds: float
    accuracy: float


def main() -> None:
    """Train what is not trained yet, then write the page and the plot."""
    arguments = parser(__doc__, "depth_pays")
    arguments.add_argument("--images", type=int, default=IMAGES, help="of each class")
    arguments.add_argument("--epochs", type=int, default=EPOCHS, help="where epochs are equal")
    arguments.add_argument("--seconds", type=int, default=SECONDS, help="of a training, where its time is equal")
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = arguments.parse_args()
    records = []
    for experiment in EXPERIMENTS:
        data, test = (load(experiment.dataset, split) for split in ("train", "test"))
        by_seed = {seed: take(data, few_of_each_class(data, options.images, seed)) for seed in options.seeds}
        epochs = dict.fromkeys(experiment.nets, options.epochs)
        if experiment.is_timed:
            path = options.runs / f"{experiment.dataset}-{options.images}-{options.seconds}s.json"
            epochs = epochs_within(options.seconds, experiment.nets, by_seed[options.seeds[0]], path)
        for seed, train in by_seed.items():
            for net in experiment.nets:
                name = f"{experiment.dataset}-{options.images}-{net}-{epochs[net]}-{seed}"
                records.append(
                    measured(net, train, test, TrainConfig(epochs=epochs[net], seed=seed), options.runs / name)
                )
    write_page("depth_pays", tables(records), options.output, plot(records))


def load(dataset: str, split: str) -> Dataset:
    """A split of a dataset of TFDS; Fashion-MNIST of Debian's package, if that is installed."""
    if dataset != "fashion_mnist" or not FASHION_MNIST.is_dir():
        return kzoo.data.load(dataset, split)
    part = {"train": "train", "test": "t10k"}[split]
    images, labels = (idx(FASHION_MNIST / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return Dataset.from_arrays(images, labels, name=dataset)


def idx(path: Path) -> np.ndarray:
    """The bytes of a compressed IDX file: after three bytes the number of axes, their sizes, then the values."""
    content = gzip.decompress(path.read_bytes())
    start = 4 + 4 * content[3]
    return np.frombuffer(content[start:], np.uint8).reshape(np.frombuffer(content[4:start], ">i4"))


def epochs_within(seconds: float, nets: Sequence[str], train: Dataset, path: Path) -> dict[str, int]:
    """How many epochs of each net take so long, by one epoch that is timed; what is in the file is kept."""
    if not path.exists():
        timed = {net: seconds_of_epoch(net, train) for net in nets}
        epochs = {net: max(1, round(seconds / of_epoch)) for net, of_epoch in timed.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"seconds_of_epoch": timed, "epochs": epochs})
    return json.loads(path.read_text())["epochs"]


def seconds_of_epoch(net: str, train: Dataset) -> float:
    """The time of the second epoch: in the first one TensorFlow compiles."""
    console.log(f"timing {NETS[net].title}")
    return fit(lambda: build(net, train), train, config=TrainConfig(epochs=2)).history["seconds"][1]


def measured(net: str, train: Dataset, test: Dataset, config: TrainConfig, folder: Path) -> Record:
    """Train a net and score it, go on where that was stopped, or take what was measured before."""
    path = folder.with_name(f"{folder.name}.json")
    if not path.exists():
        console.log(f"{folder}")
        result = fit(lambda: build(net, train), train, config=config, run_dir=folder, resume=True)
        epochs, seconds = (result.metrics[name] for name in ("epochs", "training_seconds"))
        accuracy = evaluate(result.model, test)["accuracy"]
        write_json(path, asdict(Record(train.name, net, config.seed, len(train), epochs, seconds, accuracy)))
    return Record(**json.loads(path.read_text()))


def build(net: str, train: Dataset):
    """A net with random weights for these images."""
    arguments: Any = {"input_shape": train.image_shape, "classes": len(train.class_names)}
    return vgg8(**arguments) if net == "vgg8" else kzoo.create_model(net, **arguments)


def vgg8(input_shape: tuple, classes: int):
    """Three pairs of 3x3 convolutions, each with 2x2 pooling, and two fully connected layers.

    The five poolings of kzoo's own VGGs leave nothing of 28 pixels. Batch normalization as in those that have it.
    """
    layers = keras.layers
    images = keras.Input(input_shape, name="images", dtype="float32")
    x = layers.Rescaling(1 / 127.5, -1, name="preprocessing")(images)
    for block, filters in enumerate((32, 64, 128), start=1):
        for name in (f"block{block}_conv1", f"block{block}_conv2"):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.Dense(256, activation="relu", name="fc1")(layers.Flatten(name="flatten")(x))
    x = layers.Dropout(0.5, name="fc1_dropout")(x)
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="predictions")(x)
    return keras.Model(images, x, name="vgg8")


def tables(records: list[Record]) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    return {"answer": answer(records), "accuracies": accuracies(records), "expected": expected(records)}


def runs_of(records: list[Record], experiment: Experiment, net: str) -> list[Record]:
    """The trainings of a net on a dataset, in the order of their seeds."""
    return [record for record in records if (record.dataset, record.net) == (experiment.dataset, net)]


def gain(records: list[Record], experiment: Experiment, net: str) -> tuple[float, float, float]:
    """By how many points a net is better than the shallowest one: the mean over the seeds, and its interval.

    Both nets of a seed have the same images. The interval is Student's, of the differences seed by seed.
    """
    from scipy.stats import t

    pairs = zip(runs_of(records, experiment, net), runs_of(records, experiment, experiment.nets[0]), strict=True)
    points = [100 * (deep.accuracy - shallow.accuracy) for deep, shallow in pairs]
    mean, count = statistics.mean(points), len(points)
    if count == 1:
        return mean, -math.inf, math.inf
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * statistics.stdev(points) / count**0.5
    return mean, mean - half, mean + half


def shown(points: tuple[float, float, float]) -> str:
    """A difference and its interval.

    >>> shown((0.5, -0.25, 1.25))
    '+0.50 (-0.25 to +1.25)'
    """
    mean, low, high = points
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def verdict(points: tuple[float, float, float]) -> str:
    """What an interval says of a net against the shallowest one.

    >>> verdict((0.5, -0.25, 1.25)), verdict((0.5, 0.25, 0.75))
    ('not told apart from', 'better than')
    """
    _, low, high = points
    return BETTER if low > 0 else WORSE if high < 0 else SAME


def accuracies(records: list[Record]) -> str:
    """A row for each net of each dataset, then the plot."""
    titles = (
        "dataset", "net", "layers", "training images", "epochs", "time of a training, s", "test accuracy, %",
        "difference to the shallowest, points",
    )  # fmt: skip
    rows = []
    for experiment in EXPERIMENTS:
        for net in experiment.nets:
            found = runs_of(records, experiment, net)
            is_first = net == experiment.nets[0]
            rows.append(
                (
                    f"{experiment.title}, {experiment.what_is_equal}",
                    NETS[net].title,
                    f"{NETS[net].layers}",
                    f"{found[0].images:,}",
                    f"{found[0].epochs}",
                    spread([record.seconds for record in found], ".0f"),
                    percent([record.accuracy for record in found], ".2f"),
                    "-" if is_first else shown(gain(records, experiment, net)),
                )
            )
    return f"{markdown_table([titles, *rows])}\n\n![Test accuracy of each net](depth_pays.png)"


def answer(records: list[Record]) -> str:
    """Whether the deepest net is better than the shallowest one: a sentence of all datasets."""
    parts = []
    for experiment in EXPERIMENTS:
        shallow, deep = (NETS[experiment.nets[i]].title for i in (0, -1))
        points = gain(records, experiment, experiment.nets[-1])
        equal = f"{experiment.title} at {experiment.what_is_equal}"
        parts.append(f"on {equal} {deep} is {verdict(points)} {shallow}, {shown(points)} points")
    said = "; ".join(parts)
    return f"Is deeper better? {said[0].upper()}{said[1:]}."


def expected(records: list[Record]) -> str:
    """What was expected of the deepest nets, and whether it held."""
    lines = []
    for experiment in EXPERIMENTS:
        shallow, deep = (NETS[experiment.nets[i]].title for i in (0, -1))
        found = verdict(gain(records, experiment, experiment.nets[-1]))
        held = "it held" if found in experiment.expected else "it did not hold"
        wanted = " or ".join(experiment.expected)
        lines.append(f'- {experiment.title}: "{deep} is {wanted} {shallow}": {held}.')
    return "\n".join(lines)


def plot(records: list[Record]) -> bytes:
    """Draw the test accuracies by net: each seed, and mean and range; as PNG."""
    figure = new_figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, len(EXPERIMENTS))
    for axes, experiment in zip(panels, EXPERIMENTS, strict=True):
        by_net = [runs_of(records, experiment, net) for net in experiment.nets]
        scores = [100 * np.array([record.accuracy for record in found]) for found in by_net]
        means, places = np.array([one.mean() for one in scores]), range(len(scores))
        ends = np.abs([[one.min() for one in scores] - means, [one.max() for one in scores] - means])
        for place, one in zip(places, scores, strict=True):
            axes.plot(np.full(len(one), place), one, "o", color="tab:gray", ms=4, alpha=0.6)
        axes.errorbar(places, means, ends, fmt="o-", color="tab:blue", capsize=4, label="mean and range over the seeds")
        epochs = [found[0].epochs for found in by_net]
        labels = [f"{NETS[net].title}\n{count} epochs" for net, count in zip(experiment.nets, epochs, strict=True)]
        axes.set_xticks(places, labels)
        axes.set(title=f"{experiment.title}, {experiment.what_is_equal}", xlim=(-0.4, len(scores) - 0.6))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, %")
    panels[0].legend(fontsize="small")
    return png(figure)


if __name__ == "__main__":
    main()
