"""Transfer learning: freeze, train a new head, then fine-tune; and the parts to do it by hand."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
