"""Whether a process has ended, which may come between two questions."""

import psutil


def has_ended(pid):
    """Whether there is no such process, or one that only its parent has still to ask for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
