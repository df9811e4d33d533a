"""Hyperparameter search that survives what happens to its trials: each is a process, proposed by keras-tuner.

Names are imported on first use; searching needs no TensorFlow in the process that searches.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
