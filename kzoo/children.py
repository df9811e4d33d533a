"""Processes of Python that kzoo starts: nothing of the current folder is on their path.

`python -m` and `python -c` put the current folder first on the path of modules. In a folder of photos from elsewhere a
`json.py` would be executed.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The folder that this kzoo was imported from.
_ROOT = Path(__file__).resolve().parent.parent


def start(module: str, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any):
    """Start a module of kzoo as a process of its own, in a session of its own, so that Ctrl-C reaches this one alone.

    Args:
        module: Its name, as for `python -m`.
        *arguments: Of its command line.
        environment: Variables besides those of this process.
        **options: Of `subprocess.Popen`.
    """
    command = [sys.executable, "-P", "-m", module, *arguments]  # -P: the current folder is not on the path
    variables = {**os.environ, "PYTHONSAFEPATH": "1", **(environment or {})}
    if path := _python_path(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        variables["PYTHONPATH"] = os.pathsep.join(path)
    else:
        variables.pop("PYTHONPATH", None)
    return subprocess.Popen(command, env=variables, start_new_session=True, **options)


def _python_path(entries: Sequence[str]) -> list[str]:
    """PYTHONPATH for a child. An entry that is empty or relative means the current folder, or one in it: left out.

    The folder of this kzoo comes first, so that a child imports the same one, unless it is installed: packages beside
    it would come before Python's own modules.
    """
    installed = _ROOT.name in ("site-packages", "dist-packages")
    return [*([] if installed else [str(_ROOT)]), *(entry for entry in entries if os.path.isabs(entry))]  # noqa: PTH117
