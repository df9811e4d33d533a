"""The record of a run: all that config.json holds, as frozen dataclasses. It is read strictly and written whole."""

import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from kzoo import onednn, paths
from kzoo.arguments import integer, number, rate
from kzoo.data.loading import check_images, checked_range
from kzoo.data.splits import TRAIN_AND_VALIDATION
from kzoo.errors import InvalidArgument
from kzoo.hardware import probe
from kzoo.train.checkout import commit_of
from kzoo.train.config import TrainConfig, TransferConfig

MOST_MEMBERS = 1000


@dataclass(frozen=True)
class ZooModel:
    """A model by name: of the zoo, from scratch or with weights to fine-tune; of keras.applications, with weights."""

    name: str
    """One of `kzoo.list_models()`, or "keras:NAME"."""
    weights: str | None = None
    """A tag, or the path of a file or folder."""
    like: str | None = None
    """For weights in a file: the tag whose preprocessing and class names they take."""
    dropout: float | None = None
    """Rate before the classifier [default: the model's, and 0 to fine-tune]."""
    auxiliary_heads: bool = False

    def __post_init__(self):
        if self.dropout is not None:
            rate("dropout", self.dropout)


@dataclass(frozen=True)
class ModelFile:
    """A model to fine-tune, in a `.keras` file or a run directory."""

    path: str


@dataclass(frozen=True)
class TeacherRecord:
    """The model whose probabilities a run learns, instead of labels."""

    path: str | None
    """A run directory or a `.keras` file; None where it was given in Python."""
    temperature: float = 1.0
    """What both models' logits are divided by."""
    digest: str | None = None
    """Of its weights, once it was loaded."""

    def __post_init__(self):
        object.__setattr__(self, "temperature", float(number("temperature", self.temperature, 0.1, 100)))


@dataclass(frozen=True)
class DataSource:
    """How a dataset is loaded: the arguments of `kzoo.data.load`, except the split."""

    name: str
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    crop_fraction: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] | None = None
    range_16_bit: tuple[int, int] | None = None
    """In `SplitRecord` what was found."""
    data_dir: str | None = None
    download: bool = False
    on_bad_image: Literal["stop", "skip"] = "stop"

    def __post_init__(self):
        check_images(self.image_size, self.channels, self.crop_fraction)
        checked_range(self.range_16_bit)


@dataclass(frozen=True)
class SplitRecord:
    """What was found when a split was loaded. Of a `tf.data.Dataset` only the shape is known."""

    load: DataSource | None
    """None for arrays and a `tf.data.Dataset`."""
    split: str | None
    fingerprint: str | None
    images: int | None
    image_shape: tuple[int | None, ...]


@dataclass(frozen=True)
class DataRecord:
    """The data of a run: how it is loaded by name, and what was found."""

    load: DataSource | None = None
    """None where the data was given in Python."""
    all_data: bool = False
    """Whether to train on the validation images too."""
    train: SplitRecord | None = None
    validation: SplitRecord | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def splits(self) -> list[str]:
        """The splits that are trained on and, if there are two, validated on."""
        return [TRAIN_AND_VALIDATION] if self.all_data else ["train", "validation"]


@dataclass(frozen=True)
class FineTuningState:
    """What a run that fine-tunes has found out, and keeps when it is resumed."""

    pretrained: str | None = None
    """Digest of the pretrained weights."""
    features_at: tuple[str, ...] | None = None
    """Layers after which features are computed, one from the other; empty where there was no room for any."""
    is_head: bool = False
    """Whether this is the first phase of a run that fine-tunes, in the folder `head` of it."""
    kept: Literal["head", "fine_tuned"] | None = None
    """Without validation data: the phase whose model is kept, as in a search's best trial."""
    is_left_out: bool = False
    """Whether the second phase was left out, as there was little to gain."""


@dataclass(frozen=True)
class Member:
    """A member of an ensemble, as it was when the ensemble was made. What is not known is None."""

    source: str
    """The path of a run or model file, from the ensemble's folder if it lies in that; or a model's name and weights."""
    model: str
    """What Keras calls it: of the zoo's models the name."""
    digest: str
    """Of its weights."""
    seed: int | None = None
    commit: str | None = None
    accuracy: float | None = None
    """On the test split of its data if that was scored, else on the validation split."""
    split: Literal["test", "validation"] | None = None


@dataclass(frozen=True)
class EnsembleRecord:
    """Of a run whose model is the mean of several."""

    trains: int | None = None
    """How many members the run trains, in its folders member-0 and on; None where it only averages."""
    members: tuple[Member, ...] = ()
    """Empty until all are trained."""

    def __post_init__(self):
        if self.trains is not None:
            integer("members", self.trains, 2, MOST_MEMBERS)


@dataclass(frozen=True)
class Origin:
    """What the result of a run depends on besides its configuration."""

    versions: dict[str, str | None]
    commit: str | None
    """Of the git checkout that the command was given in; None outside one."""
    command: tuple[str, ...]
    machine: str
    """Processor, cores and GPUs."""
    date: str
    """The day on which the run began, in UTC: "2026-11-30"."""
    onednn: bool | None = None
    """Whether TensorFlow computed with oneDNN, which rounds otherwise; None where that was not known."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run: what was asked, what it was resolved to, and what was found.

    >>> record = RunRecord(model=ZooModel("mnist_net"), data=DataRecord(DataSource("digits")))
    >>> record.train.optimizer_name, record.requested.precision
    ('adamw', 'auto')
    """

    model: ZooModel | ModelFile | None = None
    """None where it was given in Python."""
    data: DataRecord = DataRecord()
    train: TrainConfig = TrainConfig()  # noqa: RUF009 - frozen
    """Resolved for the machine when the run begins, and for the data when that is loaded."""
    transfer: TransferConfig | None = None
    """None to train from scratch."""
    fine_tuning: FineTuningState = FineTuningState()
    ensemble: EnsembleRecord | None = None
    """None for a run of one model."""
    teacher: TeacherRecord | None = None
    """None to learn from labels."""
    requested: TrainConfig = None  # pyright: ignore[reportAssignmentType] - __post_init__ has a value
    """`train` as it was asked for [default: as it is]."""
    keep: bool = True
    """Whether the run directory stays."""
    origin: Origin | None = None
    """Filled in when the run directory is made."""

    @property
    def is_average(self) -> bool:
        """Whether it is an ensemble of models that were there before: nothing in it is trained."""
        return self.ensemble is not None and self.ensemble.trains is None

    @property
    def command(self) -> str:
        """The command of kzoo that trains such a run."""
        return "train" if self.transfer is None else "finetune"

    @property
    def phase(self) -> Literal["training", "head", "fine-tuning"]:
        """What a reader is told that this run does."""
        if self.fine_tuning.is_head:
            return "head"
        return "training" if self.transfer is None else "fine-tuning"

    def how_to_resume(self, run_dir: str | Path) -> str:
        """What continues the run in a folder: a command, or a call for a run of Python's `fit` or `fine_tune`."""
        if self.data.load is None:
            return f"kzoo.train.resume({str(run_dir)!r}{'' if self.transfer is None else ', ...'})"
        return paths.command("kzoo", self.command, "--resume", run_dir)

    def __post_init__(self):
        """Keep what was asked, and check that the model suits.

        Raises:
            InvalidArgument: Weights without fine-tuning, or fine-tuning without weights.
        """
        if self.requested is None:
            object.__setattr__(self, "requested", self.train)
        if isinstance(self.model, ZooModel) and (self.model.weights is not None) != (self.transfer is not None):
            raise InvalidArgument(
                "Weights are for fine-tuning, and fine-tuning needs them. "
                f"Received: weights={self.model.weights!r}, transfer={self.transfer!r}."
            )
        if self.teacher is not None and self.transfer is not None:
            raise InvalidArgument(
                f"A teacher is for training from scratch. Received: teacher {self.teacher.path!r} for fine-tuning. "
                "Leave it out."
            )
        if isinstance(self.model, ModelFile) and self.transfer is None:
            raise InvalidArgument(
                f"A model file is for fine-tuning. Received: {self.model.path!r}, transfer=None. Pass a TransferConfig."
            )


def teacher_at(path: str | Path, temperature: float = 1.0) -> TeacherRecord:
    """The record of a teacher in a run directory or a `.keras` file.

    Raises:
        InvalidArgument: There is none, or a temperature out of range.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(
            f"teacher must be a run directory, a .keras file or, for fit, a keras.Model. Received: {path!r}."
        )
    paths.find_model(path)
    return TeacherRecord(str(paths.expand(path).resolve()), temperature)


def origin() -> Origin:
    """What this process is."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return Origin(versions(), commit_of(Path()), tuple(sys.argv), probe().title, today, onednn.is_on())


_PACKAGES = ("kzoo", "keras", "tensorflow", "numpy", "pillow", "tensorflow-datasets")


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that a run's bits depend on."""
    return {"python": platform.python_version(), **{package: _version(package) for package in _PACKAGES}}


def differences(then: Origin | None) -> list[str]:
    """What differs in this process, of what a run's bits depend on: "keras 3.15.0 -> 3.15.1"."""
    if then is None:
        return []
    now = versions()
    found = [
        f"{name} {then.versions[name]} -> {now[name]}"
        for name in now
        if then.versions.get(name, now[name]) != now[name]
    ]
    if then.onednn is not None and onednn.is_on() is not then.onednn:
        found.append(f"oneDNN {_on(then.onednn)} -> {onednn.explanation()}")
    return found


def _on(value: bool) -> str:
    return "on" if value else "off"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
