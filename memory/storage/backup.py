"""Copies of the store: made while it is in use, checked, and put back in its place.

They are files of their own, with connections of their own: the store's connection is not held up.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from memory.errors import BackupDamaged, StoreInUse, StoreUnavailable
from memory.storage.database import APPLICATION_ID, primary_code, translate, writing
from memory.storage.schema import MIGRATIONS

__all__ = ["Contents", "back_up", "inspect_backup", "restore"]

_WAIT_S = 10.0
_ENDINGS = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a store or in its copy.

    Args:
        size_bytes: of the file.
    """

    chats: int
    messages: int
    facts: int
    size_bytes: int


def back_up(database: Path, target: Path) -> Contents:
    """Copy the store to a new file that only its owner may read; others may use the store meanwhile.

    The copy is the store at one moment, vectors included, checked before it appears under its name. It has no
    trace of what was deleted.

    Raises:
        StoreUnavailable: there is no store, or a file cannot be read or written.
        BackupDamaged: the store is damaged, so its copy would be, too.
        DiskFull
    """
    if not database.is_file():
        raise StoreUnavailable(f"There are no chats to back up: {database} does not exist.")
    with _partial(target) as partial:
        with _translated(target), closing(_connect(database)) as source:
            source.execute("VACUUM INTO ?", (str(partial),))
        contents = inspect_backup(partial, called=target)
        _settle(partial)
        with writing(target, str(target)):
            partial.replace(target)
    return contents


def inspect_backup(file: Path, *, called: Path | None = None) -> Contents:
    """What is in a copy of the store, after every page of it was checked.

    Args:
        called: the name for messages.

    Raises:
        StoreUnavailable: it cannot be read, is no copy of a store, or a newer version wrote it.
        BackupDamaged
    """
    name = called or file
    _require(file)
    with _translated(name), closing(_connect(file)) as copy:
        if copy.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreUnavailable(f"{name} is no backup of stevemin's chats.")
        if copy.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
            raise BackupDamaged(name)
        known = {migration.name for migration in MIGRATIONS}
        newer = [row[0] for row in copy.execute("SELECT name FROM migrations") if row[0] not in known]
        if newer:
            raise StoreUnavailable(f"{name} was written by a newer version of stevemin. Update stevemin.")
        chats, messages, facts = (
            int(copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in ("sessions", "messages", "facts")
        )
    return Contents(chats, messages, facts, file.stat().st_size)


def _require(file: Path) -> None:
    if not file.is_file():
        raise StoreUnavailable(f"There is no file {file}.")


def restore(backup: Path, database: Path) -> Path | None:
    """Put a checked copy in the place of the store, and keep the present store beside it.

    Returns:
        Where the present store is now; None if there was none.

    Raises:
        StoreInUse: another process has the store open: it would go on writing to the old one.
        StoreUnavailable, BackupDamaged, DiskFull: nothing was changed.
    """
    _require(backup)
    if (user := _user_of(database)) is not None:
        raise StoreInUse(database, user)
    with _partial(database) as partial:
        with writing(database, str(database)):
            shutil.copyfile(backup, partial)
        inspect_backup(partial, called=backup)
        _renew_identity(partial)
        _settle(partial)
        kept = _set_aside(database)
        with writing(database, str(database)):
            partial.replace(database)
    return kept


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """An empty private file beside `target`, which is deleted unless it is renamed."""
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    with writing(target, str(target)):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield partial
    finally:
        for ending in (*_ENDINGS, "-journal"):
            with suppress(OSError):
                partial.with_name(partial.name + ending).unlink(missing_ok=True)


def _renew_identity(file: Path) -> None:
    """Make every index of its vectors foreign: the same numbers may stand for other passages in it."""
    with _translated(file), closing(_connect(file)) as copy:
        if copy.execute("SELECT 1 FROM sqlite_schema WHERE name = 'settings'").fetchone():  # not in old ones
            copy.execute("UPDATE settings SET value = lower(hex(randomblob(16))) WHERE name = 'store'")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)


def _settle(file: Path) -> None:
    """Wait until it is on the disk."""
    with writing(file, str(file)):
        descriptor = os.open(file, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _set_aside(database: Path) -> Path | None:
    """Rename a store with its log, which a damaged one may need."""
    if not database.exists():
        return None
    with suppress(sqlite3.Error), closing(_connect(database)) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    number = 1
    while (kept := database.with_name(f"{database.stem}.before-restore-{number}{database.suffix}")).exists():
        number += 1
    with writing(database, str(database)):
        for ending in _ENDINGS[::-1]:  # the file itself last: until then nothing has changed
            part = database.with_name(database.name + ending)
            if part.exists():
                part.rename(kept.with_name(kept.name + ending))
    return kept


def _user_of(database: Path) -> int | None:
    """A process that has the store open, besides this one."""
    import psutil

    wanted = str(database.resolve())
    for process in psutil.process_iter(["pid"]):
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(file.path == wanted for file in process.open_files()):
                return int(process.pid)
    return None


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if primary_code(error) == sqlite3.SQLITE_CORRUPT:
            raise BackupDamaged(path) from error
        raise translate(error, path, str(path)) from error
