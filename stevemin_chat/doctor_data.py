"""The files that stevemin reads and writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ModelError
from engine.models import Catalogue
from memory.database import Database
from memory.errors import StoreError
from stevemin_chat.config import STARTER_MODEL, load_config
from stevemin_chat.doctor_check import INSTALL, Check, Status
from stevemin_chat.errors import ConfigFileError
from stevemin_chat.model_entries import entries
from stevemin_chat.paths import Paths, builtin_catalogue_path
from stevemin_chat.units import human_bytes

__all__ = ["catalogue", "data_folder", "database", "disk", "settings", "starter"]

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
    yield Check(
        id="disk", title="Disk", status=status, found=f"{human_bytes(free)} free in {folder}", mend=mend
    )


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
        found=verdict or f"{paths.database} ({human_bytes(paths.database.stat().st_size)}), no damage found",
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
