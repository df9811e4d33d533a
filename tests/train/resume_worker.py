"""Train, or resume, the run that test_resume.py kills: resume_worker.py RUN_DIR CONFIG_JSON."""

import json
import sys
from pathlib import Path

from kzoo import create_model, data
from kzoo.errors import TrainingInterrupted
from kzoo.train import TrainConfig, fit, resume


def build():
    return create_model("mnist_net", input_shape=(20, 20, 1))


def main():
    run_dir, config = Path(sys.argv[1]), TrainConfig(**json.loads(sys.argv[2]))
    train, validation = (data.load("digits", split, image_size=20) for split in ("train", "validation"))
    try:
        if (run_dir / "config.json").exists():
            resume(run_dir, build=build, train_data=train, validation_data=validation)
        else:
            fit(build, train, validation, config, run_dir)
    except TrainingInterrupted as error:
        print(error)
        sys.exit(130)


if __name__ == "__main__":
    main()
