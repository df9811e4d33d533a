"""What this machine has, found out without importing TensorFlow."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Hardware:
    """The parts of a machine that decide how to train on it."""

    cores: int
    memory_bytes: int
    cpu: str
    cpu_bfloat16: bool
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16, AMX or Arm BF16)."""
    gpus: tuple[str, ...]
    """Name of each NVIDIA GPU that this process may use."""
    tensor_cores: bool
    """Whether every GPU has tensor cores (compute capability 7.0 or more)."""

    @property
    def title(self) -> str:
        """The machine in a few words.

        >>> Hardware(2, 2**33, "Xeon", False, ("H200", "H200"), True).title
        'Xeon, 2 cores, 2 x H200'
        """
        gpus = [f"{self.gpus.count(name)} x {name}" for name in dict.fromkeys(self.gpus)]
        return ", ".join([self.cpu, f"{self.cores} cores", *gpus])


def probe() -> Hardware:
    """Look at this machine; takes milliseconds, or about half a second where nvidia-smi answers."""
    flags, name = cpu()
    gpus = _nvidia_gpus()
    return Hardware(
        cores=cores(),
        memory_bytes=_memory(),
        cpu=name,
        cpu_bfloat16=not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags),
        gpus=tuple(name for name, _ in gpus),
        tensor_cores=bool(gpus) and all(capability >= 7.0 for _, capability in gpus),
    )


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory that are free for the taking now."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return _memory() // 2 or 2 << 30


def usable_only(hardware: Hardware, gpus: int) -> Hardware:
    """The same machine with the first `gpus` of its GPUs: those that TensorFlow can use."""
    return replace(hardware, gpus=hardware.gpus[:gpus], tensor_cores=hardware.tensor_cores and gpus > 0)


def cpu() -> tuple[set[str], str]:
    """The CPU's instruction flags and name (no flags are known outside Linux)."""
    flags, name = set(), platform.processor() or platform.machine()
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return flags, name
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
        elif key.strip() == "model name":
            name = value.strip()
    return flags, name


def share_of_cores(worker: int, workers: int) -> list[int]:
    """The cores of one of several workers: all of them if it is alone; where there are more workers, they share.

    >>> share_of_cores(0, 1)
    []
    """
    if workers == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    return cores[worker::workers] or [cores[worker % len(cores)]]


def share_of_gpus(worker: int, workers: int, gpus: int) -> list[int] | None:
    """The GPUs of one of several workers; None where all may use them all, since it is alone or there are none.

    >>> share_of_gpus(1, 2, 4), share_of_gpus(2, 3, 1), share_of_gpus(0, 1, 4)
    ([1, 3], [0], None)
    """
    if workers == 1 or not gpus:
        return None
    return list(range(gpus))[worker::workers] or [worker % gpus]


def visible(gpus: Sequence[int] | None) -> dict[str, str]:
    """The environment variable by which a process uses these GPUs; None leaves it all."""
    if gpus is None:
        return {}
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = listed.split(",") if listed else None
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[gpu] if names else str(gpu) for gpu in gpus)}


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _nvidia_gpus() -> list[tuple[str, float]]:
    """Name and compute capability of each GPU, those hidden by CUDA_VISIBLE_DEVICES left out."""
    command = shutil.which("nvidia-smi")
    if command is None or not os.path.isabs(command):  # noqa: PTH117 - found in the current folder: not the driver's
        return []
    query = [command, "--query-gpu=name,compute_cap,uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        rows = [[part.strip() for part in line.rsplit(",", 2)] for line in answer.splitlines()]
        gpus = [(name, float(capability), uuid) for name, capability, uuid in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = _visible(gpus, visible)
    return [(name, capability) for name, capability, _ in gpus]


def _visible(gpus: list[tuple[str, float, str]], visible: str) -> list[tuple[str, float, str]]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by index or by the beginning of their UUID, up to the first mistake."""
    chosen = []
    for entry in map(str.strip, visible.split(",")):
        if entry.isdigit():
            matches = gpus[int(entry) : int(entry) + 1]
        else:
            matches = [gpu for gpu in gpus if entry.startswith("GPU-") and gpu[2].startswith(entry)]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen
