"""Train, or resume, the run that test_resume.py kills: resume_worker.py RUN_DIR CONFIG_JSON MODEL [STRATEGY].

MODEL is a name, or "linear". With STRATEGY the run is resumed under that one, instead of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

from kzoo import create_model, data
from kzoo.backend import keras
from kzoo.errors import TrainingInterrupted
from kzoo.train import TrainConfig, fit, resume


def linear():
    """A classifier whose loss is convex: it does not amplify rounding, as a network's training does."""
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    return keras.Sequential([keras.Input((20, 20, 1)), *layers])


def build():
    return linear() if sys.argv[3] == "linear" else create_model(sys.argv[3], input_shape=(20, 20, 1))


def main():
    run_dir, config = Path(sys.argv[1]), TrainConfig(**json.loads(sys.argv[2]))
    strategy: Any = sys.argv[4] if len(sys.argv) > 4 else None
    train, validation = (data.load("digits", split, image_size=20) for split in ("train", "validation"))
    try:
        if strategy is not None:
            resume(run_dir, build=build, train_data=train, validation_data=validation, strategy=strategy)
        else:
            fit(build, train, validation, config, run_dir, resume=True)
    except TrainingInterrupted as error:
        print(error)
        sys.exit(130)


if __name__ == "__main__":
    main()
