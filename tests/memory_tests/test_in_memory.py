"""A store without a file: `Memory(":memory:")`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory_tests.vectors.letters import Letters
from word_counter import WordCounter

from memory import Budget, IndexState, Memory, StoreUnavailable

FDS = Path("/proc/self/fd")
LARGE = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n LIMIT 50000)"
    " SELECT i, randomblob(200) FROM n"
)


def open_files() -> set[str]:
    """Files this process has open: an unlinked temporary file is visible only here."""
    links = (os.readlink(FDS / name) for name in os.listdir(FDS) if (FDS / name).is_symlink())
    return {link for link in links if link.startswith("/") and not link.startswith(("/proc/", "/dev/"))}


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a relative path or a temporary file would go."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(folder))
    return folder


@pytest.mark.skipif(not FDS.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("path", [":memory:", Path(":memory:")])
def test_nothing_reaches_the_disk(path: Path | str, empty_folder: Path) -> None:
    before = open_files()
    embedder = Letters()
    with Memory(path, counter=WordCounter(), embedder=embedder) as memory:
        session = memory.create_session(strategy="hierarchical")
        memory.add_message(session.id, "user", "I live in Zanzibar.")
        for number in range(40):
            memory.add_message(
                session.id, "user", f"Volume {number} of a book about cooking. " + "spice " * 500
            )
        # Large temporary tables are what SQLite would put into a file.
        memory._call(memory._database.execute, f"CREATE TEMP TABLE large AS {LARGE}")
        reply = memory.begin_reply(session.id)
        memory.finish_reply(reply.id, "A long way off.", status="complete")
        assert memory.search("Where is Zanzibar?")
        memory.build_context(session.id, budget=Budget(2000))
        assert memory.long_term.facts()
        memory.start_indexing()
        memory.long_term.forget([memory.messages(session.id)[0].id])
        stats = memory.long_term.stats()
        assert (stats.database_bytes, stats.index_bytes) == (0, 0)
        assert memory.index_status().state is IndexState.OFF
        assert open_files() == before
        memory.delete_session(session.id)
    assert not embedder.asked
    assert list(empty_folder.iterdir()) == []


def test_each_store_is_separate_and_gone_when_closed() -> None:
    with Memory(":memory:") as first, Memory(":memory:") as second:
        first.create_session("only here")
        assert second.sessions() == []
    with pytest.raises(StoreUnavailable, match="The database in memory is closed"):
        first.sessions()
    with Memory(":memory:") as third:
        assert third.sessions() == []
