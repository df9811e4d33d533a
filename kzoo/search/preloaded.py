"""What trials, the scoring of the best model and the helper import, once for all of them; the fork server does.

Nothing of it may run TensorFlow or start a thread: `kzoo.search.forkserver` would see it, and fork nothing.
"""

import importlib

MODULES = (
    "kzoo.backend",  # first: it imports TensorFlow and Matplotlib as they should be
    *("kzoo.job", "kzoo.train.fitting", "kzoo.train.evaluation", "kzoo.transfer.finetuning"),
    # The command line of each process, which is above kzoo.search.
    *("kzoo.cli.commands", "kzoo.cli.train", "kzoo.cli.finetune", "kzoo.cli.evaluate"),
    # What these import when they need it.
    *("rich.progress", "sklearn.datasets", "sklearn.metrics", "matplotlib.backends.backend_agg"),
    "tensorboard.summary.writer.record_writer",
)
for module in MODULES:
    importlib.import_module(module)
