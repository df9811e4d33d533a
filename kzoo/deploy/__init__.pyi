from .description import Description as Description
from .engines import Exported as Exported
from .engines import load as load
from .exporting import export as export
