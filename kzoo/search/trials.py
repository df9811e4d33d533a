"""The trials of a search: which is next, its run directory, and what became of it. Every change is on disk at once."""

import time
from dataclasses import replace
from pathlib import Path

from kzoo import console
from kzoo.errors import InvalidArgument, RunError
from kzoo.search import ranking, store
from kzoo.search.config import SearchConfig
from kzoo.search.helper import Helper
from kzoo.search.space import Facts, Trial, own_values, place
from kzoo.train import runs
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.record import DataRecord, DataSource, RunRecord, ZooModel


class Trials:
    """The trials of a search, for those who run them; the caller holds the lock of the folder."""

    def __init__(self, folder: Path, state: store.State, helper: Helper):
        self.folder, self.state, self.helper = folder, state, helper
        self.config = SearchConfig(**state.settings.search)
        self.train = TrainConfig(**state.settings.train)
        self.transfer = TransferConfig(**state.settings.transfer)
        self.facts = Facts(**state.facts)
        self.own = own_values(state.settings.space, self.facts)
        self.began = time.monotonic() - state.seconds
        # What a process that was killed has left in progress.
        self.pending = [trial for trial in state.trials if trial["status"] == "running"]

    def next(self, running: int, workers: int) -> dict | None:
        """The next trial to run, its run directory ready: one left over, a new one, or a good one with another seed.

        Args:
            running: How many are in progress. With None as the answer and 0 here, the search is over.
            workers: How many there can be.
        """
        while (trial := self._next(running, workers)) is not None:
            try:
                self._prepare(trial)
            except InvalidArgument as error:  # values that are right one by one, but not together
                self.fail(trial, str(error), 0.0)
            else:
                return trial
        return None

    def _next(self, running: int, workers: int) -> dict | None:
        if self.pending:
            return self.pending.pop(0)
        if not self.state.exhausted and (new := self._proposed(running, workers)) is not None:
            return new
        # Which are the best is known when all are done; repetitions change nothing about that.
        first = any(trial["status"] == "running" and trial["repeats"] is None for trial in self.state.trials)
        if first or not self.state.exhausted or self._is_late(0):
            return None
        again = ranking.next_repeat(self.state.trials, self.config.top, self.config.seeds, self.facts.validation_images)
        if again is None:
            return None
        return self._add(again["values"], again["epochs"], {}, repeats=again["number"])

    def _proposed(self, running: int, workers: int) -> dict | None:
        """A new trial, if there is to be one now; notes when there will be no more."""
        settings, state = self.state.settings, self.state
        tried = [trial for trial in state.trials if trial["repeats"] is None]
        if len(tried) >= self.config.trials or self._is_late(self._reserve(tried, workers)):
            state.exhausted = True
            return None
        answer = self.helper.ask(
            "propose",
            algorithm=self.config.algorithm,
            space=settings.space,
            own=self.own,
            seed=self.train.seed,
            epochs=self.train.epochs,
            trials=self.config.trials,
            number=len(state.trials),
            rows=[{key: t[key] for key in ("number", "values", "status", "accuracy", "rung")} for t in tried],
            state=state.oracle,
        )
        if answer["status"] == "run":
            state.oracle = answer["state"]
            return self._add(answer["values"], answer["epochs"], answer["rung"])
        state.exhausted = answer["status"] == "stop" or not running
        return None

    def _reserve(self, tried: list[dict], workers: int) -> float:
        """Seconds that the other seeds will take, by what trials took so far."""
        seconds = [trial["seconds"] for trial in ranking.completed(tried)]
        repeats = self.config.top * (self.config.seeds - 1)
        return repeats / workers * sum(seconds) / len(seconds) if seconds else 0.0

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    def _is_late(self, reserve: float) -> bool:
        return self.config.time_limit is not None and self._elapsed() + reserve >= self.config.time_limit

    def _add(self, values: dict, epochs: int, rung: dict, repeats: int | None = None) -> dict:
        """Put a trial into the table; it is on disk before its process begins."""
        number = len(self.state.trials)
        seed, epochs = (self.train.seed + number) % 2**32, values.get("epochs", epochs)
        trial = store.new_trial(number, values, epochs, seed, rung=rung, repeats=repeats)
        self.state.trials.append(trial)
        self.write()
        return trial

    def write(self) -> None:
        """Write search.json."""
        self.state.seconds = round(self._elapsed(), 3)
        store.write(self.folder, self.state)

    def _prepare(self, trial: dict) -> None:
        """Make the trial's run directory, unless it is there already."""
        run_dir = store.run_dir(self.folder, trial)
        if (run_dir / runs.CONFIG).exists():
            return
        settings = self.state.settings
        train = replace(self.train, epochs=trial["epochs"], seed=trial["seed"])
        placed = place(trial["values"], settings.space, train, settings.model, self.facts, self.transfer)
        run_dir.mkdir(parents=True, exist_ok=True)
        runs.create(run_dir, run_record(settings, placed))

    def complete(self, trial: dict, seconds: float) -> None:
        """Take the figures of a trial from its run, whose process has ended well."""
        run_dir = store.run_dir(self.folder, trial)
        try:
            figures = runs.read_metrics(run_dir)["validation"]
            speeds = runs.read_column(run_dir, "images_per_second")
        except (RunError, OSError, KeyError, ValueError) as error:
            self.fail(trial, f"its run has no figures: {error}", seconds)
            return
        model = trial["values"].get("model", self.state.settings.model)
        trial |= {
            "status": "completed",
            "accuracy": figures["accuracy"],
            "loss": figures["loss"],
            "images_per_second": max(speeds),  # the first epoch has the start-up in it
            "parameters": self.facts.parameters[model],
            "seconds": seconds,
        }
        self._ended(trial, f"{100 * trial['accuracy']:.2f} %")

    def fail(self, trial: dict, reason: str, seconds: float) -> None:
        """Write down why a trial has no figures."""
        trial |= {"status": "failed", "reason": " ".join(reason.split()), "seconds": seconds}
        self._ended(trial, f"failed: {trial['reason']}")

    def _ended(self, trial: dict, outcome: str) -> None:
        self.write()
        store.write_table(self.folder, self.state)
        values = ", ".join(f"{name} {store.shown(value)}" for name, value in trial["values"].items())
        again = f" (trial {trial['repeats']} again)" if trial["repeats"] is not None else ""
        done = ranking.completed(self.state.trials)
        best = next(iter(ranking.best_first(done, self.facts.validation_images)), None)
        so_far = "" if best is None else f"  best {100 * best['accuracy']:.2f} % (trial {best['number']})"
        console.log(f"trial {trial['number']}{again}: {outcome}{so_far}  {values}")


def run_record(settings: store.Settings, trial: Trial) -> RunRecord:
    """The run of a trial."""
    model = ZooModel(trial.model, **(settings.pretrained or {}), **trial.arguments)
    height, width = settings.image_size(trial.model)
    return RunRecord(
        model=model,
        data=DataRecord(DataSource(**{**settings.load, "image_size": (height, width)})),
        train=trial.config,
        requested=replace(trial.config, **settings.requested),
        transfer=None if settings.pretrained is None else trial.transfer,
    )
