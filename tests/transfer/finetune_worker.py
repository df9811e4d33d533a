"""Fine-tune, or resume, the run that test_finetune_resume.py kills: finetune_worker.py RUN_DIR CONFIG_JSON."""

import json
import sys
from pathlib import Path

from small_models import digits, functional

from kzoo.errors import TrainingInterrupted
from kzoo.train import TrainConfig
from kzoo.transfer import TransferConfig, fine_tune


def main():
    run_dir, config = Path(sys.argv[1]), json.loads(sys.argv[2])
    data = digits(600, 100)
    try:
        given = TrainConfig(**config["train"]), TransferConfig(**config["transfer"])
        fine_tune(functional(), *data, config=given[0], transfer=given[1], run_dir=run_dir, resume=True)
    except TrainingInterrupted as error:
        print(error)
        sys.exit(130)


if __name__ == "__main__":
    main()
