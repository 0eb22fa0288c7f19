"""An empty, migrated database for tests to copy: migrating for each test would dominate its time."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from memory import Memory

__all__ = ["copy_template"]


def copy_template(path: Path) -> Path:
    """Copy an empty database to this path; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Path(shutil.copy(_template(), path))


@cache
def _template() -> Path:
    folder = tempfile.mkdtemp(prefix="stevemin-template-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "empty.db")
    Memory(path).close()  # the last connection moves the write-ahead log into the file
    return path
