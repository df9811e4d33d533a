"""Trained models for other engines: exported to a file, checked against Keras, and run from that file.

Names are imported on first use; running an exported file imports neither TensorFlow nor Keras (`savedmodel` excepted).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
