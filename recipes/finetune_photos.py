"""A pretrained model, fine-tuned on 244 photos, tells ants from bees on photos it has not seen.

Source:  the photos of PyTorch's transfer-learning tutorial, https://download.pytorch.org/tutorial/hymenoptera_data.zip
Command: kzoo weights fetch inception_v1
         python recipes/finetune_photos.py hymenoptera
         python recipes/finetune_photos.py hymenoptera --model vgg16    # after kzoo weights fetch vgg16
Time:    about a minute for each of three seeds on 2 cores of an AMD EPYC with AVX512-BF16.
Result:  docs/finetune_photos.md, whose table --write replaces.

All that is chosen is chosen on a tenth of the folder train/. The photos of val/ are the test set, which only the
finished models see.
"""

import statistics
import time
from pathlib import Path

import kzoo
from kzoo import console
from kzoo.text import markdown_table
from kzoo.train import TrainConfig, evaluate
from kzoo.transfer import fine_tune, images_for
from reporting import parser, write_csv, write_page

SEEDS = (0, 1, 2)
KEPT = {"fine_tuned": "fine-tuned", "head": "the new classifier alone"}


def main() -> None:
    """Fine-tune and test with each seed, and show the table."""
    arguments = parser(__doc__, "finetune_photos")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--model", default="inception_v1")
    arguments.add_argument("--weights", default="imagenet")
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments.add_argument("--write", action="store_true", help="replace the table of docs/finetune_photos.md")
    options = arguments.parse_args()
    if options.write and (options.model, options.weights, tuple(options.seeds)) != ("inception_v1", "imagenet", SEEDS):
        arguments.error(f"The page is of inception_v1 and seeds {SEEDS}. Received: {options}. Leave out --write.")

    photos = options.runs / "photos.csv"
    write_csv(photos, rows_of(options.folder))
    images = images_for(options.model, options.weights)
    found = []
    for seed in options.seeds:
        start, run_dir = time.monotonic(), options.runs / f"{options.model}-{seed}"
        train, validation = (kzoo.data.load(photos, split, **images) for split in ("train", "validation"))
        result = fine_tune(
            options.model, train, validation, weights=options.weights, config=TrainConfig(seed=seed), run_dir=run_dir,
            overwrite=True,
        )  # fmt: skip
        seconds = time.monotonic() - start
        test = kzoo.data.load(photos, "test", **images)
        head, kept = (evaluate(model, test)["accuracy"] for model in (kzoo.load_model(run_dir / "head"), result.model))
        found.append((seed, head, kept, KEPT[result.metrics["kept"]], seconds))
    print(table(found))
    if options.write:
        write_page("finetune_photos", {"accuracies": table(found)}, options.output)


def rows_of(folder: Path) -> list[tuple[str, str, str]]:
    """Path, label and split of the photos: `train`, of which kzoo takes a tenth to validate, and `val` to test."""
    return [
        (str(photo.resolve()), photo.parent.name, split)
        for part, split in (("train", "train"), ("val", "test"))
        for photo in sorted((folder / part).glob("*/*"))
    ]


def table(found: list[tuple[int, float, float, str, float]]) -> str:
    """Test accuracies and time of each seed, and the mean."""
    rows = [
        (str(seed), f"{100 * head:.1f} %", f"{100 * kept:.1f} % ({which})", console.duration(seconds))
        for seed, head, kept, which, seconds in found
    ]
    mean = statistics.mean(kept for _, _, kept, _, _ in found)
    titles = ("seed", "new classifier alone", "kept model", "time")
    return f"{markdown_table([titles, *rows])}\n\nOn average the kept models reach {100 * mean:.1f} %."


if __name__ == "__main__":
    main()
