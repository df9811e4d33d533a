"""Fine-tune a pretrained model on a few hundred photos, with three seeds, and test it on photos it has not seen.

    python recipes/finetune_photos.py hymenoptera
    python recipes/finetune_photos.py hymenoptera --model vgg16 --weights imagenet

By default Inception v1 with BVLC's weights (kzoo weights fetch inception_v1), on the ants and bees of PyTorch's
tutorial: https://download.pytorch.org/tutorial/hymenoptera_data.zip. The folder has train/ and val/ by class. All that
is chosen is chosen on a tenth of train/; val/ is the test set, and only the finished models see it.

Result of the defaults, on 2 cores of an AMD EPYC with AVX512-BF16: mean test accuracy 95.2 % (96.1, 94.8, 94.8), about
a minute for each seed.
"""

import argparse
import csv
import io
import statistics
import time
from pathlib import Path

import kzoo
from kzoo import console
from kzoo.files import write_text
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate
from kzoo.transfer import fine_tune, images_for


def split_file(folder: Path, path: Path) -> None:
    """Write a CSV dataset: the photos of `train`, of which kzoo takes a tenth to validate; those of `val` to test."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "label", "split"))
    for part, split in (("train", "train"), ("val", "test")):
        for photo in sorted((folder / part).glob("*/*")):
            rows.writerow((photo.resolve(), photo.parent.name, split))
    write_text(path, text.getvalue())


def main() -> None:
    """Fine-tune and test with each seed, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="inception_v1")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/finetune_photos"))
    given = parser.parse_args()

    given.runs.mkdir(parents=True, exist_ok=True)
    photos = given.runs / "photos.csv"
    split_file(given.folder, photos)
    rows, accuracies = [], []
    for seed in given.seeds:
        start = time.monotonic()
        how = images_for(given.model, given.weights)
        train, validation = (kzoo.data.load(photos, split, **how) for split in ("train", "validation"))
        run_dir = given.runs / f"{given.model}-{seed}"
        config = TrainConfig(seed=seed)
        result = fine_tune(
            given.model, train, validation, weights=given.weights, config=config, run_dir=run_dir, overwrite=True
        )
        seconds = time.monotonic() - start
        head = evaluate(kzoo.load_model(run_dir / "head"), test := kzoo.data.load(photos, "test", **how))["accuracy"]
        accuracies.append(evaluate(result.model, test)["accuracy"])
        kept = result.metrics["kept"].replace("_", "-")
        rows.append((str(seed), f"{head:.1%}", f"{accuracies[-1]:.1%}", kept, console.duration(seconds)))
    print(markdown_table([("seed", "new head alone", "kept model", "which is", "time"), *rows]))
    print(f"mean test accuracy {statistics.mean(accuracies):.2%} of {len(test)} photos")


if __name__ == "__main__":
    main()
