"""Augmentation: policies, the layers that they are made of, and pictures of what they do.

Names are imported on first use; the names of policies need no TensorFlow. They are listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
