"""`python -m kzoo`."""

import os
import sys
from pathlib import Path

# `python -m` puts the current folder first on the path, where a json.py beside the photos would be imported. What Python
# and kzoo/__init__.py import comes before this line: `kzoo`, or `python -P -m kzoo`, imports nothing from there.
if not sys.flags.safe_path and sys.path[0] == os.getcwd() != str(Path(__file__).parents[1]):  # noqa: PTH109
    del sys.path[0]

from kzoo.cli import main

if __name__ == "__main__":
    main()
