"""Several workers, in real processes that share out each batch, against one; killed, hung, more or fewer.

`workers_script.py` is a worker. Every process is ended with its test, and ports are found free.
"""

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from kzoo import augment, launching, workers
from kzoo.augment import MixUp
from kzoo.data import Dataset
from kzoo.data.order import permutation
from kzoo.data.pipeline import Replicas
from kzoo.errors import RunError
from kzoo.train import runs
from kzoo.train.checkpoint import read_state

SCRIPT = Path(__file__).with_name("workers_script.py")
CONFIG = {
    "epochs": 1, "batch_size": 97, "precision": "float32", "optimizer": "sgd", "seed": 3, "sync_batch_norm": True,
    "steps_per_execution": 1,
}  # fmt: skip
IMAGES = 1439  # of the training split: 14 batches of 97 images and one of 81


@contextmanager
def started(command, count, environment, folder, **options):
    """Workers of one command; yields their processes, and ends whatever is left of them."""
    addresses = [f"localhost:{port}" for port in launching.free_ports(count)]
    configs = [workers.config_of(addresses, index) for index in range(count)]
    with ExitStack() as stack:
        processes = []
        for index in range(count):
            one = {**environment, workers.TF_CONFIG: configs[index]} if count > 1 else environment
            log = stack.enter_context(open(folder / f"worker-{index}.log", "ab"))
            process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                env=one, stdout=log, stderr=log, **options,
            )  # fmt: skip
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield processes


def log_of(folder, index):
    return (folder / f"worker-{index}.log").read_text()


def train(folder, config, count, environment, *more, phase="only", status=0):
    """Run the script in so many workers to its end; returns what each of them has told."""
    folder.mkdir(exist_ok=True)
    command = [SCRIPT, folder, json.dumps(config), *more]
    with started(command, count, {**environment, "PHASE": phase}, folder) as processes:
        for index, process in enumerate(processes):
            assert process.wait(timeout=240) == status, log_of(folder, index)[-3000:]
    return [json.loads((folder / f"{phase}-{index}.json").read_text()) for index in range(count)]


def state(run_dir):
    found = read_state(run_dir / runs.CHECKPOINT)
    assert found is not None
    return found


def test_two_then_one_then_three_workers_are_one_process(tmp_path, child_environment):
    """The first steps to rounding; each image once in the epoch; the weights of all workers to the bit."""
    elastic, alone = tmp_path / "elastic", tmp_path / "alone"
    two = train(elastic, CONFIG, 2, child_environment, "2", phase="two", status=130)
    train(alone, CONFIG, 1, child_environment, "2", status=130)
    # Weights would differ more: rounding settles the ties that constant pixels make in max pooling.
    assert state(elastic / "run").sums == pytest.approx(state(alone / "run").sums, rel=1e-5)
    assert "Interrupted in epoch 1 of 1, step 2 of 15. Continue with: kzoo.train.resume(" in log_of(elastic, 0)
    assert str(elastic / "run") in log_of(elastic, 1)  # who says what the chief says

    one = train(elastic, CONFIG, 1, child_environment, "4", phase="one", status=130)
    three = train(elastic, CONFIG, 3, child_environment, phase="three")
    assert len({told["digest"] for told in three}) == 1
    assert three[0]["digest"] is not None
    assert runs.read_record(elastic / "run").train.strategy == "multiworker"

    order = permutation(CONFIG["seed"], 0, IMAGES).tolist()
    batch_of = {row: place // CONFIG["batch_size"] for place, row in enumerate(order)}
    trained_on = []
    for told, steps in ((two, range(2)), (one, range(2, 6)), (three, range(6, 15))):
        read = [row for worker in told for rows in worker["rows"] for row in rows]  # ahead of what is trained, too
        assert len(read) == len(set(read)), "two workers read one image"
        trained_on += [row for row in read if batch_of[row] in steps]
    assert sorted(trained_on) == list(range(IMAGES))
    assert state(elastic / "run").history[-1]["val_accuracy"] > 0.8


def test_replicas_share_out_each_batch(digits):
    """Uneven tails and mixed images too: what all replicas take together is the batch, in its order."""
    data, _ = digits
    data = Dataset.from_arrays(data.images[:50], data.labels[:50])
    for policy in (None, augment.policy(["digits", MixUp(classes=10)])):
        how = {"shuffle": True, "seed": 1, "epoch": 2, "start_batch": 1, "augment": policy}
        whole = list(data.batches(16, **how).as_numpy_iterator())  # 16, 16 and 2 images
        parts = [
            list(data.batches(16, **how, replicas=Replicas(own, 3)).as_numpy_iterator())
            for own in (range(1), range(1, 3))
        ]
        assert [len(part) for part in parts] == [3, 6]
        for batch, (images, labels) in enumerate(whole):
            shares = [parts[0][batch], *parts[1][2 * batch : 2 * batch + 2]]
            if len(images) < 3:
                assert [share[2] for share in shares] == [np.float32(1 / 3)] * 3
                shares = shares[:1]
            else:
                assert [share[2] for share in shares] == [1.0] * 3
            np.testing.assert_array_equal(np.concatenate([share[0] for share in shares]), images)
            np.testing.assert_array_equal(np.concatenate([share[1] for share in shares]), labels)


def wait_for_step(run_dir, process):
    """Wait until a run has a checkpoint within its first epoch or later."""
    while process.poll() is None:
        with suppress(AssertionError, RunError):
            if state(run_dir).step:
                return
        time.sleep(0.05)
    raise AssertionError("the run ended before it was to be disturbed")


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_lost_worker_ends_the_others(how, tmp_path, child_environment):
    config = {**CONFIG, "epochs": 1000, "checkpoint_seconds": 0}
    environment = {**child_environment, "SILENCE": "8"}
    with started([SCRIPT, tmp_path, json.dumps(config)], 2, environment, tmp_path) as (chief, other):
        wait_for_step(tmp_path / "run", chief)
        lost, left = (chief, other) if how == "killed" else (other, chief)
        lost.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        assert left.wait(timeout=60) == workers.LOST
    index = 1 if how == "killed" else 0
    lines = log_of(tmp_path, index).splitlines()
    why = "has ended" if how == "killed" else "has given no sign of life for 8 s"
    ended = [line for line in lines if line.startswith("kzoo: ")]
    assert len(ended) == 1
    assert ended[0].startswith(f"kzoo: The training ended: worker {1 - index} (localhost:")
    assert f") {why}. Go on" in ended[0]
    assert "Traceback" not in log_of(tmp_path, index)


def test_other_data_is_found_before_training(tmp_path, child_environment):
    environment = {**child_environment, "OTHER_DATA": "1"}
    with started([SCRIPT, tmp_path, json.dumps(CONFIG)], 2, environment, tmp_path) as processes:
        assert [process.wait(timeout=120) for process in processes] == [1, 1]
    for index in range(2):
        line = log_of(tmp_path, index).splitlines()[-1]
        assert line.startswith(
            "kzoo: The workers differ in the data. Received: train = {'split': 'train', 'fingerprint':"
        )
        assert "'another'" in line
    assert not (tmp_path / "run").exists()
