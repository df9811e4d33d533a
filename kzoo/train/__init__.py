"""Training: from a configuration and data to a run directory, and from there to figures.

Names are imported on first use; the configuration alone needs no TensorFlow.
"""

from typing import TYPE_CHECKING

import lazy_loader

_lazy, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["TrainConfig", "TransferConfig"],
        "evaluation": ["evaluate"],
        "fitting": ["fit", "load"],
        "lifecycle": ["Result"],
        "range_test": ["RangeTest", "find_learning_rate"],
        "record": ["DataRecord", "DataSource", "ModelFile", "RunRecord", "ZooModel"],
    },
)


def __getattr__(name: str):
    if name in ("resume", "run_record", "start"):
        # The one import upwards (setup.cfg): runs by names need models and fine-tuning; users look for them here.
        from kzoo import job

        return getattr(job, name)
    return _lazy(name)


__all__ += ["resume", "run_record", "start"]

if TYPE_CHECKING:
    from kzoo.job import resume as resume
    from kzoo.job import run_record as run_record
    from kzoo.job import start as start
    from kzoo.train.config import TrainConfig as TrainConfig
    from kzoo.train.config import TransferConfig as TransferConfig
    from kzoo.train.evaluation import evaluate as evaluate
    from kzoo.train.fitting import fit as fit
    from kzoo.train.fitting import load as load
    from kzoo.train.lifecycle import Result as Result
    from kzoo.train.range_test import RangeTest as RangeTest
    from kzoo.train.range_test import find_learning_rate as find_learning_rate
    from kzoo.train.record import DataRecord as DataRecord
    from kzoo.train.record import DataSource as DataSource
    from kzoo.train.record import ModelFile as ModelFile
    from kzoo.train.record import RunRecord as RunRecord
    from kzoo.train.record import ZooModel as ZooModel
