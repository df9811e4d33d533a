"""Ensembles: one model that gives the mean of several classifiers' probabilities.

Names are imported on first use; they are listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
