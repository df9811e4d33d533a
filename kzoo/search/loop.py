"""The search in progress: trials proposed, started, ended, written down."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kzoo import console
from kzoo.errors import InvalidArgument, RunError, TrainingInterrupted
from kzoo.hardware import probe
from kzoo.search import ranking, store
from kzoo.search.config import SearchConfig
from kzoo.search.helper import Helper
from kzoo.search.processes import Child, share_of_cores, share_of_gpus
from kzoo.search.space import Facts, place
from kzoo.train import runs
from kzoo.train.config import from_dict

SECONDS_BETWEEN_LOOKS = 0.1
# What a trial gets to save its state after Ctrl-C.
SECONDS_TO_SAVE = 20.0


@dataclass
class Slot:
    """A worker: where a trial runs."""

    worker: int
    child: Child | None = None
    trial: dict[str, Any] | None = None


class Search:
    """A search in progress; the caller holds the lock of its folder."""

    def __init__(self, folder: Path, state: store.State, helper: Helper, workers: int):
        self.folder, self.state, self.helper = folder, state, helper
        self.config = SearchConfig(**state.settings.search)
        self.train = from_dict(state.settings.train)
        self.facts = Facts(**{**state.facts, "image_shape": tuple(state.facts["image_shape"])})
        self.slots = [Slot(worker) for worker in range(workers)]
        self.gpus = len(probe().gpus)
        self.began = time.monotonic() - state.seconds
        # What a process that was killed has left in progress.
        self.pending = [trial for trial in state.trials if trial["status"] == "running"]

    def run(self) -> None:
        """Do what is left to do.

        Raises:
            TrainingInterrupted: Ctrl-C; trials in progress have saved their state.
        """
        try:
            while self._fill() or self._busy():
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for slot in self._busy():
                    if slot.child is not None and not slot.child.running:
                        self._end(slot)
        except KeyboardInterrupt:
            self._interrupt()
            done = len(ranking.completed(self.state.trials))
            raise TrainingInterrupted(
                f"Interrupted after {done} trials. Continue with: kzoo search --resume {self.folder}"
            ) from None
        finally:
            for slot in self._busy():
                assert slot.child is not None  # noqa: S101 - busy
                slot.child.kill("the search ended")

    def _busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.child is not None]

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    def _fill(self) -> bool:
        """Give every free worker a trial, as long as there are some; whether one was begun."""
        begun = False
        for slot in self.slots:
            while slot.child is None and (trial := self._next()) is not None:
                self._start(slot, trial)
                begun = True
        return begun

    def _next(self) -> dict | None:
        """The next trial to run: one left over, a new one, or the repetition of a good one."""
        if self.pending:
            return self.pending.pop(0)
        if not self.state.exhausted and (new := self._proposed()) is not None:
            return new
        if self._busy() or not self.state.exhausted or self._is_late(0):
            return None
        again = ranking.next_repeat(self.state.trials, self.config.top, self.config.seeds)
        if again is None:
            return None
        return self._add(again["values"], again["epochs"], {}, repeats=again["number"])

    def _proposed(self) -> dict | None:
        """A new trial, if there is to be one now; notes when there will be no more."""
        settings, state = self.state.settings, self.state
        tried = [trial for trial in state.trials if trial["repeats"] is None]
        if len(tried) >= self.config.trials or self._is_late(self._reserve(tried)):
            state.exhausted = True
            return None
        answer = self.helper.ask(
            "propose",
            algorithm=self.config.algorithm,
            space=settings.space,
            seed=self.train.seed,
            epochs=self.train.epochs,
            number=len(state.trials),
            rows=[{key: t[key] for key in ("number", "values", "status", "accuracy", "rung")} for t in tried],
            state=state.oracle,
        )
        if answer["status"] == "run":
            state.oracle = answer["state"]
            return self._add(answer["values"], answer["epochs"], answer["rung"])
        state.exhausted = answer["status"] == "stop" or not self._busy()
        return None

    def _reserve(self, tried: list[dict]) -> float:
        """Seconds that the repetitions will take, by what trials took so far."""
        seconds = [trial["seconds"] for trial in ranking.completed(tried)]
        repeats = self.config.top * (self.config.seeds - 1)
        return repeats / len(self.slots) * sum(seconds) / len(seconds) if seconds else 0.0

    def _is_late(self, reserve: float) -> bool:
        return self.config.time_limit is not None and self._elapsed() + reserve >= self.config.time_limit

    def _add(self, values: dict, epochs: int, rung: dict, repeats: int | None = None) -> dict:
        """Put a trial into the table; it is on disk before its process begins."""
        number = len(self.state.trials)
        seed = (self.train.seed + number) % 2**32
        trial = store.new_trial(number, values, epochs, seed, rung=rung, repeats=repeats)
        self.state.trials.append(trial)
        self._write()
        return trial

    def _write(self) -> None:
        self.state.seconds = round(self._elapsed(), 3)
        store.write(self.folder, self.state)

    def _start(self, slot: Slot, trial: dict) -> None:
        """Begin a trial's process, or go on with it."""
        run_dir = store.run_dir(self.folder, trial)
        try:
            self._prepare(run_dir, trial)
        except InvalidArgument as error:  # values that are right one by one, but not together
            self._fail(trial, str(error), 0.0)
            return
        limit = self.config.trial_memory_limit
        slot.trial = trial
        slot.child = Child(
            ["train", "--resume", str(run_dir)],
            run_dir / store.LOG,
            cores=share_of_cores(slot.worker, len(self.slots)),
            gpus=share_of_gpus(slot.worker, len(self.slots), self.gpus),
            time_limit=self.config.trial_time_limit,
            memory_limit=None if limit is None else round(limit * 10**9),
        )

    def _prepare(self, run_dir: Path, trial: dict) -> None:
        """Make the trial's run directory, unless it is there already and nobody is at it any more."""
        if (run_dir / runs.CONFIG).exists():
            _wait_until_free(run_dir)
            return
        settings = self.state.settings
        placed = place(trial["values"], settings.space, self.train, settings.model, self.facts)
        config = from_dict({**runs.to_dict(placed.config), "epochs": trial["epochs"], "seed": trial["seed"]})
        run_dir.mkdir(parents=True, exist_ok=True)
        runs.create(
            run_dir,
            config,
            requested=settings.requested,
            model={"name": placed.model, "arguments": placed.arguments},
            data={"load": {**settings.load, "image_size": settings.image_size(placed.model)}},
        )

    def _end(self, slot: Slot) -> None:
        """Write down what became of a trial."""
        child, trial = slot.child, slot.trial
        assert child is not None and trial is not None  # noqa: S101, PT018 - it was busy
        slot.child = slot.trial = None
        status = child.finish()
        seconds = round(time.monotonic() - child.started, 1)
        if status != 0:
            self._fail(trial, child.reason(status), seconds)
            return
        run_dir = store.run_dir(self.folder, trial)
        try:
            self._complete(trial, run_dir, seconds)
        except (RunError, KeyError, ValueError) as error:
            self._fail(trial, f"its run has no figures: {error}", seconds)

    def _complete(self, trial: dict, run_dir: Path, seconds: float) -> None:
        figures = runs.read_json(run_dir / runs.METRICS)["validation"]
        speeds = runs.read_column(run_dir, "images_per_second")
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

    def _fail(self, trial: dict, reason: str, seconds: float) -> None:
        trial |= {"status": "failed", "reason": " ".join(reason.split()), "seconds": seconds}
        self._ended(trial, f"failed: {trial['reason']}")

    def _ended(self, trial: dict, outcome: str) -> None:
        self._write()
        store.write_table(self.folder, self.state)
        values = ", ".join(f"{name} {store.shown(value)}" for name, value in trial["values"].items())
        again = f" (trial {trial['repeats']} again)" if trial["repeats"] is not None else ""
        best = max(ranking.completed(self.state.trials), key=ranking.quality, default=None)
        so_far = "" if best is None else f"  best {100 * best['accuracy']:.2f} % (trial {best['number']})"
        console.log(f"trial {trial['number']}{again}: {outcome}{so_far}  {values}")

    def _interrupt(self) -> None:
        """Have the trials in progress save their state."""
        for slot in self._busy():
            assert slot.child is not None  # noqa: S101 - busy
            slot.child.interrupt()
        deadline = time.monotonic() + SECONDS_TO_SAVE
        while any(slot.child is not None and slot.child.running for slot in self.slots) and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        self._write()


def _wait_until_free(run_dir: Path) -> None:
    """Wait for the process of a search that was killed: it ends by itself, but not before its parent."""
    deadline = time.monotonic() + SECONDS_TO_SAVE
    while True:
        try:
            with runs.lock(run_dir):
                return
        except RunError:
            if time.monotonic() > deadline:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)
