"""Training: from a configuration and data to a run directory, and from there to figures.

Names are imported on first use; the configuration alone needs no TensorFlow.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["TrainConfig"],
        "evaluation": ["evaluate"],
        "loop": ["Result", "fit", "load", "resume"],
    },
)

if TYPE_CHECKING:
    from kzoo.train.config import TrainConfig as TrainConfig
    from kzoo.train.evaluation import evaluate as evaluate
    from kzoo.train.loop import Result as Result
    from kzoo.train.loop import fit as fit
    from kzoo.train.loop import load as load
    from kzoo.train.loop import resume as resume
