"""What can be said about any Keras model from its graph: what it is made of, its stages, what each output sees."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"description": ["describe"], "endpoints": ["feature_extractor", "stages"]},
)

if TYPE_CHECKING:
    from kzoo.graph.description import describe as describe
    from kzoo.graph.endpoints import feature_extractor as feature_extractor
    from kzoo.graph.endpoints import stages as stages
