"""What was installed on this machine, and what it can do."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata

from engine.devices import DeviceMonitor, DeviceReading
from stevemin_chat.doctor_check import INSTALL, Check
from stevemin_chat.paths import Paths
from stevemin_chat.units import human_bytes

__all__ = ["compilers", "devices", "llama", "packages", "python"]

_PACKAGES = (
    "llama-cpp-python",
    "textual",
    "typer",
    "pydantic",
    "huggingface_hub",
    "jinja2",
    "numpy",
    "psutil",
)

_log = logging.getLogger("stevemin.doctor")


def python(paths: Paths) -> Iterator[Check]:
    """Its version."""
    version = platform.python_version()
    new_enough = sys.version_info >= (3, 11)
    yield Check(
        id="python",
        title="Python",
        status="ok" if new_enough else "fail",
        found=f"{version} at {sys.executable}",
        mend="" if new_enough else "Install Python 3.11 or newer.",
    )


def packages(paths: Paths) -> Iterator[Check]:
    """The libraries."""
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Check(
        id="packages",
        title="Packages",
        status="fail" if missing else "ok",
        found=f"missing: {', '.join(missing)}" if missing else ", ".join(found),
        mend=INSTALL if missing else "",
    )


def llama(paths: Paths) -> Iterator[Check]:
    """llama.cpp, and whether it can use a GPU."""
    try:
        from engine.llamacpp import supports_gpu_offload, system_info

        build, offload = system_info(), supports_gpu_offload()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        _log.warning("llama.cpp cannot be loaded", exc_info=error)
        yield Check(
            id="llama", title="llama.cpp", status="fail", found=f"cannot be loaded: {error}", mend=INSTALL
        )
        return
    yield Check(id="llama", title="llama.cpp", status="ok", found=build)
    yield _offload(offload)


def _offload(supported: bool) -> Check:
    gpus = [gpu.name or "GPU" for gpu in _read_devices().gpus]
    if supported:
        where = f" ({', '.join(gpus)})" if gpus else ""
        return Check(id="offload", title="GPU offload", status="ok", found=f"this build can use a GPU{where}")
    if gpus:
        return Check(
            id="offload",
            title="GPU offload",
            status="warn",
            found=f"{', '.join(gpus)} is there, but llama.cpp was built for the CPU only",
            mend="Install the CUDA toolkit, then run: GPU=cuda make install",
        )
    return Check(
        id="offload", title="GPU offload", status="ok", found="built for the CPU; no NVIDIA GPU found"
    )


def devices(paths: Paths) -> Iterator[Check]:
    """Memory and GPUs."""
    reading = _read_devices()
    parts = []
    if reading.ram_total is not None and reading.ram_used is not None:
        free = human_bytes(reading.ram_total - reading.ram_used)
        parts.append(f"RAM {free} free of {human_bytes(reading.ram_total)}")
    for gpu in reading.gpus:
        vram = human_bytes(gpu.vram_total) if gpu.vram_total is not None else "n/a"
        parts.append(f"{gpu.name or 'GPU'} VRAM {vram}")
    yield Check(id="devices", title="Devices", status="ok", found=", ".join(parts) or "n/a")


def compilers(paths: Paths) -> Iterator[Check]:
    """What building llama.cpp takes."""
    names = {"a C++ compiler": ("c++", "g++", "clang++"), "cmake": ("cmake",), "make": ("make",)}
    missing = [what for what, tools in names.items() if not any(shutil.which(tool) for tool in tools)]
    yield Check(
        id="compilers",
        title="Compilers",
        status="warn" if missing else "ok",
        found=f"missing: {', '.join(missing)}" if missing else "C++ compiler, cmake, make",
        mend="Only needed to build llama.cpp again: sudo apt install build-essential cmake"
        if missing
        else "",
    )


def _read_devices() -> DeviceReading:
    return DeviceMonitor().read()
