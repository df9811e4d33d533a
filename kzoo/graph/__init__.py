"""What can be said about any Keras model from its graph: what it is made of, its stages, what each output sees.

Names are imported on first use; they are listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
