"""Copies of a real store: made while it is used, checked, refused when they are no good, and put back."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from word_counter import WordCounter

from memory import BackupDamaged, DiskFull, Memory, StoreInUse, StoreUnavailable
from memory.storage import back_up, inspect_backup, restore


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "chats.db"


def tell(memory: Memory, *texts: str) -> str:
    session = memory.create_session()
    for text in texts:
        memory.add_message(session.id, "user", text)
    return session.id


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_store_in_use_is_copied_as_it_is_and_put_back(database_path: Path, target: Path) -> None:
    with Memory(database_path, counter=WordCounter()) as memory:
        session = tell(memory, "I live in Porto.", "The spare key is under the flowerpot.")
        contents = back_up(database_path, target)
        assert (contents.chats, contents.messages, contents.facts) == (1, 2, 1)
        assert contents.size_bytes == target.stat().st_size
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert names(target.parent) == {"chats.db"}
        tell(memory, "said later")
    assert inspect_backup(target) == contents
    kept = restore(target, database_path)
    assert kept is not None
    with Memory(database_path, counter=WordCounter()) as memory:
        assert [record.id for record in memory.sessions()] == [session]
        assert "flowerpot" in memory.search("the spare key")[0].text
        assert [fact.text for fact in memory.long_term.facts()] == ["I live in Porto."]
    with Memory(kept, counter=WordCounter()) as before:
        assert len(before.sessions()) == 2
    assert inspect_backup(target) == contents


def test_what_was_deleted_is_not_in_a_backup(database_path: Path, target: Path) -> None:
    with Memory(database_path) as memory:
        tell(memory, "something else")
        memory.delete_session(tell(memory, "zanzibarcanary " * 50))
        back_up(database_path, target)
    assert b"zanzibarcanary" not in target.read_bytes()


def test_a_store_is_restored_where_there_is_none(database_path: Path, target: Path, tmp_path: Path) -> None:
    with Memory(database_path) as memory:
        tell(memory, "hello")
    back_up(database_path, target)
    other = tmp_path / "new" / "stevemin.db"
    assert restore(target, other) is None
    with Memory(other) as memory:
        assert len(memory.sessions()) == 1


def test_a_damaged_store_is_kept_with_its_log_and_replaced(database_path: Path, target: Path) -> None:
    with Memory(database_path) as memory:
        tell(memory, "hello")
    back_up(database_path, target)
    database_path.write_bytes(b"no database at all")
    database_path.with_name(database_path.name + "-wal").write_bytes(b"a log")
    kept = restore(target, database_path)
    assert kept is not None
    assert kept.read_bytes() == b"no database at all"
    with Memory(database_path) as memory:
        assert len(memory.sessions()) == 1


def test_a_damaged_backup_is_refused_and_nothing_is_changed(database_path: Path, target: Path) -> None:
    with Memory(database_path) as memory:
        tell(memory, *(f"number {number} " * 40 for number in range(40)))
    back_up(database_path, target)
    data = bytearray(target.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = os.urandom(20_000)
    target.write_bytes(data)
    before = database_path.read_bytes()
    with pytest.raises(BackupDamaged, match="is damaged"):
        restore(target, database_path)
    assert database_path.read_bytes() == before
    assert names(database_path.parent) == {database_path.name}


def test_what_is_no_backup_is_refused(database_path: Path, target: Path, tmp_path: Path) -> None:
    with Memory(database_path):
        pass
    text, other, newer = (tmp_path / name for name in ("notes.txt", "other.db", "newer.db"))
    text.write_text("hello, hello, hello, hello, hello, hello, hello, hello, hello")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    back_up(database_path, newer)
    with closing(sqlite3.connect(newer, isolation_level=None)) as connection:
        connection.execute("INSERT INTO migrations (name, applied_at) VALUES ('999-dreams', 'x')")
    for file, told in (
        (text, "is not a database"),
        (other, "is no backup of stevemin's chats"),
        (newer, "written by a newer version"),
        (tmp_path / "absent", "There is no file"),
    ):
        with pytest.raises(StoreUnavailable, match=told):
            restore(file, database_path)
    with pytest.raises(StoreUnavailable, match="no chats to back up"):
        back_up(tmp_path / "absent.db", target)


def test_a_store_that_another_process_has_open_is_not_replaced(database_path: Path, target: Path) -> None:
    with Memory(database_path) as memory:
        tell(memory, "hello")
    back_up(database_path, target)
    code = "import sys; from memory import Memory; Memory(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUse, match=rf"process {other.pid}\)"):
            restore(target, database_path)
        other.kill()
    assert restore(target, database_path) is not None


def test_a_full_disk_leaves_the_store_and_no_partial_file(
    database_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Memory(database_path) as memory:
        tell(memory, "hello")
    back_up(database_path, target)
    before = target.read_bytes(), database_path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        back_up(database_path, target)
    with pytest.raises(DiskFull):
        restore(target, database_path)
    assert (target.read_bytes(), database_path.read_bytes()) == before
    assert names(target.parent) == {target.name}
    assert names(database_path.parent) == {database_path.name}
