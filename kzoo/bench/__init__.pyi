from .engines import measure_engines as measure_engines
from .models import Contender as Contender
from .models import Work as Work
from .models import footprint as footprint
from .models import measure as measure
from .models import measure_precisions as measure_precisions
from .models import measure_speeds as measure_speeds
