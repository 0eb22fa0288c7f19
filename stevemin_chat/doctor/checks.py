"""What was installed on this machine, and what it can do.

The files that stevemin reads and writes.
"""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from engine.devices import DeviceMonitor, DeviceReading
from engine.errors import ModelError
from memory.errors import StoreError
from memory.storage.database import Database
from stevemin_chat.base import STARTER_MODEL, ConfigFileError, Paths, builtin_catalogue_path, load_config
from stevemin_chat.doctor.finding import INSTALL, Check, Status
from stevemin_chat.models.catalogue import Catalogue
from stevemin_chat.models.local import entries
from stevemin_chat.text import size

__all__ = [
    "catalogue",
    "compilers",
    "data_folder",
    "database",
    "devices",
    "disk",
    "llama",
    "packages",
    "python",
    "settings",
    "starter",
]


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
        from engine.llama.lib import supports_gpu_offload, system_info

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
        free = size(reading.ram_total - reading.ram_used, reading.ram_total)
        parts.append(f"RAM {free} free")
    for gpu in reading.gpus:
        parts.append(f"{gpu.name or 'GPU'} VRAM {size(gpu.vram_total)}")
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


_LITTLE_DISK, _NO_DISK = 2 << 30, 100 << 20  # bytes


def settings(paths: Paths) -> Iterator[Check]:
    """Is config.toml valid?"""
    file = paths.config_file
    try:
        load_config(file)
    except ConfigFileError as error:
        yield Check(id="settings", title="Settings", status="fail", found=str(error), mend=f"Edit {file}")
        return
    found = str(file) if file.exists() else f"the defaults ({file} does not exist)"
    yield Check(id="settings", title="Settings", status="ok", found=found)


def catalogue(paths: Paths) -> Iterator[Check]:
    """Are the catalogues valid, and what of them is here?"""
    known = _load_catalogue(paths)
    here = [entry.id for entry in entries(known, paths.models_dir) if entry.installed]
    found = f"{len(known)} models known, {len(here)} here: {', '.join(here) or 'none'}"
    yield Check(id="catalogue", title="Catalogue", status="ok", found=found)


def starter(paths: Paths) -> Iterator[Check]:
    """Is the starter model here?"""
    try:
        path = _load_catalogue(paths).resolve(STARTER_MODEL, paths.models_dir)
    except ModelError as error:
        yield Check(id="starter", title="Starter model", status="fail", found=str(error), mend=INSTALL)
        return
    yield Check(id="starter", title="Starter model", status="ok", found=str(path))


def data_folder(paths: Paths) -> Iterator[Check]:
    """Can it be written to?"""
    try:
        paths.prepare()
    except OSError as error:
        yield Check(
            id="data",
            title="Data folder",
            status="fail",
            found=f"{paths.data} cannot be written to ({error.strerror})",
            mend="Give yourself the right to write there, or set STEVEMIN_HOME to another folder.",
        )
        return
    yield Check(id="data", title="Data folder", status="ok", found=str(paths.data))


def disk(paths: Paths) -> Iterator[Check]:
    """Is there room?"""
    folder = next(folder for folder in (paths.data, *paths.data.parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    status: Status = "fail" if free < _NO_DISK else "warn" if free < _LITTLE_DISK else "ok"
    mend = "" if status == "ok" else "Free some space; models are gigabytes."
    yield Check(id="disk", title="Disk", status=status, found=f"{size(free)} free in {folder}", mend=mend)


def database(paths: Paths) -> Iterator[Check]:
    """Is it whole?"""
    if not paths.database.exists():
        yield Check(id="database", title="Database", status="ok", found="none yet")
        return
    verdict = _verify(paths.database)
    yield Check(
        id="database",
        title="Database",
        status="ok" if verdict is None else "fail",
        found=verdict or f"{paths.database} ({size(paths.database.stat().st_size)}), no damage found",
        mend=f"Move {paths.database} away and start anew, or put a copy of yours back." if verdict else "",
    )


def _verify(database: Path) -> str | None:
    try:
        opened = Database(database)
        try:
            verdict = opened.call(lambda: [str(row[0]) for row in opened.query("PRAGMA quick_check(3)")])
        finally:
            opened.close()
    except StoreError as error:
        return str(error)
    return None if verdict == ["ok"] else f"{database} is damaged: {'; '.join(verdict)}"


def _load_catalogue(paths: Paths) -> Catalogue:
    return Catalogue.load(builtin_catalogue_path(), paths.user_catalogue)
