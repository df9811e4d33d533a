from .description import describe as describe
from .endpoints import feature_extractor as feature_extractor
from .endpoints import stages as stages
