"""The weights of mnist_net that are part of kzoo, tag "mnist".

Source:  trained here, on MNIST.
Command: tfds build mnist
         kzoo train mnist_net mnist --seed 0 --precision mixed_bfloat16 --run-dir RUN
         kzoo evaluate RUN
         python recipes/mnist_weights.py RUN
Time:    that of one training (README.md, "Results"); the last command takes seconds.
Result:  the weights of the best model, in the package, and their row for kzoo/weights/records/packaged.py, printed.

The weights in the package are those of 2026-11-22: of the 15 epochs the 14th was the best on the validation images.
Another machine rounds differently, and ends in other weights.
"""

import sys
from pathlib import Path

import kzoo
from kzoo.train import runs
from kzoo.weights import user_weights
from kzoo.weights.checksums import digest
from kzoo.weights.locations import PACKAGED

NAME = "mnist_net-mnist.safetensors"


def main(run_dir: str, folder: Path = PACKAGED) -> None:
    """Write the weights, and print their row."""
    metrics = runs.read_metrics(Path(run_dir))
    if "test" not in metrics:
        sys.exit(f"The run's accuracy on the test images is not known yet: kzoo evaluate {run_dir}")
    path = folder / NAME
    user_weights.save(kzoo.load_model(run_dir), path)
    print(f"size={path.stat().st_size}, sha256={digest(path)!r}")
    print(f"top1={metrics['test']['accuracy']}, top5={metrics['test']['top5_accuracy']}")


if __name__ == "__main__":
    main(sys.argv[1])
