"""The index on real Chroma: it finds what the store has, forgets what that forgot, and can be deleted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import (
    count_openings,
    files_with,
    index_of,
    kill_worker,
    meanings,
    ready,
    tell,
    worker_of,
)
from memory_tests.vectors.letters import Letters, Signs
from waiting import block_until

from memory import Memory

ROOT = Path(__file__).parents[3]
SECRET = "zanzibar canary"
SOME = [f"message {number}" for number in range(30)]


@pytest.fixture(autouse=True)
def no_quiet_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.index._QUIET_S", 0.05)


def filled(path: Path, *texts: str) -> str:
    """Make a store whose passages are indexed, and close it; the id of its chat."""
    with Memory(path, embedder=Signs()) as memory:
        session = tell(memory, *texts)
        ready(memory)
    assert (path.parent / "vectors" / "stamp.json").exists()
    return session


def test_a_forgotten_vector_is_in_no_file_any_more(path: Path) -> None:
    folder, embedder = path.parent, Signs()
    others = [f"message {number}" for number in range(1_100)]  # so many that Chroma writes its search graph
    with Memory(path, embedder=embedder) as memory:
        tell(memory, *others[:500])
        [secret] = memory.messages(tell(memory, SECRET))
        tell(memory, *others[500:])
        ready(memory)
        in_sqlite, in_chroma = embedder.traces(SECRET)
        before = files_with(folder, [in_chroma])
        assert any(name.endswith("data_level0.bin") for name in before), "or this would prove nothing"
        memory.long_term.stats()
        assert set(files_with(folder, [in_sqlite])) & {"chats.db", "chats.db-wal"}
        asked = len(embedder.asked)

        assert not memory.long_term.forget([secret.id]).pending
        assert files_with(folder, [in_sqlite, in_chroma]) == []
        assert meanings(memory, "message 7", 1) == [8], "the store answers"

        block_until(lambda: index_of(memory).complete)
        assert meanings(memory, "message 7", 1) == [8], "the new index does"
        assert 501 not in (meanings(memory, SECRET, 1_100) or [501])
        assert all(len(texts) == 1 for texts in embedder.asked[asked:]), "nothing was embedded but questions"
        assert files_with(folder, [in_sqlite, in_chroma]) == []
    assert files_with(folder, [in_sqlite, in_chroma]) == []


def test_many_deletions_cost_one_refill(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.index._QUIET_S", 1.0)
    openings = count_openings(monkeypatch)
    with Memory(path, embedder=Signs()) as memory:
        session = tell(memory, *SOME)
        ready(memory)
        assert len(openings) == 1
        for message in memory.messages(session)[:10]:
            memory.long_term.forget([message.id])
            assert not index_of(memory).complete
        block_until(lambda: index_of(memory).complete)
        assert len(openings) == 2
        assert meanings(memory, SOME[20], 1) == [21]


def test_an_index_that_was_closed_is_opened_again_as_it_is(path: Path) -> None:
    filled(path, *SOME)
    embedder, chroma = Signs(), path.parent / "vectors" / "chroma"
    before = {file: file.stat().st_ino for file in chroma.rglob("*")}
    with Memory(path, embedder=embedder) as memory:
        ready(memory)
        assert {file: file.stat().st_ino for file in chroma.rglob("*") if file in before} == before
        assert meanings(memory, SOME[20], 1) == [21]
        assert not (path.parent / "vectors" / "stamp.json").exists(), "a crash now leaves no valid index"
        assert embedder.asked == [[SOME[20]]]


def test_a_deleted_index_is_refilled_without_embedding_anything(path: Path) -> None:
    filled(path, *SOME)
    shutil.rmtree(path.parent / "vectors")
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        ready(memory)
        stats = memory.long_term.stats()
        assert stats.embedded == stats.passages == len(SOME)
        assert stats.index_bytes > 10_000
        assert embedder.asked == []
        assert meanings(memory, SOME[20], 1) == [21]


@pytest.mark.parametrize(
    "damage",
    ["graph", *(pytest.param(how, marks=pytest.mark.campaign) for how in ("database", "emptied"))],
)
def test_a_damaged_index_is_refilled_without_embedding_anything(path: Path, damage: str) -> None:
    filled(path, *(f"message {number}" for number in range(1_100)))
    chroma = path.parent / "vectors" / "chroma"
    if damage == "emptied":
        shutil.rmtree(chroma)
        chroma.mkdir()
    else:
        files = chroma.rglob("data_level0.bin") if damage == "graph" else [chroma / "chroma.sqlite3"]
        for file in files:
            file.write_bytes(random.Random(1).randbytes(file.stat().st_size))
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        ready(memory)
        assert embedder.asked == []
        assert meanings(memory, "message 20", 1) == [21]


def test_a_killed_worker_is_replaced_and_searches_do_not_wait_for_it(path: Path) -> None:
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        tell(memory, *SOME)
        ready(memory)
        before = worker_of(memory)
        asked = len(embedder.asked)
        kill_worker(memory)
        assert meanings(memory, SOME[20], 1) == [21], "the store answers"
        block_until(lambda: index_of(memory).complete)
        assert worker_of(memory) != before
        assert meanings(memory, SOME[20], 1) == [21]
        assert embedder.asked[asked:] == [[SOME[20]]] * 2


_CHAT = """
import sys, time
sys.path.insert(0, "tests")
from memory import Memory
from memory_tests.vectors.index_kit import ready, tell
from memory_tests.vectors.letters import Signs
memory = Memory(sys.argv[1], embedder=Signs())
tell(memory, *(f"message {number}" for number in range(30)))
ready(memory)
print("filled", flush=True)
time.sleep(600)
"""


def test_a_chat_that_is_killed_leaves_a_valid_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = path.parent / "vectors" / "stamp.json"
    with subprocess.Popen(
        [sys.executable, "-c", _CHAT, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as chat:
        assert chat.stdout is not None
        assert chat.stdout.readline() == "filled\n"
        assert not stamp.exists()
        chat.kill()
    block_until(stamp.exists)
    monkeypatch.setattr("memory.vectors.index.Index._fill", lambda _: False)
    with Memory(path, embedder=Signs()) as memory:
        block_until(lambda: index_of(memory).own())  # the worker may still be about to end
        ready(memory)
        assert meanings(memory, SOME[20], 1) == [21]


def test_vectors_of_another_store_are_deleted(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "chats.db"
    filled(other, *SOME[:5], SECRET)
    filled(path, *SOME[:6])
    shutil.rmtree(path.parent / "vectors")
    shutil.copytree(other.parent / "vectors", path.parent / "vectors")
    trace = Signs().traces(SECRET)[1]
    assert files_with(path.parent, [trace])
    with Memory(path, embedder=Signs()) as memory:
        ready(memory)
        assert files_with(path.parent, [trace]) == []
        assert meanings(memory, SOME[5], 1) == [6]


@pytest.mark.parametrize("near", [3, 40])
def test_hidden_chats_are_left_out_before_the_nearest_are_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, near: int
) -> None:
    """Few near ones are among the surplus that is asked for; with many of them, Chroma must filter."""
    monkeypatch.setattr("memory.search.search._BY_MEANING", 2)
    monkeypatch.setattr("memory.search.search._FEW", 0)
    with Memory(path, embedder=Letters()) as memory:
        other = tell(memory, *["zzzz"] * near)
        mine = tell(memory, "zzzq", "zqqq", *("aqqq" for _ in range(10)))
        ready(memory)
        monkeypatch.setattr("memory.vectors.exact.scan", None)
        assert {recall.session_id for recall in memory.search("zzz", session_id=mine)} == {other}
        memory.set_session(mine, scope="session")
        assert memory.search("zzz", session_id=mine)[0].text == "zzzq"
        found = memory._components.vectors.search("zzz", 2, hidden=[1])
        assert found is not None
        assert found.passages == [
            (near + 1, pytest.approx(0.949, abs=1e-3)),
            (near + 2, pytest.approx(0.316, abs=1e-3)),
        ]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_files_are_for_their_owner_only(path: Path) -> None:
    filled(path, *SOME)
    folder = path.parent / "vectors"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in (folder.with_name("vectors.lock"), *folder.rglob("*")):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_odd_folder_names_and_foreign_settings_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMA_API_IMPL", "chromadb.api.fastapi.FastAPI")
    monkeypatch.setenv("IS_PERSISTENT", "perhaps")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MIGRATIONS=banana\n")
    path = tmp_path / "größe 100% a?b#c" / "chats.db"
    filled(path, *SOME)
    assert {file.name for file in tmp_path.iterdir()} - {"stevemin-home"} == {".env", path.parent.name}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_closing_ends_the_worker_and_leaves_nothing_open(path: Path) -> None:
    filled(path, *SOME)
    before = len(os.listdir("/proc/self/fd"))
    memory = Memory(path, embedder=Signs())
    ready(memory)
    worker = Path(f"/proc/{worker_of(memory)}")
    assert worker.exists()
    memory.close()
    memory.close()
    assert not worker.exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_hung_worker_does_not_keep_the_chat_from_closing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.vectors.index._CLOSE_S", 0.2)
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, *SOME)
        ready(memory)
        kill_worker(memory, signal.SIGSTOP)
    assert not (path.parent / "vectors" / "stamp.json").exists(), "it counts as not closed properly"
