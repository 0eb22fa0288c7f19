"""The index when it hangs, keeps dying, cannot start or write. Searches go on. Chroma is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import (
    FAKE_CHROMA,
    count_openings,
    files_with,
    index_of,
    kill_worker,
    meanings,
    ready,
    tell,
    worker_of,
)
from memory_tests.vectors.letters import Signs
from waiting import block_until

from memory import IndexState, Memory

ROOT = Path(__file__).parents[3]
SOME = [f"message {number}" for number in range(30)]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_CHROMA))
    monkeypatch.setattr("memory.vectors.index._QUIET_S", 0.05)


def test_a_hung_worker_is_killed_and_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.index._SILENCE_S", 0.3)
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, *SOME)
        ready(memory)
        before = worker_of(memory)
        kill_worker(memory, signal.SIGSTOP)
        assert meanings(memory, SOME[20], 1) == [21], "the store answers"
        block_until(lambda: index_of(memory).complete)
        assert worker_of(memory) != before


def test_an_index_that_keeps_dying_stays_off_for_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openings = count_openings(monkeypatch)
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, *SOME)
        for _ in range(3):
            ready(memory)
            kill_worker(memory)
            assert meanings(memory, SOME[20], 1) == [21]
        tell(memory, "and something new")
        block_until(lambda: memory.index_status().embedded == 31)
        assert meanings(memory, "and something new", 1) == [31]
        assert len(openings) == 3
        due_in_s = index_of(memory).due_in_s
        assert due_in_s is not None
        assert due_in_s > 100
        index_of(memory)._due = 0.0
        tell(memory, "wakes it up")
        block_until(lambda: index_of(memory).complete)
        assert len(openings) == 4


@pytest.mark.parametrize("program", ["import a_module_that_nobody_has", "import os; os._exit(3)"])
def test_without_chromadb_the_store_answers(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "chromadb.py").write_text(program + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, *SOME)
        memory.start_indexing()
        block_until(lambda: memory.index_status().state is IndexState.READY)
        assert memory.index_status().embedded == 30
        assert meanings(memory, SOME[20], 1) == [21]
        assert not index_of(memory).complete
    assert (
        "No module named 'a_module_that_nobody_has'" in caplog.text or "ended with exit code 3" in caplog.text
    )


def test_forgetting_does_not_wait_for_a_worker_that_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for its opening, either: whatever the thread waits for is killed."""
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        session = tell(memory, *SOME)
        ready(memory)
        secret = memory.messages(session)[7]
        kill_worker(memory, signal.SIGSTOP)
        tell(memory, "the thread now waits for the worker")
        block_until(index_of(memory)._turn.locked)
        assert not memory.long_term.forget([secret.id]).pending
        assert files_with(path.parent, embedder.traces(SOME[7])) == []
        assert not index_of(memory)._restarts._failures, "its end was no failure"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process")
def test_a_disk_that_refuses_more_still_forgets(path: Path) -> None:
    import resource

    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        session = tell(memory, *SOME)
        ready(memory)
        hard = resource.prlimit(worker_of(memory), resource.RLIMIT_FSIZE)[1]
        resource.prlimit(worker_of(memory), resource.RLIMIT_FSIZE, (2_000, hard))
        tell(memory, "this does not fit")
        block_until(lambda: not index_of(memory).complete)
        assert meanings(memory, "this does not fit", 1) == [31]
        assert not memory.long_term.forget([memory.messages(session)[7].id]).pending
        assert files_with(path.parent, embedder.traces(SOME[7])) == []
        block_until(lambda: index_of(memory).complete)


_AS_NOBODY = """
import os, sys
from pathlib import Path
from memory.errors import IndexUnavailable
from memory.storage import Database, Settings, StoredVectors
from memory.vectors import Index
database = Database(":memory:")
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
folder = Path(sys.argv[1])
index = Index(database, StoredVectors(database), Settings(database), embedder=None, folder=folder, url=None)
try:
    index.own()
except IndexUnavailable as exc:
    print(exc)
else:
    print("opened")
database.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_folder_that_cannot_be_written() -> None:
    # Not tmp_path: root drops its rights here, and no other user may enter that folder.
    with tempfile.TemporaryDirectory(prefix="stevemin-test-") as name:
        Path(name).chmod(0o555)
        command = [sys.executable, "-c", _AS_NOBODY, f"{name}/vectors"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == (
        f"The vector index {name}/vectors cannot be written: Permission denied. "
        "Check the folder, its permissions and the free space."
    )


def test_a_file_that_cannot_be_deleted_is_told_and_deleted_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        session = tell(memory, *SOME)
        ready(memory)
    with Memory(path) as memory:
        with monkeypatch.context() as patch:

            def refuse(_: object) -> None:
                raise PermissionError(1, os.strerror(1))

            patch.setattr("memory.vectors.index.shutil.rmtree", refuse)
            assert memory.long_term.forget([memory.messages(session)[7].id]).pending
        assert files_with(path.parent, embedder.traces(SOME[7]))
    with Memory(path, embedder=embedder) as memory:
        ready(memory)
        assert files_with(path.parent, embedder.traces(SOME[7])) == []
