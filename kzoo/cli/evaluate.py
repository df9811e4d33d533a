"""`kzoo evaluate`."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kzoo import console, paths
from kzoo import data as datasets
from kzoo.cli._model import Like, Weights, check_exported, find, is_exported, load
from kzoo.cli._options import DataOptions, ImageSize, Tta, given, parse_image_size
from kzoo.cli._output import Json, percent, percents, print_json, print_table
from kzoo.cli.ensemble import as_json, print_members
from kzoo.data.loading import absolute, fingerprint, public_name
from kzoo.errors import DataError, InvalidArgument, MissingSplit, RunError
from kzoo.paths import expand
from kzoo.robustness import curves
from kzoo.train import runs, trained_on
from kzoo.train.record import DataSource, EnsembleRecord, RunRecord

# More classes than this are listed in the JSON output only; on a terminal so many with the lowest recall.
MOST_CLASSES_IN_TABLE, WORST_CLASSES = 30, 10
MISTAKES_IN_TABLE = 5

_USED_FOR = {
    "selection": "the model was chosen on these images: expect somewhat less on new ones",
    "training": "the model was trained on these images: this says nothing of new ones",
}


def command(
    run: str,
    /,
    *others: str,
    weights: Weights = None,
    like: Like = None,
    which: Literal["best", "last"] = "best",
    image_size: ImageSize = None,
    split: Literal["train", "validation", "val", "test", "all"] | None = None,
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    robustness: bool = False,
    tta: Tta = False,
    save: str | None = None,
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Score trained models, or a model of the zoo with pretrained weights, on labelled images.

    Args:
        run: A run directory, a .keras file, what `kzoo export` made, or with --weights a name of `kzoo list`.
        others: More runs, and at the end a dataset to score on [default: the run's own test split, or if it has none
            the validation split]. Of a TFDS dataset or digits the test split; of the folder or CSV file a run was
            trained on likewise; of any other every image.
        which: The run's best or last model.
        split: Take this split instead.
        precision: The dtype policy to compute under.
        robustness: Score the images with noise too, the model with few bits and, where the images have colours, blur,
            contrast and JPEG.
        save: A folder for the confusion matrix (picture and table), a sheet of the most confident mistakes, and the
            curves of --robustness.
    """
    models, dataset = _told_apart([run, *others])
    if len(models) > 1 and (weights is not None or save is not None):
        flag = "--weights" if weights is not None else "--save"
        raise InvalidArgument(f"{flag} is for one model. Received: {', '.join(models)}. Name one.")
    if robustness and precision != "float32":
        raise InvalidArgument(
            f"--robustness compares numbers of few bits with float32. Received: --precision {precision}. Leave it out."
        )
    if robustness and tta:
        raise InvalidArgument("--robustness scores images as they are. Received: --tta as well. Leave one out.")
    size = parse_image_size(image_size)
    found = [_find(name, weights, like, which, precision) for name in models]
    for flag in [name for name, value in (("--robustness", robustness), ("--tta", tta)) if value]:
        if exported := [model.name for model in found if model.exported]:
            raise InvalidArgument(
                f"{flag} is for models in Keras. Received: {exported[0]}, which is exported. Name the run it is of."
            )
    _check_same_data(found, dataset)
    folder = None if save is None else _folder(save)
    has_own = any(model.exported or (model.record and _source_of(model.record)) for model in found)
    looked_at = fingerprint(dataset) if has_own and dataset is not None and not public_name(dataset) else None
    asked = _Asked(dataset, looked_at, split, which, precision, size, robustness, tta, data)
    has_splits = any(_is_own(model.record, asked) or _is_of_source(model.exported, asked) for model in found)
    scored = [_score(model, asked, has_splits) for model in found]
    if folder is not None:
        from kzoo.train import pictures

        written = pictures.save(folder, scored[0].figures, scored[0].images)
        written += curves.save(folder, scored[0].robustness)
        console.log(f"written to {folder}: {', '.join(path.name for path in written)}")
    if len(scored) > 1:
        _print_several(scored, json)
    elif json:
        print_json(scored[0].as_json())
    else:
        _print_figures(scored[0])
    if robustness and not json:
        for one in scored:
            _print_robustness(one)


class _Asked(NamedTuple):
    """What the flags say."""

    dataset: str | None
    fingerprint: str | None
    """Of a folder or CSV file that may be what a run was trained on."""
    split: str | None
    which: Literal["best", "last"]
    precision: str
    size: tuple[int, int] | None
    robustness: bool
    tta: bool
    data: DataOptions


class _Model(NamedTuple):
    name: str
    weights: Any
    """What `find` has found."""
    record: RunRecord | None
    """Of a run."""
    exported: Any
    """An exported model, ready to run."""


class _Scored(NamedTuple):
    """The figures of a model on some images."""

    model: str
    dataset: str | None
    split: str
    used_for: str | None
    """What the run has used these images for: "selection" or "training"; None for neither."""
    figures: dict[str, Any]
    images: Any
    """The Dataset; None where the images are not at hand."""
    robustness: dict[str, Any] | None = None
    """Where it was asked for."""
    ensemble: EnsembleRecord | None = None
    """Of an ensemble that was scored on the data of its members."""

    def as_json(self) -> dict[str, Any]:
        members = {} if self.ensemble is None else {"members": as_json(self.ensemble)}
        robustness = {} if self.robustness is None else {"robustness": self.robustness}
        said = {"dataset": self.dataset, "split": self.split, "used_for": self.used_for}
        return {**said, **members, **self.figures, **robustness}


def _told_apart(names: Sequence[str]) -> tuple[list[str], str | None]:
    """The models, and the dataset, if there is one: the last name, unless it is a run or a model file."""
    *others, last = names
    if not others:
        return [last], None
    models, dataset = (list(names), None) if _is_model(last) else (others, last)
    for name in models[1:]:
        if not (_is_model(name) or expand(name).is_dir()):
            raise InvalidArgument(
                f"Not a run directory or model file. Received: {name!r}. Name runs first, and at most one dataset last."
            )
    return models, dataset


def _is_model(name: str) -> bool:
    return paths.is_model(expand(name)) or is_exported(name, None)


def _find(name: str, weights: str | None, like: str | None, which: Literal["best", "last"], precision: str) -> _Model:
    if is_exported(name, weights):
        from kzoo import deploy

        check_exported(name, like, which)
        return _Model(name, None, None, deploy.load(name, precision))
    chosen, path = find(name, weights, like, which), expand(name)
    record = runs.read_record(path) if weights is None and path.is_dir() else None
    return _Model(name, chosen, record, None)


def _folder(save: str) -> Path:
    """The folder for --save, made and writable, before anything is computed."""
    path = expand(save)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(f"--save must be a folder. Received: {save!r}: {error.strerror}.") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidArgument(f"No permission to write to --save. Received: {save!r}. Name another folder.")
    return path


def _check_same_data(models: Sequence[_Model], dataset: str | None) -> None:
    """Raise InvalidArgument for several runs whose figures could not be compared."""
    if len(models) == 1 or dataset is not None:
        return
    first, *others = [
        (model.record and model.record.data.train and model.record.data.train.fingerprint) for model in models
    ]
    for model, other in zip(models[1:], others, strict=True):
        if first is None or other != first:
            raise InvalidArgument(
                f"Runs are compared on one dataset. Received: {models[0].name!r} and {model.name!r}, which were not "
                "trained on the same data. Name a DATASET after them."
            )


def _score(model: _Model, asked: _Asked, has_splits: bool) -> _Scored:
    """The figures of one model; `has_splits` says whether one of those to compare was trained on the dataset."""
    from_record = _recorded(model, asked)
    if from_record is not None:
        return from_record
    source = _data_of_run(model, asked)
    if model.exported is not None:
        return _score_exported(model, asked, has_splits)
    loaded = None
    if source is None:
        assert asked.dataset is not None  # noqa: S101 - for the type checker
        splits = _splits_of(asked, has_splits)
        loaded = load(model.name, model.weights, asked.which, asked.precision, asked.size)
        arguments = _arguments_for(loaded, asked)
    else:
        splits = ["test", "validation"]
        arguments = _arguments_of(source, asked)
    splits = splits if asked.split is None else [asked.split]
    # Of a run's own data before TensorFlow is started, where loading fails.
    images = _load_first(splits, arguments, model)
    used_for = None if source is None or model.record is None else _use_of(images.split, model.record.data.all_data)
    if model.record is not None and used_for != "training":
        trained_on.check(expand(model.name), images)
    loaded = loaded or load(model.name, None, asked.which, asked.precision, asked.size)

    from kzoo.train.evaluation import evaluate

    figures = evaluate(loaded, images, tta=asked.tta)
    robustness = None
    if asked.robustness:
        from kzoo.robustness import measure

        robustness = measure(loaded, images, _training_images(model, asked, is_own=source is not None))
    as_it_was_trained = source is not None and asked.size is None and not asked.tta
    if as_it_was_trained and (images.split, asked.which, asked.precision) == ("test", "best", "float32"):
        _keep(expand(model.name), {"test": figures} | ({} if robustness is None else {"robustness": robustness}))
    ensemble = None if source is None or model.record is None else model.record.ensemble
    return _Scored(model.name, images.name, images.split, used_for, figures, images, robustness, ensemble)


def _training_images(model: _Model, asked: _Asked, *, is_own: bool) -> Any:
    """The images that a run was trained on, if they can be loaded; `is_own` says that the dataset is the run's."""
    source = None if model.record is None else _source_of(model.record)
    if model.record is None or source is None:
        return None
    arguments = _arguments_of(source, asked if is_own else asked._replace(dataset=None))
    try:
        return datasets.load(**arguments, split=model.record.data.splits[0])
    except DataError as error:
        console.warn(f"activations are calibrated on images to score, since no training images can be loaded: {error}")
        return None


def _score_exported(model: _Model, asked: _Asked, has_splits: bool) -> _Scored:
    """The figures of an exported model, in its engine."""
    from kzoo.deploy import scoring

    assert asked.dataset is not None  # noqa: S101 - for the type checker
    splits = _splits_of(asked, has_splits) if asked.split is None else [asked.split]
    arguments = {"name": asked.dataset, **scoring.loading_for(model.exported, asked.size), **asdict(asked.data)}
    images = _load_first(splits, arguments, model)
    source = model.exported.description.source
    used_for = _use_of(images.split, source.all_data) if _is_of_source(model.exported, asked) else None
    figures = scoring.evaluate(model.exported, images)
    return _Scored(model.name, images.name, images.split, used_for, figures, images)


def _is_of_source(exported: Any, asked: _Asked) -> bool:
    """Whether the dataset is what the run was trained on that was exported."""
    if exported is None or asked.dataset is None:
        return False
    source = exported.description.source
    looked_at = asked.fingerprint or (public_name(asked.dataset) == source.dataset and source.fingerprint)
    return source.fingerprint is not None and looked_at == source.fingerprint


def _splits_of(asked: _Asked, has_splits: bool) -> list[str]:
    """The splits of a dataset that may be scored, the first that there is."""
    return ["test", "validation"] if has_splits or public_name(asked.dataset or "") else ["all"]


def _recorded(model: _Model, asked: _Asked) -> _Scored | None:
    """The validation figures that a finished run has, where its images were given in Python and cannot be loaded."""
    record = model.record
    if asked.dataset is not None or record is None or _source_of(record) is not None:
        return None
    wants_others = asked.split not in (None, "validation", "val") or asked.which != "best" or asked.size is not None
    wants_others = wants_others or asked.tta
    path = expand(model.name)
    metrics = runs.read_metrics(path) if not wants_others and (path / runs.METRICS).exists() else {}
    if "validation" not in metrics:
        return None
    if asked.robustness:
        raise InvalidArgument(
            f"--robustness needs images, and those of this run were given in Python. Received: {model.name!r}. Name a "
            "DATASET."
        )
    console.log(f"the images of {model.name!r} were given in Python: these are the figures that the run ended with")
    return _Scored(model.name, None, "validation", "selection", metrics["validation"], None)


def _load_first(splits: Sequence[str], arguments: dict, model: _Model) -> Any:
    """The images of the first of some splits that the data has."""
    first, *others = splits
    try:
        return datasets.load(**arguments, split=first)
    except MissingSplit as error:
        if not others:
            raise
        if model.record is not None and model.record.data.all_data:
            raise InvalidArgument(
                f"This run was trained on all images of its data. Received: {model.name!r}. Name a DATASET of other "
                "images."
            ) from error
    console.log(f"{arguments['name']!r} has no {first} split: the {others[0]} split is scored")
    return _load_first(others, arguments, model)


def _use_of(split: str, all_data: bool) -> str | None:
    """What a run has used a split of its data for."""
    if split == "test":
        return None
    return "selection" if split == "validation" and not all_data else "training"


def _arguments_for(model: Any, asked: _Asked) -> dict:
    """How images are loaded as a model takes them; of a size that was asked for, whole."""
    from kzoo.classifier import loading_for

    return {"name": asked.dataset, **loading_for(model, asked.size), **asdict(asked.data)}


def _arguments_of(source: DataSource, asked: _Asked) -> dict:
    """How the data that a run was trained on is loaded, wherever it lies now."""
    # The folder may have moved since: where it is now is what the user says.
    moved = {} if asked.dataset is None else absolute(asked.dataset, asked.data.data_dir)
    whole = {} if asked.size is None else {"image_size": asked.size, "crop_fraction": 1.0}
    return {**asdict(source), "download": False, **moved, **given(asked.data), **whole}


def _source_of(record: RunRecord) -> DataSource | None:
    """How the data of a run is loaded, if it can be."""
    return (record.data.train and record.data.train.load) or record.data.load


def _is_own(record: RunRecord | None, asked: _Asked) -> bool:
    """Whether the dataset is what a run was trained on, wherever it lies now."""
    if record is None or _source_of(record) is None or record.data.train is None:
        return False
    return asked.fingerprint is not None and asked.fingerprint == record.data.train.fingerprint


def _data_of_run(model: _Model, asked: _Asked) -> DataSource | None:
    """How to load the data the run was trained on, if that is what is to be scored."""
    source = None if model.record is None else _source_of(model.record)
    if asked.dataset is None:
        if model.record is None:
            raise InvalidArgument(f"Only a run has data of its own: name a DATASET. Received: {model.name!r}.")
        if source is None:
            raise InvalidArgument(f"This run was not given its data by name. Received: {model.name!r}. Name a DATASET.")
        return source
    return source if _is_own(model.record, asked) else None


def _keep(run_dir: Path, figures: dict[str, dict]) -> None:
    """Put figures of the run's own test split with the run, unless it is being trained."""
    try:
        with runs.lock(run_dir):
            path = run_dir / runs.METRICS
            metrics = runs.read_json(path) if path.exists() else {}
            runs.write_json(path, {**metrics, **figures})
    except (OSError, RunError) as error:
        console.warn(f"the figures were not added to {run_dir / runs.METRICS}: {error}")


def _print_several(scored: Sequence[_Scored], json: bool) -> None:
    first = scored[0]
    if json:
        print_json({"runs": [{"run": one.model, **one.as_json()} for one in scored]})
        return
    columns = ("run", "accuracy", "95 % interval", "loss", "calibration", "images")
    rows = [
        (
            one.model,
            percent(one.figures["accuracy"]),
            percents(one.figures["interval"]).replace(" ", "\N{NO-BREAK SPACE}"),
            f"{one.figures['loss']:.4f}",
            percent(one.figures["calibration_error"]),
            one.figures["images"],
        )
        for one in scored
    ]
    print_table(columns, rows, title=f"{first.dataset}, {first.split}")
    for use in {one.used_for for one in scored if one.used_for is not None}:
        console.log(f"{first.split} split: {_USED_FOR[use]}")


def _print_figures(scored: _Scored) -> None:
    figures, use = scored.figures, scored.used_for
    rows = [("accuracy", percent(figures["accuracy"])), ("95 % interval", percents(figures["interval"]))]
    if "top5_accuracy" in figures:
        rows.append(("top5_accuracy", percent(figures["top5_accuracy"])))
    by_chance = percent(figures["calibration_error_by_chance"])
    rows += [
        ("images", figures["images"]),
        ("split", scored.split if use is None else f"{scored.split}; {_USED_FOR[use]}"),
        ("loss", f"{figures['loss']:.4f}"),
        ("calibration error", f"{percent(figures['calibration_error'])} ({by_chance} by chance alone)"),
    ]
    if "tta" in figures:
        rows.append(("test-time augmentation", f"the mean over {len(figures['tta'])} views"))
    print_table(("figure", "value"), rows, title=f"{scored.dataset or scored.model}, {scored.split}")
    if scored.ensemble is not None:
        print_members(scored.ensemble, "members, as they were scored one by one")
    classes = list(figures["per_class"].items())
    title = None
    if len(classes) > MOST_CLASSES_IN_TABLE:
        title = f"the {WORST_CLASSES} of {len(classes):,} classes with the lowest recall"
        known = [one for one in classes if one[1]["recall"] is not None]
        classes = sorted(known, key=lambda one: one[1]["recall"])[:WORST_CLASSES]
    print_table(
        ("class", "precision", "predicted", "recall", "images"),
        [
            (name, percent(one["precision"]), one["predicted"], percent(one["recall"]), one["images"])
            for name, one in classes
        ],
        title=title,
    )
    if figures["mistakes"]:
        pairs = [tuple(one.values()) for one in figures["confused_pairs"]]
        print_table(("true class", "predicted as", "images", "of"), pairs, title="most confused")
        mistakes = [
            (percent(one["probability"]), one["predicted"], one["true"], one["where"])
            for one in figures["mistakes"][:MISTAKES_IN_TABLE]
        ]
        print_table(("probability", "predicted as", "true class", "image"), mistakes, title="most confident mistakes")


def _print_robustness(scored: _Scored) -> None:
    found = scored.robustness
    assert found is not None  # noqa: S101 - for the type checker
    rows = [
        (name, curves.shown_level(name, level), percent(row["accuracy"]), percents(row["interval"]))
        for name, points in curves.curves(found).items()
        for level, row in points
    ]
    title = f"robustness of {scored.model} (activations calibrated on {found['calibrated_on']})"
    print_table(("change", "level", "accuracy", "95 % interval"), rows, title=title)
    for name in ("noise", *found["corruptions"]):
        console.log(f"levels of {name}: {curves.MEANINGS[name]}")
