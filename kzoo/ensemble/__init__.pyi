from .averaging import average as average
from .directory import save as save
