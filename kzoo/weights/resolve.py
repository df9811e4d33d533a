"""What `weights=` means: a tag, or a path on this machine, to a record and the files that it describes."""

from pathlib import Path
from typing import Any, NamedTuple

from kzoo.errors import InvalidArgument, WeightsError
from kzoo.weights import checks, store
from kzoo.weights.formats import format_of, read
from kzoo.weights.names import SOURCES, source_of
from kzoo.weights.places import place_below
from kzoo.weights.record import Record
from kzoo.weights.registry import get_record, list_weights
from kzoo.weights.table import RECORDS


class Chosen(NamedTuple):
    """A set of weights: what is known of it, where it is, and how it is read: in which format, by whose names."""

    record: Record
    path: Path
    format: str
    source: str


def resolve(model: str, weights: Any, like: str | None = None) -> Chosen:
    """Find a model's weights on this machine, verified where they are known.

    Args:
        model: A model name.
        weights: A tag of `kzoo.list_weights(model)`, "imagenet" for the model's default, or the path of a file or of a
            folder of raw files; what this function returned is taken as it is.
        like: For a path, the tag whose preprocessing and classes it takes. Without it the file is known by its hash, or
            else by the names of its tensors, where they fit one kind of weights that there are for the model. In what
            format it is, and by whose names, the file itself says.

    Raises:
        InvalidArgument: Neither a tag nor a path, or a file of which it is not clear what it is.
        WeightsError: The weights of the tag are not on this machine, or not what its record says; or the file at the
            path is no file of weights.
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
        return as_recorded(record, store.require(record))
    if not path.exists():
        raise InvalidArgument(f"No such weights. Received: {str(path)!r}. Valid: {', '.join(tags) or 'no tags'}.")
    liked = None if like is None else get_record(model, like)
    known = _recognised(model, path)
    if known is not None and liked in (None, known):
        return as_recorded(known, path)
    return _by_its_names(model, path, liked)


def as_recorded(record: Record, path: Path) -> Chosen:
    """Weights at a path that are just what the record says."""
    return Chosen(record, path, record.format, record.source)


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


def _by_its_names(model: str, path: Path, liked: Record | None) -> Chosen:
    """What a file is that no record knows: its format by its content, its source by the names of its tensors."""
    if path.suffix == ".keras" or (path / "config.json").is_file():
        raise InvalidArgument(
            f"This is a whole model, not weights for {model}. Received: {str(path)!r}. Use it in place of the model's "
            "name, without weights (in Python kzoo.load_model), or make a tag of it: kzoo weights add."
        )
    how = format_of(path)
    names = list(read(path, how))
    source = source_of(model, names)
    if source is None:
        raise WeightsError(
            f"The weights do not fit {model}: {len(names)} tensors of other names ({', '.join(names[:3]):.200}). "
            f"Received: {str(path)!r}. Is it the file of another model?"
        )
    return Chosen(liked or _only_kind(model, path, source, names), path, how, source)


def _only_kind(model: str, path: Path, source: str, names: list[str]) -> Record:
    has_head, style = SOURCES[source].has_head(names), SOURCES[source].style
    # Adding a tag does not change what a path means.
    records = [r for r in list_weights(model) if r in RECORDS and r.include_top == has_head]
    kinds = {
        # What else a record says (its figures, how images were scaled before the crop) does not concern the reading.
        (record.classes, record.labels, record.preprocessing.channel_order, *_numbers(record)): record
        for record in reversed([r for r in records if SOURCES[r.source].style == style] or records)
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


def _numbers(record):
    preprocessing = record.preprocessing
    return preprocessing.mean, preprocessing.std, preprocessing.unit
