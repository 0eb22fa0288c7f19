"""What the numbers were measured on, in words; no names of hosts or people."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from engine import EngineConfig
from engine.devices import DeviceMonitor

__all__ = ["machine", "versions", "vram_mib"]


def machine() -> str:
    """Processor, cores, memory and GPUs."""
    reading = DeviceMonitor().read()
    cores = EngineConfig(model_path=Path("any.gguf")).thread_count
    parts = [_cpu(), f"{cores} cores" if cores > 1 else "1 core"]
    parts.append(f"{psutil.virtual_memory().total / 2**30:.0f} GiB")
    parts += [gpu.name for gpu in reading.gpus if gpu.name]
    return ", ".join(parts)


def versions() -> dict[str, str]:
    """Versions of Python, the system, stevemin and llama-cpp-python."""
    found = {"python": platform.python_version(), "system": platform.system()}
    for package in ("stevemin", "llama-cpp-python"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def vram_mib() -> int | None:
    """MiB in use on all GPUs by all processes; None where no GPU reports it."""
    used = [gpu.vram_used for gpu in DeviceMonitor().read().gpus if gpu.vram_used is not None]
    return sum(used) // 2**20 if used else None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with suppress(OSError, subprocess.SubprocessError):
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
