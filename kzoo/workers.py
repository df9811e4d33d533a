"""Several processes that train one model: who they are, whether they agree, and whether all of them live.

TF_CONFIG names the addresses of all workers and says which of them this process is. The chief is the first. Before any
of them starts TensorFlow's runtime, the others connect to the chief's address, and keep that connection to the end. It
carries what must be decided alike (`agreed`, `any_of`), and signs of life: TensorFlow's collective operations wait for
a lost worker without an end, and a signal of the system is seen by one process alone.

Needs no TensorFlow, except to read SLURM's variables.
"""

import atexit
import errno
import json
import os
import queue
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kzoo import console, interrupts
from kzoo.errors import InvalidArgument, RunError
from kzoo.text import one_line

TF_CONFIG = "TF_CONFIG"
# In a cluster machines start minutes apart: what a worker waits for the others to come.
SECONDS_TO_JOIN = 300.0
# Every worker sends a sign of life so often, and counts as lost when nothing came from it for so long.
SECONDS_BETWEEN_SIGNS = 3.0
SECONDS_OF_SILENCE = 45.0
# Who has started the workers of a machine ends them when one is lost, and knows better why: a worker that notices the
# loss says so later.
SECONDS_BEFORE_SAYING = 3.0
SECONDS_BETWEEN_TRIES = 0.2
LARGEST_MESSAGE = 2**22  # bytes
# The exit status of a worker that ends because another one was lost.
LOST = 75
_LENGTH = struct.Struct("!I")


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, and which of them this process is.

    Attributes:
        addresses: "HOST:PORT" of each; the first is the chief's.
        index: Of this process.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """A worker for a reader."""
        return f"worker {index} ({self.addresses[index]})"


def read_cluster(text: str) -> Cluster | None:
    """Read TF_CONFIG; None where it names no workers.

    Raises:
        InvalidArgument: It is no such configuration, or not one of workers alone.

    >>> config = {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 1}}
    >>> read_cluster(json.dumps(config))
    Cluster(addresses=('a:2222', 'b:2222'), index=1)
    """
    try:
        content = json.loads(text)
        jobs, task = content.get("cluster", {}), content.get("task", {})
        kind, index = task.get("type", "worker"), task.get("index", 0)
        is_clear = all(isinstance(entry, dict) for entry in (jobs, task)) and isinstance(index, int)
    except (ValueError, AttributeError, RecursionError):
        raise _wrong_config("it is no JSON object with cluster and task", text) from None
    if not jobs:
        return None
    if not is_clear or not all(isinstance(one, list) and one for one in jobs.values()):
        raise _wrong_config(
            "its cluster must have a list of addresses for each job, its task a type and an index", text
        )
    if others := sorted(set(jobs) - {"chief", "worker"}):
        raise _wrong_config(f"the jobs are chief and worker, not {others[0]}", text)
    addresses = [address for job in ("chief", "worker") for address in jobs.get(job, [])]
    for address in addresses:
        port = re.fullmatch(r".+:(\d{1,5})", address) if isinstance(address, str) else None
        if port is None or not 0 < int(port[1]) < 2**16:
            raise _wrong_config(f"an address is HOST:PORT, not {address!r}", text)
        if addresses.count(address) > 1:
            raise _wrong_config(f"two workers have the address {address}", text)
    if kind not in jobs:
        raise _wrong_config(f"the task's type {kind!r} is none of its jobs: {', '.join(sorted(jobs))}", text)
    if not 0 <= index < len(jobs[kind]):
        raise _wrong_config(f"the task's index {index} is none of its {len(jobs[kind])} of {kind}", text)
    return Cluster(tuple(addresses), index + (len(jobs.get("chief", [])) if kind == "worker" else 0))


def _wrong_config(what: str, text: str) -> InvalidArgument:
    return InvalidArgument(
        f"TF_CONFIG is wrong: {what}. Received: {text[:300]}. On one machine kzoo launch sets it; see "
        "docs/several_machines.md."
    )


def config_of(addresses: list[str], index: int) -> str:
    """TF_CONFIG of one worker.

    >>> read_cluster(config_of(["a:1", "b:1"], 0))
    Cluster(addresses=('a:1', 'b:1'), index=0)
    """
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def find_cluster(strategy: str, environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The workers that a run with a strategy trains on; None where it trains in this process alone.

    "auto" takes what TF_CONFIG says, if that names several workers; "multiworker" also what SLURM says.

    Raises:
        InvalidArgument: "multiworker", and neither says anything; or TF_CONFIG is wrong.
    """
    if strategy not in ("auto", "multiworker"):
        return None
    text = environment.get(TF_CONFIG)
    if not text and strategy == "multiworker" and "SLURM_STEP_NUM_TASKS" in environment:
        text = os.environ[TF_CONFIG] = _config_of_slurm(environment)
    cluster = read_cluster(text) if text else None
    if strategy == "multiworker":
        if cluster is None:
            raise InvalidArgument(
                "strategy 'multiworker' finds its workers in TF_CONFIG, or in SLURM's variables. Received: neither. On "
                "one machine: kzoo launch --workers 2 train ...; a run goes on without them by --strategy one."
            )
        return cluster
    return cluster if cluster is not None and len(cluster.addresses) > 1 else None


def _config_of_slurm(environment: Mapping[str, str]) -> str:
    """TF_CONFIG by SLURM's variables of a step. Ports follow from the job's number.

    TensorFlow's SlurmClusterResolver reads the same, but sorts the hosts as text: node10 before node2, which then have
    each other's address. So its functions are called for the parts.
    """
    from kzoo.chatter import tensorflow

    tensorflow()
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

    job = environment.get("SLURM_JOB_ID", "0")
    first_port = 10_000 + (int(job) * 64 if job.isdigit() else 0) % 20_000
    try:
        hosts = slurm.expand_hostlist(environment["SLURM_STEP_NODELIST"])
        tasks = slurm.expand_tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
        index = int(environment["SLURM_PROCID"])
        addresses = [
            f"{host}:{first_port + task}" for host, count in zip(hosts, tasks, strict=True) for task in range(count)
        ]
    except (ValueError, KeyError) as error:
        raise InvalidArgument(
            f"SLURM's variables do not say which workers there are. Received: {error}. Start the tasks with srun."
        ) from None
    return config_of(addresses, index)


_current: "Workers | None" = None


def current() -> "Workers | None":
    """The workers that this process has joined, if it has."""
    return _current


def join(strategy: str) -> "Workers | None":
    """Meet the other workers, if the strategy takes several; once in a process.

    Raises:
        InvalidArgument: As `find_cluster`.
        RunError: A worker did not come, or this one's port is in use.
    """
    global _current
    cluster = find_cluster(strategy)
    if cluster is None:
        return None
    if _current is None:
        workers = Workers(cluster)
        atexit.register(workers.end)
        if not workers.is_chief:  # what all do alike the chief tells
            console.only_warnings()
        _current = workers
    return _current


def is_chief() -> bool:
    """Whether this process is the one that writes and tells: the first of several, or the only one."""
    return _current is None or _current.is_chief


def agreed(value: Any) -> Any:
    """The chief's value of something that each worker has found for itself. All must ask at the same place."""
    return value if _current is None else _current.exchange("a decision", value)[0]


def any_of(value: bool) -> bool:
    """Whether it is true of any worker. All must ask at the same place."""
    return value if _current is None else any(_current.exchange("a question", value))


def check_interrupts() -> None:
    """`interrupts.check` on all workers alike: a signal may have reached one of them alone."""
    if any_of(interrupts.is_pending()):
        raise interrupts.Interrupted


@contextmanager
def explained() -> Iterator[None]:
    """Say which worker was lost, where TensorFlow's operations fail because one was."""
    try:
        yield
    except Exception as error:
        if _current is None or not type(error).__module__.startswith("tensorflow"):
            raise
        _current.raise_if_lost(wait=SECONDS_OF_SILENCE)
        raise


def fail(message: str) -> None:
    """Tell the others why this worker ends, so that they say it too."""
    if _current is not None:
        _current.leave(message)


class Workers:
    """This process and its connections: of the chief one to each other worker, of the others one to the chief."""

    def __init__(self, cluster: Cluster):
        """Meet the others.

        Raises:
            RunError: One did not come, has another TF_CONFIG, or the port is in use.
        """
        self.cluster, self.is_chief = cluster, cluster.index == 0
        self.size = len(cluster.addresses)
        self._links: dict[int, socket.socket] = {}
        self._sending = threading.RLock()
        self._inboxes: dict[int, queue.Queue] = {}
        self._lost: str | None = None
        self._has_left, self._has_said = False, False
        # Whether the others count on this process: were it to end now, they would wait.
        self.is_training = True
        for index, link in (self._accept() if self.is_chief else self._connect()).items():
            link.settimeout(SECONDS_OF_SILENCE)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links[index], self._inboxes[index] = link, queue.Queue()
        for index in self._links:
            threading.Thread(target=self._listen, args=(index,), daemon=True).start()
        threading.Thread(target=self._give_signs, daemon=True).start()

    # Meeting.

    def _accept(self) -> dict[int, socket.socket]:
        links: dict[int, socket.socket] = {}
        hello = {"addresses": list(self.cluster.addresses)}
        with self._own_port() as listening:
            listening.listen(self.size)
            deadline, waited = time.monotonic() + SECONDS_TO_JOIN, console.duration(SECONDS_TO_JOIN)
            while len(links) < self.size - 1:
                listening.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    link, _ = listening.accept()
                except TimeoutError:
                    missing = next(index for index in range(1, self.size) if index not in links)
                    raise self._missing(missing, f"has not come within {waited}") from None
                link.settimeout(10.0)
                try:
                    told = _receive(link)
                    index, addresses = int(told["index"]), told["addresses"]
                except (OSError, ValueError, KeyError, TypeError):
                    link.close()  # not a worker of kzoo
                    continue
                problem = None
                if addresses != hello["addresses"]:
                    problem = f"it names {', '.join(map(str, addresses))}; that of worker 0 names " + ", ".join(
                        hello["addresses"]
                    )
                elif index in links or not 0 < index < self.size:
                    problem = f"another process is worker {index}, too"
                if problem is not None:
                    problem = f"TF_CONFIG is wrong on worker {index}: {problem}. Give each worker the same cluster."
                    for one in (link, *links.values()):
                        with suppress(OSError):
                            _send(one, {"failed": problem})
                    raise RunError(problem)
                links[index] = link
        for link in links.values():
            _send(link, hello)
        return links

    def _connect(self) -> dict[int, socket.socket]:
        self._own_port().close()  # TensorFlow will listen there
        host, _, port = self.cluster.addresses[0].rpartition(":")
        deadline, waited = time.monotonic() + SECONDS_TO_JOIN, console.duration(SECONDS_TO_JOIN)
        while True:
            try:
                link = socket.create_connection((host.strip("[]"), int(port)), timeout=5.0)
                break
            except OSError as error:  # it has not started yet, or its name is not known yet
                if time.monotonic() > deadline:
                    raise self._missing(0, f"cannot be reached within {waited} ({error.strerror or error})") from None
                time.sleep(SECONDS_BETWEEN_TRIES)
        try:
            _send(link, {"index": self.cluster.index, "addresses": list(self.cluster.addresses)})
            link.settimeout(max(1.0, deadline - time.monotonic()) + 5.0)
            answer = _receive(link)
        except (OSError, ValueError):
            raise self._missing(0, "has ended, or is not a worker of kzoo") from None
        if "failed" in answer:
            raise RunError(answer["failed"])
        return {0: link}

    def _own_port(self) -> socket.socket:
        host, _, port = self.cluster.addresses[self.cluster.index].rpartition(":")
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((host if host in ("localhost", "127.0.0.1") else "", int(port)))
            own.listen()
        except OSError as error:
            own.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise RunError(
                f"The port of {self.cluster.name(self.cluster.index)} is in use. Received: port {port} in TF_CONFIG. "
                "End the process that has it, or choose another port; kzoo launch finds free ones."
            ) from None
        return own

    def _missing(self, index: int, what: str) -> RunError:
        name = self.cluster.name(index)
        return RunError(
            f"{name[0].upper()}{name[1:]} {what}. Received: {self.size} workers in TF_CONFIG. Start all of "
            "them, and see that its addresses are theirs."
        )

    # Talking.

    def exchange(self, what: str, value: Any) -> list[Any]:
        """The values of all workers, by their index, on all of them; waits for all.

        Args:
            what: The same on all workers, which must come to the same places.
            value: Plain data, for JSON.

        Raises:
            RunError: A worker was lost.
        """
        if self.is_chief:
            values = [value, *(self._next(index, what) for index in range(1, self.size))]
            values = json.loads(json.dumps(values))  # as the others read them
            self._tell({"what": what, "value": values})
            return values
        self._tell({"what": what, "value": value})
        return self._next(0, what)

    def _next(self, index: int, what: str) -> Any:
        while True:
            with suppress(queue.Empty):
                message = self._inboxes[index].get(timeout=0.5)
                if message is None:
                    break
                if message["what"] != what:
                    self.lose(f"{self.cluster.name(index)} is at another place: {message['what']}, not {what}")
                    break
                return message["value"]
            if self._lost is not None:
                break
        self.raise_if_lost(wait=SECONDS_OF_SILENCE)
        raise RunError(f"{self.cluster.name(index)} has left.")

    def _tell(self, message: dict) -> None:
        with self._sending:
            for index, link in self._links.items():
                try:
                    _send(link, message)
                except OSError:
                    self.lose(f"{self.cluster.name(index)} has ended")

    def _give_signs(self) -> None:
        while not self._has_left:
            self._tell({"alive": True})
            time.sleep(SECONDS_BETWEEN_SIGNS)

    def _listen(self, index: int) -> None:
        name = self.cluster.name(index)
        while True:
            try:
                message = _receive(self._links[index])
            except TimeoutError:
                return self.lose(f"{name} has given no sign of life for {console.duration(SECONDS_OF_SILENCE)}")
            except (OSError, ValueError):
                return self.lose(f"{name} has ended")
            if "failed" in message:
                return self.lose(message["failed"])
            if "left" in message:
                self._inboxes[index].put(None)
                return None
            if "what" in message:
                self._inboxes[index].put(message)

    # Losing and leaving.

    def lose(self, why: str) -> None:
        """Note that a worker is lost, and end this process if it waits for that one in an operation of TensorFlow."""
        if self._lost is not None or self._has_left:
            return
        self._lost = why
        if self.is_chief:
            with suppress(OSError):
                self._tell({"failed": why})
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        time.sleep(2 * SECONDS_BEFORE_SAYING)
        if self._has_said or not self.is_training:
            return
        self._has_said = True
        with suppress(OSError, ValueError):
            sys.stderr.write(f"kzoo: {one_line(self._story())}\n")
            sys.stderr.flush()
        os._exit(LOST)

    def _story(self) -> str:
        return f"The training ended: {self._lost}. Go on from its checkpoint with --resume."

    def raise_if_lost(self, wait: float = 0.0) -> None:
        """Raise RunError if a worker is lost, or is found to be within `wait` seconds."""
        deadline = time.monotonic() + wait
        while self._lost is None:
            if time.monotonic() >= deadline:
                return
            time.sleep(0.1)
        time.sleep(SECONDS_BEFORE_SAYING)
        self._has_said = True
        raise RunError(self._story())

    def leave(self, failure: str = "it has ended") -> None:
        """Part from the others; in the middle of a training tell them why."""
        if self._has_left:
            return
        self._has_left = True
        name = self.cluster.name(self.cluster.index)
        message = {"failed": f"{name} failed: {failure}"} if self.is_training else {"left": True}
        with suppress(OSError, RuntimeError):
            self._tell(message)

    def end(self) -> None:
        """Part from the others when this process ends; TensorFlow's own end would wait for a lost worker."""
        self.leave()
        if self._lost is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(LOST if self._has_said else 1)


def _send(link: socket.socket, message: dict) -> None:
    content = json.dumps(message).encode()
    link.sendall(_LENGTH.pack(len(content)) + content)


def _receive(link: socket.socket) -> dict:
    """The next message; raises ValueError for what is none, and OSError at the end."""
    (length,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
    if length > LARGEST_MESSAGE:
        raise ValueError(length)
    try:
        message = json.loads(_exactly(link, length))
    except RecursionError:  # not of kzoo
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError(message)
    return message


def _exactly(link: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = link.recv(count - len(parts))
        if not part:
            raise ConnectionResetError
        parts += part
    return bytes(parts)
