"""What the tools that write tables into docs/ take from the recipes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "recipes"))

from reporting import DOCS, page, percent, png, write_page

__all__ = ["DOCS", "page", "percent", "png", "write_page"]
