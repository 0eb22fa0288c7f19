"""The project of a chat: the folder that stevemin was started in, or the repository around it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["project_folder"]


def project_folder() -> str | None:
    """The nearest folder with a `.git`, from the current one upwards; else the current one.

    None where there is no project: in the home folder, at the root, or in a folder that is gone. A
    repository that is the whole home folder makes no project of what lies in it.
    """
    try:
        current, home = Path.cwd(), Path.home().resolve()
    except (OSError, RuntimeError):
        return None
    roots = {home, Path(current.anchor)}
    if current in roots:
        return None
    for folder in (current, *current.parents):
        if folder in roots:
            break
        if os.path.exists(folder / ".git"):  # Path.exists raises where a folder may not be entered
            return _storable(folder)
    return _storable(current)


def _storable(folder: Path) -> str:
    """A name may be bytes that are no UTF-8."""
    return os.fsencode(folder).decode("utf-8", "replace")
