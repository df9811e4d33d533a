"""The peak memory of a process."""

import resource
import sys
from pathlib import Path


def peak_memory_of_process() -> int:
    """Bytes at the peak of this process."""
    try:  # Linux: of this program alone, where getrusage also counts what its process was before
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
