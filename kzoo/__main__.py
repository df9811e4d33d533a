"""`python -m kzoo`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # `python -m` puts the current folder first on the path, where a json.py beside the photos would be imported. The
    # modules that come before this line still are; with `kzoo` and `python -P -m kzoo` none is.
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parents[1]:
        del sys.path[0]
    from kzoo.cli import main

    main()
