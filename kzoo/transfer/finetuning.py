"""`fine_tune`: a new head on a pretrained model, trained with the rest frozen; then the upper stages, slowly.

A run has two phases, each trained as any run of `kzoo.train` is: the first in the folder `head` of the run directory,
the second in the run directory itself, from the model of the first.

1. The head starts at zeros and is trained on the images as they are.
2. Where the head leaves enough mistakes to learn from, the upper stages are trained with it, on augmented images, at
   rates that rise and fall and are the smaller the lower a stage is. The last epoch's model is kept, unless it is worse
   than the head's on the validation data by more than a standard error.

docs/finetune_photos.md has the evidence. In each phase what lies below the lowest trained layer gives the same in every
epoch. It is computed once (`kzoo.transfer.features`), and the rest is trained on that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kzoo import augment, console, functional, workers
from kzoo.backend import keras, weights_digest
from kzoo.classifier import pixel_range_of, set_metadata
from kzoo.data import Dataset
from kzoo.data.pixels import Range, can_scale, is_same, shown
from kzoo.errors import InvalidArgument, RunError, TrainingInterrupted, unknown
from kzoo.models.registry import check_name, create_model
from kzoo.paths import expand
from kzoo.saving import load_model
from kzoo.text import dimensions
from kzoo.train import checkpoint, runs
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.figures import standard_error
from kzoo.train.fitting import Setup, check_data, check_validation, set_up
from kzoo.train.inputs import Stream, as_data, check_pixels, data_errors, looks_of, range_of_training
from kzoo.train.lifecycle import Result, begin, result_of
from kzoo.train.precision import in_float32, in_precision, twin
from kzoo.train.record import FineTuningState, RunRecord, ZooModel
from kzoo.train.schedules import in_words
from kzoo.train.trainer import Trainer
from kzoo.transfer.cutting import find_cut, split
from kzoo.transfer.defaults import ENOUGH_ERRORS, head_config, held_out_errors, with_fine_tuning_defaults
from kzoo.transfer.features import Features, Frozen, Views, cache_folder, digests, features_of, key_of
from kzoo.transfer.freezing import freeze, unfreeze
from kzoo.transfer.layerwise import lowest_of_last_size, rate_factors
from kzoo.transfer.loading import named, portable
from kzoo.transfer.surgery import add_head, side_by_side
from kzoo.weights.records.applications import is_application
from kzoo.weights.registry import list_weights
from kzoo.weights.resolve import ResolvedWeights, resolve


def fine_tune(
    model: Any,
    train_data: Any,
    validation_data: Any = None,
    *,
    weights: Any = None,
    config: TrainConfig | None = None,
    transfer: TransferConfig | None = None,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Fine-tune a pretrained model on other classes.

    First a new classifier is trained, all else frozen (Donahue et al., 2014); then the upper stages with it (Kumar et
    al., 2022), at smaller learning rates the lower they are (Howard & Ruder, 2018, section 3.2), their batch
    normalizations by default frozen. What stays frozen is computed once, of each image and of `transfer.views`
    augmented views of it, and kept on disk.

    The second phase is left out, with a line, where a classifier of the features is right about nearly all training
    images that were held out from it: there is nothing to gain. A stage in `transfer.unfreeze` is trained all the same.

    Args:
        model: The name of a model of the zoo, or "keras:NAME" of keras.applications; None is kzoo's default model. Or a
            Functional or Sequential `keras.Model`, which is left as it is: a classifier, whose last layer is replaced,
            or one that ends in features.
        train_data: What `kzoo.train.fit` takes: a Dataset of kzoo, a pair of NumPy arrays, or a `tf.data.Dataset`,
            which is read into memory. Images (N, height, width, channels), values 0 to 255, best loaded with what
            `images_for` says; labels (N,) or (N, 1), whole numbers.
        validation_data: The same, of other images. Where fine-tuning makes it worse there, by more than one standard
            error, the first phase's model is kept. With `early_stopping` or the schedule "plateau" the best epoch on it
            is kept, not the last.
        weights: For a name, its pretrained weights, as for `create_model`; by default the model's default ones, where
            it has any.
        config: How the second phase is trained; its batch size, precision, devices, seed and loss hold for both. By
            default its learning rate is 0.003 at a batch size of 256, by the square root, 30 % of the epochs are a
            warm-up, labels are smoothed by 0.1, and colour photos of at least 64x64 pixels are augmented by the policy
            "photos".
        transfer: What else there is to choose.
        run_dir: An empty or new folder for all that `kzoo.train.fit` writes, and the first phase's run in `head`.
        overwrite: Whether a run that is in `run_dir` may be deleted.
        resume: As for `kzoo.train.fit`.
        callbacks: As for `kzoo.train.fit`, in both phases; their `model` is the part that is trained.

    Returns:
        A Result of the second phase: `history` is its history; `metrics` has "kept": "head" or "fine_tuned", and under
        "head" the metrics of the first.

    Raises:
        InvalidArgument: Arguments that do not fit together.
        DataError: An image is in the training and in the validation data.
        WeightsError: Weights that are not on this machine.
        RunError: As `kzoo.train.fit`.

    >>> import kzoo
    >>> from kzoo.train import TrainConfig
    >>> digits = [kzoo.data.load("digits", split, image_size=28) for split in ("train", "validation")]
    >>> fast = TransferConfig(head_epochs=2, views=1)
    >>> result = fine_tune("mnist_net", *digits, weights="mnist", config=TrainConfig(epochs=1), transfer=fast)
    >>> result.metrics["validation"]["accuracy"] > 0.9
    True
    """
    if model is None or isinstance(model, str):
        model, weights = named(model, weights)
    make = maker(model, weights)
    recorded = _recorded(model, weights) if isinstance(weights, str | Path) else None
    record = RunRecord(model=recorded, train=config or TrainConfig(), transfer=transfer or TransferConfig())
    given = (make, train_data, validation_data, callbacks)
    return begin(
        record,
        run_dir,
        lambda folder: run(folder, *given),
        check_data=lambda folder: check_data(
            folder, *(None if one is None else _read(one) for one in (train_data, validation_data))
        ),
        overwrite=overwrite,
        resume=resume,
    )


def run(
    run_dir: Path,
    make: Callable[[tuple], Any] | None,
    train_data: Any,
    validation_data: Any = None,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Train both phases of what config.json in `run_dir` says, from where it stands; the caller holds the run's lock.

    `make` gives the pretrained model for an image shape; without it the first phase must be over.
    """
    record = runs.read_record(run_dir)
    assert record.transfer is not None  # noqa: S101 - the caller knows what the run is
    _refuse_mixing(record.train.augment)
    check_validation(record.train, validation_data)
    train_data, validation_data = (None if one is None else _read(one) for one in (train_data, validation_data))
    shape = train_data.image_shape
    looks = looks_of(train_data) if "auto" in record.train.augment else {}
    config = with_fine_tuning_defaults(record.train, train_data.public_name, len(train_data), shape, **looks)
    runs.update_record(run_dir, train=config)
    with data_errors():
        tuning = _FineTuning(set_up(run_dir, train_data, validation_data), record.transfer, callbacks)
        _train_head(tuning, make)
        return _train_upper_stages(tuning)


class _FineTuning:
    """What both phases need."""

    def __init__(self, setup: Setup, transfer: TransferConfig, callbacks: Sequence[Any]):
        self.dir, self.config, self.transfer = setup.run_dir, setup.config, transfer
        self.callbacks = callbacks
        self.setup = setup
        self.how_to_resume = setup.record.how_to_resume(self.dir)
        self.train, self.validation = setup.train_data, setup.validation_data
        setup.check_images()
        if self.validation is None:
            console.warn("without validation data nobody knows whether fine-tuning helps: the last model is kept")
        self.folder = cache_folder()

    @property
    def record(self) -> RunRecord:
        """All that is written of the run by now."""
        return runs.read_record(self.dir)

    def unfreeze(self, model):
        """Leave to training what the second phase trains."""
        freeze(model)
        for network in side_by_side(model):
            down_to = self.transfer.unfreeze or lowest_of_last_size(network)
            unfreeze(network, down_to, batch_norm=self.transfer.batch_norm)
        return model

    def compute(self, frozen, cut: str, policy: Any, views: int) -> tuple[Features, Features | None] | None:
        """Features of the images at a cut of a frozen model, of so many augmented views of the training images.

        Returns:
            Of the training and of the validation images; None where they do not fit on the disk.
        """
        below, found, seed = split(frozen, cut)[0], [], self.config.seed
        computed = Frozen(below)
        augmented = (policy, 1 if policy == ("none",) else views)
        for images, (what, count) in ((self.train, augmented), (self.validation, (("none",), 1))):
            if images is None:
                return found[0], None
            key = key_of(below, digests(images), what, count, seed)
            drawn = augment.policy(what)
            found.append(
                features_of(Views(images, computed, key, policy=drawn, count=count, seed=seed, folder=self.folder))
            )
            if found[-1] is None:
                return None
        return found[0], found[1]


def _train_head(tuning: _FineTuning, make) -> None:
    """The first phase, unless it is over."""
    if (tuning.dir / runs.CHECKPOINT).exists() or checkpoint.finished_state(tuning.dir / runs.HEAD / runs.CHECKPOINT):
        return
    if make is None:
        raise InvalidArgument(
            f"This run was stopped in its first phase. Received: {str(tuning.dir)!r}. Pass the same model and weights "
            "again."
        )
    check_pixels(tuning.train, tuning.validation)
    source = make(tuning.train.image_shape)
    whole = set_metadata(add_head(source, len(tuning.train.class_names)))
    whole = _for_range(whole, range_of_training(tuning.train, tuning.validation), pixel_range_of(source))
    tuning.setup.check_model(whole)
    _check_weights(tuning, whole)
    config = head_config(tuning.config, tuning.transfer, len(tuning.train))
    record = RunRecord(
        train=config,
        requested=tuning.setup.record.requested,
        fine_tuning=FineTuningState(is_head=True),
        keep=tuning.setup.record.keep,
    )
    head = tuning.dir / runs.HEAD
    if not (head / runs.CONFIG).exists():
        head.mkdir(exist_ok=True)
        runs.create(head, record)
    setup = set_up(head, tuning.train, tuning.validation)
    frozen = in_precision(whole, tuning.config.precision)
    tuning.unfreeze(frozen)  # an unknown stage is refused now
    cut = find_cut(freeze(frozen))
    console.log(f"head: a new classifier of {len(tuning.train.class_names)} classes on {whole.name}, the rest frozen")
    if not (head / runs.CHECKPOINT).exists():
        console.log(f"head: {in_words(setup.config)}")
        tuning.setup.draw_learning_rates(("head", setup.config), ("fine-tuning", tuning.config))
    data = _compute_features(tuning, setup, frozen, cut, config.augment, 1)
    # The last epoch's, at the end of the schedule: by some dozens of images an early epoch can seem better by luck.
    trainer = _trainer(tuning, setup, whole, freeze, cut, data, keeps_last=True)
    runs.forget_replaced(tuning.dir)
    trainer.train()
    is_open = tuning.transfer.unfreeze is None and tuning.record.fine_tuning.kept is None
    if data is not None and is_open and trainer.state.history[-1]["accuracy"] > 1 - ENOUGH_ERRORS:
        _skip_where_it_cannot_pay(tuning, data[0], lowest_of_last_size(whole))
    trainer.finish(tuning.validation)
    if trainer.was_interrupted:
        raise TrainingInterrupted(f"Interrupted between the phases. Continue with: {tuning.how_to_resume}")


def _for_range(model, given: Range | None, trained_on: Range):
    """The model with what brings its images to the range that it was trained on, where that is known."""
    if given is None or is_same(given, trained_on):
        return model
    if not can_scale(given, trained_on):
        console.warn(
            f"the training images hold values {shown(given)}, but the pretrained model takes {shown(trained_on)}: its "
            "features will be poor. Scale the images, or put keras.layers.Rescaling in front of the model"
        )
        return model
    console.log(f"images of 0 to 255 are scaled to {shown(trained_on)}, which the pretrained model was trained on")
    low, high = trained_on
    images = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name=model.inputs[0].name)
    scaled = keras.layers.Rescaling((high - low) / 255, low, dtype="float32", name="to_pretrained_range")(images)

    def call(layer, *arguments, **options):
        arguments, options = keras.tree.map_structure(
            lambda one: scaled if one is images else one, (arguments, options)
        )
        return layer(*arguments, **options)

    shared = keras.models.clone_model(
        model, input_tensors=images, clone_function=lambda layer: layer, call_function=call
    )
    return twin(shared)  # whose layers are called in this model alone


def _skip_where_it_cannot_pay(tuning: _FineTuning, features: Features, lowest: str | None) -> None:
    """Note that the head alone is kept, where nearly all training images are recognized without having been seen."""
    share = workers.agreed(held_out_errors(features.views[0], features.labels))
    if share is None or share >= ENOUGH_ERRORS:
        return
    console.log(
        f"fine-tuning is left out: in cross-validation a classifier of the pretrained features is wrong about "
        f"{100 * share:.1f} % of the training images (limit {100 * ENOUGH_ERRORS:.0f} %). To fine-tune all the same: "
        f"--unfreeze {lowest or 'STAGE'}"
    )
    _note(tuning.dir, is_left_out=True)


def _train_upper_stages(tuning: _FineTuning) -> Result:
    """The second phase: from the first one's model, and against it."""
    head = tuning.dir / runs.HEAD
    whole = load_model(head, "best")
    frozen = tuning.unfreeze(in_precision(whole, tuning.config.precision))
    cut = find_cut(frozen)
    config, found = tuning.config, tuning.record.fine_tuning
    is_skipped = found.is_left_out or found.kept == "head"
    data = None
    if not is_skipped:
        data = _compute_features(tuning, tuning.setup, freeze(frozen), cut, config.augment, tuning.transfer.views)
    # An early epoch can seem better by luck; who asks for early stopping or plateaus trusts the validation data.
    keeps_last = config.early_stopping is None and config.generic_schedule != "plateau"
    is_new = not (tuning.dir / runs.CHECKPOINT).exists()
    trainer = _trainer(
        tuning, tuning.setup, whole, tuning.unfreeze, cut, data, layer_decay=tuning.transfer.layer_decay,
        keeps_last=keeps_last,
    )  # fmt: skip
    if is_skipped:
        console.log("the new head alone is kept")
        tuning.setup.draw_learning_rates(("head", runs.read_record(head).train))
    else:
        trained = sum(1 for layer in trainer.step.model.layers if layer.trainable_weights)
        console.log(f"fine-tuning: {trained} layers" + (f" above {cut}" if cut else ""))
        if is_new:
            console.log(f"fine-tuning: {in_words(config)}")
        if not keeps_last:
            trainer.start_from(head / runs.BEST)
        trainer.train()
    figures = runs.read_metrics(head)
    if is_skipped or _is_worse(tuning, trainer, figures):
        trainer.adopt(head / runs.BEST)
    kept = "fine_tuned" if trainer.state.best_epoch else "head"
    # The head's model has been scored on these images when its phase ended.
    known = {"validation": figures["validation"]} if kept == "head" and "validation" in figures else {}
    trainer.finish(tuning.validation, kept=kept, head=figures, **known)
    return replace(result_of(tuning.dir, trainer.state), was_interrupted=trainer.was_interrupted)


def _is_worse(tuning: _FineTuning, trainer: Trainer, head: dict) -> bool:
    """Whether fine-tuning has made the model worse on the validation data, by more than one standard error.

    The one-standard-error rule (Breiman et al., 1984, section 3.4.3), for the model that is better as a rule: of some
    dozens of validation images one more or less is luck.
    """
    if tuning.validation is None:
        return False
    if not trainer.keeps_last:
        return not trainer.state.best_epoch
    before, after = head["validation"]["accuracy"], trainer.state.history[-1]["val_accuracy"]
    error = standard_error(before, len(tuning.validation))
    console.log(
        f"validation accuracy {100 * before:.2f} % by the new head alone, {100 * after:.2f} % fine-tuned; standard "
        f"error {100 * error:.2f} %"
    )
    if after >= before - error:
        return False
    console.log("fine-tuning made it worse than the new head alone, which is kept")
    return True


def _trainer(
    tuning: _FineTuning,
    setup: Setup,
    whole,
    prepare,
    cut: str | None,
    data,
    *,
    layer_decay: float = 1.0,
    keeps_last=False,
) -> Trainer:
    """The trainer of what of a float32 model is above the cut, on features, or of all of it, where there are none."""
    keras.utils.set_random_seed(tuning.config.seed)  # what was drawn before depends on what had to be computed
    with setup.scope():
        trained = prepare(in_precision(whole, setup.config.precision))
    factors = rate_factors(trained, layer_decay)
    above, final, given = trained, whole, {}
    if cut is not None and data is not None:
        (_, above), (_, final) = split(trained, cut), split(whole, cut)
        given = {"train_data": data[0], "validation_data": data[1]}
    return setup.trainer(
        above,
        final,
        rate_factors=[factors[id(weight)] for weight in above.trainable_variables] if layer_decay < 1 else (),
        saved=whole,
        how_to_resume=tuning.how_to_resume,
        keeps_last=keeps_last,
        callbacks=tuning.callbacks,
        **given,
    )


def _compute_features(
    tuning: _FineTuning, setup: Setup, frozen, cut: str | None, policy: Any, views: int
) -> tuple[Features, Features | None] | None:
    """Features at a cut, or None where there is none, or no room. A resumed run does as it did when it started."""
    began_at = setup.record.fine_tuning.features_at
    cut = None if began_at == () else cut
    data = None if cut is None else tuning.compute(frozen, cut, policy, views)
    lacks_room = workers.any_of(data is None)  # of several machines any; the chief alone knows how the run began
    if cut is not None:
        if data is not None and not lacks_room:
            _note(setup.run_dir, features_at=(cut,))
            return data
        if began_at:
            raise RunError(
                "There is no room for the features that this run is trained on. Received: "
                f"{str(tuning.folder)!r}. Free some of the disk, or set KZOO_HOME to a folder with more of it, and "
                "resume."
            )
    _note(setup.run_dir, features_at=())
    return None


def _note(run_dir: Path, **found: Any) -> None:
    """Write down what a run has found out."""
    runs.update_record(run_dir, fine_tuning=replace(runs.read_record(run_dir).fine_tuning, **found))


def _check_weights(tuning: _FineTuning, whole) -> None:
    """Refuse pretrained weights that are not those which the run began with."""
    digest = weights_digest(keras.Model(whole.inputs, whole.layers[-1].input))
    began_with = tuning.setup.record.fine_tuning.pretrained
    if began_with not in (None, digest):
        raise RunError(
            f"The pretrained weights are not what this run began with. Received: {digest}, recorded: {began_with}. "
            "Pass the same model and weights, or start a new run."
        )
    _note(tuning.dir, pretrained=digest)


def maker(model: Any, weights: Any) -> Callable[[tuple], Any]:
    """What makes the pretrained model, in float32, for an image shape; what is wrong is found now, where it can be."""
    if isinstance(model, keras.Model):
        if weights is not None:
            raise InvalidArgument(f"A keras.Model has its weights. Received: weights={weights!r}. Leave them out.")
        return copied(model)
    if not isinstance(model, str):
        raise InvalidArgument(
            f"model must be a name of kzoo.list_models(), keras:NAME, a keras.Model or None. Received: {model!r}."
        )
    check_name(model)
    tags = [record.tag for record in list_weights(model)]
    if weights is None:
        raise unknown(f"weights of {model} to fine-tune", weights, tags, "Without: kzoo.train.fit trains from scratch.")
    return pretrained(resolve(model, weights))


def _recorded(model: str, weights: str | Path) -> ZooModel:
    """What the record says of a model of the zoo, so that another one is not taken for it."""
    path = str(expand(weights).resolve())
    return ZooModel(model, path if isinstance(weights, Path) else portable(model, weights))


def copied(model: Any) -> Callable[[tuple], Any]:
    """What makes a copy of a model in float32, for images of a shape where the model takes any."""
    functional.outputs(model)
    return lambda shape: in_float32(twin(model, lambda config: _for_images(config, shape)))


def _for_images(config: dict, shape: tuple) -> dict:
    """A model's config with the sizes that its input leaves open, which features must have, filled in."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            batch, *sizes = layer["config"]["batch_shape"]
            layer["config"]["batch_shape"] = [batch, *(one or given for one, given in zip(sizes, shape, strict=False))]
    return config


def pretrained(chosen: ResolvedWeights, dropout: float | None = None) -> Callable[[tuple], Any]:
    """What makes a model with weights that are on this machine, for an image shape.

    It has no dropout unless that is asked for: with it new classifiers of few images varied more from seed to seed and
    were no better (docs/finetune_photos.md). Models of keras.applications keep theirs.
    """
    name, top = chosen.record.model, chosen.record.include_top
    arguments: Any = {"dropout": dropout or 0.0} if top and not is_application(name) else {}
    return lambda shape: create_model(name, weights=chosen, include_top=top, input_shape=shape, **arguments)


def _read(given: Any) -> Dataset:
    """Data whose images can be read in any order."""
    found = as_data(given, None)
    if isinstance(found, Stream):
        console.log(f"reading the tf.data.Dataset into memory: {dimensions(found.image_shape)}")
        import numpy as np

        images, labels = zip(*found.dataset.as_numpy_iterator(), strict=True)
        return Dataset.from_arrays_as_they_are(np.concatenate(images), np.concatenate(labels))
    return found


def _refuse_mixing(policies) -> None:
    mixing = augment.policy([one for one in policies if one != "auto"])
    if mixing is not None and mixing.mixes:
        raise InvalidArgument(
            "fine_tune computes frozen layers image by image, which augmentation that mixes images cannot do. "
            f"Received: {augment.title(policies)}. Leave MixUp and CutMix out."
        )
