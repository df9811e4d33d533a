"""Measurements of kzoo against Keras, in one process and in turn, so that their ratio can be trusted.

Names are imported on first use: of a model in an engine the start-up is measured, which has no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
