"""A search finds its way out of a poor start: the hyperparameters of the MNIST net on the digits that come with kzoo.

Source:  kzoo's demonstration.
Command: python recipes/search_digits.py    # stopped, it continues when it is called again
Time:    not measured; 16 trials of 5 epochs, two at a time, then the best three with two more seeds.
Result:  printed: validation and test accuracy, also of kzoo's defaults after as many epochs; and
         runs/search_digits.png: the best so far, and each hyperparameter against the score.

The start is plain SGD at a thousandth of kzoo's learning rate, without augmentation, with strong label smoothing.
"""

import shutil
from pathlib import Path

import kzoo
from kzoo import console
from kzoo.search import SearchConfig, SearchResult
from kzoo.search.store import PLOT
from kzoo.train import TrainConfig, evaluate, fit
from reporting import parser, search_or_resume

EPOCHS = 5
POOR = TrainConfig(
    epochs=EPOCHS, optimizer="sgd", learning_rate=1e-5, momentum=0.0, label_smoothing=0.2, augment=("none",)
)


def main() -> None:
    """Search, then compare with the defaults."""
    arguments = parser(__doc__, "search_digits", output=Path("runs"))
    arguments.add_argument("--algorithm", default="bayesian", help="bayesian, hyperband, random or grid")
    arguments.add_argument("--trials", type=int, default=16)
    arguments.add_argument("--workers", type=int, default=2)
    options = arguments.parse_args()
    config = SearchConfig(algorithm=options.algorithm, trials=options.trials, workers=options.workers)
    result = search_or_resume("mnist_net", "digits", options.runs, config=config, train=POOR)
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(result.search_dir / PLOT, options.output / "search_digits.png")
    for line in lines(result, defaults_accuracy()):
        console.log(line)


def defaults_accuracy() -> float:
    """Test accuracy of kzoo's defaults after as many epochs."""
    train, validation, test = (kzoo.data.load("digits", split, 28) for split in ("train", "validation", "test"))
    config = TrainConfig(epochs=EPOCHS, augment="digits")
    result = fit(lambda: kzoo.create_model("mnist_net"), train, validation, config)
    return evaluate(result.model, test)["accuracy"]


def lines(result: SearchResult, defaults: float) -> list[str]:
    """What came out."""
    first, best = result.trials[0], result.best
    values = ", ".join(f"{name} {value}" for name, value in best["values"].items())
    return [
        f"validation accuracy: {100 * first['accuracy']:.2f} % at the start, {100 * best['accuracy']:.2f} % at the end "
        f"(trial {best['trial']}, mean of {len(best['accuracies'])} seeds)",
        f"test accuracy: {100 * best['test']['accuracy']:.2f} %, of kzoo's defaults {100 * defaults:.2f} %",
        f"best: {values}",
    ]


if __name__ == "__main__":
    main()
