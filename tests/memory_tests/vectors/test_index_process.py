"""The process of the vector index dies, hangs, fails to start, and ends. Chroma is a stand-in."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import fill, open_small, planted, random_vectors
from waiting import block_until

import memory.vectors.chroma
from memory.errors import IndexUnavailable
from memory.vectors.chroma import ChromaIndex
from memory.vectors.folder import IndexFolder

FAKE_CHROMA = Path(__file__).with_name("fake_chroma")
CANARY = 17

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_CHROMA))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "index"


@pytest.fixture
def index(folder: Path) -> Iterator[ChromaIndex]:
    index = open_small(folder)
    yield index
    index.close()


@pytest.fixture(autouse=True)
def no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that answers again was restarted immediately, not by a later retry."""
    monkeypatch.setattr(memory.vectors.chroma, "_RETRY_S", 600.0)


@pytest.fixture(autouse=True)
def quick_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.index_process._POLL_S", 0.05)


def worker(index: ChromaIndex) -> int:
    assert index._process is not None
    return index._process.pid


def kill_worker(index: ChromaIndex) -> None:
    os.kill(worker(index), signal.SIGKILL)


def serves(index: ChromaIndex) -> bool:
    with contextlib.suppress(IndexUnavailable):
        return bool(index.search(planted(0xA5C3), 1))
    return False


def reason(index: ChromaIndex) -> str:
    try:
        index.search(planted(0xA5C3), 1)
    except IndexUnavailable as exc:
        return str(exc)
    return ""


@needs_posix
def test_an_index_that_keeps_dying_starts_empty_and_then_stays_off(
    index: ChromaIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(index, 20, canary=CANARY)
    monkeypatch.setattr(memory.vectors.chroma, "_MAX_DEATHS", 2)
    for _ in range(2):
        kill_worker(index)
        with pytest.raises(IndexUnavailable, match="stopped answering"):
            index.ids()
        with contextlib.suppress(IndexUnavailable):
            index.ids()
    with pytest.raises(IndexUnavailable, match="stopped 2 times"):
        index.add([1], random_vectors(1))
    monkeypatch.setattr(memory.vectors.chroma, "_MAX_DEATHS", 5)
    assert index.ids() == set()
    assert index.rebuilt


@needs_posix
def test_searches_restart_it_once_the_cause_is_fixed(
    index: ChromaIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.vectors.chroma, "_RETRY_S", 0.0)
    fill(index, 20, canary=CANARY)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "chromadb.py").write_text("import a_module_that_nobody_has\n")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "broken"))
        kill_worker(index)
        assert not serves(index)
        block_until(lambda: "needs chromadb" in reason(index))
    block_until(lambda: serves(index))
    assert len(index.ids()) == 20


@needs_posix
def test_a_hung_worker_is_killed(index: ChromaIndex) -> None:
    fill(index, 20, canary=CANARY)
    assert index._process is not None
    index._process._silence_s = 0.3
    os.kill(worker(index), signal.SIGSTOP)
    with pytest.raises(IndexUnavailable, match="stopped answering"):
        index.search(planted(0xA5C3), 1)
    block_until(lambda: serves(index))
    assert len(index.ids()) == 20


def test_chromadb_that_cannot_be_loaded_costs_no_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gen-0001").mkdir(parents=True)
    (folder / "gen-0001" / "chroma.sqlite3").write_text("all vectors")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "chromadb.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(IndexUnavailable, match="needs chromadb, which cannot be loaded: No module named"):
        open_small(folder)
    (broken / "chromadb.py").write_text("import os\nos._exit(3)\n")
    with pytest.raises(IndexUnavailable, match="does not start"):
        open_small(folder)
    assert (folder / "gen-0001" / "chroma.sqlite3").read_text() == "all vectors"


@pytest.mark.skipif(sys.platform == "win32", reason="no lock there")
def test_a_folder_has_one_owner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.folder._LOCK_WAIT_S", 0.05)
    with (
        closing(IndexFolder(folder, "passages-test")),
        pytest.raises(IndexUnavailable, match="used by another stevemin; searching by keywords only"),
    ):
        IndexFolder(folder, "passages-test")
    IndexFolder(folder, "passages-test").close()


def test_a_server_that_never_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.vectors.chroma, "_SERVER_SILENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(IndexUnavailable, match="does not answer"):
            open_small(folder, url=url)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_closing_ends_the_process_and_leaves_nothing_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    index = open_small(folder)
    assert index._process is not None
    worker = Path(f"/proc/{index._process.pid}")
    assert worker.exists()
    index.close()
    index.close()
    assert not worker.exists()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(IndexUnavailable, match="is closed"):
        index.ids()
    with pytest.raises(IndexUnavailable, match="is closed"):
        index.search(planted(0xA5C3), 1)
