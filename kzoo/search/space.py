"""The search space: plain data, from the names of hyperparameters to what they can be.

    {"optimizer": {"values": ["adamw", "sgd"], "start": "adamw"},
     "learning_rate": {"min": 0.1, "max": 10, "scale": "log", "relative": true, "start": 1}}

A name is a field of `TrainConfig`, one of `OTHERS`, or, where pretrained weights are fine-tuned, a field of
`TransferConfig`. With "relative" a number is a multiple of kzoo's default for the trial's other choices. Trial 0 has
the starts; trial 1 has kzoo's defaults, if they differ.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kzoo import arguments, augment, plain
from kzoo.errors import InvalidArgument, KzooError, unknown
from kzoo.files import read_bytes
from kzoo.models.registry import CARDS, check_name
from kzoo.train.config import LONGEST_WARMUP, TrainConfig, TransferConfig, with_data_defaults
from kzoo.transfer.defaults import with_fine_tuning_defaults

# Besides the fields of the configurations: arguments of create_model, and a factor of what augmentation policies do.
OTHERS = ("model", "dropout", "augment_strength")
TRANSFER = tuple(field.name for field in fields(TransferConfig))
# These are chosen by the data, by the machine or by the search itself.
NOT_SEARCHED = (
    *("passes_per_epoch", "seed"),
    *("precision", "strategy", "devices", "steps_per_execution", "checkpoint_seconds"),
)
RELATIVE = ("learning_rate", "weight_decay")
_KEYS = ("values", "min", "max", "scale", "relative", "start")


@dataclass(frozen=True)
class Task:
    """The data and the models of a search, as far as proposing needs to know them before the first trial."""

    dataset: str
    images: int
    """In the training split."""
    validation_images: int
    image_shape: tuple[int, int, int]
    """That the search's model takes."""
    classes: int
    dropout: float | None
    """The model's default rate before its classifier; None where that cannot be chosen."""
    parameters: dict[str, int]
    """Of each model that the space names."""
    stages: tuple[str, ...] | None = None
    """Of pretrained weights that are fine-tuned: what can be unfrozen, from the lowest to the highest."""
    batch_norms: bool = False
    """Whether there are batch normalizations to unfreeze."""
    image_shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Of each model that the space names, where it may be another."""
    is_grey: bool = False
    """Whether the images have no colours, however many channels they have."""

    def __post_init__(self):
        for name in ("images", "validation_images", "classes"):
            arguments.integer(name, getattr(self, name), 1)

    @property
    def fine_tunes(self) -> bool:
        """Whether trials fine-tune pretrained weights."""
        return self.stages is not None


def dropout_of(model: Any) -> float:
    """The rate of a model's dropout; 0 if it has none."""
    return next((layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"), 0.0)


def default_space(task: Task, train: TrainConfig, transfer: TransferConfig = TransferConfig()) -> dict:  # noqa: B008
    """The hyperparameters that are worth searching for a model and a dataset, from the configurations as the start.

    >>> task = Task("digits", 1439, 179, (28, 28, 1), 10, 0.25, {"mnist_net": 524894})
    >>> space = default_space(task, TrainConfig(optimizer="sgd"))
    >>> list(space)[5:]
    ['label_smoothing', 'augment', 'augment_strength', 'dropout']
    >>> space["epochs"]
    {'min': 5, 'max': 30, 'scale': 'log', 'start': 15}
    >>> space["optimizer"], space["batch_size"]
    ({'values': ['adamw', 'sgd'], 'start': 'sgd'}, {'values': [16, 32, 64], 'start': 32})
    """
    settled = _with_defaults(train, task)
    default = _with_defaults(
        replace(train, learning_rate=None, weight_decay=None, warmup_epochs=None, decay_epochs=(), swa_epochs=None),
        task,
    )
    few, swa = task.images < 10_000, train.swa_epochs or 0
    batch, epochs = default.batch_size or 32, settled.total_epochs
    space = {
        # From a third, which is cheap, to the double. No trial is shorter than the warm-up and the epochs that are
        # averaged, which all have.
        "epochs": {
            "min": max(
                round(epochs / 3), int(train.warmup_epochs or 0) + 1 + swa, math.floor(swa / (1 - LONGEST_WARMUP)) + 1
            ),
            "max": 2 * epochs,
            "scale": "log",
            "start": epochs,
        },
        "optimizer": {"values": ["adamw", "sgd"], "start": settled.optimizer},
        "learning_rate": _multiples(0.1, 10, settled.peak_learning_rate, default.peak_learning_rate),
        "weight_decay": _multiples(0.1, 30 if few else 10, settled.decay, default.decay),
        "batch_size": {"values": sorted({max(1, batch // 2), batch, batch * 2}), "start": batch},
        "label_smoothing": {"min": 0, "max": 0.2 if few else 0.1, "scale": "linear", "start": settled.label_smoothing},
        "augment": _policies(task, settled),
    }
    if not settled.decay or not default.decay:  # multiples of 0 are all the same
        del space["weight_decay"]
    # Trials that fine-tune share the features of a policy; each strength would have features of its own.
    is_scalable = any(strengthened(item, 2) != [item] for policy in space["augment"]["values"] for item in policy)
    if is_scalable and not task.fine_tunes:
        space["augment_strength"] = {"min": 0.5, "max": 2, "scale": "log", "start": 1}
    if task.dropout is not None and (few or task.dropout > 0):
        space["dropout"] = {"min": 0, "max": 0.6, "scale": "linear", "start": task.dropout}
    if task.fine_tunes:
        space |= _of_transfer(task, transfer)
    return check({name: _with_start(entry) for name, entry in space.items()})


def _with_defaults(config: TrainConfig, task: Task, model: str | None = None) -> TrainConfig:
    """The configuration with a value in every place, as a run of it has; of a model of the space, if one is named."""
    data = task.dataset, task.images, task.image_shapes.get(model or "", task.image_shape)
    if task.fine_tunes:
        return with_data_defaults(with_fine_tuning_defaults(config, *data, is_grey=task.is_grey), *data)
    card = CARDS.get(model or "")
    rates = (None, None) if card is None else card.rates
    return with_data_defaults(config, *data, is_grey=task.is_grey, rates=rates)


def with_epochs(config: TrainConfig, task: Task) -> TrainConfig:
    """The configuration with the epochs and the passes that the data asks for, which all trials share."""
    settled = _with_defaults(config, task)
    return replace(config, epochs=settled.epochs, passes_per_epoch=settled.passes_per_epoch)


def _of_transfer(task: Task, transfer: TransferConfig) -> dict:
    """How far down to fine-tune, and how much less the lower stages than the upper ones."""
    space: dict[str, dict] = {"layer_decay": {"min": 0.2, "max": 1, "scale": "linear", "start": transfer.layer_decay}}
    stages, start = list(task.stages or ()), transfer.unfreeze
    if stages:
        # What fine-tuning does by default, which may be no second phase; and from the last stage alone to all of them,
        # in equal steps.
        some = [stages[round(i * (len(stages) - 1) / 3)] for i in range(4)]
        space["unfreeze"] = {"values": [None, *(one for one in stages if one in (*some, start))], "start": start}
    if task.batch_norms:
        space["batch_norm"] = {"values": ["frozen", "affine", "train"], "start": transfer.batch_norm}
    return space


def _multiples(low: float, high: float, start: float, of: float) -> dict:
    """A range of multiples of kzoo's default."""
    factor = start / of if of and start else 1.0
    return {"min": low, "max": high, "scale": "log", "relative": True, "start": factor}


def _policies(task: Task, settled: TrainConfig) -> dict:
    """The policies that suit such images; a folder can hold anything, so the validation images are to tell."""
    suggested, _ = augment.suggested(task.dataset, task.image_shape, is_grey=task.is_grey)
    others = ["photos"] if suggested == "imagenet" else []
    start = list(settled.augment)
    values = [["none"], *([name] for name in [*others, suggested, "trivial"] if name != "none")]
    return {"values": values, "start": start or ["none"]}


def _with_start(entry: dict) -> dict:
    """The entry, wide enough for its start."""
    if "values" in entry:
        return entry if entry["start"] in entry["values"] else {**entry, "values": [*entry["values"], entry["start"]]}
    return {**entry, "min": min(entry["min"], entry["start"]), "max": max(entry["max"], entry["start"])}


def check(space: Any) -> dict:
    """The space as it was meant: starts put in, checked as far as that goes without data.

    Raises:
        InvalidArgument: No such hyperparameter, or one that cannot be read.

    >>> check({"momentum": {"min": 0.8, "max": 0.99}})
    {'momentum': {'min': 0.8, 'max': 0.99, 'scale': 'linear', 'start': 0.9}}
    """
    if not isinstance(space, Mapping) or not space:
        raise InvalidArgument(f"A search space must be an object of hyperparameters. Received: {space!r:.200}.")
    return {name: _checked(name, entry) for name, entry in space.items()}


def _checked(name: str, entry: Any) -> dict:
    searchable = [field.name for field in fields(TrainConfig) if field.name not in NOT_SEARCHED]
    if name not in searchable and name not in OTHERS and name not in TRANSFER:
        raise unknown("hyperparameter", name, [*searchable, *OTHERS, *TRANSFER])
    if not isinstance(entry, Mapping):
        raise _bad(name, entry)
    for key in entry:
        if key not in _KEYS:
            raise unknown(f"key of the hyperparameter {name!r}", key, _KEYS)
    if ("values" in entry) == ("min" in entry and "max" in entry):
        raise _bad(name, entry)
    if entry.get("relative", False) and name not in RELATIVE:
        raise InvalidArgument(f"Only {' and '.join(RELATIVE)} can be relative. Received: {name!r}.")
    checked = _checked_values(name, entry) if "values" in entry else _checked_range(name, entry)
    for value in checked["values"] if "values" in checked else (checked["min"], checked["max"], checked["start"]):
        _check_value(name, value, entry)
    return checked


def _checked_values(name: str, entry: Mapping) -> dict:
    values = entry["values"]
    if not isinstance(values, list) or not values or len({json.dumps(value) for value in values}) < len(values):
        raise _bad(name, entry)
    default = _default(name)
    start = entry.get("start", default if default in values else values[0])
    if start not in values:
        raise InvalidArgument(f"The start of {name!r} must be one of its values. Received: {start!r}. Valid: {values}.")
    return {**entry, "values": values, "start": start}


def _checked_range(name: str, entry: Mapping) -> dict:
    low, high, scale = entry["min"], entry["max"], entry.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise unknown(f"scale of the hyperparameter {name!r}", scale, ("linear", "log"))
    default = 1 if entry.get("relative") or name == "augment_strength" else _default(name)
    if not all(map(_is_number, (low, high))) or not low < high or (scale == "log" and low <= 0):
        raise _bad(name, entry)
    middle = math.sqrt(low * high) if scale == "log" else (low + high) / 2
    start = entry.get("start", default if _is_number(default) and low <= default <= high else middle)
    if is_whole(name) and _is_number(start):
        start = round(start)
    if not _is_number(start) or not low <= start <= high:
        raise InvalidArgument(f"The start of {name!r} must be from {low} to {high}. Received: {start!r}.")
    return {**entry, "scale": scale, "start": start}


def _default(name: str) -> Any:
    """The default of a field of the configurations; None for what is no field."""
    return getattr(TransferConfig if name in TRANSFER else TrainConfig, name, None)


def _check_value(name: str, value: Any, entry: Mapping) -> None:
    """Raise InvalidArgument unless a trial can have this value."""
    if name == "model":
        check_name(str(value))
    elif name in OTHERS or entry.get("relative"):
        highest = 1 if name == "dropout" else 1e4
        if not _is_number(value) or not 0 <= value < highest:
            raise InvalidArgument(f"{name} must be a number from 0 up to {highest:g}. Received: {value!r}.")
    elif name in TRANSFER:
        TransferConfig(**{name: value})
    else:
        TrainConfig(**{name: value, **({"epochs": 10**6} if name in ("warmup_epochs", "swa_epochs") else {})})


def _is_number(value: Any) -> bool:  # unlike arguments.is_number without NumPy's, which JSON cannot hold
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def is_whole(name: str) -> bool:
    """Whether a hyperparameter takes whole numbers."""
    return {**plain.number_fields(TrainConfig), **plain.number_fields(TransferConfig)}.get(name) is int


def _bad(name: str, entry: Any) -> InvalidArgument:
    return InvalidArgument(
        f"The hyperparameter {name!r} must have either values (a list) or min < max (above 0 with scale log). "
        f"Received: {entry!r}. See kzoo search --print-space."
    )


def starts(space: dict) -> dict:
    """The values of the first trial."""
    return {name: entry["start"] for name, entry in space.items()}


def models(space: dict, model: str) -> list[str]:
    """The models that trials train: those of the space, or the search's."""
    return space.get("model", {"values": [model]})["values"]


def default_values(space: dict, task: Task) -> dict:
    """The values of kzoo's defaults, and the start's where the space does not have those."""
    default = default_space(task, TrainConfig())
    found = starts(space)
    for name, entry in space.items():
        same = name in default and entry.get("relative") == default[name].get("relative")
        value = default[name]["start"] if same else found[name]
        in_range = "min" in entry and _is_number(value) and entry["min"] <= value <= entry["max"]
        if in_range or value in entry.get("values", ()):
            found[name] = value
    return found


@dataclass(frozen=True)
class TrialConfig:
    """What a trial trains: the configurations with its values in them."""

    train: TrainConfig
    model: str
    arguments: dict
    """Of create_model."""
    transfer: TransferConfig


def trial_config(
    values: Mapping[str, Any],
    space: dict,
    train: TrainConfig,
    model: str,
    task: Task,
    transfer: TransferConfig | None = None,
) -> TrialConfig:
    """Put the values of a trial into the configurations and the arguments of the model.

    Args:
        values: A value for each name of the space.
        space: What `check` gives.
        train: What every trial has where the space says nothing.
        model: Likewise.
        task: Of the search.
        transfer: As `train`; by default its defaults.

    Raises:
        InvalidArgument: Values that do not fit together.

    >>> task = Task("digits", 1439, 179, (28, 28, 1), 10, 0.25, {"mnist_net": 524894})
    >>> space = check({"optimizer": {"values": ["sgd"]}, "learning_rate": {"min": 1, "max": 9, "relative": True}})
    >>> train = trial_config({"optimizer": "sgd", "learning_rate": 2}, space, TrainConfig(), "mnist_net", task).train
    >>> train.optimizer, train.learning_rate, train.batch_size
    ('sgd', 0.025, 32)
    """
    relative = {name for name in values if space[name].get("relative")}
    others = {*OTHERS, *TRANSFER, *relative}
    absolute = {name: value for name, value in values.items() if name not in others}
    model = values.get("model", model)
    train = _with_defaults(replace(train, **absolute, **dict.fromkeys(relative)), task, model)
    units = {"learning_rate": train.peak_learning_rate, "weight_decay": train.decay}
    train = replace(train, **{name: units[name] * values[name] for name in relative})
    strength = values.get("augment_strength", 1)
    if strength != 1:
        train = replace(train, augment=[part for item in train.augment for part in strengthened(item, strength)])
    arguments = {"dropout": values.get("dropout"), **({} if task.fine_tunes else {"auxiliary_heads": False})}
    chosen = {name: value for name, value in values.items() if name in TRANSFER}
    return TrialConfig(train, model, arguments, replace(transfer or TransferConfig(), **chosen))


def with_rates(values: Mapping[str, Any], space: dict, train: TrainConfig, model: str, task: Task) -> dict:
    """The values of a trial with its rates in the place of multiples; arguments as of `trial_config`.

    None is for a rate of values that do not fit together.
    """
    relative = [name for name in values if space[name].get("relative")]
    try:
        config = trial_config(values, space, train, model, task).train
    except InvalidArgument:
        return {**values, **dict.fromkeys(relative)}
    return {**values, **{name: getattr(config, name) for name in relative}}


def check_suits(space: dict, task: Task) -> None:
    """Raise InvalidArgument for hyperparameters that no trial of this search has."""
    wrong = dict.fromkeys(TRANSFER, "it is for pretrained weights (--weights)")
    if task.fine_tunes:
        wrong = {"model": "the weights are those of one model"}
    if task.dropout is None:
        wrong["dropout"] = "these weights have no classifier"
    for name in wrong:
        if name in space:
            why = f"{name} cannot be searched here: {wrong[name]}"
            raise InvalidArgument(f"{why}. Received: a space with {name!r}. Take it out.")
    for stage in space.get("unfreeze", {}).get("values", ()):
        if stage is not None and stage not in (task.stages or ()):
            raise unknown("stage to unfreeze", stage, task.stages or ())


def strengthened(policy: Any, strength: float) -> list:
    """What a policy does, `strength` times as much; those without factors (crops, trivial) stay as they are.

    >>> strengthened("digits", 2)[0]["config"]["translation_factor"]
    0.14
    """
    steps = augment.POLICIES.get(policy, ()) if isinstance(policy, str) else ()
    if not steps or any(not any(key.endswith("_factor") for key in arguments) for _, arguments in steps):
        return [policy]
    return [
        {
            "registered_name": f"kzoo>{kind}",
            "config": {key: value * strength if key.endswith("_factor") else value for key, value in arguments.items()},
        }
        for kind, arguments in steps
    ]


def read(path: Any) -> dict:
    """A space from a JSON file, as --print-space gives it.

    Raises:
        InvalidArgument: No such file, no JSON, or no space.
    """
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"Cannot read the search space. Received: {str(path)!r}: {error}.") from error
    try:
        return check(content)
    except KzooError as error:
        raise InvalidArgument(f"{error} In {str(path)!r}.") from error
