"""`kzoo evaluate`."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from kzoo import console
from kzoo import data as datasets
from kzoo.cli._model import Like, Weights, find, load
from kzoo.cli._options import DataOptions, ImageSize, given, parse_image_size
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.data.loading import absolute, fingerprint, public_name
from kzoo.errors import InvalidArgument, RunError
from kzoo.paths import expand
from kzoo.train import runs, trained_on
from kzoo.train.record import DataSource, RunRecord

# More classes than this are listed in the JSON output only.
MOST_CLASSES_IN_TABLE = 30


def command(
    run: str,
    dataset: str | None = None,
    /,
    *,
    weights: Weights = None,
    like: Like = None,
    which: Literal["best", "last"] = "best",
    image_size: ImageSize = None,
    split: Literal["train", "validation", "val", "test", "all"] | None = None,
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Score a trained model, or a model of the zoo with pretrained weights, on labelled images.

    Args:
        run: A run directory, a .keras file, or with --weights a name of `kzoo list`.
        dataset: What to score it on [default: the run's own test split]. Of a TFDS dataset or digits the test split;
            of the folder or CSV file the run was trained on likewise; of any other every image.
        which: The run's best or last model.
        split: Take this split instead.
        precision: The dtype policy to compute under.
    """
    path, size = expand(run), parse_image_size(image_size)
    resolved = find(run, weights, like, which)
    record = runs.read_record(path) if resolved is None and path.is_dir() else None
    source = _data_of_run(record, run, dataset)
    if source is not None:
        split = split or "test"
        # The folder may have moved since: where it is now is what the user says.
        moved = {} if dataset is None else absolute(dataset, data.data_dir)
        whole = {} if size is None else {"image_size": size, "crop_fraction": 1.0}
        arguments: dict = {**asdict(source), "download": False, **moved, **given(data), **whole}
        images = datasets.load(**arguments, split=split)  # fails, if it does, before TensorFlow is started
        if split not in ("train", "all"):  # of its own data they hold what it was trained on
            trained_on.check(path, images)
        model = load(run, None, which, precision, size)
    else:
        assert dataset is not None  # noqa: S101 - for the type checker
        split = split or ("test" if public_name(dataset) else "all")
        model = load(run, resolved, which, precision, size)
        images = _load_for(model, dataset, split, data, size)
        if record is not None:
            trained_on.check(path, images)

    from kzoo.train.evaluation import evaluate as score

    figures = score(model, images)
    if source is not None and size is None and (split, which, precision) == ("test", "best", "float32"):
        _keep(path, figures)
    if json:
        print_json({"dataset": images.name, "split": images.split, **figures})
    else:
        _print_figures(images, figures)


def _load_for(model, dataset: str, split: str, data: DataOptions, size: tuple[int, int] | None):
    """Images as the model takes them; of a size that was asked for, whole."""
    from kzoo.classifier import loading_for

    return datasets.load(dataset, split, **loading_for(model, size), **asdict(data))


def _data_of_run(record: RunRecord | None, run: str, dataset: str | None) -> DataSource | None:
    """How to load the data the run was trained on, if that is what is to be scored, wherever it lies now."""
    trained_on = None if record is None else record.data.train
    load = None if record is None else (trained_on and trained_on.load) or record.data.load
    if dataset is None:
        if record is None:
            raise InvalidArgument(f"Only a run has data of its own: name a DATASET. Received: {run!r}.")
        if load is None:
            raise InvalidArgument(f"This run was not given its data by name. Received: {run!r}. Name a DATASET.")
        return load
    if load is None or trained_on is None or public_name(dataset):
        return None
    return load if fingerprint(dataset) == trained_on.fingerprint else None


def _keep(run_dir: Path, figures: dict) -> None:
    """Put the figures of the run's own test split with the run, unless it is being trained."""
    try:
        with runs.lock(run_dir):
            path = run_dir / runs.METRICS
            metrics = runs.read_json(path) if path.exists() else {}
            runs.write_json(path, {**metrics, "test": figures})
    except (OSError, RunError) as error:
        console.warn(f"the figures were not added to {run_dir / runs.METRICS}: {error}")


def _print_figures(images, figures: dict) -> None:
    rows = [(key, percent(figures[key])) for key in ("accuracy", "top5_accuracy") if key in figures]
    rows += [("loss", f"{figures['loss']:.4f}"), ("images", figures["images"])]
    print_table(("figure", "value"), rows, title=f"{images.name}, {images.split}")
    if len(figures["classes"]) <= MOST_CLASSES_IN_TABLE:
        print_table(
            ("class", "precision", "recall", "images"),
            [
                (name, percent(one["precision"]), percent(one["recall"]), one["images"])
                for name, one in figures["per_class"].items()
            ],
        )
