"""What stevemin needs from this machine, looked at one by one."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from stevemin_chat.paths import Paths
from stevemin_chat.units import human_bytes

__all__ = ["Check", "Status", "examine"]

Status = Literal["ok", "warn", "fail"]

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
_INSTALL = "Run: make install"
_LITTLE_DISK, _NO_DISK = 2 << 30, 100 << 20  # bytes

_log = logging.getLogger("stevemin.doctor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Args:
        found: what there is, or what is wrong with it.
        mend: what to do about it; empty when nothing is to be done.
    """

    id: str
    title: str
    status: Status
    found: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def examine(paths: Paths) -> list[Check]:
    """Look at everything. Never raises: a check that cannot be made is one that failed."""
    checks: list[Check] = []
    for look in (
        _python,
        _packages,
        _llama,
        _devices,
        _settings,
        _catalogue,
        _starter,
        _data_folder,
        _disk,
        _database,
        _compilers,
    ):
        checks.extend(_safely(look, paths))
    return checks


def _safely(look: Callable[[Paths], Iterator[Check]], paths: Paths) -> Iterator[Check]:
    from stevemin_chat.notices import describe

    try:
        yield from look(paths)
    except Exception as error:
        name = look.__name__.strip("_")
        yield Check(id=name, title=name.replace("_", " "), status="fail", found=describe(error).text)


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


def _devices(paths: Paths) -> Iterator[Check]:
    reading = _read_devices()
    parts = []
    if reading.ram_total is not None and reading.ram_used is not None:
        free = human_bytes(reading.ram_total - reading.ram_used)
        parts.append(f"RAM {free} free of {human_bytes(reading.ram_total)}")
    for gpu in reading.gpus:
        vram = human_bytes(gpu.vram_total) if gpu.vram_total is not None else "n/a"
        parts.append(f"{gpu.name or 'GPU'} VRAM {vram}")
    yield Check(id="devices", title="Devices", status="ok", found=", ".join(parts) or "n/a")


def _settings(paths: Paths) -> Iterator[Check]:
    from stevemin_chat.config import load_config
    from stevemin_chat.errors import ConfigFileError

    file = paths.config_file
    try:
        load_config(file)
    except ConfigFileError as error:
        yield Check(id="settings", title="Settings", status="fail", found=str(error), mend=f"Edit {file}")
        return
    found = str(file) if file.exists() else f"the defaults ({file} does not exist)"
    yield Check(id="settings", title="Settings", status="ok", found=found)


def _catalogue(paths: Paths) -> Iterator[Check]:
    catalogue = _load_catalogue(paths)
    from stevemin_chat.model_store import entries

    here = [entry.id for entry in entries(catalogue, paths.models_dir) if entry.installed]
    found = f"{len(catalogue)} models known, {len(here)} here: {', '.join(here) or 'none'}"
    yield Check(id="catalogue", title="Catalogue", status="ok", found=found)


def _starter(paths: Paths) -> Iterator[Check]:
    from engine.errors import ModelError
    from stevemin_chat.config import STARTER_MODEL

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
            mend="Give yourself the right to write there, or set STEVEMIN_HOME to another folder.",
        )
        return
    yield Check(id="data", title="Data folder", status="ok", found=str(paths.data))


def _disk(paths: Paths) -> Iterator[Check]:
    folder = next(folder for folder in (paths.data, *paths.data.parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    status: Status = "fail" if free < _NO_DISK else "warn" if free < _LITTLE_DISK else "ok"
    mend = "" if status == "ok" else "Free some space; models are gigabytes."
    yield Check(
        id="disk", title="Disk", status=status, found=f"{human_bytes(free)} free in {folder}", mend=mend
    )


def _database(paths: Paths) -> Iterator[Check]:
    if not paths.database.exists():
        yield Check(id="database", title="Database", status="ok", found="none yet")
        return
    verdict = _verify(paths.database)
    yield Check(
        id="database",
        title="Database",
        status="ok" if verdict is None else "fail",
        found=verdict or f"{paths.database} ({human_bytes(paths.database.stat().st_size)}), no damage found",
        mend=f"Move {paths.database} away and start anew, or put a copy of yours back." if verdict else "",
    )


def _verify(database: Path) -> str | None:
    from memory.database import Database
    from memory.errors import StoreError

    try:
        opened = Database(database)
        try:
            verdict = opened.call(lambda: [str(row[0]) for row in opened.query("PRAGMA quick_check(3)")])
        finally:
            opened.close()
    except StoreError as error:
        return str(error)
    return None if verdict == ["ok"] else f"{database} is damaged: {'; '.join(verdict)}"


def _compilers(paths: Paths) -> Iterator[Check]:
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


def _load_catalogue(paths: Paths) -> Any:
    from engine.models import Catalogue
    from stevemin_chat.paths import builtin_catalogue_path

    return Catalogue.load(builtin_catalogue_path(), paths.user_catalogue)


def _read_devices() -> Any:
    from engine.devices import DeviceMonitor

    return DeviceMonitor().read()
