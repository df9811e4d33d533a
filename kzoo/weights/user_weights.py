"""Weights that a user has added: MODEL/TAG/ in the cache holds the file and its record, record.json.

Reading the records needs no TensorFlow. A damaged record is left out, with a line that says why.
"""

import functools
import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.numpy

from kzoo.console import warn
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.files import write_bytes, write_json
from kzoo.weights.locations import search_folders
from kzoo.weights.record import Accuracy, File, Preprocessing, Record
from kzoo.weights.table import RECORDS

RECORD = "record.json"
WEIGHTS = r"model-[0-9a-f]{8}\.safetensors"  # with the start of the sha256: new weights do not overwrite those in use
# Names of folders on every system, also where capitals are not told apart, or a name before a dot is a device's.
NAME = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"
DEVICES = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"


def check_tag(tag: str) -> None:
    """Raise InvalidArgument unless `tag` may be the name of a user's weights.

    >>> check_tag("my-digits.v2")
    >>> check_tag("../digits")
    Traceback (most recent call last):
    ...
    kzoo.errors.InvalidArgument: Weights cannot have this name. Received: '../digits'. Valid: up to 64 small letters, \
digits, '.', '_' and '-', a letter or a digit at both ends; for example 'digits-v2'.
    """
    if not _is_name(tag):
        raise InvalidArgument(
            f"Weights cannot have this name. Received: {tag!r}. Valid: up to 64 small letters, digits, '.', '_' and "
            "'-', a letter or a digit at both ends; for example 'digits-v2'."
        )
    if tag == "imagenet":  # the alias
        raise InvalidArgument(f"This name means the best ImageNet weights. Received: {tag!r}. Choose another name.")


def check_free(model: str, tag: str) -> None:
    """Raise InvalidArgument if kzoo itself has weights of this model and tag."""
    if any((record.model, record.tag) == (model, tag) for record in RECORDS):
        raise InvalidArgument(f"kzoo has weights of this name for {model}. Received: {tag!r}. Choose another name.")


def _is_name(text) -> bool:
    ok = isinstance(text, str) and re.fullmatch(NAME, text) and not re.fullmatch(DEVICES, text) and ".." not in text
    return bool(ok)


def serialize(model) -> bytes:
    """Every weight of a model as a safetensors file, named by `weight.path`: what the source "kzoo" means.

    Raises:
        WeightsError: A number is NaN or infinite.
    """
    tensors = {weight.path: np.asarray(weight.numpy(), order="C") for weight in model.weights}
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"A model with numbers that are NaN or infinite is of no use. Received: {name!r}.")
    return safetensors.numpy.save(tensors)


def save(model, path: str | Path) -> None:
    """Write the weights of a model of the zoo to a `.safetensors` file, whole or not at all."""
    write_bytes(path, serialize(model))


def write_record(record: Record, folder: Path) -> None:
    """Write a record beside its file."""
    write_json(folder / RECORD, asdict(record))


def records() -> list[Record]:
    """The user's records, of every folder that is searched for weights; of two with one name the first counts."""
    found = {}
    for folder in search_folders():
        for path in sorted(folder.glob(f"*/*/{RECORD}")):
            try:
                record = _read(path, path.stat().st_mtime_ns)
            except OSError as error:
                warn(f"Left aside: {path} cannot be read: {error}")
                continue
            if record:
                found.setdefault((record.model, record.tag), record)
    return list(found.values())


@functools.cache
def _read(path: Path, _modified: int) -> Record | None:
    """Read once what is not written anew; None, after one warning, if it is no record of a user's weights."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = _parsed(content)
        reason = _problem(record, path)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    else:
        if reason is None:
            return record
    warn(f"Left aside: the record of weights {path} is damaged or not kzoo's: {reason}.")
    return None


def _parsed(content) -> Record:
    [file] = content["files"]
    pixels, figures, labels = content["preprocessing"], content["accuracy"], content["labels"]
    return Record(
        **{
            **content,
            "files": (File(**file),),
            "labels": tuple(labels) if isinstance(labels, list) else labels,
            "input_size": tuple(content["input_size"]),
            "preprocessing": Preprocessing(**{**pixels, "mean": tuple(pixels["mean"]), "std": tuple(pixels["std"])}),
            "accuracy": None if figures is None else Accuracy(**figures),
        }
    )


def _problem(record: Record, path: Path) -> str | None:
    """What is wrong with a record that has the right entries: a dataclass does not look at what they are."""
    [file], pixels, labels, figures = record.files, record.preprocessing, record.labels, record.accuracy
    sizes = (*record.input_size, record.classes)
    divisors = (pixels.unit, *pixels.std)
    right = {
        "model and tag": path.parts[-3:-1] == (record.model, record.tag) and _is_name(record.tag),
        "tag": record.tag != "imagenet",
        "format": (record.source, record.format, record.include_top) == ("kzoo", "safetensors", True),
        "files": _is_user_file(file),
        "sizes": len(record.input_size) == 3
        and all(type(size) is int and size > 0 for size in sizes)
        and (pixels.resize is None or record.input_size[0] <= pixels.resize < math.inf),
        "labels": labels is None
        or (isinstance(labels, tuple) and len(labels) == record.classes and all(isinstance(n, str) for n in labels)),
        "preprocessing": pixels.channel_order in ("rgb", "bgr")
        and pixels.interpolation in (None, "bilinear", "bicubic")
        and len(pixels.mean) == len(pixels.std) > 0
        and all(math.isfinite(number) for number in (*pixels.mean, *divisors))
        and all(divisors),
        "accuracy": figures is None or all(f is None or 0 <= f <= 1 for f in (figures.top1, figures.top5)),
    }
    wrong = next((what for what, is_right in right.items() if not is_right), None)
    if wrong:
        return f"its {wrong} cannot be right"
    if any((record.model, record.tag) == (known.model, known.tag) for known in RECORDS):
        return "kzoo itself has weights of this name"
    return None


def _is_user_file(file: File) -> bool:
    """Whether it is a file beside its record, known by its hash, and nothing that would be fetched."""
    plain = File(name=file.name, size=file.size, sha256=file.sha256)
    return (
        file == plain
        and re.fullmatch(WEIGHTS, file.name) is not None
        and re.fullmatch(r"[0-9a-f]{64}", str(file.sha256)) is not None
        and type(file.size) is int
    )
