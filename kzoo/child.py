"""A command of kzoo in a process of its own, which ends when the process that searches, or launches it, does.

    python -P -m kzoo.child CORES ARGUMENTS...

CORES is a list of processor numbers, or "-" for all.
"""

import os
import runpy
import sys
import threading


def main() -> None:
    """Run the command line."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cores, *arguments = sys.argv[1:]
    if cores != "-" and hasattr(os, "sched_setaffinity"):
        # TensorFlow makes as many threads as there are cores that it may use.
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    if "numpy" in sys.modules:  # in a copy of the fork server, which had OpenBLAS start no threads
        import threadpoolctl

        threads = os.environ.get("OPENBLAS_NUM_THREADS") or len(os.sched_getaffinity(0))
        threadpoolctl.threadpool_limits(int(threads), user_api="blas")
    sys.argv = ["kzoo", *arguments]
    runpy.run_module("kzoo", run_name="__main__")


def _end_with_parent() -> None:
    """Wait for the end of the standard input, which only the process that started this one holds open."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
