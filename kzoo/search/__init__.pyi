from .hypermodel import ImageClassifier as ImageClassifier
from .searching import SearchResult as SearchResult
from .searching import resume as resume
from .searching import search as search
from .searching import space_for as space_for
from .settings import SearchConfig as SearchConfig
