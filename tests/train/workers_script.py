"""A worker of a training that the tests start by hand: workers_script.py FOLDER CONFIG_JSON [STOP_AT_STEP].

TF_CONFIG says which one it is. In FOLDER it trains the run `run`, or goes on with it, and leaves what it has read and
the hash of its weights: `PHASE-INDEX.json`. After STOP_AT_STEP steps the chief gets SIGTERM. By the environment: PHASE;
SILENCE, in seconds, after which a worker counts as lost; OTHER_DATA, the index of a worker that has other data.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from kzoo import create_model, data, workers
from kzoo.backend import keras, weights_digest
from kzoo.errors import KzooError, TrainingInterrupted
from kzoo.train import TrainConfig, fit

FOLDER, CONFIG = Path(sys.argv[1]), json.loads(sys.argv[2])
STOP_AT = int(sys.argv[3]) if len(sys.argv) > 3 else None
PHASE = os.environ.get("PHASE", "only")
workers.SECONDS_OF_SILENCE = float(os.environ.get("SILENCE", workers.SECONDS_OF_SILENCE))
MODEL = CONFIG.pop("model", "mnist_net")


class Logged:
    """A reader that knows which rows it was asked for."""

    def __init__(self, reader):
        self.reader, self.rows = reader, []
        self.image_shape, self.dtype, self.where = reader.image_shape, reader.dtype, reader.where

    def fetch(self, rows):
        self.rows.append(rows.tolist())
        return self.reader.fetch(rows)


class Ending(keras.callbacks.Callback):
    """Stops the run at a step, and keeps the weights that a worker has in the end."""

    taken, digest = 0, None

    def on_train_batch_end(self, batch, logs=None):
        self.taken += 1
        if STOP_AT is not None and self.taken == STOP_AT and workers.is_chief():
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, logs=None):
        self.digest = weights_digest(self.model)


def build():
    if MODEL == "linear":
        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
        return keras.Sequential([keras.Input((20, 20, 1)), *layers])
    return create_model(MODEL, input_shape=(20, 20, 1), dropout=0.0)


def run():
    train, validation = (data.load("digits", split, image_size=20) for split in ("train", "validation"))
    reader = Logged(train.reader)
    train = replace(train, reader=reader)
    cluster = workers.find_cluster("auto")
    if cluster is not None and os.environ.get("OTHER_DATA") == str(cluster.index):
        train = replace(train, fingerprint="another")
    ending = Ending()
    try:
        fit(build, train, validation, TrainConfig(**CONFIG), FOLDER / "run", resume=True, callbacks=[ending])
    finally:
        index = 0 if cluster is None else cluster.index
        told = {"rows": reader.rows, "digest": ending.digest, "taken": ending.taken}
        (FOLDER / f"{PHASE}-{index}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    try:
        run()
    except KzooError as error:
        workers.fail(str(error))
        print(f"kzoo: {error}", file=sys.stderr)
        sys.exit(130 if isinstance(error, TrainingInterrupted) else 1)
