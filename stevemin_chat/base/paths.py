"""Where stevemin keeps its files, how it keeps them private, and who may use them.

One process at a time runs the chat on a data folder: it holds a lock that the kernel drops when it dies.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from stevemin_chat.base.errors import AlreadyRunning, FolderNotWritable

__all__ = [
    "PRIVATE_FILE",
    "PRIVATE_FOLDER",
    "Paths",
    "SingleInstance",
    "builtin_catalogue_path",
    "delete_partials",
    "prepare_folder",
    "project_folder",
    "write_private",
]


PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700  # modes: only the owner reads, writes, enters

_APP = "stevemin"


@dataclass(frozen=True, slots=True)
class Paths:
    """The four folders of stevemin and the files in them.

    Args:
        config: settings and the user's catalogue; read only.
        data: the database and pulled models.
        cache: files that may be deleted at any time.
        logs: rotating log files.
    """

    config: Path
    data: Path
    cache: Path
    logs: Path

    @classmethod
    def resolve(cls, environment: Mapping[str, str] = os.environ) -> Paths:
        """The folders for this user; `STEVEMIN_HOME` puts all four under one folder."""
        home = environment.get("STEVEMIN_HOME", "").strip()
        if home:
            root = Path(home).expanduser().absolute()
            return cls(root / "config", root / "data", root / "cache", root / "logs")
        import platformdirs

        folders = platformdirs.PlatformDirs(_APP, appauthor=False)
        return cls(
            folders.user_config_path, folders.user_data_path, folders.user_cache_path, folders.user_log_path
        )

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def user_catalogue(self) -> Path:
        return self.config / "models.toml"

    @property
    def database(self) -> Path:
        return self.data / "stevemin.db"

    @property
    def drafts(self) -> Path:
        return self.data / "drafts.json"

    @property
    def models_dir(self) -> Path:
        return self.data / "models"

    @property
    def parked_dir(self) -> Path:
        """Holds the KV caches of chats that the engine's memory has no room for."""
        return self.cache / "parked"

    @property
    def lock_file(self) -> Path:
        return self.data / "stevemin.lock"

    @property
    def log_file(self) -> Path:
        return self.logs / "stevemin.log"

    def prepare(self) -> None:
        """Create the data folder and prove that it is writable.

        Raises:
            FolderNotWritable: the folder cannot be created, or files cannot be created in it.
        """
        prepare_folder(self.data)


def prepare_folder(folder: Path) -> None:
    """Create `folder`, private, and write into it: on network and read-only mounts permission bits lie.

    Raises:
        FolderNotWritable: the folder cannot be created, or files cannot be created in it.
    """
    probe = folder / f".write-test-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise FolderNotWritable(folder, error) from error


def builtin_catalogue_path() -> Path:
    """The shipped `models.toml`: beside this package in a wheel, at the root in a checkout."""
    packaged = Path(__file__).parents[1] / "models.toml"
    return packaged if packaged.is_file() else Path(__file__).parents[2] / "models.toml"


def write_private(path: Path, text: str) -> None:
    """Write or replace a file that only its owner may read.

    It is private from its creation on, and a reader sees the old text or the new, never a part. Partial files
    that killed processes left beside it are deleted.

    Raises:
        OSError: it cannot be written; an existing file is as it was.
    """
    delete_partials(path)
    descriptor, partial = _locked_partial(path)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(path)  # under the lock, which closing releases
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def delete_partials(path: Path) -> None:
    """Delete the partial files that `write_private` left beside `path` when its process was killed.

    A file that another process is writing now stays: its writer holds a lock on it. Errors are ignored.
    """
    ours = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")  # as tempfile names it
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in list(entries):
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _delete_unlocked(entry.path)


def _delete_unlocked(name: str) -> None:
    descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name)
    finally:
        os.close(descriptor)


def _locked_partial(path: Path) -> tuple[int, Path]:
    import tempfile  # late: the first screen does not need it

    while True:
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        except OSError as error:
            error.filename = str(path)  # nobody knows the other name
            raise
        with suppress(OSError):  # a file system without locks: nobody deletes partial files there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # another process took it for a leftover before it was locked


def project_folder() -> str | None:
    """The project that a new chat belongs to: the repository around the current folder, else that folder.

    None in the home folder, at the root and in a deleted folder. A repository that is the whole home folder
    is no project.
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
    """The path as text; a name may be bytes that are not UTF-8."""
    return os.fsencode(folder).decode("utf-8", "replace")


class SingleInstance:
    """Holds the lock file `path` for its `with` block.

    Raises:
        AlreadyRunning: another process holds it.
        FolderNotWritable: the lock's folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> Self:
        prepare_folder(self._path.parent)
        # Never deleted: a process that locks a deleted file would not see the next one's lock.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
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
