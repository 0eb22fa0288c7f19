"""The only importer of sqlite3: one connection, owned by one thread.

Other threads pass a function to `call`; only frozen values come back.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from memory.errors import DiskFull, KeywordIndexDamaged, StoreError, StoreUnavailable
from memory.text import analysed

__all__ = [
    "APPLICATION_ID",
    "IN_MEMORY",
    "Database",
    "Row",
    "Value",
    "now",
    "primary_code",
    "translate",
    "writing",
]

P = ParamSpec("P")
T = TypeVar("T")
Row = sqlite3.Row
Value = str | int | float | bytes | None

APPLICATION_ID = 0x53544D4E  # "STMN": tells our files from other programs' databases
IN_MEMORY = ":memory:"  # the path of a database without a file
_ALMOST_FULL_BYTES = 1 << 20
_CHECKPOINT_WAIT_MS = 250
_CACHE_KIB = 65_536  # upper limit; a search reads pages from all over the file


class Database:
    """A SQLite file in WAL mode, or a database in memory that writes no file at all.

    Args:
        path: the file, whose missing folders are created; `IN_MEMORY` for a database that is gone once
            it is closed.
        busy_timeout_s: how long to wait for another process that is writing.

    Attributes:
        path: the file; None in memory.

    Raises:
        StoreUnavailable: the file cannot be opened or written, or belongs to another program.
        DiskFull: there is no room to create it.
    """

    def __init__(self, path: Path | str, *, busy_timeout_s: float = 5.0) -> None:
        self.path = None if str(path) == IN_MEMORY else Path(path)
        self._name = str(self.path or "in memory")  # as error messages have it
        self._busy_timeout_s = busy_timeout_s
        self._depth = 0
        self._connection: sqlite3.Connection | None = None
        self._thread_id: int | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memory-database")
        try:
            self.call(self._open)
        except BaseException:
            self.close()
            raise

    def call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` on the connection's thread and wait for its result."""
        if threading.get_ident() == self._thread_id:
            return work(*args, **kwargs)
        return self.submit(work, *args, **kwargs).result()

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `work` on the connection's thread without waiting for it. Call from another thread only."""
        try:
            return self._executor.submit(work, *args, **kwargs)
        except RuntimeError:
            raise StoreUnavailable(f"The database {self._name} is closed.") from None

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        return self._run(sql, parameters).rowcount

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows of a SELECT."""
        cursor = self._run(sql, parameters)
        try:
            return cursor.fetchall()
        except sqlite3.Error as exc:
            self._fail(exc)

    @property
    def total_changes(self) -> int:
        """Rows changed since the connection was opened."""
        return 0 if self._connection is None else self._connection.total_changes

    def query_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row of a SELECT."""
        rows = self.query(sql, parameters)
        return rows[0] if rows else None

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A transaction. Nests: an inner block rolls back alone, the outermost commits."""
        depth = self._depth
        self.execute(f"SAVEPOINT level_{depth}" if depth else "BEGIN IMMEDIATE")
        self._depth = depth + 1
        try:
            yield
            self.execute(f"RELEASE level_{depth}" if depth else "COMMIT")
        except BaseException:
            self._roll_back(depth)
            raise
        finally:
            self._depth = depth

    def checkpoint(self) -> bool:
        """Copy the write-ahead log into the file and empty it: it still holds text that was deleted.

        Returns:
            False if another connection is reading it; then nothing may have changed.
        """
        self.query(f"PRAGMA busy_timeout={_CHECKPOINT_WAIT_MS}")  # others wait for this thread
        try:
            row = self.query_one("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self.query(f"PRAGMA busy_timeout={round(self._busy_timeout_s * 1000)}")
        return row is None or not row[0]

    def close(self) -> None:
        """Wait for running work, then close. Calling it twice is fine."""
        try:
            self._executor.submit(self._close).result()
        except RuntimeError:
            return
        finally:
            self._executor.shutdown()

    def _open(self) -> None:
        self._thread_id = threading.get_ident()
        if self.path is not None:
            self._create_file(self.path)
        try:
            self._connection = sqlite3.connect(
                self.path or IN_MEMORY,
                timeout=self._busy_timeout_s,
                isolation_level=None,
                cached_statements=256,
            )
        except sqlite3.Error as exc:
            self._fail(exc)
        self._connection.row_factory = sqlite3.Row
        self._connection.create_function("analysed", 1, analysed, deterministic=True)  # for triggers
        self._refuse_strangers()
        if self.path is None:
            self.query("PRAGMA temp_store=MEMORY")  # large sorts would go to a temporary file
        else:
            self._use_wal()
            self.query("PRAGMA synchronous=FULL")
        self.query("PRAGMA foreign_keys=ON")
        self.query("PRAGMA secure_delete=ON")
        self.query(f"PRAGMA cache_size=-{_CACHE_KIB}")

    def _create_file(self, path: Path) -> None:
        with writing(path, f"The database {path}"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                # Chats are private: SQLite gives its -wal and -shm files the mode of this one.
                if not path.exists():
                    path.touch(mode=0o600)
            except (FileExistsError, NotADirectoryError) as exc:
                raise StoreUnavailable(
                    f"The database {path} cannot be created: part of that path is a file, not a folder."
                ) from exc

    def _refuse_strangers(self) -> None:
        # Before any write: another program's database must stay untouched. Both values come from one
        # snapshot, because another process may be creating the file right now.
        self.execute("BEGIN")
        row = self.query_one("PRAGMA application_id")
        tables = self.query_one("SELECT count(*) FROM sqlite_schema")
        self.execute("ROLLBACK")
        owner = row[0] if row else 0
        if owner != APPLICATION_ID and (owner or (tables and tables[0])):
            raise StoreUnavailable(
                f"The file {self._name} is another program's database. Move it away or choose another folder."
            )

    def _use_wal(self) -> None:
        # Two processes that switch a new file to WAL at once get SQLITE_BUSY without the busy timeout.
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                self.query("PRAGMA journal_mode=WAL")
                return
            except StoreUnavailable as exc:
                cause = exc.__cause__
                if not isinstance(cause, sqlite3.Error) or primary_code(cause) != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _run(self, sql: str, parameters: Sequence[Value]) -> sqlite3.Cursor:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(f"The database {self._name} is closed.")
        # On a full disk SQLite itself rolls back. A block that swallowed that error must not continue
        # outside its transaction and commit half of its work.
        if self._depth and not connection.in_transaction:
            raise StoreError(f"A transaction on the database {self._name} was rolled back; start it again.")
        try:
            return connection.execute(sql, parameters)
        except sqlite3.Error as exc:
            self._fail(exc)

    def _roll_back(self, depth: int) -> None:
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        try:
            if depth:
                connection.execute(f"ROLLBACK TO level_{depth}")
                connection.execute(f"RELEASE level_{depth}")
            else:
                connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            self._fail(exc)

    def _fail(self, exc: sqlite3.Error) -> NoReturn:
        raise translate(exc, self.path, self._name) from exc


def primary_code(exc: sqlite3.Error) -> int:
    """SQLite's number for the kind of an error; 0 if it has none."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def translate(exc: sqlite3.Error, path: Path | None, name: str) -> StoreError:
    """An error of SQLite in words.

    Args:
        name: of the file, in the sentence.
    """
    code = primary_code(exc)
    full = code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _disk_is_full(path))
    if path is not None and full:
        return DiskFull(path)
    if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT_VTAB:
        return KeywordIndexDamaged(f"The keyword index in {name} is damaged.")
    sentence = _SENTENCES.get(code)
    if sentence is not None:
        return StoreUnavailable(sentence.format(path=name))
    # Not SQLite's message, which may quote a row: where text is not UTF-8, it shows all of it.
    reason = getattr(exc, "sqlite_errorname", None) or type(exc).__name__
    return StoreError(f"The database {name} refused a statement ({reason}).")


@contextmanager
def writing(path: Path, name: str) -> Iterator[None]:
    """What the system says to a file that cannot be written, in words.

    Args:
        name: of the file, in the sentence.

    Raises:
        DiskFull, StoreUnavailable
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path) from exc
        raise StoreUnavailable(
            f"{name} cannot be written: {exc.strerror or exc}. Check the folder and its permissions."
        ) from exc


def _disk_is_full(path: Path | None) -> bool:
    if path is None:
        return False
    try:
        return shutil.disk_usage(path.parent).free < _ALMOST_FULL_BYTES
    except OSError:
        return False


_NOT_WRITABLE = "The database {path} cannot be written. Check the permissions of the file and of its folder."
_SENTENCES = {
    sqlite3.SQLITE_NOTADB: "The file {path} is not a database. Move it away to start with an empty one.",
    sqlite3.SQLITE_CORRUPT: (
        "The database {path} is damaged. Restore a backup (stevemin restore FILE), or move it away."
    ),
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: "The database {path} cannot be opened. Check its folder and the permissions.",
    sqlite3.SQLITE_BUSY: "Another program is writing to {path}. Close it and try again.",
    sqlite3.SQLITE_LOCKED: "Another program is writing to {path}. Close it and try again.",
    sqlite3.SQLITE_IOERR: "The disk reported an error at {path}. Check its free space, quota and health.",
}


def now() -> str:
    """UTC in ISO 8601 with microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
