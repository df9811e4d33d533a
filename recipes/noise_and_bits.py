"""Small noise and few bits cost little: three trained nets, with noise on their images and with rounded numbers.

Source:  kzoo's measurement, by `kzoo.robustness.measure`. Nothing is trained.
Command: tfds build mnist && tfds build cifar10
         python recipes/noise_and_bits.py --data DATA    # stopped, it continues when it is called again
         DATA has weights/resnet20-12fca82f.th (github.com/akamaster/pytorch_resnet_cifar10),
         weights/bvlc_googlenet (`kzoo weights list inception_v1` says from where), and imagenet_samples: photos whose
         names begin with the WordNet id of their class.
Time:    40 minutes on 2 cores of an Intel Xeon with AVX512-BF16 that others used too (load 12).
Result:  docs/noise_and_bits.md.

Expected, written before ResNet-20 and Inception v1 were measured (mnist_net was, while the command was made): noise of
standard deviation 4, and numbers of 8 bits, cost nothing that the intervals can tell; 4 bits cost some points; 2 bits
leave next to no accuracy, since nothing is trained after rounding. ResNet-20 bears the least noise, as its images are
small photos. The order of the nets by noise is not their order by bits.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

import kzoo
from kzoo import console
from kzoo.classifier import loading_for
from kzoo.files import write_json
from kzoo.robustness import curves, measure
from kzoo.text import markdown_table
from reporting import DOCS, parser, write_csv, write_page

MNIST, CIFAR, PHOTOS = "mnist_net, MNIST", "ResNet-20, CIFAR-10", "Inception v1, ImageNet"
CORRUPTED = {"blur": "standard deviation, share of the side", "contrast": "factor", "jpeg": "quality"}


def main() -> None:
    """Measure what is not measured yet, then write the page and the plot."""
    arguments = parser(__doc__, "noise_and_bits")
    default = Path(os.environ.get("KZOO_TEST_DATA") or DOCS.parent.parent / "shared" / "data")
    arguments.add_argument("--data", type=Path, default=default, help="folder of weights and photos [KZOO_TEST_DATA]")
    options = arguments.parse_args()
    found = {title: measured(title, options) for title in (MNIST, CIFAR, PHOTOS)}
    write_page("noise_and_bits", tables(found), options.output, curves.picture(found))


def measured(title: str, options: argparse.Namespace) -> dict:
    """The figures of a net, from before if there are some."""
    path = options.runs / f"{title.split(',')[0].replace(' ', '_').lower()}.json"
    if not path.exists():
        console.log(title)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measure(*net_and_images(title, options.data, options.runs)))
    return json.loads(path.read_text())


def net_and_images(title: str, data: Path, folder: Path) -> tuple:
    """A net, the images that it is scored on and, where there are some, images of its training."""
    if title == PHOTOS:
        model = kzoo.create_model("inception_v1", weights=data / "weights" / "bvlc_googlenet")
        photos = sorted((data / "imagenet_samples").glob("*.JPEG"))
        listed = folder / "photos.csv"
        write_csv(listed, [(str(photo.resolve()), photo.name.split("_")[0], "test") for photo in photos])
        return model, kzoo.data.load(listed, "test", **loading_for(model, None))
    if title == MNIST:
        model, name = kzoo.create_model("mnist_net", weights="mnist"), "mnist"
    else:
        model = kzoo.create_model("resnet20_cifar", weights=data / "weights" / "resnet20-12fca82f.th")
        name = "cifar10"
    test, train = (kzoo.data.load(name, split, **loading_for(model, None)) for split in ("test", "train"))
    return model, test, train


def tables(found: dict[str, dict]) -> dict[str, str]:
    """What the page shows, by the names of its markers."""
    photos = {title: figures for title, figures in found.items() if figures["corruptions"]}
    return {
        "noise": curve_table("standard deviation", "noise", found),
        "bits": curve_table("bits", "bits", found),
        **{name: curve_table(title, name, photos) for name, title in CORRUPTED.items()},
        "order": order(found),
    }


def curve_table(title: str, name: str, found: dict[str, dict]) -> str:
    """Accuracies in percent with their 95 % intervals: a row for each level, a column for each net."""
    by_net = [curves.curves(figures)[name] for figures in found.values()]
    rows = [
        (curves.shown_level(name, level), *(cell(points[i][1]) for points in by_net))
        for i, (level, _) in enumerate(by_net[0])
    ]
    return markdown_table([(title, *found), *rows])


def cell(row: dict) -> str:
    """Accuracy and interval, in percent.

    >>> cell({"accuracy": 0.5, "interval": [0.4, 0.6]})
    '50.0 (40.0 to 60.0)'
    """
    low, high = row["interval"]
    return f"{100 * row['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def kept(rows: list[dict]) -> float:
    """The share of its accuracy that a net keeps, as a mean over all levels after the first, which changes nothing."""
    return float(np.mean([row["accuracy"] for row in rows[1:]]) / rows[0]["accuracy"])


def order(found: dict[str, dict]) -> str:
    """What each net keeps, and whether the order by noise is the order by bits."""
    from scipy.stats import spearmanr

    by_noise, by_bits = ([kept(figures[name]) for figures in found.values()] for name in ("noise", "bits"))
    rows = [
        (title, f"{100 * noise:.1f} %", f"{100 * bits:.1f} %")
        for title, noise, bits in zip(found, by_noise, by_bits, strict=True)
    ]
    table = markdown_table([("net", "kept under noise", "kept with few bits"), *rows])
    correlation = float(spearmanr(by_noise, by_bits)[0])  # pyright: ignore[reportArgumentType]
    return f"{table}\n\nSpearman's rank correlation of the two columns: {correlation:+.1f}."


if __name__ == "__main__":
    main()
