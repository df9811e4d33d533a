"""Ctrl-C and SIGTERM at any moment of a command: one line and the status; long work within a training sees them."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from kzoo import interrupts
from kzoo.errors import TrainingInterrupted
from kzoo.files import locked

COMMAND = """
import os, signal, sys
from kzoo.chatter import without_chatter
from kzoo.cli import main
from kzoo.cli.commands import app
number = int(sys.argv[2])
chatter = b"2026-01-02 03:04:05.678901: I tensorflow/core: oneDNN is on\\n"

@app.command
def at_once():
    os.kill(os.getpid(), number)

@app.command
def while_tensorflow_starts():
    with without_chatter():
        os.write(2, chatter)
        os.kill(os.getpid(), number)

@app.command
def made_another_error():
    with without_chatter():
        os.write(2, chatter)
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise ImportError("numpy.core.multiarray failed to import") from None

@app.command
def swallowed():
    with without_chatter():
        try:
            os.kill(os.getpid(), number)
        except:
            pass
    print("it goes on")

main([sys.argv[1]])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["at-once", "while-tensorflow-starts", "made-another-error", "swallowed"])
def test_a_command_ends_by_one_line(fresh_python, moment, number, status):
    done = fresh_python(COMMAND, moment, int(number), status=status)
    assert (done.stdout, done.stderr) == ("", "kzoo: Interrupted.\n")


def test_a_command_in_training_says_how_to_go_on(tmp_path, child_environment):
    """SIGTERM, as schedulers send it: before the first step, then in training."""
    run_dir = tmp_path / "my run"
    command = [sys.executable, "-m", "kzoo", "train"]
    arguments = ["mnist_net", "digits", "--epochs", "1000", "--run-dir", str(run_dir)]
    how = f"Continue with: kzoo train --resume '{run_dir}'"
    for moment in ("run directory", "epoch 1/"):
        pipe: dict = {"stderr": subprocess.PIPE, "text": True, "env": child_environment}
        with subprocess.Popen([*command, *arguments], **pipe) as process:
            assert process.stderr is not None
            line = next(line for line in process.stderr if moment in line)
            process.send_signal(signal.SIGTERM)
            *_, last = [line, *process.stderr]
        assert process.returncode == 143
        arguments = ["--resume", str(run_dir)] if (run_dir / "config.json").exists() else arguments
        assert last.startswith("kzoo: Interrupted")
        assert (how in last) == (run_dir / "checkpoint.safetensors").exists()


def test_what_the_caller_ignores_stays_ignored(fresh_python):
    code = """
import os, signal
from kzoo import interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupts.interrupt_on_signals()
with interrupts.deferred():
    os.kill(os.getpid(), signal.SIGINT)
    print(interrupts.is_pending())
"""
    assert fresh_python(code).stdout == "False\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_the_second_does_not(number, second):
    before = {one: signal.signal(one, interrupts._raise) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with interrupts.deferred():
            interrupts.check()
            signal.raise_signal(number)
            assert interrupts.is_pending()
            with pytest.raises(interrupts.Interrupted):
                interrupts.check()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(second)
        assert not interrupts.is_pending()
        assert interrupts.exit_status() == 128 + second
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_a_programs_own_handler_of_sigterm_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGTERM)
            assert (seen, interrupts.is_pending()) == ([1], False)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_lock_is_not_waited_for_any_longer(tmp_path):
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path / ".lock", wait=True):
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.deferred():
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            with locked(tmp_path / ".lock", wait=True):
                pass
    finally:
        let_go.set()
        thread.join()


def test_interrupted_in_its_validation_a_run_goes_on_there(digits, tmp_path):
    from kzoo.backend import keras
    from kzoo.train import TrainConfig, fit, runs

    class Interrupting(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            signal.raise_signal(signal.SIGINT)

    config = TrainConfig(epochs=2, batch_size=256, precision="float32")
    layers = keras.layers
    given = (lambda: keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10)]), *digits)
    fit(*given, config=config, run_dir=tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match="epoch 1 of 2, step 6 of 6"):
        fit(*given, config=config, run_dir=tmp_path / "run", callbacks=[Interrupting()])
    fit(*given, config=config, run_dir=tmp_path / "run", resume=True)
    for column in ("loss", "val_loss"):
        assert runs.read_column(tmp_path / "run", column) == runs.read_column(tmp_path / "whole", column)


def test_interrupted_while_features_are_computed(tmp_path, monkeypatch):
    """The view in progress is given up, those that are done stay, and the run goes on to its end."""
    import kzoo
    from kzoo.backend import keras
    from kzoo.train import TrainConfig
    from kzoo.transfer import TransferConfig, fine_tune

    class Interrupting(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 5:  # the first epoch of the head's that takes a second view
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    data = [kzoo.data.load("digits", split, image_size=28) for split in ("train", "validation")]
    config = TrainConfig(epochs=1, augment=("digits",))
    arguments = {"weights": "mnist", "config": config, "transfer": TransferConfig(head_epochs=7, views=2)}
    with pytest.raises(TrainingInterrupted, match="epoch 6 of 7, step 0"):
        fine_tune("mnist_net", *data, **arguments, run_dir=tmp_path / "run", callbacks=[Interrupting()])
    folder = tmp_path / "home" / "features"
    first = sorted(folder.glob("*/*"))
    assert first
    assert {path.name[:4] for path in first} == {"0000"}  # no second view, and nothing temporary
    result = fine_tune("mnist_net", *data, **arguments, run_dir=tmp_path / "run", resume=True)
    assert result.metrics["head"]["epochs"] == 7
    assert set(first) <= set(folder.glob("*/*"))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == result.metrics
