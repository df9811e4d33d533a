"""What this machine has, against what the system says; NVIDIA's tool is played by a script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kzoo.hardware import probe

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A function that installs an nvidia-smi which gives an answer."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(answer, status=0):
        script = tmp_path / "nvidia-smi"
        script.write_text(f"#!/bin/sh\ncat <<'EOF'\n{answer}\nEOF\nexit {status}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


TWO = "NVIDIA H100 80GB HBM3, 9.0, GPU-aaaa1111-0000\nTesla P100-PCIE-16GB, 6.0, GPU-bbbb2222-0000"


@LINUX
def test_cores_memory_and_cpu_are_the_systems():
    found = probe()
    assert found.cores == len(os.sched_getaffinity(0))
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert found.memory_bytes == int(total.split()[1]) * 1024
    flags = subprocess.run(["cat", "/proc/cpuinfo"], capture_output=True, text=True, check=True).stdout.split()
    assert found.cpu_bfloat16 == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))
    assert found.cpu


def test_gpus(nvidia_smi):
    nvidia_smi(TWO)
    found = probe()
    assert found.gpus == ("NVIDIA H100 80GB HBM3", "Tesla P100-PCIE-16GB")
    assert not found.tensor_cores  # the P100 has none


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        ("0", ["NVIDIA H100 80GB HBM3"]),
        ("1,0", ["Tesla P100-PCIE-16GB", "NVIDIA H100 80GB HBM3"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["NVIDIA H100 80GB HBM3"]),
        ("7", []),
        ("GPU-bbbb2222-0000", ["Tesla P100-PCIE-16GB"]),
        ("GPU-aaaa", ["NVIDIA H100 80GB HBM3"]),
        ("GPU-cccc", []),
    ],
)
def test_hidden_gpus_do_not_count(nvidia_smi, monkeypatch, visible, gpus):
    nvidia_smi(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = probe()
    assert list(found.gpus) == gpus
    assert found.tensor_cores == (gpus == ["NVIDIA H100 80GB HBM3"])


@pytest.mark.parametrize(
    ("answer", "status"),
    [("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9), ("No devices", 0), ("", 0)],
)
def test_a_broken_driver_means_no_gpu(nvidia_smi, answer, status):
    nvidia_smi(answer, status)
    found = probe()
    assert found.gpus == ()
    assert not found.tensor_cores
