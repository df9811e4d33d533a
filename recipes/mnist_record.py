"""The MNIST record by small nets: trained apart, averaged, and learned by one net that is no larger than each.

Source:  Wan et al., "Regularization of Neural Networks using DropConnect", 2013, section 6.1: 99.79 % by five nets of
         two convolutions and two fully connected layers. Hinton et al., "Distilling the Knowledge in a Neural Network",
         2015.
Command: tfds build mnist
         python recipes/mnist_record.py choose    # on the training images alone: compares the CANDIDATES
         python recipes/mnist_record.py           # trains by PROTOCOL, then reads the test images, once
         Stopped, each continues when it is called again.
Time:    not measured.
Result:  docs/mnist_record.md.

The protocol below is committed before the test images are read. `choose` trains on 90 % of the training images and
scores on the other 10 %. `measure` trains the members on all of them, averages their probabilities, trains one net of
the same architecture towards that average, and scores all of them on the test images in one go.
"""

import argparse
from dataclasses import replace

import numpy as np

import kzoo
from kzoo import console
from kzoo.ensemble import average
from kzoo.plotting import new_figure
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate, run_record, start
from reporting import parser, percent, png, write_page

MODEL, DATASET = "mnist_net", "mnist"
# What was compared on the validation images; all else is kzoo's default.
CANDIDATES = {
    "15 epochs": TrainConfig(),
    "40 epochs": TrainConfig(epochs=40),
    "40 epochs, EMA 0.999": TrainConfig(epochs=40, ema_momentum=0.999),
    "40 epochs, SWA of the last 10": TrainConfig(epochs=40, swa_epochs=10),
}
CHOICE_MEMBERS = 3
PROTOCOL = CANDIDATES["40 epochs"]
MEMBERS = 10
TEMPERATURE = 2.0  # of the distillation
MOST_SHOWN, COLUMNS = 40, 8  # misclassified images


def main() -> None:
    """Compare on the training images, or train by the protocol and write the page."""
    arguments = parser(__doc__, "mnist_record")
    arguments.add_argument("what", nargs="?", choices=("choose", "measure"), default="measure")
    arguments.add_argument("--dataset", default=DATASET, help="another, to see that it runs")
    arguments.add_argument("--epochs", type=int, help="instead of those above, to see that it runs")
    arguments.add_argument("--members", type=int, default=MEMBERS)
    options = arguments.parse_args()
    tables = choose(options) if options.what == "choose" else measure(options)
    picture = tables.pop("picture", None)
    write_page("mnist_record", tables, options.output, picture)


def choose(options: argparse.Namespace) -> dict:
    """The table of the candidates: each net and the average of them on the validation images."""
    data = kzoo.data.load(options.dataset, "validation", 28)
    rows = [("protocol", "one net, mean error, %", f"average of {CHOICE_MEMBERS}, error, %")]
    for name, config in CANDIDATES.items():
        models = []
        for seed in range(CHOICE_MEMBERS):
            folder = options.runs / "choice" / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
            console.log(f"{folder}")
            models.append(start(record(options, config, seed), folder, resume=True).model)
        errors = [1 - evaluate(model, data)["accuracy"] for model in models]
        together = 1 - evaluate(average(models), data)["accuracy"]
        rows.append((name, percent(errors, ".2f"), f"{100 * together:.2f}"))
    return {"choice": markdown_table(rows)}


def measure(options: argparse.Namespace) -> dict:
    """The table of the nets, their average and the distilled net on the test images; and a picture of mistakes."""
    folder = options.runs / "ensemble"
    members = record(options, PROTOCOL, 0, members=options.members, all_data=True)
    ensemble = start(members, folder, resume=True).model
    taught = record(options, PROTOCOL, options.members, teacher=folder, temperature=TEMPERATURE, all_data=True)
    distilled = start(taught, options.runs / "distilled", resume=True).model
    singles = [kzoo.load_model(folder / f"member-{number}") for number in range(options.members)]
    test = kzoo.data.load(options.dataset, "test", 28)
    nets = {"one net": singles, f"average of {options.members}": [ensemble], "distilled into one": [distilled]}
    figures = {name: [evaluate(model, test) for model in models] for name, models in nets.items()}
    shown = "![Images that the average or the distilled net gets wrong: label, then both answers](mnist_record.png)"
    return {"results": f"{results(figures)}\n\n{shown}", "picture": mistakes(ensemble, distilled, test)}


def record(options: argparse.Namespace, config: TrainConfig, seed: int, **others):
    """A training by names."""
    if options.epochs is not None:
        config = replace(config, epochs=options.epochs, swa_epochs=None)
    return run_record(MODEL, options.dataset, config=replace(config, seed=seed), **others)


def results(figures: dict[str, list[dict]]) -> str:
    """A row for each kind of net: accuracy, its interval for a single model, mistakes."""
    rows = [("", "test accuracy, %", "95 % interval", "mistakes")]
    for name, found in figures.items():
        accuracies = [one["accuracy"] for one in found]
        wrong = [round((1 - one["accuracy"]) * one["images"]) for one in found]
        interval = " to ".join(f"{100 * end:.2f}" for end in found[0]["interval"]) if len(found) == 1 else "-"
        mistaken = f"{wrong[0]}" if len(wrong) == 1 else f"{min(wrong)} to {max(wrong)}"
        rows.append((name, percent(accuracies, ".2f"), interval, mistaken))
    return markdown_table(rows)


def mistakes(ensemble, distilled, test) -> bytes:
    """The images that one of two models gets wrong: the label, then the answer of each."""
    said = [np.argmax(model.predict(test.images, batch_size=256, verbose=0), axis=1) for model in (ensemble, distilled)]
    wrong = np.flatnonzero((said[0] != test.labels) | (said[1] != test.labels))[:MOST_SHOWN]
    lines = max(1, -(-len(wrong) // COLUMNS))
    figure = new_figure(figsize=(1.3 * COLUMNS, 1.6 * lines))
    axes = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, row in zip(axes, wrong, strict=False):
        axis.imshow(test.images[row][..., 0], cmap="gray_r")
        axis.set_title(f"{test.labels[row]}: {said[0][row]}, {said[1][row]}", fontsize=9)
    figure.tight_layout()
    return png(figure)


if __name__ == "__main__":
    main()
