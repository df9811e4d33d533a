"""What `weights=` means: a tag, or a path on this machine, to a record and the files that it describes."""

from pathlib import Path
from typing import Any, NamedTuple

from kzoo.errors import InvalidArgument
from kzoo.weights import checks, store
from kzoo.weights.places import place_below
from kzoo.weights.record import Record
from kzoo.weights.registry import get_record, list_weights
from kzoo.weights.table import RECORDS

# The formats that the end of a file's name may mean; a folder is of raw files.
SUFFIXES = {
    ".safetensors": ("safetensors",),
    ".h5": ("keras_h5",),
    **dict.fromkeys((".pth", ".pt", ".th", ".bin", ".tar"), ("pytorch",)),
}


class Chosen(NamedTuple):
    """A set of weights: how to take it, and where it is."""

    record: Record
    path: Path


def resolve(model: str, weights: Any, like: str | None = None) -> Chosen:
    """Find a model's weights on this machine, verified where they are known.

    Args:
        model: A model name.
        weights: A tag of `kzoo.list_weights(model)`, "imagenet" for the model's default, or the path of a file or of a
            folder of raw files; what this function returned is taken as it is.
        like: For a path, the tag whose conversion, preprocessing and classes it takes. Without it the file is known by
            its hash, or else taken as the only kind of weights that there are for the model in that format.

    Raises:
        InvalidArgument: Neither a tag nor a path, or a file of which it is not clear what it is.
        WeightsError: The weights of the tag are not on this machine, or not what its record says.
    """
    if isinstance(weights, Chosen):
        if weights.record.model != model:
            raise InvalidArgument(f"These are weights for {weights.record.model}. Received: them, for {model}.")
        return weights
    if not isinstance(weights, str | Path):
        raise InvalidArgument(
            f"weights must be a tag, a path or None. Received: {weights!r}. See kzoo.list_weights({model!r})."
        )
    tags = [record.tag for record in list_weights(model)]
    try:
        path = Path(weights).expanduser()
        is_path = isinstance(weights, Path) or (weights not in ("", *tags, "imagenet") and path.exists())
    except (OSError, RuntimeError) as error:  # RuntimeError: "~name" of an unknown user
        raise InvalidArgument(
            f"Cannot look at the path of weights. Received: {str(weights)[:200]!r} ({error})."
        ) from None
    if not is_path:
        if like is not None:
            raise InvalidArgument(f"like is for a path. Received: like={like!r} with weights={weights!r}.")
        record = get_record(model, str(weights))
        return Chosen(record, store.require(record))
    if not path.exists():
        raise InvalidArgument(f"No such weights. Received: {str(path)!r}. Valid: {', '.join(tags) or 'no tags'}.")
    if like is not None:
        return Chosen(get_record(model, like), path)
    return Chosen(_recognised(model, path) or _only_kind(model, path), path)


def _recognised(model: str, path: Path) -> Record | None:
    """The record of exactly these files, by their hashes."""
    for record in list_weights(model):
        if path.is_dir():
            places = [place_below(path, record), place_below(path, record, inside=True)]
        else:
            places = [place_below(path.parent, record)] if len(record.files) == 1 else []
        for place in places:
            files = (path,) if len(record.files) == 1 else place.files
            if _are(files, record):
                return record
    return None


def _are(paths, record) -> bool:
    if any(checks.known_by(file) is None for file in record.files):
        return False
    return all(checks.is_right(path, file) for path, file in zip(paths, record.files, strict=True))


def _only_kind(model: str, path: Path) -> Record:
    formats = ("raw",) if path.is_dir() else SUFFIXES.get(path.suffix, ())
    kinds = {
        # What else a record says (its figures, how images were scaled before the crop) does not concern the reading.
        (record.source, record.classes, record.labels, record.include_top, _numbers(record)): record
        for record in reversed(list_weights(model))
        if record.format in formats and record in RECORDS  # adding a tag does not change what a path means
    }
    if len(kinds) == 1:
        return next(iter(kinds.values()))
    tags = ", ".join(record.tag for record in list_weights(model)) or "none"
    raise InvalidArgument(
        f"It is not clear what these weights for {model} are: their hash is that of no record, and {len(kinds)} kinds "
        f"of weights fit their format. Received: {str(path)!r}. Say whose conversion and preprocessing they take, with "
        f"--like TAG (in Python kzoo.weights.resolve.resolve(..., like=TAG)). Valid: {tags}."
    )


def _numbers(record):
    preprocessing = record.preprocessing
    return preprocessing.channel_order, preprocessing.mean, preprocessing.std, preprocessing.unit
