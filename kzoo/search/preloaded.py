"""What trials, the scoring of the best model and the helper import, once for all of them; the fork server does.

Nothing of it may run TensorFlow or start a thread: `kzoo.search.forkserver` would see it, and fork nothing.
"""

import importlib

import rich.progress  # noqa: F401
import sklearn.datasets
import sklearn.metrics  # noqa: F401
import tensorboard.summary.writer.record_writer  # noqa: F401

import kzoo.backend
import kzoo.job
import kzoo.train.evaluation
import kzoo.train.fitting
import kzoo.transfer.finetuning  # noqa: F401

# The command line of each process, which is above kzoo.search.
for command in ("train", "finetune", "evaluate"):
    importlib.import_module(f"kzoo.cli.{command}")
