"""What `weights=` means: a tag or a path, resolved to a record, its files, and how they are read."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from kzoo.console import warn
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.paths import is_model
from kzoo.weights import checksums, store
from kzoo.weights.formats import format_of, read
from kzoo.weights.locations import Location, location_below
from kzoo.weights.names import SOURCES, source_of
from kzoo.weights.record import Record
from kzoo.weights.records import applications
from kzoo.weights.registry import get_record, is_tag, list_weights
from kzoo.weights.table import RECORDS


class ResolvedWeights(NamedTuple):
    """A set of weights: its record, where it is, its format, and the source whose names its tensors have.

    `tensors` is the content, if it was read already.
    """

    record: Record
    path: Path
    format: str
    source: str
    tensors: dict | None = None


def resolve(model: str, weights: Any, like: str | None = None) -> ResolvedWeights:
    """Find a model's weights on this machine, verified where they are known.

    Args:
        model: A model name.
        weights: A tag of `kzoo.list_weights(model)`, "imagenet" for the model's default, or the path of a file or of a
            folder of raw files; what this function returned is taken as it is.
        like: For a path, the tag whose preprocessing and names of classes it takes. Without it the file is known by its
            hash, or else by the names of its tensors, where they fit one kind of weights that there are for the model.
            In what format it is, by whose names, and of how many classes, the file itself says.

    Raises:
        InvalidArgument: Neither a tag nor a path, or a file of which it is not clear what it is.
        WeightsError: The weights of the tag are not on this machine, or not what its record says; or the file at the
            path is no file of weights.
    """
    if isinstance(weights, ResolvedWeights):
        if weights.record.model != model:
            raise InvalidArgument(
                f"These are weights for {weights.record.model}. Received: {weights.record.tag!r} for {model}."
            )
        return weights
    if not isinstance(weights, str | Path):
        raise InvalidArgument(
            f"weights must be a tag, a path or None. Received: {weights!r}. See kzoo.list_weights({model!r})."
        )
    try:
        path = Path(weights).expanduser()
        is_path = isinstance(weights, Path) or (weights and not is_tag(model, weights) and path.exists())
    except (OSError, RuntimeError) as error:  # RuntimeError: "~name" of an unknown user
        raise InvalidArgument(
            f"Cannot look at the path of weights. Received: {str(weights)[:200]!r} ({error})."
        ) from None
    if not is_path:
        if like is not None:
            raise InvalidArgument(f"like is for a path. Received: like={like!r} with weights={weights!r}.")
        record = get_record(model, str(weights))
        return as_recorded(record, store.require(record))
    if not path.exists():
        tags = ", ".join(record.tag for record in list_weights(model))
        raise InvalidArgument(f"No such weights. Received: {str(path)!r}. Valid: {tags or 'no tags'}.")
    if like is not None:
        return _without_record(model, path, get_record(model, like))
    known = _record_of(model, path)
    return _without_record(model, path) if known is None else as_recorded(known, path)


def as_recorded(record: Record, path: Path) -> ResolvedWeights:
    """Weights at a path that are exactly the record's."""
    return ResolvedWeights(record, path, record.format, record.source)


def _record_of(model: str, path: Path) -> Record | None:
    """The record whose files these are, by their hashes; None if there is none.

    Raises:
        WeightsError: A file has the name of a record's, and not its content.
    """
    records = [record for record in list_weights(model) if all(map(checksums.hash_kind, record.files))]
    candidates = [(record, at.files) for record in records for at in _locations(path, record) if at.is_there()]
    for record, files in candidates:
        if all(map(checksums.matches, files, record.files)):
            return record
    for record, files in candidates:
        if [file.name for file in files] == [PurePosixPath(file.name).name for file in record.files]:
            for file, expected in zip(files, record.files, strict=True):
                checksums.check(file, expected)
    return None


def _locations(path: Path, record: Record) -> list[Location]:
    """Where a record's files may be if `path` is their folder, or the file of a record that has one."""
    if path.is_dir():
        return [location_below(path, record), location_below(path, record, inside=True)]
    return [Location(path, (path,))] if len(record.files) == 1 else []


def _without_record(model: str, path: Path, like: Record | None = None) -> ResolvedWeights:
    """A file that is not a record's: its format by its content, its source by the names of its tensors."""
    if is_model(path):
        raise InvalidArgument(
            f"This is a whole model, not weights for {model}. Received: {str(path)!r}. Use it in place of the model's "
            "name, without weights (in Python kzoo.load_model), or make a tag of it: kzoo weights add."
        )
    if applications.is_application(model):
        return _of_application(model, path, like)
    if path.is_dir() and not any(record.format == "raw" for record in list_weights(model)):
        raise InvalidArgument(f"Weights for {model} are one file. Received: the folder {str(path)!r}.")
    how = format_of(path)
    tensors = read(path, how)
    source = source_of(model, tensors)
    if source is None:
        v1_5 = f"{model}_v1_5"
        raise WeightsError(
            f"The weights do not fit {model}: {len(tensors)} tensors of other names "
            f"({', '.join(list(tensors)[:3]):.200}). Received: {str(path)!r}. "
            + (f"torchvision's and timm's is {v1_5} here." if source_of(v1_5, tensors) else "Of another model?")
        )
    if source == "keras" and how != "keras_h5":  # Keras 3 and kzoo write the same names for models of whatever training
        source = "kzoo"
    classes = SOURCES[source].classes(tensors)
    record = like or _only_kind(model, path, source, has_head=classes is not None)
    of = "hash" if like else f"hash of any record, and is taken to have the preprocessing and classes of {record.tag}"
    warn(f"{path} has no known {of}.")
    if classes not in (None, record.classes):
        record = replace(record, classes=classes, labels=None)
    return ResolvedWeights(replace(record, include_top=classes is not None, accuracy=None), path, how, source, tensors)


def _of_application(model: str, path: Path, like: Record | None) -> ResolvedWeights:
    """A `.h5` file for a model of keras.applications, whose layers Keras has called something else in every version."""
    if path.is_dir() or (how := format_of(path)) != "keras_h5":
        raise WeightsError(
            f"Weights for {model} are a .h5 file as keras.applications publishes it. Received: {str(path)!r}. A model "
            "that you have trained: save it as model.keras, and name that file in place of the model."
        )
    tensors = read(path, how)
    classes = applications.classes_in(tensors)
    record = like or applications.RECORDS[model][classes is None]
    if like is None:
        warn(f"{path} has no known hash: it is taken as a file for {model} by the order and shapes of its layers.")
    if classes not in (None, record.classes):
        record = replace(record, classes=classes, labels=None)
    return ResolvedWeights(replace(record, include_top=classes is not None, accuracy=None), path, how, "keras", tensors)


def _only_kind(model: str, path: Path, source: str, *, has_head: bool) -> Record:
    style = SOURCES[source].style
    # Adding a tag does not change what a path means.
    records = [record for record in list_weights(model) if record in RECORDS]
    if source != "kzoo":  # of a file of kzoo's nobody knows what it was trained from
        records = [record for record in records if SOURCES[record.source].style == style] or records
    records = [record for record in records if record.include_top == has_head] or records
    kinds = {
        # What else a record says (its figures, how images were scaled before the crop) does not concern the reading.
        (record.classes, record.labels, replace(record.preprocessing, resize=None, interpolation=None)): record
        for record in reversed(records)
    }
    if len(kinds) == 1:
        return next(iter(kinds.values()))
    tags = ", ".join(record.tag for record in list_weights(model))
    if not tags:
        raise InvalidArgument(
            f"There are no pretrained weights of {model} to say what classes and preprocessing these have. Received: "
            f"{str(path)!r}. In Python: kzoo.create_model({model!r}).load_weights(PATH)."
        )
    raise InvalidArgument(
        f"It is not clear what these weights for {model} are: their hash is that of no record, and {len(kinds)} kinds "
        f"of weights fit the file. Received: {str(path)!r}. Say whose preprocessing and classes they take, with --like "
        f"TAG (in Python kzoo.weights.resolve.resolve(..., like=TAG)). Valid: {tags}."
    )
