"""The trials of a search, as its workers take and end them: each change is made under the lock of the folder."""

import csv
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kzoo import console
from kzoo.errors import InvalidArgument, RunError
from kzoo.models.registry import defaults
from kzoo.search import ranking, store
from kzoo.search.helper import HelperProcess
from kzoo.search.leases import Lease, Observer
from kzoo.search.settings import Settings
from kzoo.search.space import TrialConfig, default_values, trial_config
from kzoo.search.store import BestTrial, State, Trial
from kzoo.train import runs
from kzoo.train.record import RunRecord

# How often a worker looks for what other workers have done.
SECONDS_BETWEEN_LOOKS = 0.5
# How much of a time limit a kill can lose.
SECONDS_BETWEEN_NOTES = 60.0


class Trials:
    """The trials of a search, for one worker, which runs `slots` of them at the same time."""

    def __init__(self, folder: Path, lease: Lease, observer: Observer, helper: HelperProcess, slots: int):
        self.folder, self.helper = folder, helper
        self._worker, self._observer, self._slots = lease.worker, observer, slots
        self._content, self._state = b"", store.read(folder)
        self._looked = self._tried = -math.inf
        self._began = time.monotonic() - self._state.seconds
        # What search.json was when there was nothing to take.
        self._nothing_in: bytes | None = None

    def look(self) -> State:
        """The search as it is now, or was half a second ago; not to be changed.

        Raises:
            RunError: It is damaged, or the folder's locks do not hold between machines.
        """
        if time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
            self._read()
            for trial in self._state.running:
                self._is_alive(trial.worker)  # raises where its lock does not hold here
        return self._state

    def is_mine(self, trial: Trial) -> bool:
        """Whether a trial is still this worker's; after a long pause another one may have taken it over."""
        now = self.look().trials[trial.number]
        return now.worker == self._worker and now.status == "running"

    @property
    def is_finisher(self) -> bool:
        """Whether this worker is the one to score the best model: all trials have ended."""
        return self.look().finisher == self._worker

    def take(self) -> Trial | None:
        """The next trial for this worker, its run directory ready; None if there is none now.

        It is one whose worker has died, a new one, or a good one with another seed. When there will be none, this
        worker becomes the finisher, unless another one is.
        """
        state = self.look()
        if self._content == self._nothing_in and not self._may_be_left(state):
            return None
        if self._wants_proposal(state):
            self.helper.ask("get_ready")  # which takes seconds, so not under the lock
        with self._changing() as state:
            before = state.exhausted, state.finisher
            while (trial := self._next(state)) is not None:
                state.trials[trial.number : trial.number + 1] = [trial]
                self._write(state)  # before its run begins
                try:
                    self._prepare(state, trial)
                except InvalidArgument as error:  # values that are right one by one, but not together
                    self._end(state, replace(trial, status="failed", reason=str(error), seconds=0.0))
                else:
                    return trial
            if state.exhausted and not state.running and not (state.finisher and self._is_alive(state.finisher)):
                state.finisher = self._worker
            if before != (state.exhausted, state.finisher):
                self._write(state)
            self._nothing_in, self._tried = self._content, time.monotonic()
        return None

    def _next(self, state: State) -> Trial | None:
        for trial in state.running:
            if self._is_left(trial):
                console.log(f"trial {trial.number} goes on here: worker {trial.worker} has ended")
                return replace(trial, worker=self._worker)
        if state.finisher is not None:
            return None
        if not state.exhausted and (new := self._proposed(state)) is not None:
            return new
        # Which are the best is known when all are done; repetitions change nothing about that.
        first = any(trial.repeats is None for trial in state.running)
        if first or not state.exhausted or self._is_late(state, 0):
            return None
        search = state.settings.search
        again = ranking.next_repeat(state.trials, search.top, search.seeds, state.task.validation_images)
        if again is None:
            return None
        return self._new(state, again.values, again.epochs, {}, repeats=again.number)

    def _is_left(self, trial: Trial) -> bool:
        """Whether the worker of a trial has died, and the process of the trial with it."""
        return not self._is_alive(trial.worker) and _is_free(store.run_dir(self.folder, trial.number))

    def _is_alive(self, worker: str) -> bool:
        return worker == self._worker or self._observer.is_alive(worker)

    def _may_be_left(self, state: State) -> bool:
        """Whether a worker has died, so that it is worth while to take the lock and look for what it has left."""
        if time.monotonic() - self._tried < SECONDS_BETWEEN_LOOKS:
            return False
        return not all(map(self._is_alive, {state.finisher or self._worker, *(one.worker for one in state.running)}))

    def _wants_proposal(self, state: State) -> bool:
        tried = sum(trial.repeats is None for trial in state.trials)
        return not state.exhausted and tried < state.settings.search.trials

    def _proposed(self, state: State) -> Trial | None:
        """A new trial, if there is to be one now; notes when there will be no more."""
        settings, search, train = state.settings, state.settings.search, state.settings.base.train
        tried = [trial for trial in state.trials if trial.repeats is None]
        if not self._wants_proposal(state) or self._is_late(state, self._reserve(state, tried)):
            state.exhausted = True
            return None
        columns = ("number", "values", "status", "accuracy", "rung")
        answer = self.helper.ask(
            "propose",
            algorithm=search.algorithm,
            space=settings.space,
            defaults=default_values(settings.space, state.task),
            seed=train.seed,
            epochs=train.total_epochs,
            trials=search.trials,
            number=len(state.trials),
            rows=[{name: getattr(trial, name) for name in columns} for trial in tried],
            state=state.oracle,
        )
        if answer["status"] == "run":
            state.oracle = answer["state"]
            return self._new(state, answer["values"], answer["epochs"], answer["rung"])
        state.exhausted = answer["status"] == "stop" or not state.running
        return None

    def _new(self, state: State, values: dict, epochs: int, rung: dict, repeats: int | None = None) -> Trial:
        # All have the search's seed: they differ in nothing but their values, and share what fine-tuning computes of
        # the images. Repetitions have the next ones.
        number, base = len(state.trials), state.settings.base.train.seed
        repetition = 0 if repeats is None else 1 + sum(trial.repeats == repeats for trial in state.trials)
        return Trial(
            number=number,
            repeats=repeats,
            worker=self._worker,
            values=values,
            epochs=values.get("epochs", epochs),
            seed=(base + repetition) % 2**32,
            rung=rung,
        )

    def _reserve(self, state: State, tried: list[Trial]) -> float:
        """Seconds that the other seeds will take, by what trials took so far."""
        seconds = [trial.seconds for trial in ranking.completed(tried)]
        repeats = state.settings.search.top * (state.settings.search.seeds - 1)
        at_once = max(self._slots, len(state.running))
        return repeats / at_once * sum(seconds) / len(seconds) if seconds else 0.0

    def _is_late(self, state: State, reserve: float) -> bool:
        limit = state.settings.search.time_limit
        return limit is not None and self._elapsed(state) + reserve >= limit

    def _elapsed(self, state: State) -> float:
        """Seconds of search: this worker's clock, set forward to that of a worker that has seen more."""
        self._began = min(self._began, time.monotonic() - state.seconds)
        return time.monotonic() - self._began

    def _prepare(self, state: State, trial: Trial) -> None:
        """Make the trial's run directory, unless it is there already."""
        run_dir = store.run_dir(self.folder, trial.number)
        if (run_dir / runs.CONFIG).exists():
            return
        settings = state.settings
        train = replace(settings.base.train, epochs=trial.epochs, seed=trial.seed)
        config = trial_config(
            trial.values, settings.space, train, settings.model.name, state.task, settings.base.transfer
        )
        run_dir.mkdir(parents=True, exist_ok=True)
        runs.create(run_dir, trial_record(settings, config))

    def complete(self, trial: Trial, seconds: float) -> None:
        """Take the figures of a trial from its run, whose process has ended well."""
        run_dir = store.run_dir(self.folder, trial.number)
        try:
            figures = runs.read_metrics(run_dir)["validation"]
            # A run whose second phase was left out has epochs of the new head alone.
            phase = run_dir if (run_dir / runs.HISTORY).exists() else run_dir / runs.HEAD
            ended = replace(
                trial,
                status="completed",
                accuracy=figures["accuracy"],
                loss=figures["loss"],
                images_per_second=max(runs.read_column(phase, "images_per_second")),  # the first includes the start
                parameters=self._state.task.parameters[trial.values.get("model", self._state.settings.model.name)],
                seconds=seconds,
            )
        except (RunError, OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            self.fail(trial, f"its run has no figures: {error}", seconds)
            return
        with self._changing() as state:
            self._end_mine(state, ended)

    def fail(self, trial: Trial, reason: str, seconds: float) -> None:
        """Write down why a trial has no figures."""
        with self._changing() as state:
            self._end_mine(state, replace(trial, status="failed", reason=" ".join(reason.split()), seconds=seconds))

    def write_result(self, result: BestTrial) -> None:
        """Write the result of the search, if this worker is still the finisher."""
        with self._changing() as state:
            if state.finisher == self._worker:
                state.result = result
                self._write(state)
        self._observer.forget_the_dead()

    def keep_time(self) -> None:
        """Write every minute how long the search has been going on, so that a kill does not give it that time again."""
        if self._elapsed(state := self.look()) - state.seconds > SECONDS_BETWEEN_NOTES:
            self.write_seconds()

    def write_seconds(self) -> None:
        """Write how long the search has been going on."""
        with self._changing() as state:
            self._write(state)

    def _end_mine(self, state: State, ended: Trial) -> None:
        if self.is_mine(ended):
            self._end(state, ended)
        else:
            console.warn(f"trial {ended.number} has gone to another worker")

    def _end(self, state: State, ended: Trial) -> None:
        state.trials[ended.number] = ended
        self._write(state)
        store.write_table(self.folder, state)
        outcome = f"failed: {ended.reason}" if ended.accuracy is None else f"{100 * ended.accuracy:.2f} %"
        values = ", ".join(f"{name} {store.shown(value)}" for name, value in state.values_of(ended).items())
        again = f" (trial {ended.repeats} again)" if ended.repeats is not None else ""
        done = ranking.completed(state.trials)
        best = next(iter(ranking.best_first(done, state.task.validation_images)), None)
        so_far = "" if best is None else f"  best {100 * best.accuracy:.2f} % (trial {best.number})"
        console.log(f"trial {ended.number}{again}: {outcome}{so_far}  {values}")

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """The search, which no other worker changes meanwhile."""
        with store.locked(self.folder):
            self._read()
            yield self._state

    def _read(self) -> None:
        self._looked = time.monotonic()
        if (content := store.content(self.folder)) != self._content:
            self._content, self._state = content, store.parse(self.folder, content)

    def _write(self, state: State) -> None:
        state.seconds = round(self._elapsed(state), 3)
        self._content = store.write(self.folder, state)


def trial_record(settings: Settings, config: TrialConfig) -> RunRecord:
    """The run of a trial."""
    base, load = settings.base, settings.load
    load = replace(load, image_size=load.image_size or defaults(config.model)[0][:2])
    return replace(
        base,
        model=replace(settings.model, name=config.model, **config.arguments),
        data=replace(base.data, load=load),
        train=config.train,
        requested=replace(config.train, precision=base.requested.precision, strategy=base.requested.strategy),
        transfer=None if base.transfer is None else config.transfer,
    )


def _is_free(run_dir: Path) -> bool:
    """Whether no process is training a run. That of a worker that was killed ends by itself, but not before it."""
    try:
        with runs.lock(run_dir):
            return True
    except FileNotFoundError:  # its worker was killed before it made the folder
        return True
    except RunError:
        return False
