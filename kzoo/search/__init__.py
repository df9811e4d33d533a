"""Hyperparameter search that survives what happens to its trials: each is a process, proposed by keras-tuner.

Names are imported on first use; searching needs no TensorFlow in the process that searches.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hypermodel": ["ImageClassifier"],
        "searching": ["SearchResult", "resume", "search", "space_for"],
        "settings": ["SearchConfig"],
    },
)

if TYPE_CHECKING:
    from kzoo.search.hypermodel import ImageClassifier as ImageClassifier
    from kzoo.search.searching import SearchResult as SearchResult
    from kzoo.search.searching import resume as resume
    from kzoo.search.searching import search as search
    from kzoo.search.searching import space_for as space_for
    from kzoo.search.settings import SearchConfig as SearchConfig
