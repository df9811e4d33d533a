"""The ResNets for CIFAR-10 against their paper's table: test errors of 20 to 110 layers.

Source:  He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv 1512.03385), section 4.2 and Table 6.
Command: tfds build cifar10
         python recipes/cifar10_resnet.py    # ResNet-20; stopped, it continues when it is called again
         python recipes/cifar10_resnet.py --models resnet32_cifar resnet44_cifar --seeds 0    # other rows
         python recipes/cifar10_resnet.py --schedule resnet    # the paper's 164 epochs
Time:    not measured; by a short run 2 to 3 hours on 2 cores with AVX512-BF16, for 3 trainings of ResNet-20.
Result:  docs/cifar10_resnet.md, a row for each setting whose runs are in the runs folder.

All 50,000 training images are used, as for the paper's table, so there is no validation: the last model counts, and the
test images choose nothing. Augmentation is the paper's: 4 black pixels on each side, a crop, and mirror images.

The schedule `resnet` is the paper's: 64,000 steps of 128 images are 164 epochs. `cosine` is a shorter one for 2 cores:
kzoo's default for so many images, AdamW from 0.003 down to 0 along a cosine in batches of 128, for 40 epochs.

Expected, before the first run: with either schedule, the mean error of each net is at most that of the paper.
"""

import statistics
from pathlib import Path
from typing import NamedTuple

from kzoo import cli, console
from kzoo.layers import RandomAffine, RandomCrop
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, run_record, start
from kzoo.train.record import ZooModel
from kzoo.train.runs import METRICS, read_metrics, read_record
from reporting import parser, percent, write_page


class Row(NamedTuple):
    """A row of the paper's table."""

    title: str
    error: float
    """In percent; of 110 layers the best of five runs."""


PAPER = {
    "resnet20_cifar": Row("ResNet-20", 8.75),
    "resnet32_cifar": Row("ResNet-32", 7.51),
    "resnet44_cifar": Row("ResNet-44", 7.17),
    "resnet56_cifar": Row("ResNet-56", 6.97),
    "resnet110_cifar": Row("ResNet-110", 6.43),
}
EPOCHS = {"cosine": 40, "resnet": 164}  # by schedule
SEEDS = (0, 1, 2)


class Setting(NamedTuple):
    """What the runs of a row have in common."""

    model: str
    schedule: str
    epochs: int


class Run(NamedTuple):
    """What a run that was scored says."""

    seed: int
    error: float
    seconds: float


def main() -> None:
    """Train and score what is not trained yet, then write the page."""
    arguments = parser(__doc__, "cifar10_resnet")
    arguments.add_argument("--models", choices=PAPER, nargs="+", default=["resnet20_cifar"])
    arguments.add_argument("--schedule", choices=EPOCHS, default="cosine")
    arguments.add_argument("--epochs", type=int, help="instead of those of the schedule")
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = arguments.parse_args()
    epochs = options.epochs or EPOCHS[options.schedule]
    for seed in options.seeds:
        for model in options.models:
            run_dir = options.runs / f"{model}-{options.schedule}-{epochs}-{seed}"
            console.log(f"{run_dir}")
            config = configuration(model, options.schedule, epochs, seed)
            start(run_record(model, "cifar10", config=config, all_data=True), run_dir, resume=True)
            score(run_dir)
    found = scored(options.runs)
    write_page("cifar10_resnet", {"errors": errors(found), "expected": expected(found)}, options.output)


def configuration(model: str, schedule: str, epochs: int, seed: int) -> TrainConfig:
    """How a net is trained; what is not said here is kzoo's default or that of the schedule's paper."""
    augment = (RandomCrop(32, 32, padding=4, fill_mode="constant"), RandomAffine(horizontal_flip=True))
    if schedule == "cosine":
        return TrainConfig(schedule="cosine", epochs=epochs, augment=augment, seed=seed)
    paper = "resnet110" if model == "resnet110_cifar" else "resnet"
    return TrainConfig(schedule=paper, batch_size=128, epochs=epochs, augment=augment, seed=seed)


def score(run_dir: Path) -> None:
    """Score a run on the test images, once: `kzoo evaluate` keeps the figures in the run."""
    if "test" not in read_metrics(run_dir) and (status := cli.run(["evaluate", str(run_dir)])):
        raise SystemExit(status)


def scored(folder: Path) -> dict[Setting, list[Run]]:
    """The scored runs in a folder by their setting, in the order of the paper's rows and of the seeds."""
    found: dict[Setting, list[Run]] = {}
    for run_dir in (path.parent for path in folder.glob(f"*/{METRICS}")):
        metrics, record = read_metrics(run_dir), read_record(run_dir)
        if "test" in metrics and isinstance(record.model, ZooModel):
            setting = Setting(record.model.name, record.train.schedule_name, metrics["epochs"])
            run = Run(record.train.seed, 1 - metrics["test"]["accuracy"], metrics["training_seconds"])
            found.setdefault(setting, []).append(run)
    order = sorted(found, key=lambda setting: (list(PAPER).index(setting.model), *setting[1:]))
    return {setting: sorted(found[setting]) for setting in order}


def errors(found: dict[Setting, list[Run]]) -> str:
    """A row for each setting that was trained, and for each row of the paper that was not."""
    titles = ("net", "paper's error, %", "error, %", "schedule", "epochs", "seeds", "time of a training")
    rows = []
    for model, (title, error) in PAPER.items():
        settings = [setting for setting in found if setting.model == model]
        for setting in settings:
            runs = found[setting]
            seconds = statistics.mean(run.seconds for run in runs)
            ours = percent([run.error for run in runs], ".2f")
            seeds = ", ".join(f"{run.seed}" for run in runs)
            how = (setting.schedule, f"{setting.epochs}", seeds, console.duration(seconds))
            rows.append((title, f"{error:.2f}", ours, *how))
        if not settings:
            rows.append((title, f"{error:.2f}", "not measured", "-", "-", "-", "-"))
    return markdown_table([titles, *rows])


def expected(found: dict[Setting, list[Run]]) -> str:
    """Whether the error of each setting is at most the paper's, as was expected."""
    lines = []
    for setting, runs in found.items():
        title, error = PAPER[setting.model]
        points = round(100 * statistics.mean(run.error for run in runs) - error, 2)
        held = "it held" if points <= 0 else "it did not hold"
        lines.append(f"- {title}, {setting.schedule}, {setting.epochs} epochs: {points:+.2f} points, {held}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
