"""The connection: transactions, threads, and every way a file can be unusable."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from full_disk import full_disk

from memory import DiskFull, Memory, StoreError, StoreUnavailable
from memory.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "plain.db", busy_timeout_s=0.2)
    database.call(database.execute, "CREATE TABLE notes (text TEXT NOT NULL UNIQUE)")
    yield database
    database.close()


def notes(database: Database) -> list[str]:
    return [row["text"] for row in database.call(database.query, "SELECT text FROM notes ORDER BY text")]


def add(database: Database, text: str) -> None:
    database.execute("INSERT INTO notes VALUES (?)", (text,))


def test_an_inner_block_rolls_back_alone(database: Database) -> None:
    def inner() -> None:
        with database.atomic():
            add(database, "inner")
            raise KeyError

    def work() -> None:
        with database.atomic():
            add(database, "outer")
            with pytest.raises(KeyError):
                inner()
            add(database, "after")

    database.call(work)
    assert notes(database) == ["after", "outer"]


def test_an_outer_failure_rolls_back_the_inner_block(database: Database) -> None:
    def work() -> None:
        with database.atomic():
            with database.atomic():
                add(database, "inner")
            raise KeyError

    with pytest.raises(KeyError):
        database.call(work)
    assert notes(database) == []
    database.call(add, database, "later")
    assert notes(database) == ["later"]


def test_a_lost_transaction_is_not_continued_outside_of_it(database: Database) -> None:
    def work() -> None:
        with database.atomic():
            add(database, "first")
            database._connection.execute("ROLLBACK")  # type: ignore[union-attr]  # as SQLite does on its own
            add(database, "second")

    with pytest.raises(StoreError, match="rolled back"):
        database.call(work)
    assert notes(database) == []


def test_only_one_thread_touches_the_connection(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        idents = set(pool.map(lambda _: database.call(threading.get_ident), range(32)))
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_work_may_call_again_from_its_own_thread(database: Database) -> None:
    assert database.call(lambda: database.call(threading.get_ident)) == database.call(threading.get_ident)


def test_settings_that_keep_data_safe(database: Database) -> None:
    def pragma(name: str) -> object:
        return database.call(database.query, f"PRAGMA {name}")[0][0]

    assert pragma("journal_mode") == "wal"
    assert pragma("foreign_keys") == 1
    assert pragma("secure_delete") == 1
    assert pragma("synchronous") == 2


def test_a_closed_database_is_reported(database: Database) -> None:
    database.close()
    database.close()
    with pytest.raises(StoreUnavailable, match=r"plain\.db is closed"):
        database.call(database.query, "SELECT 1")


def test_a_constraint_is_a_store_error(database: Database) -> None:
    database.call(add, database, "same")
    with pytest.raises(StoreError, match="UNIQUE"):
        database.call(add, database, "same")


def test_an_error_does_not_quote_a_row(database: Database) -> None:
    broken = "SELECT cast(x'5a77657473636867650aff' AS TEXT)"  # "Zwetschge", and no UTF-8
    with pytest.raises(StoreError, match="OperationalError") as raised:
        database.call(database.query, broken)
    assert "Zwetschge" in str(raised.value.__cause__), "SQLite's own message does"
    assert "Zwetschge" not in str(raised.value)


def test_another_program_that_holds_the_lock_too_long(database: Database) -> None:
    assert database.path is not None
    other = sqlite3.connect(database.path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="Another program is writing to"):
            database.call(add, database, "late")
        other.execute("ROLLBACK")
    finally:
        other.close()
    database.call(add, database, "in time")
    assert notes(database) == ["in time"]


def test_files_are_for_their_owner_only(memory: Memory) -> None:
    memory.create_session()
    for file in memory.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(memory.path.parent.stat().st_mode) == 0o700


def test_a_file_that_is_not_a_database(database_path: Path) -> None:
    database_path.parent.mkdir()
    database_path.write_bytes(b"This is a shopping list, not a database.\n" * 100)
    with pytest.raises(StoreUnavailable, match="is not a database") as caught:
        Memory(database_path)
    assert str(database_path) in str(caught.value)
    assert database_path.read_bytes().startswith(b"This is a shopping list")


def test_a_database_of_another_program_stays_as_it_is(database_path: Path) -> None:
    database_path.parent.mkdir()
    other = sqlite3.connect(database_path)
    other.execute("CREATE TABLE recipes (name)")
    other.commit()
    other.close()
    before = database_path.read_bytes()
    with pytest.raises(StoreUnavailable, match="another program"):
        Memory(database_path)
    assert database_path.read_bytes() == before


def test_a_damaged_database(database_path: Path) -> None:
    with Memory(database_path) as memory:
        session = memory.create_session()
        for _ in range(20):
            memory.add_message(session.id, "user", "word " * 2000)
    with database_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (database_path.stat().st_size - 4096))
    with pytest.raises(StoreUnavailable, match="is damaged"), Memory(database_path) as memory:
        memory.messages(session.id)


def test_a_folder_in_place_of_the_file(database_path: Path) -> None:
    database_path.mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="cannot be") as caught:
        Memory(database_path)
    assert str(database_path) in str(caught.value)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    for path in (tmp_path / "data" / "stevemin.db", tmp_path / "data" / "deeper" / "stevemin.db"):
        with pytest.raises(StoreUnavailable, match="is a file, not a folder"):
            Memory(path)


_AS_NOBODY = """
import os, sys
from pathlib import Path
from memory import Memory, StoreUnavailable
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    memory = Memory(Path(sys.argv[1]))
except StoreUnavailable as exc:
    print(exc)
else:
    memory.close()
    print("opened")
"""


def _open_as_nobody(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    # Not tmp_path: root drops its rights in these tests, and no other user may enter that folder.
    with tempfile.TemporaryDirectory(prefix="stevemin-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_folder_that_cannot_be_written(shared_folder: Path) -> None:
    shared_folder.chmod(0o555)
    path = shared_folder / "stevemin.db"
    said = _open_as_nobody(path)
    assert said == (
        f"The database {path} cannot be written: Permission denied. Check the folder and its permissions."
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_read_only_file_is_refused_at_opening(shared_folder: Path) -> None:
    path = shared_folder / "stevemin.db"
    Memory(path).close()
    path.chmod(0o444)
    shared_folder.chmod(0o555)
    said = _open_as_nobody(path)
    assert str(path) in said
    assert "cannot be" in said
    assert "permissions" in said


def test_a_full_disk_loses_nothing_that_was_committed(memory: Memory) -> None:
    session = memory.create_session()
    kept = memory.add_message(session.id, "user", "kept")
    with full_disk(memory):
        with pytest.raises(DiskFull, match="Free some space") as caught:
            memory.add_message(session.id, "user", "lost " * 20_000)
        assert str(memory.path) in str(caught.value)
        assert [item.id for item in memory.messages(session.id)] == [kept.id]
    memory.add_message(session.id, "user", "more " * 20_000)
    assert len(memory.messages(session.id)) == 2


_LIMITED = """
import resource, sys
from pathlib import Path
from memory import Memory, StoreError
memory = Memory(Path(sys.argv[1]))
session = memory.create_session("limited")
memory.add_message(session.id, "user", "kept")
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    memory.add_message(session.id, "user", "lost " * 100_000)
except StoreError as exc:
    print(type(exc).__name__, exc)
print(len(memory.messages(session.id)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_write_that_the_system_refuses(database_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(database_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said, count = done.stdout.splitlines()
    assert said.startswith(f"StoreUnavailable The disk reported an error at {database_path}.")
    assert count == "1"
    with Memory(database_path) as memory:
        assert [item.content for item in memory.messages(memory.session("limited").id)] == ["kept"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_always_full() -> None:
    with pytest.raises(StoreError):
        Memory(Path("/dev/full"))
