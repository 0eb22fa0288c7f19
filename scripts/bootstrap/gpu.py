"""Chooses the GPU backend that llama.cpp is compiled with."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bootstrap.console import SetupError

__all__ = ["BACKENDS", "GpuChoice", "choose", "cmake_flags", "compiler_environment", "identity"]

BACKENDS = ("cuda", "vulkan", "metal", "none")
CUDA_HOMES = ("/usr/local/cuda",)


@dataclass(frozen=True)
class GpuChoice:
    """A backend, and whether a person chose it.

    Args:
        probe: the tools on the machine when the backend was detected.
        note: a line for the person, or empty.
    """

    backend: str
    by_hand: bool
    probe: str = ""
    note: str = ""


def choose(asked: str, remembered: GpuChoice | None) -> GpuChoice:
    """Choose by the variable GPU, else as last time, else by what the machine has.

    Raises:
        SetupError: the name is unknown or the backend's compiler is missing.
    """
    asked = asked.strip().lower()
    if asked in BACKENDS:
        _check_tools(asked)
        return GpuChoice(asked, by_hand=True)
    if asked not in ("", "auto"):
        raise SetupError(f"Unknown GPU={asked}; use {', '.join(BACKENDS)} or auto.")
    if not asked and remembered is not None and (remembered.by_hand or remembered.probe == _probe()):
        return remembered
    return _detect()


def cmake_flags(backend: str) -> list[str]:
    """CMake options of llama.cpp for a backend."""
    metal_off = ["-DGGML_METAL=off"] if platform.system() == "Darwin" else []
    return {
        "cuda": ["-DGGML_CUDA=on"],
        "vulkan": ["-DGGML_VULKAN=on"],
        "metal": ["-DGGML_METAL=on"],
        "none": metal_off,
    }[backend]


def compiler_environment(backend: str) -> dict[str, str]:
    """Environment variables that the build needs besides the options."""
    nvcc = find_nvcc()
    if backend == "cuda" and nvcc and not shutil.which("nvcc"):
        return {"CUDACXX": nvcc}
    return {}


def identity(backend: str) -> str:
    """What a CUDA binary depends on: llama.cpp is compiled for the cards it finds."""
    if backend != "cuda":
        return ""
    version = _output([find_nvcc() or "nvcc", "--version"])
    cards = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return hashlib.sha256(f"{version}\n{cards}".encode()).hexdigest()


def find_nvcc() -> str | None:
    """The CUDA compiler, even if it is not on PATH."""
    found = shutil.which("nvcc")
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), *CUDA_HOMES):
        if found is None and home and os.access(Path(home, "bin", "nvcc"), os.X_OK):
            found = str(Path(home, "bin", "nvcc"))
    return found


def _check_tools(backend: str) -> None:
    if backend == "cuda" and not find_nvcc():
        raise SetupError("GPU=cuda needs the CUDA compiler, nvcc: sudo apt-get install nvidia-cuda-toolkit")
    if backend == "vulkan" and not shutil.which("glslc"):
        raise SetupError(
            "GPU=vulkan needs glslc and the Vulkan headers: "
            "sudo apt-get install glslc libvulkan-dev spirv-headers"
        )
    if backend == "metal" and platform.system() != "Darwin":
        raise SetupError("GPU=metal works on macOS only; use cuda, vulkan or none.")


def _detect() -> GpuChoice:
    probe = _probe()
    if platform.system() == "Darwin":
        return GpuChoice("metal" if platform.machine() == "arm64" else "none", by_hand=False, probe=probe)
    card = bool(_output(["nvidia-smi", "--list-gpus"]).strip()) if shutil.which("nvidia-smi") else False
    if card and find_nvcc():
        return GpuChoice("cuda", by_hand=False, probe=probe)
    note = ""
    if card:
        note = "Found an NVIDIA GPU but no nvcc, so llama.cpp is built for the CPU. To use the GPU: "
        note += "sudo apt-get install nvidia-cuda-toolkit, then make chat."
    return GpuChoice("none", by_hand=False, probe=probe, note=note)


def _probe() -> str:
    # Running nvidia-smi takes up to a second; looking for it and nvcc costs nothing.
    return f"nvcc={find_nvcc() or ''} nvidia-smi={shutil.which('nvidia-smi') or ''}"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
