"""`fit`: from a model, data and a configuration to a finished run.

A run is a pure function of its configuration, its data and the machine: shuffling, augmentation and the learning
rate are functions of (seed, epoch, position), and everything else that changes is in the checkpoint. So a run that was
killed and resumed ends in the same bits as one that was not.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kzoo import augment, console, plain, workers
from kzoo.agreement import Meaning
from kzoo.backend import keras, tf, weights_digest
from kzoo.classifier import rates_of, without_auxiliary_heads
from kzoo.data import Dataset, checks
from kzoo.errors import InvalidArgument, RunError
from kzoo.files import write_bytes
from kzoo.hardware import probe, usable_only
from kzoo.outputs import classes_of
from kzoo.saving import LARGEST_CONFIG, load_model, model_of
from kzoo.train import runs, schedules, trained_on
from kzoo.train.config import TrainConfig, with_data_defaults
from kzoo.train.inputs import (
    Stream,
    as_data,
    batches_per_epoch,
    check_fit,
    check_pixels,
    class_names_of_data,
    data_errors,
    looks_of,
    metadata_of_data,
    range_of_training,
    with_labels_of,
)
from kzoo.train.lifecycle import Result, begin, check_alike, result_of
from kzoo.train.normalization import shorten_averages
from kzoo.train.precision import dtype_policy, in_float32, parse_devices, resolve
from kzoo.train.record import DataSource, RunRecord, SplitRecord, TeacherRecord, teacher_at
from kzoo.train.step import TrainStep
from kzoo.train.strategy import check_made_in_scope, create_strategy, synchronize_batch_norm
from kzoo.train.teacher import Teacher, check_teaches, load_teacher
from kzoo.train.trainer import Trainer


def fit(
    build: Callable[[], Any],
    train_data: Any,
    validation_data: Any = None,
    config: TrainConfig | None = None,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    teacher: Any = None,
    temperature: float = 1.0,
) -> Result:
    """Train a classifier.

    Args:
        build: Makes the model: a function without arguments that returns a `keras.Model` with an output of shape
            (batch, classes), probabilities or logits, or (batch, 1) for two classes. It is called inside the
            strategy's scope and under the dtype policy. In a run of few steps the momentum of its batch normalizations
            is lowered (`shorten_averages`). With auxiliary heads the output is a dict, of which
            `predictions` is the classifier; what is saved and returned is that one alone.
        train_data: A Dataset of kzoo, a pair of NumPy arrays (images, labels), or a `tf.data.Dataset` of such pairs.
            Images (N, height, width, channels), values 0 to 255; labels (N,) or (N, 1), whole numbers.
        validation_data: The same, or None.
        config: How to train.
        run_dir: An empty or new folder for config, history, checkpoints, models and metrics; None keeps no files.
        overwrite: Whether a run that is in `run_dir` may be deleted.
        resume: Whether a run that is in `run_dir` goes on to its end; a finished one gives its result. The arguments
            must be those it was begun with; strategy and devices may be others.
        callbacks: Of `keras.callbacks`. Their `model` is the one in training, in the training precision. One that sets
            `model.optimizer.learning_rate` takes it over from the schedule from there on. The hooks of a batch are
            called once for each execution of several steps, as in Keras. What is saved with `ema_momentum`,
            `swa_epochs` or schedule-free AdamW is the average, which weights that a callback sets do not reach.
        teacher: Distillation: a run directory, a `.keras` file or a `keras.Model` with the same classes, whose
            probabilities for the augmented images take the place of the labels in the loss. Validation is by labels.
        temperature: What both models' logits are divided by for that.

    Raises:
        InvalidArgument: Arguments that do not fit together.
        RunError: `run_dir` is occupied, or cannot be written.
        TrainingDiverged: The loss became NaN or infinite; the last good model is kept in `run_dir`.
        TrainingInterrupted: Ctrl-C, after the state was saved.

    The global random generators of Python, NumPy and Keras are seeded with `config.seed`.

    >>> from kzoo import create_model, data
    >>> from kzoo.train import TrainConfig, fit
    >>> digits = data.load("digits", image_size=28)
    >>> result = fit(lambda: create_model("mnist_net"), digits, config=TrainConfig(epochs=1, batch_size=256))
    >>> sorted(result.history)
    ['accuracy', 'epoch', 'images_per_second', 'learning_rate', 'loss', 'seconds']
    """
    check_build(build, resume)
    taught_by = None
    if teacher is not None:
        is_model = isinstance(teacher, keras.Model)
        taught_by = TeacherRecord(None, temperature) if is_model else teacher_at(teacher, temperature)
    record = RunRecord(train=config or TrainConfig(), teacher=taught_by)
    given = (build, train_data, validation_data, callbacks, teacher)
    return begin(
        record,
        run_dir,
        lambda folder: run(folder, *given),
        check_data=lambda folder: check_data(folder, train_data, validation_data),
        overwrite=overwrite,
        resume=resume,
    )


def check_build(build: Any, resume: bool) -> None:
    """Raise InvalidArgument for a model, or a name, where a function that makes a model is wanted."""
    if build is None:
        if resume:
            return
        wrong = "None. Pass for example lambda: kzoo.create_model('resnet18')"
    elif isinstance(build, keras.Model):
        wrong = f"the model {build.name!r}. Pass a function that makes it, or lambda: model to train the weights it has"
    elif isinstance(build, str):
        wrong = f"{build!r}. For a model of the zoo pass lambda: kzoo.create_model({build!r})"
    elif not callable(build):
        wrong = f"{type(build).__name__}. Pass for example lambda: kzoo.create_model('resnet18')"
    elif (problem := _wanted_arguments(build)) is not None:
        wrong = f"one that is called otherwise: {problem}. Wrap it in a lambda"
    else:
        return
    raise InvalidArgument(
        "build must be a function without arguments that makes the model, on the devices and in the precision of the "
        f"run. Received: {wrong}."
    )


def _wanted_arguments(build: Callable) -> str | None:
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        return str(error)
    except ValueError:  # a built-in function, of which Python knows no signature
        return None
    return None


def load(run_dir: str | Path, which: str = "best"):
    """The "best" or the "last" model of a run: a float32 `keras.Model`."""
    return load_model(run_dir, which)


def run(run_dir: Path, *given: Any) -> Result:
    """Train, with what `prepare` takes, what config.json in `run_dir` says; the caller holds the run's lock."""
    trainer = prepare(run_dir, *given)
    with data_errors():
        trainer.train()
        trainer.finish()
    return replace(result_of(run_dir, trainer.state), was_interrupted=trainer.was_interrupted)


def prepare(
    run_dir: Path,
    build: Callable[[], Any] | None,
    train_data: Any,
    validation_data: Any = None,
    callbacks: Sequence[Any] = (),
    teacher: Any = None,
) -> Trainer:
    """Do all that comes before the first step: check the data, build the model, take up the checkpoint."""
    check_validation(runs.read_record(run_dir).train, validation_data)
    setup, model = set_up_with_model(run_dir, build, train_data, validation_data, teacher)
    if not (run_dir / runs.CHECKPOINT).exists():
        console.log(schedules.in_words(setup.config))
        setup.draw_learning_rates((setup.record.phase, setup.config))
    how = setup.record.how_to_resume(run_dir)
    return setup.trainer(model, in_float32(without_auxiliary_heads(model)), callbacks=callbacks, how_to_resume=how)


def set_up_with_model(
    run_dir: Path, build: Callable[[], Any] | None, train_data: Any, validation_data: Any, teacher: Any = None
) -> "tuple[Setup, Any]":
    """All that is fixed before the first step, and the model in training."""
    setup = set_up(run_dir, train_data, validation_data)
    setup.check_images()
    check_pixels(setup.train_data, setup.validation_data)
    with setup.scope():
        model = _build(setup, build)
    setup = replace(_choose_for_model(setup, model), teacher=_teacher(setup, model, teacher))
    return setup, model


@dataclass(frozen=True)
class Setup:
    """What is fixed before there is a model: the run, its configuration, the devices and the data."""

    run_dir: Path
    record: RunRecord
    """As the run was found."""
    config: TrainConfig
    """With a value in every place."""
    strategy: Any
    train_data: Any
    """A Dataset or a Stream."""
    validation_data: Any
    """The same, or None."""
    teacher: Teacher | None = None

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Where the model in training is to be made: on the strategy's devices, in the precision of the run."""
        with self.strategy.scope(), dtype_policy(self.config.precision):
            yield

    def check_images(self) -> None:
        """Look for copies between the splits and for rare classes, and keep which images the run is trained on."""
        if isinstance(self.train_data, Stream):
            return
        validation = None if isinstance(self.validation_data, Stream) else self.validation_data
        checks.check(self.train_data, validation, self.config.class_weight)
        if self.record.keep:
            trained_on.keep(self.run_dir, self.train_data)

    def draw_learning_rates(self, *phases: tuple[str, TrainConfig]) -> None:
        """Draw the schedule of each phase, given by its name and configuration, in the run directory."""
        if self.record.keep:
            write_bytes(self.run_dir / runs.RATES, schedules.picture(phases))

    def check_model(self, classifier) -> None:
        """Raise InvalidArgument unless the classifier takes the images and has an output for each class."""
        check_fit(self.train_data, classifier, "training", augment.policy(self.config.augment))
        if self.validation_data is not None:
            check_fit(self.validation_data, classifier, "validation")

    def step(self, model, rate_factors: Sequence[float] = ()) -> TrainStep:
        """The training step of a model made in the scope."""
        check_made_in_scope(model, self.strategy)
        if self.config.sync_batch_norm:
            synchronize_batch_norm(model)
        with self.strategy.scope():
            weights = self.train_data.class_weights() if self.config.class_weight == "balanced" else None
            return TrainStep(model, self.config, weights, rate_factors, self.teacher)

    def trainer(self, model, final, *, rate_factors: Sequence[float] = (), **arguments) -> Trainer:
        """The `Trainer` of a model made in the scope, with the checkpoint taken up and by default the setup's data."""
        step = self.step(model, rate_factors)
        given = {"train_data": self.train_data, "validation_data": self.validation_data, **arguments}
        found = range_of_training(self.train_data, self.validation_data)
        trainer = Trainer(self.run_dir, self.config, step, final, pixel_range=found, **given)
        trainer.restore(self.record)
        return trainer


def set_up(run_dir: Path, train_data: Any, validation_data: Any) -> Setup:
    """Choose what is left to the data and the devices, and check that they are the run's; seeds all generators."""
    if tf is None:
        raise InvalidArgument(
            f"kzoo.train needs the TensorFlow backend. Received: {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow."
        )
    runs.delete_temporary(run_dir)
    record = runs.read_record(run_dir)
    config, kind, count = _choose_devices(run_dir, record)
    train_data = as_data(train_data, config.batch_size)
    if config.strategy == "multiworker" and isinstance(train_data, Stream):
        raise InvalidArgument(
            "Several workers share out images whose order kzoo makes. Received: a tf.data.Dataset. Pass a Dataset of "
            "kzoo or arrays, or use --strategy one."
        )
    config = _choose_for_data(run_dir, config, train_data)
    if validation_data is not None:
        validation_data = with_labels_of(as_data(validation_data, config.batch_size), class_names_of_data(train_data))
    _check_data(run_dir, record, config, train_data, validation_data)
    if (others := workers.current()) is not None and config.strategy == "multiworker":
        parts = {"train": train_data, "validation": validation_data}
        check_alike(others, "the devices", {"devices": f"{count} {kind}", "precision": config.precision})
        check_alike(others, "the data", {name: one and _shown(_describe(one)) for name, one in parts.items()})
    strategy = create_strategy(config, kind, count)
    keras.utils.set_random_seed(config.seed)
    return Setup(run_dir, record, config, strategy, train_data, validation_data)


def _choose_devices(run_dir: Path, record: RunRecord) -> tuple[TrainConfig, str, int]:
    """Make sure that TensorFlow has the devices which the config was resolved for, and choose again where it has not.

    Only what was left to kzoo is chosen again, and only before the first step.
    """
    config, hardware = record.train, probe()
    usable = len(tf.config.list_physical_devices("GPU"))
    if usable >= len(hardware.gpus) or (config.devices or "gpu").startswith("cpu"):
        return config, *parse_devices(config.devices, hardware)
    console.warn(f"TensorFlow can use {usable} of this machine's {len(hardware.gpus)} NVIDIA GPUs; see kzoo doctor")
    hardware = usable_only(hardware, usable)
    if not (run_dir / runs.CHECKPOINT).exists():
        asked = replace(config, precision=record.requested.precision, strategy=record.requested.strategy)
        config, reasons = resolve(asked, hardware)
        for reason in reasons:
            console.log(reason)
        runs.update_record(run_dir, train=config)
    return config, *parse_devices(config.devices, hardware)


def _choose_for_data(run_dir: Path, config: TrainConfig, train_data) -> TrainConfig:
    """Choose what the configuration leaves to the data, say so, and write it down."""
    if isinstance(train_data, Stream):
        config = replace(config, batch_size=train_data.batch_size)
    looks: dict[str, Any] = looks_of(train_data) if "auto" in config.augment else {}
    chosen = with_data_defaults(config, *_facts(train_data), **looks)
    if chosen != config:
        passes = f" of {chosen.passes_per_epoch} passes each" if chosen.passes_per_epoch != 1 else ""
        phase, reason = runs.read_record(run_dir).phase, ""
        if looks:
            reason = f" ({augment.suggested(train_data.public_name, train_data.image_shape, **looks)[1]})"
        console.log(
            f"{'' if phase == 'training' else f'{phase}: '}{chosen.epochs} epochs{passes}, batch size "
            f"{chosen.batch_size}, augmentation {augment.title(chosen.augment)}{reason}"
        )
    runs.update_record(run_dir, train=chosen)
    return chosen


def _facts(train_data) -> tuple[str, int, tuple]:
    """What `with_data_defaults` looks at."""
    return train_data.public_name, len(train_data), train_data.image_shape


def _choose_for_model(setup: Setup, model) -> Setup:
    """Choose the learning rate and the warm-up by the model's card, where both the run and the data leave them open.

    As for the devices, what was left to kzoo is chosen again only before the first step.
    """
    config, asked = setup.config, setup.record.requested
    if not (setup.run_dir / runs.CHECKPOINT).exists():
        left_open = replace(config, learning_rate=asked.learning_rate, warmup_epochs=asked.warmup_epochs)
        config = with_data_defaults(left_open, *_facts(setup.train_data), rates=rates_of(model))
        runs.update_record(setup.run_dir, train=config)
    return replace(setup, config=config)


def _build(setup: Setup, build):
    """The model, as built the first time or as the run directory describes it."""
    path = setup.run_dir / runs.ARCHITECTURE
    # Before the first checkpoint the description alone would mean random weights, where `build` may bring trained ones.
    checkpoint = setup.run_dir / runs.CHECKPOINT
    if checkpoint.exists():
        description = runs.read_json(path, LARGEST_CONFIG)
        try:
            model = model_of(description, checkpoint.stat().st_size)
        except Exception as error:  # whatever Keras makes of a damaged file
            raise runs.damaged(path, error) from error
        setup.check_model(without_auxiliary_heads(model))
        return model
    if build is None:
        raise InvalidArgument(
            f"This run was stopped before its first step. Received: {str(setup.run_dir)!r}. Pass build= again."
        )
    model = build()
    setup.check_model(without_auxiliary_heads(model))
    config: Any = setup.config
    batches = batches_per_epoch(setup.train_data, config.batch_size, config.passes_per_epoch)
    shorten_averages(model, config.total_epochs * batches)
    runs.write_json(path, keras.saving.serialize_keras_object(model))
    return model


def _teacher(setup: Setup, model, given: Any) -> Teacher | None:
    """The run's teacher, if it has one, after a look whether it knows what the model is to learn."""
    record = setup.record.teacher
    if record is None:
        return None
    found, data, student = load_teacher(given, record), setup.train_data, without_auxiliary_heads(model)
    known = metadata_of_data(data)
    pixels = range_of_training(data, setup.validation_data), known.get("range_16_bit"), student.input_shape[-1]
    images = augment.policy(setup.config.augment)
    spec: Any = data.batches(1, augment=images).element_spec
    meaning = Meaning("this run", classes_of(student), class_names_of_data(data), *pixels)
    check_teaches(found, record, meaning, tuple(spec[0].shape[1:]))
    if record.path and Path(record.path).is_dir():
        if isinstance(setup.validation_data, Dataset):
            trained_on.check(Path(record.path), setup.validation_data)
        if setup.record.keep and not (setup.run_dir / runs.CHECKPOINT).exists():
            trained_on.keep_all(setup.run_dir, [setup.run_dir, Path(record.path)])
    runs.update_record(setup.run_dir, teacher=replace(record, digest=weights_digest(found)))
    console.log(f"taught by {record.path or found.name!r}: its probabilities take the place of the labels")
    with setup.strategy.scope():
        return Teacher(found, setup.config.precision, record.temperature)


def check_data(run_dir: Path, train_data: Any, validation_data: Any) -> None:
    """Refuse data that is not what the run in a folder began with."""
    record = runs.read_record(run_dir)
    train_data = as_data(train_data, record.train.batch_size)
    if validation_data is not None:
        validation_data = as_data(validation_data, record.train.batch_size)
        validation_data = with_labels_of(validation_data, class_names_of_data(train_data))
    _check_data(run_dir, record, record.train, train_data, validation_data)


def check_validation(config: TrainConfig, validation_data: Any) -> None:
    """Refuse a configuration that needs validation data where there are none."""
    if validation_data is None and (config.early_stopping is not None or config.generic_schedule == "plateau"):
        raise InvalidArgument(
            "early_stopping and plateau schedules need validation data. Received: validation_data=None, "
            f"early_stopping={config.early_stopping}, schedule={config.schedule_name!r}."
        )


def _check_data(run_dir: Path, record: RunRecord, config: TrainConfig, train_data, validation_data) -> None:
    """Refuse data that the configuration cannot be used with, or that is not the run's."""
    if config.class_weight == "balanced" and isinstance(train_data, Stream):
        raise InvalidArgument("class_weight 'balanced' needs the labels in advance. Received: a tf.data.Dataset.")
    train, validation = (None if one is None else _describe(one) for one in (train_data, validation_data))
    recorded = record.data
    if recorded.train is None:
        names = class_names_of_data(train_data)
        runs.update_record(run_dir, data=replace(recorded, train=train, validation=validation, class_names=names))
        return
    for part, now, then in (("train", train, recorded.train), ("validation", validation, recorded.validation)):
        now, then = (one and replace(one, load=None) for one in (now, then))  # the same content may lie elsewhere
        if now != then:
            raise RunError(
                f"The {part} data is not what this run began with. Received: {_shown(now)}, recorded: {_shown(then)}. "
                "Restore the data, or start a new run."
            )


def _describe(dataset) -> SplitRecord:
    """What config.json says of a dataset."""
    if isinstance(dataset, Stream):
        return SplitRecord(None, None, None, None, tuple(dataset.image_shape))
    how = dataset.load_arguments
    load = None if how is None else plain.read(DataSource, {"download": False, **how}, "load_arguments")
    return SplitRecord(load, dataset.split, dataset.fingerprint, len(dataset), tuple(dataset.image_shape))


def _shown(split: SplitRecord | None) -> dict | None:
    return None if split is None else {name: value for name, value in asdict(split).items() if name != "load"}
