"""A search on several machines that share a folder: keras-tuner's chief and workers, each of which notices a death.

The roles are those of keras-tuner's environment variables: KERASTUNER_TUNER_ID is "chief" or the name of a worker,
KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT are where the chief listens. They speak keras-tuner's protocol, which
knows no passwords: it is for networks whose machines trust each other. A trial's id is "NUMBER@WORKER"; asking for it
says that its worker lives.
"""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kzoo import console
from kzoo.errors import InvalidArgument, RunError, TrainingInterrupted
from kzoo.search import loop, store
from kzoo.search.config import SearchConfig
from kzoo.search.trials import Trials

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
# A worker says so often that it lives; who has not been heard of for so long is taken for dead.
SECONDS_BETWEEN_CALLS = 3.0
SECONDS_OF_SILENCE = 40.0
# A chief that was started with its workers looks at all of the data before it listens.
SECONDS_TO_START = 600.0
# How long a chief still answers when all is done, so that every worker hears of it.
SECONDS_TO_LEAVE = 3.0


def role() -> str | None:
    """The name of this process, "chief" or a worker's; None where the variables are not set.

    Raises:
        InvalidArgument: Only some of them are.
    """
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if len(missing) == len(VARIABLES):
        return None
    if missing:
        raise InvalidArgument(f"A search on several machines needs {', '.join(VARIABLES)}. Received: no {missing[0]}.")
    return os.environ[VARIABLES[0]]


def worker_name() -> str | None:
    """The name of this process if it is a worker; a chief's has "chief" in it, as keras-tuner has it."""
    name = role()
    return None if name is None or "chief" in name else name


def _address() -> str:
    return f"{os.environ[VARIABLES[1]]}:{os.environ[VARIABLES[2]]}"


@dataclass
class Given:
    """A trial that a worker has."""

    trial: dict
    began: float
    heard: float


class Office:
    """The chief's side: what keras-tuner's service asks of an oracle, from its threads."""

    def __init__(self, trials: Trials):
        self.trials = trials
        self.given: dict[str, Given] = {}
        self.heard: dict[str, float] = {}  # of each worker that is not gone
        self.over = False
        self.error: BaseException | None = None
        self.lock = threading.Lock()

    def create_trial(self, tuner_id: str) -> Any:
        """A trial for a worker: the one that it has, if it was started again."""
        with self.lock:
            self.heard[tuner_id] = now = time.monotonic()
            if tuner_id not in self.given:
                try:
                    trial = None if self.over else self.trials.next(len(self.given), len(self.heard))
                except BaseException as error:
                    self.error = error
                    raise
                if trial is None:
                    self.over = self.over or not self.given
                    return _message("", "STOPPED" if self.over else "IDLE")
                console.log(f"trial {trial['number']} goes to {tuner_id}")
                self.given[tuner_id] = Given(trial, now, now)
            return _message(f"{self.given[tuner_id].trial['number']}@{tuner_id}", "RUNNING")

    def get_trial(self, trial_id: str) -> Any:
        """A worker says that it is still at its trial; the answer, whether it is to go on."""
        with self.lock:
            return _message(trial_id, "RUNNING" if self._holder(trial_id) else "INVALID")

    def end_trial(self, trial: Any) -> None:
        """A worker has ended its trial."""
        with self.lock:
            one = self._holder(trial.trial_id)
            if one is None:  # it was taken for dead, or says so twice
                return
            del self.given[trial.trial_id.partition("@")[2]]
            seconds = round(time.monotonic() - one.began, 1)
            if trial.status == "COMPLETED":
                self.trials.complete(one.trial, seconds)
            else:
                self.trials.fail(one.trial, str(trial.hyperparameters.values.get("reason", "")), seconds)

    def _holder(self, trial_id: str) -> Given | None:
        """What the worker of this id has, if it is this trial; a chief that was started again takes its word for it."""
        number, _, worker = trial_id.partition("@")
        if worker not in self.given:
            for trial in self.trials.pending:
                if str(trial["number"]) == number:
                    self.trials.pending.remove(trial)
                    self.given[worker] = Given(trial, time.monotonic(), time.monotonic())
                    break
        one = self.given.get(worker)
        if one is None or str(one.trial["number"]) != number:
            return None
        self.heard[worker] = one.heard = time.monotonic()
        return one

    def take_back(self) -> None:
        """Take trials from workers that are silent; others get them, and go on from their checkpoints."""
        with self.lock:
            now = time.monotonic()
            for worker in [name for name, heard in self.heard.items() if now - heard > SECONDS_OF_SILENCE]:
                del self.heard[worker]
                one = self.given.pop(worker, None)
                if one is not None:
                    console.warn(f"worker {worker} is silent: trial {one.trial['number']} is for another one now")
                    self.trials.pending.append(one.trial)


@contextmanager
def leading(trials: Trials) -> Iterator[None]:
    """Give trials to workers until there are no more; within the context workers hear that there are none.

    Raises:
        TrainingInterrupted: Ctrl-C; workers notice, and save their trials.
    """
    import grpc

    from kzoo import backend  # noqa: F401 - starts TensorFlow without its chatter, before keras-tuner does

    # isort: split
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    office = Office(trials)
    # With nothing left to do, as when only the end was missing, no worker need come.
    if (first := trials.next(0, 1)) is None:
        office.over = True
    else:
        trials.pending.insert(0, first)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(office), server)
    try:
        server.add_insecure_port(_address())
    except RuntimeError as error:
        raise RunError(f"The chief cannot listen. Received: {_address()}: {error}. Choose another port.") from None
    server.start()
    console.log(f"chief at {_address()}, waiting for workers")
    try:
        while not office.over:
            time.sleep(0.2)
            office.take_back()
            if office.error is not None:
                raise office.error
        yield
        time.sleep(SECONDS_TO_LEAVE if office.heard else 0)
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"Interrupted. Continue with: kzoo search --resume {trials.folder}") from None
    finally:
        server.stop(grace=1).wait()


def work(folder: Path, name: str) -> int:
    """Run the trials that the chief gives, one at a time, until the search is finished; returns how many.

    Args:
        folder: The search directory, as this machine sees it.
        name: Of this worker.

    Raises:
        RunError: The chief has not answered for `SECONDS_OF_SILENCE`; the trial in progress has saved its state.
        TrainingInterrupted: Ctrl-C, likewise.
    """
    chief, done = _Chief(), 0
    console.log(f"worker {name} of the chief at {_address()}")
    while True:
        trial = chief.call("CreateTrial", tuner_id=name)
        if trial.status == "STOPPED" and store.read(folder).result is not None:
            return done
        if trial.status in ("IDLE", "STOPPED"):  # the chief waits for a trial, or scores the best model
            time.sleep(1)
            continue
        number = int(trial.trial_id.partition("@")[0])
        run_dir = store.run_dir(folder, {"number": number})
        child = loop.start(run_dir, SearchConfig(**store.read(folder).settings.search))
        console.log(f"trial {number}")
        try:
            if _attend(chief, child, trial.trial_id):
                status = child.finish()
                reason = "" if status == 0 else child.reason(status)
                ended = _message(trial.trial_id, "COMPLETED" if status == 0 else "FAILED", reason)
                chief.call("EndTrial", trial=ended.to_proto())
                done += 1
        except (KeyboardInterrupt, RunError) as error:
            loop.interrupt([child])
            child.kill("the worker ended")
            if isinstance(error, RunError):
                raise
            raise TrainingInterrupted(
                "Interrupted; the trial is saved. The chief gives it to another worker."
            ) from None


def _attend(chief: "_Chief", child, trial_id: str) -> bool:
    """Wait for the end of a trial, and tell the chief meanwhile; False if the chief has given it to another worker."""
    called = time.monotonic()
    while child.running:
        time.sleep(loop.SECONDS_BETWEEN_LOOKS)
        if time.monotonic() - called > SECONDS_BETWEEN_CALLS:
            called = time.monotonic()
            if chief.call("GetTrial", trial_id=trial_id).status == "INVALID":
                console.warn(f"the chief has given trial {trial_id.partition('@')[0]} to another worker")
                child.kill("another worker has it")
                child.finish()
                return False
    return True


class _Chief:
    """The worker's side of keras-tuner's protocol."""

    def __init__(self):
        import grpc

        from kzoo import backend  # noqa: F401 - as above

        # isort: split
        from keras_tuner.src import protos

        self._error, self._patience = grpc.RpcError, SECONDS_TO_START
        self._service = protos.get_service()
        channel = grpc.insecure_channel(_address(), options=[("grpc.max_reconnect_backoff_ms", 1000)])
        self._stub = protos.get_service_grpc().OracleStub(channel)

    def call(self, what: str, **arguments: Any) -> Any:
        """One call, again and again while the chief does not answer; returns the trial in its answer, if any."""
        from keras_tuner.engine.trial import Trial

        request = getattr(self._service, f"{what}Request")(**arguments)
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = getattr(self._stub, what)(request, timeout=10, wait_for_ready=True)
                self._patience = SECONDS_OF_SILENCE
                return Trial.from_proto(answer.trial) if what != "EndTrial" else None
            except self._error:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"The chief has not answered for {self._patience:.0f} s. Received: nothing from "
                        f"{_address()}. Start it again with --resume, then this worker."
                    ) from None
                time.sleep(1)


def _message(trial_id: str, status: str, reason: str = "") -> Any:
    """A trial as keras-tuner sends it. What is to be trained is in its run directory."""
    import keras_tuner
    from keras_tuner.engine.trial import Trial

    hp = keras_tuner.HyperParameters()
    if reason:
        hp.Fixed("reason", reason)
    return Trial(hp, trial_id=trial_id, status=status)
