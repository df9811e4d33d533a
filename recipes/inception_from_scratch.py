"""Inception v1 trains from scratch, with and without its auxiliary heads, on a part of CIFAR-10.

Source:  Szegedy et al., "Going Deeper with Convolutions", 2015, section 5: two classifiers on inner layers,
         "weighted by 0.3" in the loss, "discarded" afterwards.
Command: tfds build cifar10
         python recipes/inception_from_scratch.py    # stopped, it continues when it is called again
Time:    less than half an hour on 2 cores of an AMD EPYC with AVX512-BF16.
Result:  docs/inception_from_scratch.md, which also says what differs from the paper.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import kzoo
from kzoo import console
from kzoo.data import Dataset
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, fit, load
from reporting import parser, png, take, write_page

RUNS = {"with-heads": "with auxiliary heads", "without-heads": "without"}
COLORS = {"with-heads": "tab:blue", "without-heads": "tab:orange"}
AUXILIARY = ("auxiliary_1", "auxiliary_2")
PIXELS, TRAIN_IMAGES, VALIDATION_IMAGES = 80, 4096, 1000
CONFIG = TrainConfig(
    epochs=10,
    batch_size=32,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="cosine",
    warmup_epochs=1,
    auxiliary_weight=0.3,
    augment="none",
)


def main() -> None:
    """Train what is not trained yet, check what was saved, then write the page and the curves."""
    options = parser(__doc__, "inception_from_scratch").parse_args()
    train, validation = subset("train", TRAIN_IMAGES), subset("validation", VALIDATION_IMAGES)
    histories = {}
    for run, title in RUNS.items():
        console.log(f"Inception v1 {title}")
        folder = options.runs / run
        histories[run] = fit(lambda run=run: net(run), train, validation, CONFIG, folder, resume=True).history
        check_saved(folder)
    write_page("inception_from_scratch", {"results": table(histories)}, options.output, plot(histories))


def subset(split: str, count: int) -> Dataset:
    """The first `count` images of a split of CIFAR-10, whose order TFDS has shuffled for good, scaled up."""
    data = take(kzoo.data.load("cifar10", split), np.arange(count))
    images = [np.asarray(Image.fromarray(image).resize((PIXELS, PIXELS))) for image in data.images]
    return Dataset.from_arrays(np.stack(images), data.labels, data.class_names, name=data.name)


def net(run: str):
    """Inception v1 for ten classes."""
    return kzoo.create_model(
        "inception_v1", classes=10, input_shape=(PIXELS, PIXELS, 3), auxiliary_heads=run == "with-heads"
    )


def check_saved(folder: Path) -> None:
    """What a run saves has one output, and the parameters of the net without heads."""
    model, expected = load(folder, "best"), net("without-heads")
    if model.output_shape != (None, 10) or model.count_params() != expected.count_params():
        raise SystemExit(f"best.keras still has auxiliary heads: output {model.output_shape}.")
    console.log(f"{folder / 'best.keras'}: output {model.output_shape}, {model.count_params():,} parameters")


def table(histories: dict[str, dict]) -> str:
    """Losses and accuracies of each run."""
    rows = [
        (
            title,
            *(f"{histories[run]['loss'][epoch]:.2f}" for epoch in (0, -1)),
            f"{100 * histories[run]['accuracy'][-1]:.1f}",
            f"{histories[run]['val_loss'][-1]:.2f}",
            f"{100 * histories[run]['val_accuracy'][-1]:.1f}",
        )
        for run, title in RUNS.items()
    ]
    titles = (
        "Inception v1", "loss of the first epoch", "of the last", "accuracy, %", "validation loss",
        "validation accuracy, %",
    )  # fmt: skip
    return markdown_table([titles, *rows])


def plot(histories: dict[str, dict]) -> bytes:
    """Draw loss and accuracy by epoch, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for run, history in histories.items():
        for axes, name in ((losses, "loss"), (accuracies, "accuracy")):
            scale = 100 if name == "accuracy" else 1
            for key, kind, style in ((name, "training", "-"), (f"val_{name}", "validation", "--")):
                values = scale * np.array(history[key])
                axes.plot(history["epoch"], values, style, color=COLORS[run], label=f"{RUNS[run]}, {kind}")
    for head, style in zip(AUXILIARY, (":", "-."), strict=True):
        history = histories["with-heads"]
        losses.plot(history["epoch"], history[f"{head}_loss"], style, color="tab:gray", label=f"{head}, training")
    losses.set(title="Loss", xlabel="epoch", ylabel="cross-entropy (nats)")
    accuracies.axhline(10, color="black", linewidth=0.8, label="chance")
    accuracies.set(title="Accuracy", xlabel="epoch", ylabel="% of the images")
    for axes in (losses, accuracies):
        axes.set_xticks(histories["with-heads"]["epoch"])
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return png(figure)


if __name__ == "__main__":
    main()
