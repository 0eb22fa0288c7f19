"""What stevemin needs from this machine, checked one by one: what is installed, then the files it uses."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from engine.devices import DeviceMonitor, DeviceReading
from engine.errors import ModelError
from memory.errors import StoreError
from memory.storage import Database
from stevemin_chat.base import (
    STARTER_MODEL,
    ConfigFileError,
    Paths,
    builtin_catalogue_path,
    load_config,
)
from stevemin_chat.doctor.check import Check, Status
from stevemin_chat.doctor.embedding import check_embedder, check_reranker
from stevemin_chat.models import Catalogue, listed_models
from stevemin_chat.notices import describe
from stevemin_chat.text import size

__all__ = ["examine"]

_INSTALL = "Run: make install"
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
_LITTLE_DISK, _NO_DISK = 2 << 30, 100 << 20  # bytes

_log = logging.getLogger("stevemin.doctor")


def examine(paths: Paths) -> list[Check]:
    """Check everything. Never raises: a check that cannot be made has failed."""
    return [check for look in _LOOKS for check in _safely(look, paths)]


# What is installed


def _python(paths: Paths) -> Iterator[Check]:
    version = platform.python_version()
    new_enough = sys.version_info >= (3, 11)
    yield Check(
        id="python",
        title="Python",
        status="ok" if new_enough else "fail",
        found=f"{version} at {sys.executable}",
        mend="" if new_enough else "Install Python 3.11 or newer.",
    )


def _packages(paths: Paths) -> Iterator[Check]:
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
        mend=_INSTALL if missing else "",
    )


def _llama(paths: Paths) -> Iterator[Check]:
    try:
        from engine.llama import supports_gpu_offload, system_info

        build, offload = system_info(), supports_gpu_offload()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        _log.warning("llama.cpp cannot be loaded", exc_info=error)
        yield Check(
            id="llama", title="llama.cpp", status="fail", found=f"cannot be loaded: {error}", mend=_INSTALL
        )
        return
    yield Check(id="llama", title="llama.cpp", status="ok", found=build)
    yield _offload(offload)


def _offload(supported: bool) -> Check:
    gpus = ", ".join(gpu.name or "GPU" for gpu in _read_devices().gpus)
    if gpus and not supported:
        return Check(
            id="offload",
            title="GPU offload",
            status="warn",
            found=f"{gpus} found, but this build of llama.cpp runs on the CPU only",
            mend="Install the CUDA toolkit, then run: GPU=cuda make install",
        )
    if supported:
        found = f"this build can use a GPU ({gpus})" if gpus else "this build can use a GPU"
    else:
        found = "built for the CPU; no NVIDIA GPU found"
    return Check(id="offload", title="GPU offload", status="ok", found=found)


def _devices(paths: Paths) -> Iterator[Check]:
    reading = _read_devices()
    parts = [f"{gpu.name or 'GPU'} VRAM {size(gpu.vram_total)}" for gpu in reading.gpus]
    if reading.ram_total is not None and reading.ram_used is not None:
        parts.insert(0, f"RAM {size(reading.ram_total - reading.ram_used, reading.ram_total)} free")
    yield Check(id="devices", title="Devices", status="ok", found=", ".join(parts) or "n/a")


def _compilers(paths: Paths) -> Iterator[Check]:
    names = {"a C++ compiler": ("c++", "g++", "clang++"), "cmake": ("cmake",), "make": ("make",)}
    missing = [what for what, tools in names.items() if not any(shutil.which(tool) for tool in tools)]
    yield Check(
        id="compilers",
        title="Compilers",
        status="warn" if missing else "ok",
        found=f"missing: {', '.join(missing)}" if missing else "C++ compiler, cmake, make",
        mend="Needed only to build llama.cpp again: sudo apt install build-essential cmake"
        if missing
        else "",
    )


def _read_devices() -> DeviceReading:
    return DeviceMonitor().read()


# The files that stevemin reads and writes


def _settings(paths: Paths) -> Iterator[Check]:
    file = paths.config_file
    try:
        load_config(file)
    except ConfigFileError as error:
        yield Check(id="settings", title="Settings", status="fail", found=str(error), mend=f"Edit {file}")
        return
    found = str(file) if file.exists() else f"the defaults ({file} does not exist)"
    yield Check(id="settings", title="Settings", status="ok", found=found)


def _catalogue(paths: Paths) -> Iterator[Check]:
    known = _load_catalogue(paths)
    here = [model.id for model in listed_models(known, paths.models_dir) if model.installed]
    found = f"{len(known)} models known, {len(here)} here: {', '.join(here) or 'none'}"
    yield Check(id="catalogue", title="Catalogue", status="ok", found=found)


def _starter(paths: Paths) -> Iterator[Check]:
    try:
        path = _load_catalogue(paths).resolve(STARTER_MODEL, paths.models_dir)
    except ModelError as error:
        yield Check(id="starter", title="Starter model", status="fail", found=str(error), mend=_INSTALL)
        return
    yield Check(id="starter", title="Starter model", status="ok", found=str(path))


def _data_folder(paths: Paths) -> Iterator[Check]:
    try:
        paths.prepare()
    except OSError as error:
        yield Check(
            id="data",
            title="Data folder",
            status="fail",
            found=f"{paths.data} cannot be written to ({error.strerror})",
            mend="Make it writable, or set STEVEMIN_HOME to another folder.",
        )
        return
    yield Check(id="data", title="Data folder", status="ok", found=str(paths.data))


def _disk(paths: Paths) -> Iterator[Check]:
    folder = next(folder for folder in (paths.data, *paths.data.parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    status: Status = "fail" if free < _NO_DISK else "warn" if free < _LITTLE_DISK else "ok"
    mend = "" if status == "ok" else "Free some space; models take gigabytes."
    yield Check(id="disk", title="Disk", status=status, found=f"{size(free)} free in {folder}", mend=mend)


def _database(paths: Paths) -> Iterator[Check]:
    file = paths.database
    if not file.exists():
        yield Check(id="database", title="Database", status="ok", found="none yet")
        return
    damage = _damage(file)
    yield Check(
        id="database",
        title="Database",
        status="ok" if damage is None else "fail",
        found=damage or f"{file} ({size(file.stat().st_size)}), no damage found",
        mend=f"Restore a backup (stevemin restore FILE), or move {file} away to start empty."
        if damage
        else "",
    )


def _damage(database: Path) -> str | None:
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


_Look = Callable[[Paths], Iterator[Check]]

_LOOKS: tuple[_Look, ...] = (
    _python,
    _packages,
    _llama,
    _devices,
    _compilers,
    _settings,
    _catalogue,
    _starter,
    _data_folder,
    _disk,
    _database,
    check_embedder,
    check_reranker,
)


def _safely(look: _Look, paths: Paths) -> Iterator[Check]:
    try:
        yield from look(paths)
    except Exception as error:
        name = look.__name__.removeprefix("_")
        yield Check(id=name, title=name.replace("_", " "), status="fail", found=describe(error).text)
