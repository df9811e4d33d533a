"""matplotlib without the settings of the current folder, which may hold files of anyone.

matplotlib reads `matplotlibrc` of the current folder before all others, while it is imported, and such a file may have
it call LaTeX. Keras imports matplotlib too, so `kzoo.backend` comes here first.
"""

import io
import os
import sys
import threading
from typing import Any

_importing = threading.Lock()


def import_matplotlib() -> Any:
    """The module matplotlib, imported with the user's own settings but not those of the current folder."""
    with _importing:
        exists = os.path.exists
        if "matplotlib" not in sys.modules:
            # There is no setting for it. Unlike a change of the current folder this misleads no other thread.
            os.path.exists = lambda path: path != "matplotlibrc" and exists(path)
        try:
            import matplotlib
        finally:
            os.path.exists = exists
    return matplotlib


def new_figure(**options: Any) -> Any:
    """A `matplotlib.figure.Figure`, which needs no pyplot and no window."""
    import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(**options)


def png(figure: Any, dpi: int) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()
