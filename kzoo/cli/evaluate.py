"""`kzoo evaluate`."""

from pathlib import Path
from typing import Literal

from kzoo import console
from kzoo.cli._options import DataOptions
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.errors import InvalidArgument
from kzoo.train import runs

# More classes than this are listed in the JSON output only.
MOST_CLASSES_IN_TABLE = 30


def command(
    run: str,
    dataset: str | None = None,
    /,
    *,
    which: Literal["best", "last"] = "best",
    split: Literal["train", "validation", "val", "test", "all"] | None = None,
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Score a trained model on labelled images.

    Args:
        run: A run directory or a .keras file.
        dataset: What to score it on [default: the run's own test split]. Of a TFDS dataset or digits the test split;
            of the folder or CSV file the run was trained on likewise; of any other every image.
        which: The run's best or last model.
        split: Take this split instead.
        precision: The dtype policy to compute under.
    """
    path = Path(run).expanduser()
    record = runs.read_config(path) if path.is_dir() else {}
    if not path.exists():
        raise InvalidArgument(f"No such run directory or model file. Received: {run!r}.")
    if dataset is None and not record:
        raise InvalidArgument(f"A model file has no data of its own: name a DATASET. Received: {run!r}.")
    own = dataset is None or _is_own(record, dataset, data)
    if own:
        arguments = dict(record["data"]["load"]) if "load" in (record.get("data") or {}) else None
        if arguments is None:
            raise InvalidArgument(f"This run was not given a dataset by name. Received: {run!r}. Name a DATASET.")
        if data.data_dir is not None:
            arguments["data_dir"] = data.data_dir
        split = split or "test"
    else:
        assert dataset is not None  # noqa: S101 - for the type checker
        arguments = {"name": dataset, "data_dir": data.data_dir, "download": data.download}
        split = split or ("all" if Path(dataset).expanduser().exists() else "test")
    if data.on_bad_image == "skip" or not own:
        arguments["on_bad_image"] = data.on_bad_image

    from kzoo import data as datasets

    # The run's own data is loaded, and fails, before TensorFlow is started; for other data the model tells the size.
    images = datasets.load(**arguments, split=split) if own else None

    from kzoo import load_model
    from kzoo.train.evaluation import evaluate as score
    from kzoo.train.precision import in_precision

    model = load_model(path, which) if path.is_dir() else load_model(path)
    if images is None:
        height, width, channels = model.input_shape[1:]
        size = None if height is None or width is None else (height, width)
        images = datasets.load(**arguments, split=split, image_size=size, channels=channels)
    if precision != "float32":
        model = in_precision(model, precision)
    figures = score(model, images)
    if own and split == "test" and which == "best":
        _record(path, figures)
    if json:
        print_json({"dataset": images.name, "split": images.split, **figures})
    else:
        _print_figures(images, figures)


def _is_own(record: dict, dataset: str, data: DataOptions) -> bool:
    """Whether `dataset` is the folder or CSV file that the run was trained on, wherever it is now."""
    fingerprints = (record.get("data") or {}).get("fingerprints")
    if not fingerprints or not Path(dataset).expanduser().exists():
        return False
    from kzoo.data.loading import fingerprint

    return fingerprint(dataset) == fingerprints["train"]


def _record(run_dir: Path, figures: dict) -> None:
    """Keep the figures of the run's own test split with the run."""
    path = run_dir / runs.METRICS
    try:
        metrics = runs.read_json(path) if path.exists() else {}
        runs.write_json(path, {**metrics, "test": figures})
    except OSError as error:
        console.warn(f"the figures could not be added to {path}: {error}")


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
