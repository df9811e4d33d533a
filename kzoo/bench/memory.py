"""The peak memory of one contender, in a process of its own: its work on the standard input, bytes on the output."""

import json
import sys

from kzoo.bench.models import Contender, Work, peak_memory


def main() -> None:
    """Answer, and end."""
    work, contender = json.load(sys.stdin)
    print(peak_memory(Work(**work), Contender(**contender)))


if __name__ == "__main__":
    main()
