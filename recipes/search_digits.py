"""Search for the hyperparameters of the MNIST net on the embedded digits, from a poor start.

    python recipes/search_digits.py

The search begins with plain SGD at a thousandth of kzoo's learning rate, no augmentation and strong label smoothing. 16
trials of 5 epochs, two at a time; the best three configurations are trained with two more seeds. It writes
search_digits.png (best so far, and each hyperparameter against the score), and says the test accuracy of the best model
and that of kzoo's defaults with the same epochs. Stopped, it goes on where it was when it is called again.
"""

import argparse
import shutil
from pathlib import Path

import kzoo
from kzoo import console
from kzoo.search import SearchConfig, SearchResult, resume, search
from kzoo.search.store import PLOT, SEARCH
from kzoo.train import TrainConfig, evaluate, fit

EPOCHS = 5
POOR = TrainConfig(
    epochs=EPOCHS, optimizer="sgd", learning_rate=1e-5, momentum=0.0, label_smoothing=0.2, augment=("none",)
)


def main() -> None:
    """Search, then compare with the defaults."""
    parser = argparse.ArgumentParser(description="Search for the hyperparameters of the MNIST net on digits.")
    parser.add_argument("--runs", type=Path, default=Path("runs/search_digits"), help="folder of the search")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder of the picture")
    parser.add_argument("--algorithm", default="bayesian", help="bayesian, hyperband, random or grid")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    result = found(options)
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(result.search_dir / PLOT, options.output / "search_digits.png")
    for line in lines(result, defaults_accuracy()):
        console.log(line)


def found(options: argparse.Namespace) -> SearchResult:
    """The search, begun or continued."""
    if (options.runs / SEARCH).exists():
        return resume(options.runs)
    config = SearchConfig(algorithm=options.algorithm, trials=options.trials, workers=options.workers)
    return search("mnist_net", "digits", options.runs, config=config, train=POOR)


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
