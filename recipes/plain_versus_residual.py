"""Depth makes plain nets train worse, and residual nets not: 20 and 56 layers on CIFAR-10.

He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 and Figure 6: of two plain nets the deeper
has the higher training error; with shortcuts, which have no parameters, it has the lower.

    tfds build cifar10
    python recipes/plain_versus_residual.py

Takes 26 minutes of processor time, and 6 GB of memory, on 2 cores of an AMD EPYC with AVX512-BF16 (mixed_bfloat16); by
the clock the run of 2026-11-21 took 51 minutes, on a machine that others used too. Stopped, it goes on where it was
when it is called again. It writes docs/plain_versus_residual.md and .png: losses, accuracies, and the size of the
gradient in each stage at initialization and after training. The result, the mean over three seeds (lowest to highest):

                 training loss            training accuracy, %
    plain-20     1.267 (1.224 to 1.290)   53.7 (52.8 to 55.4)
    plain-56     2.025 (1.937 to 2.137)   24.5 (18.5 to 27.6)
    ResNet-20    0.776 (0.767 to 0.790)   75.1 (74.6 to 75.6)
    ResNet-56    0.569 (0.472 to 0.709)   83.4 (77.0 to 87.6)

Plain-56 is worse than plain-20 with every seed, ResNet-56 better than ResNet-20 with every seed.

As in the paper: the nets and their initialization, batches of 128, weight decay 1e-4, rates divided by ten at half and
three quarters. Not as in the paper, so that twelve trainings fit into half an hour: 4,096 images without augmentation,
10 epochs of 32 steps, Nesterov's momentum, and a learning rate that rises to 0.03 in the first epoch. So nothing has
converged: this shows which net is ahead, not where each ends.

Tried before, seed 0, training loss of plain-20, plain-56, ResNet-20, ResNet-56: the paper's rate of 0.1 after two
epochs of warm-up, 24 epochs, gave 0.207, 1.652, 0.015 and 0.052. Plain-56 is as far behind, but ResNet-56 too is a
little: its loss rose to 3.6 in the second epoch, and both ResNets then learnt the 4,096 images by heart. The rate was
too high for its start, as the paper found with 110 layers; with 0.03, chosen by the ResNets of seed 0, ResNet-56 starts
behind and is ahead from the fifth epoch on, with seed 2 from the eighth.
"""

import argparse
import io
import json
import resource
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import kzoo
from kzoo import console
from kzoo.backend import keras, tf
from kzoo.data import Dataset
from kzoo.files import write_bytes, write_json, write_text
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, fit, load, resume
from kzoo.train.step import cross_entropy, logits_instead

MACHINE = "2 cores of an AMD EPYC with AVX512-BF16, 2026-11-21"
DOCS = Path(__file__).resolve().parent.parent / "docs"
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
    parser = argparse.ArgumentParser(description="Train plain and residual nets of 20 and 56 layers, and compare.")
    parser.add_argument("--output", type=Path, default=DOCS, help="folder of the page and the plot")
    parser.add_argument("--runs", type=Path, default=Path("runs/plain_versus_residual"), help="folder of the trainings")
    options = parser.parse_args()
    train, validation = subset("train", TRAIN_IMAGES), subset("validation", VALIDATION_IMAGES)
    wanted = [(net, seed) for seed in SEEDS for net in NETS]
    records = []
    for number, (net, seed) in enumerate(wanted, start=1):
        console.log(f"training {number} of {len(wanted)}: {NETS[net]}, seed {seed}")
        folder = options.runs / f"{net}-seed{seed}"
        records.append(measured(net, train, validation, replace(CONFIG, seed=seed), folder))
    options.output.mkdir(parents=True, exist_ok=True)
    write_bytes(options.output / "plain_versus_residual.png", plot(records))
    write_text(options.output / "plain_versus_residual.md", page(records))
    console.log(f"wrote {options.output / 'plain_versus_residual.md'}")


def subset(split: str, count: int) -> Dataset:
    """The first `count` images of a split of CIFAR-10, whose order TFDS has shuffled for good."""
    data = kzoo.data.load("cifar10", split)
    return Dataset.from_arrays(data.images[:count], data.labels[:count], data.class_names, name=f"cifar10 {split}")


def measured(net: str, train: Dataset, validation: Dataset, config: TrainConfig, folder: Path) -> Record:
    """Train one net, go on where that was stopped, or take what was measured before."""
    path = folder.with_name(f"{folder.name}.json")
    if path.exists():
        return Record(**json.loads(path.read_text()))
    started, cpu_started = time.monotonic(), cpu_seconds()
    if (folder / "checkpoint.safetensors").exists():
        result = resume(folder, train_data=train, validation_data=validation)
    else:
        # A run that was killed before its first checkpoint has left a folder, with nothing to keep.
        result = fit(lambda: kzoo.create_model(net), train, validation, config, folder, overwrite=True)
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
    with logits_instead(model), tf.GradientTape() as tape:
        logits = model(data.images[:count].astype(np.float32), training=True)
        loss = tf.reduce_mean(cross_entropy(data.labels[:count], logits, 0.0))
    gradients = tape.gradient(loss, [layer.kernel.value for layer in layers])
    squares = {stage: [] for stage in STAGES}
    for layer, gradient in zip(layers, gradients, strict=True):
        squares[layer.name.split("_")[0]].append(float(tf.reduce_sum(gradient**2)))
    return {stage: float(np.sqrt(np.mean(values))) for stage, values in squares.items()}


def page(records: list[Record]) -> str:
    """The results in Markdown."""
    minutes, cpu_minutes = (sum(getattr(r, name) for r in records) / 60 for name in ("seconds", "cpu_seconds"))
    return f"""# Plain and residual nets on CIFAR-10

Made by `python recipes/plain_versus_residual.py`, which says what is trained, how, and what else was tried, on
{MACHINE}. The {len(records)} trainings took {cpu_minutes:.0f} min
of processor time, {minutes:.0f} min by the clock, on a machine that others used too.

The last weights, in inference mode, on the {TRAIN_IMAGES:,} training and {VALIDATION_IMAGES:,} validation images;
mean over {len(SEEDS)} seeds (lowest to highest):

{results_table(records)}

What 36 more layers do to the training loss of each seed: {depth(records)}.
The claim is about training: of so few images, a net that fits them better need not know others better, and ResNet-56
does not.

The gradient of the loss by a convolution's kernel: its L2 norm, as the root mean square over the convolutions of a
stage (and its filters), mean over the seeds, on {GRADIENT_IMAGES} training images with their own batch statistics:

{gradient_table(records)}

From the last stage to the first, the gradient at initialization grows by a factor of
{growth(records)}.
It does not vanish in the deep plain net, it explodes, as the theory of batch normalization without shortcuts has it
(Yang et al., "A Mean Field Theory of Batch Normalization", 2019); with shortcuts 56 layers differ little from 20.

![Training loss by epoch, and the size of the gradient by stage](plain_versus_residual.png)
"""


def results_table(records: list[Record]) -> str:
    """Figures of each net."""
    rows = [
        [
            title,
            spread([r.train["loss"] for r in runs], ".3f"),
            spread([100 * r.train["accuracy"] for r in runs], ".1f"),
            spread([100 * r.validation["accuracy"] for r in runs], ".1f"),
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
        [title, when, *(short(mean([getattr(r, field)[stage] for r in runs])) for stage in STAGES)]
        for field, when in (("initial_gradients", "at initialization"), ("trained_gradients", "after training"))
        for title, runs in by_net(records).items()
    ]
    return markdown_table([["net", "", *(f"{stage} ({filters})" for stage, filters in STAGES.items())], *rows])


def growth(records: list[Record]) -> str:
    """How much larger the gradient is in the first stage than in the last, at initialization: mean over the seeds."""
    ratios = {
        title: mean([r.initial_gradients["conv1"] / r.initial_gradients["conv4"] for r in runs])
        for title, runs in by_net(records).items()
    }
    return ", ".join(f"{short(ratio)} ({title})" for title, ratio in ratios.items())


def by_net(records: list[Record]) -> dict[str, list[Record]]:
    """The trainings of each net, in the order of their seeds, by its title."""
    return {title: [record for record in records if record.net == net] for net, title in NETS.items()}


def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def short(number: float) -> str:
    """Two digits that mean something.

    >>> short(0.5312), short(234.5)
    ('0.53', '230')
    """
    return f"{float(f'{number:.2g}'):g}"


def spread(values: list[float], digits: str) -> str:
    """Mean and range.

    >>> spread([1, 2], ".1f"), spread([0.5], ".2f")
    ('1.5 (1.0 to 2.0)', '0.50')
    """
    if len(values) == 1:
        return format(values[0], digits)
    return f"{mean(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


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
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


if __name__ == "__main__":
    main()
