"""Deeper plain nets train worse, deeper residual nets better: 20 and 56 layers on CIFAR-10.

Source:  He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 and Figure 6.
Command: tfds build cifar10
         python recipes/plain_versus_residual.py    # stopped, it continues when it is called again
Time:    less than an hour on 2 cores of an AMD EPYC with AVX512-BF16, and 6 GB of memory.
Result:  docs/plain_versus_residual.md, which also says what differs from the paper and what else was tried.
"""

import json
import resource
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import kzoo
from kzoo import console
from kzoo.backend import keras, tf
from kzoo.data import Dataset
from kzoo.files import write_json
from kzoo.outputs import logits_of
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit, load
from kzoo.train.step import cross_entropy
from reporting import parser, percent, png, spread, take, write_page

NETS = {
    "plain20_cifar": "plain-20",
    "plain56_cifar": "plain-56",
    "resnet20_cifar": "ResNet-20",
    "resnet56_cifar": "ResNet-56",
}
COLORS = dict(zip(NETS, ("tab:orange", "tab:red", "tab:cyan", "tab:blue"), strict=True))
STAGES = {"conv1": 16, "conv2": 16, "conv3": 32, "conv4": 64}  # and their filters
SEEDS = (0, 1, 2)
TRAIN_IMAGES, VALIDATION_IMAGES, GRADIENT_IMAGES = 4096, 1000, 512
CONFIG = TrainConfig(
    epochs=10,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.03,
    weight_decay=1e-4,
    schedule="step",
    warmup_epochs=1,
    augment="none",
)


@dataclass(frozen=True)
class Record:
    """What one training gave, as plain data. Losses are mean cross-entropies, without weight decay."""

    net: str
    seed: int
    losses: list[float]  # of the training steps, by epoch
    train: dict[str, float]  # loss and accuracy of the last weights, in inference mode
    validation: dict[str, float]
    initial_gradients: dict[str, float]  # by stage
    trained_gradients: dict[str, float]
    seconds: float
    cpu_seconds: float  # both since the run was last resumed


def main() -> None:
    """Train what is not trained yet, then write the page and the plot."""
    options = parser(__doc__, "plain_versus_residual").parse_args()
    # TFDS has shuffled the images for good.
    train = take(kzoo.data.load("cifar10", "train"), np.arange(TRAIN_IMAGES))
    validation = take(kzoo.data.load("cifar10", "validation"), np.arange(VALIDATION_IMAGES))
    wanted = [(net, seed) for seed in SEEDS for net in NETS]
    records = []
    for number, (net, seed) in enumerate(wanted, start=1):
        console.log(f"training {number} of {len(wanted)}: {NETS[net]}, seed {seed}")
        folder = options.runs / f"{net}-seed{seed}"
        records.append(measured(net, train, validation, replace(CONFIG, seed=seed), folder))
    write_page("plain_versus_residual", tables(records), options.output, plot(records))


def measured(net: str, train: Dataset, validation: Dataset, config: TrainConfig, folder: Path) -> Record:
    """Train one net, go on where that was stopped, or take what was measured before."""
    path = folder.with_name(f"{folder.name}.json")
    if path.exists():
        return Record(**json.loads(path.read_text()))
    started, cpu_started = time.monotonic(), cpu_seconds()
    result = fit(lambda: kzoo.create_model(net), train, validation, config, folder, resume=True)
    seconds, cpu = time.monotonic() - started, cpu_seconds() - cpu_started
    trained = load(folder, "last")
    record = Record(
        net=net,
        seed=config.seed,
        losses=result.history["loss"],
        train=loss_and_accuracy(trained, train),
        validation=loss_and_accuracy(trained, validation),
        initial_gradients=gradient_norms(initial(net, config.seed), train),
        trained_gradients=gradient_norms(trained, train),
        seconds=seconds,
        cpu_seconds=cpu,
    )
    write_json(path, asdict(record))
    return record


def cpu_seconds() -> float:
    """The processor time of this process, over all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def loss_and_accuracy(model, data: Dataset) -> dict[str, float]:
    """What `evaluate` says, in short."""
    figures = evaluate(model, data)
    return {name: figures[name] for name in ("loss", "accuracy")}


def initial(net: str, seed: int):
    """The net with the weights that `fit` begins with."""
    keras.utils.set_random_seed(seed)
    return kzoo.create_model(net)


def gradient_norms(model, data: Dataset, count: int = GRADIENT_IMAGES) -> dict[str, float]:
    """The size of the gradient in each stage: the L2 norm by a kernel, its root mean square over the convolutions.

    Of the first `count` images' loss, in float32, with their own batch statistics, as in a training step; they move
    the model's.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    with tf.GradientTape() as tape:
        logits = logits_of(model)(data.images[:count].astype(np.float32), training=True)["predictions"]
        loss = tf.reduce_mean(cross_entropy(data.labels[:count], logits, 0.0))
    gradients = tape.gradient(loss, [layer.kernel.value for layer in layers])
    squares = {stage: [] for stage in STAGES}
    for layer, gradient in zip(layers, gradients, strict=True):
        squares[layer.name.split("_")[0]].append(float(tf.reduce_sum(gradient**2)))
    return {stage: float(np.sqrt(np.mean(values))) for stage, values in squares.items()}


def tables(records: list[Record]) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    minutes, cpu_minutes = (sum(getattr(r, name) for r in records) / 60 for name in ("seconds", "cpu_seconds"))
    return {
        "time": f"The {len(records)} trainings took {cpu_minutes:.0f} min of processor time, {minutes:.0f} min by the "
        "clock.",
        "results": results_table(records),
        "depth": depth(records),
        "gradients": gradient_table(records),
        "growth": growth(records),
    }


def results_table(records: list[Record]) -> str:
    """Figures of each net."""
    rows = [
        [
            title,
            spread([r.train["loss"] for r in runs], ".3f"),
            percent([r.train["accuracy"] for r in runs]),
            percent([r.validation["accuracy"] for r in runs]),
        ]
        for title, runs in by_net(records).items()
    ]
    return markdown_table([["net", "training loss", "training accuracy, %", "validation accuracy, %"], *rows])


def depth(records: list[Record]) -> str:
    """How much larger the training loss is with 56 layers than with 20, seed by seed."""
    runs = by_net(records)
    parts = []
    for kind in ("plain", "ResNet"):
        pairs = zip(runs[f"{kind}-20"], runs[f"{kind}-56"], strict=True)
        more = ", ".join(f"{deep.train['loss'] - shallow.train['loss']:+.3f}" for shallow, deep in pairs)
        parts.append(f"{kind} {more}")
    return "; ".join(parts)


def gradient_table(records: list[Record]) -> str:
    """Gradients of each net, by stage, at initialization and after training."""
    rows = [
        [title, when, *(short(statistics.mean([getattr(r, field)[stage] for r in runs])) for stage in STAGES)]
        for field, when in (("initial_gradients", "at initialization"), ("trained_gradients", "after training"))
        for title, runs in by_net(records).items()
    ]
    return markdown_table([["net", "", *(f"{stage} ({filters})" for stage, filters in STAGES.items())], *rows])


def growth(records: list[Record]) -> str:
    """How much larger the gradient is in the first stage than in the last, at initialization: mean over the seeds."""
    ratios = {
        title: statistics.mean([r.initial_gradients["conv1"] / r.initial_gradients["conv4"] for r in runs])
        for title, runs in by_net(records).items()
    }
    return ", ".join(f"{short(ratio)} ({title})" for title, ratio in ratios.items()) + "."


def by_net(records: list[Record]) -> dict[str, list[Record]]:
    """The trainings of each net, in the order of their seeds, by its title."""
    return {title: [record for record in records if record.net == net] for net, title in NETS.items()}


def short(number: float) -> str:
    """Two digits that mean something.

    >>> short(0.5312), short(234.5)
    ('0.53', '230')
    """
    return f"{float(f'{number:.2g}'):g}"


def plot(records: list[Record]) -> bytes:
    """Draw training loss by epoch above, gradients by stage below, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    (plain, residual), (initial, trained) = figure.subplots(2, 2, sharey="row")
    for axes, nets, title in ((plain, "plain", "Plain nets"), (residual, "resnet", "Residual nets")):
        for record in records:
            if record.net.startswith(nets):
                label = NETS[record.net] if record.seed == SEEDS[0] else None
                epochs = range(1, len(record.losses) + 1)
                axes.plot(epochs, record.losses, color=COLORS[record.net], label=label)
        axes.set(title=f"{title}: training loss, a line per seed", xlabel="epoch")
    for axes, field, when in (
        (initial, "initial_gradients", "at initialization"),
        (trained, "trained_gradients", "after training"),
    ):
        for record in records:
            label = NETS[record.net] if record.seed == SEEDS[0] else None
            norms = [getattr(record, field)[stage] for stage in STAGES]
            axes.semilogy(list(STAGES), norms, marker="o", color=COLORS[record.net], label=label)
        axes.set(title=f"Gradient {when}, a line per seed", xlabel="stage, from input to output")
    plain.set_ylabel("cross-entropy (nats)")
    initial.set_ylabel("L2 norm by kernel, RMS over the stage")
    for axes in (plain, residual, initial, trained):
        axes.grid(alpha=0.3)
        axes.legend()
    return png(figure)


if __name__ == "__main__":
    main()
