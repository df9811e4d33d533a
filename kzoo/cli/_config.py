"""`--config FILE`: the flags of a run that its config.json has, or of a shorter file of that form.

The parser takes them from the file as if they had been typed, except those that were typed.
"""

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, ArgumentCollection, Parameter, Token

from kzoo import paths, plain
from kzoo.errors import InvalidArgument, reason_of
from kzoo.files import read_bytes
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.record import DataRecord, DataSource, EnsembleRecord, ModelFile, RunRecord, TeacherRecord, ZooModel

ConfigFile = Annotated[
    str | None,
    Parameter(
        name="--config",
        help="A file like a run's config.json, or the run: a new run with its model, data and settings, except what "
        "is given here. It may have some entries only.",
    ),
]
# What goes with the model, and with the data, and not with another one.
OF_MODEL = ("model", "weights", "like", "dropout", "auxiliary_heads", "image_size")
OF_DATA = ("dataset", "data_dir", "download", "channels")


def take_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the parser the flags that a configuration file has (`App.config`).

    Raises:
        InvalidArgument: No such file, not a configuration, one of another command, or none to begin a run with.
    """
    by_name = {argument.name: argument for argument in arguments}
    file = by_name.get("--config")
    if file is None or not file.tokens:
        return
    for flag in ("--resume", "--from-search"):
        if by_name[flag].tokens:
            raise InvalidArgument(f"--config is for a new run. Received: {flag} as well.")
    path = paths.expand(file.tokens[0].value)
    path = path / paths.RUN if path.is_dir() else path
    values = _flags(_read(path), commands[0], path)
    model, dataset = by_name["MODEL"], by_name["DATASET"]
    if commands[0] == "finetune" and model.tokens and not dataset.tokens:  # one argument is the dataset
        for token in model.tokens:
            dataset.append(token)
        model.tokens.clear()
    for argument, its_own in ((model, OF_MODEL), (dataset, OF_DATA)):
        if argument.tokens:
            values = {name: value for name, value in values.items() if name not in its_own}
    for name, value in values.items():
        argument = by_name.get(name.upper()) or by_name.get(f"--{name.replace('_', '-')}")
        if argument is None or argument.tokens:
            continue
        for index, part in enumerate(value if isinstance(value, tuple) else (value,)):
            argument.append(Token(keyword=argument.name, value=str(part), source=str(path), index=index))


def _read(path: Path) -> RunRecord:
    """A record whose entries the file has; those that it leaves out have their defaults."""
    try:
        content = json.loads(read_bytes(path))
    except FileNotFoundError:
        raise InvalidArgument(f"No such configuration file. Received: {str(path)!r}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"Not a configuration file. Received: {str(path)!r} ({reason_of(error)}).") from None
    try:
        return plain.read(RunRecord, _whole(content))
    except (plain.EntryError, InvalidArgument) as error:
        raise InvalidArgument(f"Not a configuration of a run. Received: {str(path)!r}: {error}") from None


def _whole(content: Any) -> Any:
    """What a configuration file has, with the defaults of what it leaves out; what is no object stays as it is."""
    if not isinstance(content, dict):
        return content
    whole = {**asdict(RunRecord()), "model": None, "requested": content.get("train", {}), **content}
    of_file = isinstance(whole["model"], dict) and "path" in whole["model"]
    kinds = {
        "model": ModelFile if of_file else ZooModel,
        "data": DataRecord,
        "train": TrainConfig,
        "requested": TrainConfig,
        "transfer": TransferConfig,
        "teacher": TeacherRecord,
        "ensemble": EnsembleRecord,
    }
    whole |= {name: _filled(kind, whole[name]) for name, kind in kinds.items()}
    if isinstance(whole["data"], dict):
        whole["data"]["load"] = _filled(DataSource, whole["data"]["load"])
    return whole


def _filled(kind: type, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {**{field.name: field.default for field in fields(kind) if field.default is not MISSING}, **value}


def _flags(record: RunRecord, command: str, path: Path) -> dict[str, Any]:
    """The flags and arguments of `command` that ask for what a record describes, without those that are defaults."""
    if record.transfer is not None and command == "train":
        raise InvalidArgument(f"This configuration fine-tunes. Received: {str(path)!r}. Use kzoo finetune --config.")
    if record.is_average:
        raise InvalidArgument(f"This is an ensemble, in which nothing is trained. Received: {str(path)!r}. Name a run.")
    model, load = record.model, record.data.load
    found: dict[str, Any] = {"all_data": record.data.all_data}
    if isinstance(model, ModelFile):
        found["model"] = model.path
    elif model is not None:
        found |= {"model": model.name, **_changed(model)}
    if load is not None:
        found |= {"dataset": load.name, **_changed(load)}
        if load.image_size is not None:
            found["image_size"] = "x".join(map(str, load.image_size))
    found |= _changed(record.requested)
    if record.transfer is not None:
        found |= _changed(record.transfer)
    if record.teacher is not None and record.teacher.path is not None:
        found |= {"teacher": record.teacher.path, "temperature": record.teacher.temperature}
    if record.ensemble is not None:
        found["members"] = record.ensemble.trains
    if any(not isinstance(item, str) for item in record.requested.augment):
        raise InvalidArgument(
            f"This configuration has augmentation layers, which Python gives: kzoo.train.fit. Received: {str(path)!r}."
        )
    return {name: value for name, value in found.items() if value is not None and value is not False}


def _changed(config: Any) -> dict[str, Any]:
    """The entries of a dataclass that are not its defaults."""
    entries = {field.name: (getattr(config, field.name), field.default) for field in fields(config)}
    return {name: value for name, (value, default) in entries.items() if name != "name" and value != default}
