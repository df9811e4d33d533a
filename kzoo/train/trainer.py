"""The trainer: one run in progress, epoch by epoch, with its state and what it writes."""

import itertools
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import augment, console, interrupts, workers
from kzoo.backend import keras, layers_within, tf
from kzoo.classifier import metadata, set_metadata
from kzoo.data import Dataset
from kzoo.data.pixels import Range
from kzoo.errors import InvalidArgument, TrainingDiverged, TrainingInterrupted
from kzoo.files import atomic_path
from kzoo.outputs import classes_of
from kzoo.saving import load_model, save_model
from kzoo.train import checkpoint, runs
from kzoo.train.checkpoint import State
from kzoo.train.evaluation import evaluate
from kzoo.train.inputs import Stream, batches_per_epoch, loss_of_guessing, metadata_of_data, share_of_commonest
from kzoo.train.normalization import IMAGES_FOR_STATISTICS, pooled
from kzoo.train.record import RunRecord, differences
from kzoo.train.schedules import learning_rate
from kzoo.train.step import TrainStep
from kzoo.train.strategy import give_each_replica_its_own_seeds, own_replicas, share_out

# Steps are executed several at a time, so that Python does not slow down a small network; as many as take about this
# long, so that progress, Ctrl-C and checkpoints are prompt. Where the borders lie does not change the numbers.
SECONDS_PER_EXECUTION = 0.5
# Epochs that follow each other faster are written together: an epoch of a small head on features is over in less time
# than it takes to write a model.
SECONDS_BETWEEN_SAVES = 5.0
# After so many steps a loss that is within this share of the loss of guessing will hardly fall any more.
STEPS_BEFORE_A_VERDICT, LEAST_GAIN = 300, 0.01


class Trainer:
    """One run in progress; `kzoo.train.fitting.Setup.trainer` makes it."""

    def __init__(
        self,
        run_dir: Path,
        config: Any,
        step: TrainStep,
        final,
        *,
        train_data: Dataset | Stream,
        validation_data: Dataset | Stream | None,
        pixel_range: Range | None,
        how_to_resume: str,
        saved=None,
        keeps_last: bool = False,
        callbacks=(),
    ):
        """Bring together what a run is made of.

        `config` has a value in every place. `pixel_range` is of the images that the run is about. `final` is the
        float32 twin of the classifier in training, and takes over its weights; `saved` is the model that is saved, if
        `final` is only a part of it. With `keeps_last` the best epoch is the last, whatever the validation data says.
        """
        self.dir, self.config, self.step, self.final = run_dir, config, step, final
        saved = final if saved is None else saved
        # It is saved with what the data says of classes and scaling.
        known = {**metadata(saved), **metadata_of_data(train_data), "pixel_range": pixel_range}
        known["mirrored"] = augment.mirrors(config.augment)
        self.saved = set_metadata(saved, **known)
        self.train_data, self.validation_data = train_data, validation_data
        self.how_to_resume = how_to_resume
        self.keeps_last = keeps_last or validation_data is None
        self.epochs, self.passes = config.total_epochs, config.passes_per_epoch
        self.batches = batches_per_epoch(train_data, config.batch_size, self.passes)
        self.steps = -(-self.batches // config.gradient_accumulation_steps)
        self.augment = augment.policy(config.augment)
        self.state = State()
        # Of the epochs that are not written yet: the rows with their times, and the weights of the models.
        self.unsaved_rows: list[tuple[dict, float]] = []
        self.unsaved_models: dict[str, list] = {}
        self.saved_at = time.monotonic()
        self.was_interrupted = False
        self.steps_at_once = config.steps_per_execution or 1
        self.step.model.stop_training = False
        self.callbacks = keras.callbacks.CallbackList(
            _checked(callbacks), model=self.step.model, epochs=self.epochs, steps=self.steps, verbose=0
        )

    def restore(self, record: RunRecord):
        """Take up the checkpoint, or make the first."""
        self.keeps_files = record.keep
        self.phase = record.phase
        path = self.dir / runs.CHECKPOINT
        if path.exists():
            self.state = checkpoint.restore(path, self.step.variables)
            console.log(f"resuming {self.dir} in {self._position()}")
            for change in differences(record.origin):
                console.warn(f"not as this run began, so its bits may differ: {change}")
        else:
            self.save_checkpoint()
            runs.forget_replaced(self.dir)
        with self.step.strategy.scope():
            give_each_replica_its_own_seeds(self.step.model)

    def start_from(self, model: Path):
        """Count the model in training, which a file holds, as the best so far: only a better epoch replaces it."""
        state = self.state
        if self.validation_data is None or state.best is not None or state.epoch or state.step:
            return
        loss, accuracy = self._validate()
        self.adopt(model)
        state.best = [accuracy, -loss]
        self.save_checkpoint()

    def adopt(self, model: Path):
        """Take the model in a file, no epoch's, for the best one, and for the last where there is none."""
        self.state.best_epoch = 0
        for name in (runs.BEST,) if (self.dir / runs.LAST).exists() else (runs.BEST, runs.LAST):
            with atomic_path(self.dir / name) as copy:
                shutil.copyfile(model, copy)

    def _position(self):
        return f"epoch {self.state.epoch + 1} of {self.epochs}, step {self.state.step} of {self.steps}"

    def save_checkpoint(self):
        """Write the whole state, after the models and rows of the epochs that it counts as done.

        A kill before the checkpoint repeats the epoch; what would be written after it could be lost.
        """
        self._write_epochs()
        checkpoint.save(self.dir / runs.CHECKPOINT, self.step.variables, self.state)
        self.saved_at = time.monotonic()

    def _write_epochs(self):
        for name, weights in self.unsaved_models.items():
            self._save_model(name, weights)
        if self.unsaved_rows:
            runs.write_history(self.dir, self.state.history)
        for row, wall_time in self.unsaved_rows:
            runs.write_events(self.dir, row, wall_time)
        self.unsaved_models, self.unsaved_rows = {}, []

    def train(self):
        """Train from where the run stands to its last epoch."""
        state = self.state
        total = self.epochs * self.steps
        with interrupts.deferred(), console.progress(self.phase, total) as advance:
            advance(state.epoch * self.steps + state.step, "")
            self._call_back("on_train_begin")
            # An epoch that a callback has stopped is ended first, also after a kill.
            while state.epoch < self.epochs and (state.step or not self._is_stopping_early()):
                try:
                    self.train_epoch(advance)
                    self._end_epoch()
                    if state.epoch < self.epochs:
                        workers.check_interrupts()
                except interrupts.Interrupted:
                    self.save_checkpoint()
                    raise self._interruption() from None
            if self.unsaved_rows:
                self.save_checkpoint()
            # In the last epoch: the run is over, what follows it is not.
            self.was_interrupted = workers.any_of(interrupts.is_pending())
            self._call_back("on_train_end")
            if self.callbacks.callbacks:  # one of which may have put other weights back
                self._save_model(runs.LAST, self.step.evaluation_model.get_weights())
                if self.keeps_last:
                    self._save_model(runs.BEST, self.step.evaluation_model.get_weights())

    def train_epoch(self, advance):
        """Train to the end of the current epoch; `advance` tells of progress."""
        state, config = self.state, self.config
        self._call_back("on_epoch_begin", state.epoch)
        if state.step == self.steps:  # interrupted in its validation
            return
        batches = self._training_batches(state.step * config.gradient_accumulation_steps)
        while state.step < self.steps and not (state.stopped and state.step):
            started = time.monotonic()
            count = min(self.steps_at_once, self.steps - state.step)
            self._call_back("on_train_batch_begin", state.step)
            self._execute(batches, range(state.step, state.step + count))
            self._call_back("on_train_batch_end", state.step - 1, self._running_means())
            took = time.monotonic() - started
            state.seconds += took
            if config.steps_per_execution is None:
                self.steps_at_once = workers.agreed(_adjust(self.steps_at_once, took / count))
            advance(count, f"epoch {state.epoch + 1}/{self.epochs} loss {self._running_means()['loss']:.4f}")
            if state.step < self.steps:
                if workers.any_of(interrupts.is_pending()):
                    self._check_weights()
                    raise interrupts.Interrupted
                if workers.agreed(time.monotonic() - self.saved_at > config.checkpoint_seconds):
                    self._check_weights()
                    self.save_checkpoint()

    def _execute(self, batches, steps: range):
        """Take steps in one call, and add up what they give."""
        state, every = self.state, self.config.gradient_accumulation_steps
        rates = [self._learning_rate(step) for step in steps]
        counts = [min(every, self.batches - step * every) for step in steps]  # the last one of an epoch may have fewer
        sums = self.step.train(batches, tf.constant(rates, tf.float32), tf.constant(counts, tf.int32)).numpy()
        for step, rate, row in zip(steps, rates, sums, strict=True):
            if not np.isfinite(row).all():
                self._stop_diverged(f"The loss became {row[~np.isfinite(row)][0]}", step, rate)
            before = state.sums or [0.0] * len(row)
            state.sums = [total + float(value) for total, value in zip(before, row, strict=True)]
        state.step, state.learning_rate = state.step + len(steps), rates[-1]

    def _running_means(self) -> dict[str, float]:
        """Loss and accuracy of the current epoch so far."""
        loss, correct, examples, _, *auxiliary = self.state.sums
        examples = max(examples, 1.0)  # none, if float16 overflowed in every step
        return {
            "loss": loss / examples,
            "accuracy": correct / examples,
            **{f"{name}_loss": total / examples for name, total in zip(self.step.heads, auxiliary, strict=True)},
        }

    def _learning_rate(self, step):
        if self.state.callback_rate is not None:
            return self.state.callback_rate
        return self.state.plateau_factor * learning_rate(self.config, self.state.epoch + step / self.steps)

    def _call_back(self, hook, *arguments):
        """Call the user's callbacks, which find the coming step's learning rate in the optimizer and may set another.

        What they set holds from there on, instead of the schedule.
        """
        optimizer, state = self.step.optimizer, self.state
        if not self.callbacks.callbacks:
            return
        optimizer.begin_learning_rate(self._learning_rate(min(state.step, self.steps - 1)))
        getattr(self.callbacks, hook)(*arguments)
        if optimizer.learning_rate_was_set:
            state.callback_rate = float(optimizer.learning_rate.numpy())
        # Of several workers, callbacks may see other times and files.
        state.callback_rate = workers.agreed(state.callback_rate)
        state.stopped = workers.any_of(state.stopped or bool(self.step.model.stop_training))

    def _stop_diverged(self, what, step, rate):
        """Go back to the newest checkpoint or epoch, whose weights are finite, and stop."""
        good = checkpoint.restore(self.dir / runs.CHECKPOINT, self.step.variables)
        good_epoch, good_step = good.epoch, good.step
        if self.unsaved_rows:  # they are later than the checkpoint
            good_epoch, good_step = self.state.epoch, 0
            self._write_epochs()
        else:
            if good.step and not good.averaged:
                self.step.end_epoch(0)
            self._save_model(runs.LAST, self.step.evaluation_model.get_weights())
        kept = f"The last good model (epoch {good_epoch + 1}, step {good_step}) is {self.dir / runs.LAST}. "
        raise TrainingDiverged(
            f"{what} at step {step + 1} of epoch {self.state.epoch + 1}, learning rate {rate:.4g}. "
            f"{kept if self.keeps_files else ''}Try a lower learning rate, a warm-up (--warmup-epochs), or --clip-norm."
        )

    def _check_weights(self):
        """Before they are saved: a step with a finite loss can still leave weights that are not."""
        if not self.step.is_finite():
            last = self.state.step - 1
            self._stop_diverged("The weights became NaN or infinite", last, self._learning_rate(last))

    def _end_epoch(self):
        """Validate, then write models, history and checkpoint; killed in between, all of it is done again."""
        self._check_weights()
        state = self.state
        row = {"epoch": state.epoch + 1, "learning_rate": state.learning_rate, **self._running_means()}
        self._average()
        if self.validation_data is not None:
            row["val_loss"], row["val_accuracy"] = self._validate()
            if not math.isfinite(row["val_loss"]):
                what = f"The validation loss became {row['val_loss']}"
                self._stop_diverged(what, state.step - 1, row["learning_rate"])
        if self.step.loss_scale is not None:
            self._report_overflow(row)
        row["seconds"] = round(state.seconds, 3)
        row["images_per_second"] = round(state.sums[2] / state.seconds, 1)
        # "epoch" has an argument of its own.
        self._call_back("on_epoch_end", state.epoch, {name: row[name] for name in row if name != "epoch"})
        state.history.append(row)
        state.epoch, state.step, state.sums, state.seconds = state.epoch + 1, 0, [], 0.0
        self.unsaved_rows.append((row, time.time()))
        self.unsaved_models[runs.LAST] = self.step.evaluation_model.get_weights()
        if self._update_best(row):
            self.unsaved_models[runs.BEST] = self.unsaved_models[runs.LAST]
        if workers.agreed(
            time.monotonic() - self.saved_at >= min(SECONDS_BETWEEN_SAVES, self.config.checkpoint_seconds)
        ):
            self.save_checkpoint()
        shown = [f"{key} {row[key]:.4f}" for key in ("loss", "accuracy", "val_loss", "val_accuracy") if key in row]
        speed = f"{row['seconds']:.1f} s  {row['images_per_second']:,.0f} images/s"
        phase = "" if self.phase == "training" else f"{self.phase}, "
        console.log(f"{phase}epoch {row['epoch']}/{self.epochs}  {'  '.join(shown)}  {speed}")
        self._say_if_it_only_guesses()

    def _say_if_it_only_guesses(self):
        """Say once in a run, after some hundred steps or at its end, that nothing was learned, and what to try."""
        history, enough = self.state.history, -(-STEPS_BEFORE_A_VERDICT // self.steps)
        if len(history) != min(enough, self.epochs):
            return
        loss, steps = history[-1]["loss"], len(history) * self.steps
        guessing = self._loss_of_guessing()
        learned = history[-1]["accuracy"] > share_of_commonest(self.train_data) + LEAST_GAIN
        if not guessing or loss < guessing * (1 - LEAST_GAIN) or learned:
            return
        rate, is_head = f"{self.config.peak_learning_rate / 6:.2g}", self.phase == "head"
        tries = [f"a lower learning rate (--{'head-' if is_head else ''}learning-rate {rate})"]
        if not self.config.warmup and not is_head:
            tries.append("a warm-up (--warmup-epochs 1)")
        kinds = {type(layer) for layer in layers_within(self.step.model)}
        convolves, normalizes = (
            any(issubclass(kind, one) for kind in kinds)
            for one in (keras.layers.Conv2D, keras.layers.BatchNormalization)
        )
        if convolves and not normalizes:
            tries.append("a model with batch normalization")
        console.warn(
            f"nothing learned in {steps} steps: the loss is {loss:.3f}, that of guessing {guessing:.3f}. "
            f"Try {', or '.join(tries)}, and look whether the labels are right"
        )

    def _loss_of_guessing(self) -> float:
        classes, teacher = classes_of(self.step.classifier), self.step.teacher
        if teacher is None:
            return loss_of_guessing(self.train_data, self.config, classes)
        return teacher.temperature**2 * math.log(classes)  # of what it says on the whole nothing is known

    def _report_overflow(self, row):
        skipped, scale = int(self.state.sums[3]), float(self.step.loss_scale.numpy())
        row["skipped_steps"], row["loss_scale"] = skipped, scale
        if skipped:
            console.log(
                f"float16 overflowed in {skipped} of {self.state.step} steps, which were skipped; scale {scale:g}"
            )

    def _average(self):
        """Bring the averaged weights, if there are any, to the end of the epoch, and their batch statistics to them.

        Of the latter, moving ones would be those of the weights in training.
        """
        state, config, step = self.state, self.config, self.step
        if config.averages == "swa" and state.epoch < config.swa_start:
            step.end_epoch(0)  # a copy of the model in training, with its statistics
            return
        if config.averages != "swa":
            step.end_epoch(0)
        elif state.averaged == state.epoch - config.swa_start:  # else this epoch was interrupted in its validation
            step.end_epoch(state.averaged)
            state.averaged += 1
        if step.estimated:
            self._estimate_statistics()

    def _estimate_statistics(self):
        """Compute the batch statistics of the averaged weights from images of this epoch, augmented as in training."""
        self.step.begin_observing()
        count = min(self.batches, -(-IMAGES_FOR_STATISTICS // self.config.batch_size))

        def observed():
            with console.progress("batch statistics", count) as advance:
                for batch in itertools.islice(self._training_batches(), count):
                    workers.check_interrupts()
                    values, images = self.step.observe(*batch)
                    yield [value.numpy() for value in values], float(images)
                    advance(1)

        for variable, value in zip(self.step.estimated, pooled(observed()), strict=True):
            variable.assign(value)

    def _validate(self):
        """Loss and accuracy on the validation data, in the training precision."""
        self._call_back("on_test_begin")
        totals = [0.0, 0.0, 0.0]
        data: Any = self.validation_data  # which is there
        with console.progress("validation", batches_per_epoch(data, self.config.batch_size)) as advance:
            for batch in self._batches(data):
                workers.check_interrupts()
                sums = self.step.evaluate(*batch).numpy()
                totals = [total + float(value) for total, value in zip(totals, sums, strict=True)]
                advance(1)
        loss, accuracy = totals[0] / totals[2], totals[1] / totals[2]
        self._call_back("on_test_end", {"loss": loss, "accuracy": accuracy})
        return loss, accuracy

    def _update_best(self, row) -> bool:
        """Compare an epoch with the best, by validation accuracy, then by loss; returns whether it is better."""
        state, config = self.state, self.config
        score = [float(row["epoch"]), 0.0] if self.keeps_last else [row["val_accuracy"], -row["val_loss"]]
        improved = state.best is None or score > state.best
        if improved:
            state.best, state.best_epoch, state.stale, state.plateau_stale = score, row["epoch"], 0, 0
            return True
        state.stale += 1
        state.plateau_stale += 1
        may_decay = config.swa_epochs is None or state.epoch < config.swa_start
        if config.generic_schedule == "plateau" and may_decay and state.plateau_stale >= config.patience:
            state.plateau_factor *= config.decay_factor
            state.plateau_stale = 0
            console.log(f"no improvement for {config.patience} epochs: learning rate times {config.decay_factor:g}")
        return False

    def _is_stopping_early(self) -> bool:
        if self.state.stopped:
            console.log(f"a callback stopped the training after epoch {self.state.epoch}")
            return True
        patience = self.config.early_stopping
        if patience is None or self.state.stale < patience:
            return False
        console.log(f"stopping early: no improvement for {patience} epochs since epoch {self.state.best_epoch}")
        return True

    def finish(self, validation_images=None, **entries):
        """Score the best model, from its file, and close the run.

        Args:
            validation_images: What the file takes, where the model in training takes something else.
            **entries: More entries of metrics.json; with "validation", the figures that are known already.
        """
        history, best_epoch = self.state.history, self.state.best_epoch
        metrics = {
            "epochs": len(history),
            "best_epoch": best_epoch,
            "training_seconds": round(sum(row["seconds"] for row in history), 3),
            **entries,
        }
        if best_epoch:  # else it is the one that the run started from
            metrics |= {"train": {name: history[best_epoch - 1][name] for name in ("loss", "accuracy")}}
        if self.validation_data is not None and "validation" not in metrics:
            metrics["validation"] = evaluate(load_model(self.dir, "best"), validation_images or self.validation_data)
        runs.write_json(self.dir / runs.METRICS, metrics)
        head = checkpoint.read_state(self.dir / runs.HEAD / runs.CHECKPOINT)  # None where there is no first phase
        head_rows, best_of_head = (head.history, head.best_epoch) if head else ([], 0)
        runs.write_curves(self.dir, history, best_epoch, head_rows, best_of_head)
        self.state.finished = True
        self.save_checkpoint()

    def _training_batches(self, start_batch: int = 0) -> Iterator:
        """The batches of this epoch."""
        return self._batches(
            self.train_data,
            shuffle=True,
            seed=self.config.seed,
            epoch=self.state.epoch,
            start_batch=start_batch,
            passes=self.passes,
            augment=self.augment,
        )

    def _batches(self, dataset, **order) -> Iterator:
        own = own_replicas(self.step.strategy)
        order |= {} if own is None else {"replicas": own}
        return share_out(dataset.batches(self.config.batch_size, **order), self.step.strategy)

    def _save_model(self, name, weights):
        self.final.set_weights(weights)
        save_model(self.saved, self.dir / name)

    def _interruption(self):
        nothing = "Nothing is kept: give fit a run_dir to be able to resume."
        how = f"Continue with: {self.how_to_resume}" if self.keeps_files else nothing
        return TrainingInterrupted(f"Interrupted in {self._position()}. {how}")


def _checked(callbacks) -> list:
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise InvalidArgument(f"callbacks must be of keras.callbacks.Callback. Received: {callback!r}.")
    return callbacks


def _adjust(steps_at_once: int, seconds_per_step: float) -> int:
    """How many steps to execute next; at most ten times as many, since the first ones are slow."""
    return max(1, min(int(SECONDS_PER_EXECUTION / seconds_per_step), 10 * steps_at_once))
