"""Fetch one file in a process of its own: fetch_worker.py URL SIZE SHA256 [LARGEST_FILE_IT_MAY_WRITE]."""

import resource
import sys

from faulty_server import record_of

from kzoo.errors import WeightsError
from kzoo.weights import store
from kzoo.weights.record import File


def main():
    url, size, sha256, *limit = sys.argv[1:]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    try:
        print(store.fetch(record_of(File(name="weights.bin", url=url, size=int(size), sha256=sha256))))
    except WeightsError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
