"""A pretrained model, fine-tuned with every option at its default, on four small sets of images, tested on others.

Source:  hymenoptera: the photos of PyTorch's tutorial, https://download.pytorch.org/tutorial/hymenoptera_data.zip
         beans3: 300 of ibean's photos, https://github.com/AI-Lab-Makerere/ibean
         signdigits: 1,000 of https://github.com/ardamavi/Sign-Language-Digits-Dataset, tested on other students' hands
         scripts8: 800 characters of https://github.com/brendenlake/omniglot, tested on other people's
Command: kzoo weights fetch inception_v1
         python recipes/finetune_photos.py hymenoptera --seeds 0 1 2 3 4 5 6 7
         python recipes/finetune_photos.py beans3 signdigits scripts8
         python recipes/finetune_photos.py --write
Time:    in the table.
Result:  docs/finetune_photos.md, whose tables --write replaces.

A folder has train/CLASS/* and test/CLASS/* (or val/CLASS/*). All that is chosen is chosen on train, a tenth of which
validates. Each result is written into the folder of the runs, where one that is there is not computed again.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import kzoo
from kzoo import console
from kzoo.data import Dataset
from kzoo.files import write_text
from kzoo.hardware import probe
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate
from kzoo.train.precision import in_precision, resolve
from kzoo.transfer import fine_tune, freeze, images_for
from kzoo.transfer.cutting import find_cut, split
from kzoo.transfer.features import Frozen, Views, cache_folder, digests, features_of, key_of
from reporting import parser, write_csv, write_page

MODEL, WEIGHTS = "inception_v1", "imagenet"


def main() -> None:
    """Fine-tune and test on each set with each seed, and show the tables."""
    arguments = parser(__doc__, "finetune_photos")
    arguments.add_argument("folders", type=Path, nargs="*")
    arguments.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    arguments.add_argument("--write", action="store_true", help="replace the tables of docs/finetune_photos.md")
    options = arguments.parse_args()
    for folder in options.folders:
        photos = options.runs / f"{folder.name}.csv"
        write_csv(photos, rows_of(folder))
        for seed in options.seeds:
            run_dir = options.runs / f"{folder.name}-{seed}"
            if not (path := run_dir.with_suffix(".json")).exists():
                write_text(path, json.dumps(score(photos, run_dir, seed)))
    results = [json.loads(path.read_text()) for path in sorted(options.runs.glob("*-*.json"))]
    print(table(results))
    if options.write:
        write_page("finetune_photos", {"accuracies": table(results), "hymenoptera": seeds_of(results)}, options.output)


def rows_of(folder: Path) -> list[tuple[str, str, str]]:
    """Path, label and split of the images: `train`, of which kzoo takes a tenth to validate, and those to test."""
    return [
        (str(photo.resolve()), photo.parent.name, split)
        for part, split in (("train", "train"), ("val", "test"), ("test", "test"))
        for photo in sorted((folder / part).glob("*/*"))
    ]


def score(photos: Path, run_dir: Path, seed: int) -> dict:
    """Fine-tune, and test the new classifier alone, the model that is kept, and logistic regression."""
    images = images_for(MODEL, WEIGHTS)
    start = time.monotonic()
    train, validation = (kzoo.data.load(photos, split, **images) for split in ("train", "validation"))
    result = fine_tune(
        MODEL, train, validation, weights=WEIGHTS, config=TrainConfig(seed=seed), run_dir=run_dir, overwrite=True
    )
    seconds = time.monotonic() - start
    test = kzoo.data.load(photos, "test", **images)
    # The new classifiers of all seeds are on the same features.
    features = {name: features_at_head(run_dir, data) for name, data in (("train", train), ("test", test))}
    predictions = kzoo.load_model(run_dir / "head").layers[-1](features["test"])
    head = float(np.mean(np.argmax(predictions, axis=1) == test.labels))
    kept = result.metrics["kept"]
    return {
        "set": photos.stem, "seed": seed, "train": len(train), "validation": len(validation), "test": len(test),
        "head": head, "kept": kept, "fine_tuned": evaluate(result.model, test)["accuracy"] if kept != "head" else head,
        "logistic": logistic(features["train"], train.labels, features["test"], test.labels), "seconds": seconds,
    }  # fmt: skip


def features_at_head(run_dir: Path, data: Dataset) -> Any:
    """What the frozen network makes of images, as the new classifier gets it: float32 (N, channels)."""
    model = freeze(in_precision(kzoo.load_model(run_dir / "head"), resolve(TrainConfig(), probe())[0].precision))
    cut = find_cut(model)
    assert cut is not None  # noqa: S101 - so it is of this model
    below = split(model, cut)[0]
    key = key_of(below, digests(data), ("none",), 1, 0)
    found = features_of(Views(data, Frozen(below), key, policy=None, count=1, seed=0, folder=cache_folder()))
    assert found is not None  # noqa: S101 - some megabytes
    return np.asarray(found.views[0], np.float32)


def logistic(features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy of scikit-learn's logistic regression, its penalty chosen by cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    penalties = {"C": [1e-4, 1e-3, 1e-2, 1e-1, 1]}
    model = GridSearchCV(LogisticRegression(max_iter=2000), penalties, cv=5, scoring="neg_log_loss")
    return float(np.mean(model.fit(features, labels).predict(test_features) == test_labels))


def table(results: list[dict]) -> str:
    """A row for each set: mean test accuracies, with the interval of the gain, and the time of a run."""
    rows = [("set", "images", "tested on", "seeds", "logistic regression", "head alone", "kept model", "gain", "time")]
    for name in dict.fromkeys(one["set"] for one in results):
        runs = [one for one in results if one["set"] == name]
        heads, kept = ([100 * one[which] for one in runs] for which in ("head", "fine_tuned"))
        images = runs[0]["test"]
        share = statistics.mean(kept) / 100
        # Of the test images: seeds share them, so that their number is what limits what can be known.
        error = 1.96 * 100 * (2 * share * (1 - share) / images) ** 0.5
        gain = statistics.mean(kept) - statistics.mean(heads)
        left_out = all(one["kept"] == "head" for one in runs)
        rows.append(
            (
                name,
                f"{runs[0]['train']} + {runs[0]['validation']}",
                f"{images}",
                f"{len(runs)}",
                f"{100 * statistics.mean(one['logistic'] for one in runs):.1f} %",
                f"{statistics.mean(heads):.1f} %",
                f"{statistics.mean(kept):.1f} %",
                "left out" if left_out else f"{gain:+.1f} (± {error:.1f})",
                console.duration(statistics.mean(one["seconds"] for one in runs)),
            )
        )
    return markdown_table(rows)


def seeds_of(results: list[dict], name: str = "hymenoptera") -> str:
    """The test accuracy of each seed on a set, mean and standard deviation."""
    runs = sorted((one for one in results if one["set"] == name), key=lambda one: one["seed"])
    found = [100 * one["fine_tuned"] for one in runs]
    rows = [("seed", "test accuracy", "time")]
    rows += [
        (f"{one['seed']}", f"{value:.1f} %", console.duration(one["seconds"]))
        for one, value in zip(runs, found, strict=True)
    ]
    spread = f", standard deviation {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{markdown_table(rows)}\n\nMean {statistics.mean(found):.2f} %{spread}."


if __name__ == "__main__":
    main()
