"""One chat per data folder, kept by a lock that the kernel drops when the process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from stevemin_chat.errors import AlreadyRunning
from stevemin_chat.paths import prepare_folder

__all__ = ["AlreadyRunning", "SingleInstance"]


class SingleInstance:
    """Holds `path` locked while in its `with` block.

    Raises:
        AlreadyRunning: another process holds it.
        FolderNotWritable: the folder of the lock cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> Self:
        prepare_folder(self._path.parent)
        # The file is never deleted: a newcomer that locks a deleted file would not see the next one's lock.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(file, 32).decode("ascii", "ignore").strip()
            os.close(file)
            raise AlreadyRunning(int(pid) if pid.isdigit() else None, self._path.parent) from None
        except OSError:
            os.close(file)
            raise
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None
