"""Filling, querying and emptying the vector index, with an embedder and an index made of letters."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from memory_tests.vectors.letters import LetterIndexes, Letters
from waiting import block_until

from memory import IndexState, Memory
from memory.storage.passages import Passages


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> LetterIndexes:
    disk = LetterIndexes()
    monkeypatch.setattr("memory.vectors.chroma.open_index", disk)
    return disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


def tell(memory: Memory, *texts: str) -> str:
    """A chat of these messages; its id."""
    session = memory.create_session()
    for text in texts:
        memory.add_message(session.id, "user", text)
    return session.id


def is_ready(memory: Memory) -> bool:
    return memory.index_status().state is IndexState.READY


def index(memory: Memory) -> None:
    memory.start_indexing()
    block_until(lambda: is_ready(memory))


# Filling the index


def test_passages_get_their_vectors_in_the_background(path: Path, disk: LetterIndexes) -> None:
    with Memory(path, embedder=Letters()) as memory:
        tell(memory, "zzz zz", "qqq")
        memory.start_indexing()
        block_until(lambda: len(disk.vectors) == 2)
        session = tell(memory, "www")
        block_until(lambda: len(disk.vectors) == 3)
        assert memory.search("zzzz")[0].text == "zzz zz"  # no word in common
        memory.delete_session(session)
        assert len(disk.vectors) == 2
    assert disk.open == 0


def test_an_index_that_lost_vectors_is_refilled_and_unknown_ones_are_removed(
    path: Path, disk: LetterIndexes
) -> None:
    with Memory(path, embedder=Letters()) as memory:
        tell(memory, "aaa", "bbb")
        index(memory)
    disk.vectors[77] = disk.vectors.pop(1)
    with Memory(path, embedder=Letters()) as memory:
        memory.start_indexing()
        block_until(lambda: set(disk.vectors) == {1, 2})


def test_vectors_of_another_model_are_remade(path: Path, disk: LetterIndexes) -> None:
    for told, name in enumerate(("model b", "model a", "model c"), 1):
        disk.vectors.clear()  # as the real index does for another name
        with Memory(path, embedder=Letters(name)) as memory:
            tell(memory, f"said with {name}")
            index(memory)
            assert memory.index_status().embedded == told
        assert set(disk.vectors) == set(range(1, told + 1))


def test_a_text_that_crashes_the_model_is_skipped_and_the_others_are_indexed(
    path: Path, disk: LetterIndexes
) -> None:
    embedder = Letters()
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "aaa", "a bottle of poison", "bbb", "more poison", "ccc")
        index(memory)
        assert set(disk.vectors) == {1, 3, 5}
        assert (memory.index_status().embedded, memory.index_status().passages) == (3, 5)
        assert memory.search("bottle")[0].text == "a bottle of poison"
        asked = len(embedder.asked)
        tell(memory, "ddd")
        block_until(lambda: set(disk.vectors) == {1, 3, 5, 6})
        assert all("poison" not in text for texts in embedder.asked[asked:] for text in texts)


def test_progress_is_reported_without_counting_at_every_batch(
    path: Path, disk: LetterIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    counts = Passages.counts

    def counting(passages: Passages) -> tuple[int, int]:
        counted.append(counts(passages))
        return counted[-1]

    monkeypatch.setattr(Passages, "counts", counting)
    monkeypatch.setattr("memory.vectors.sync._BATCH", 1)
    monkeypatch.setattr("memory.vectors.sync._COUNT_S", 1e9)
    embedder = Letters()
    seen = []
    with Memory(path, embedder=embedder) as memory:
        embedder.before_answering = lambda: seen.append(memory.index_status().embedded)
        tell(memory, *(f"message {number}" for number in range(20)))
        index(memory)
        assert (memory.index_status().embedded, memory.index_status().passages) == (20, 20)
    assert seen == list(range(20))
    assert counted == [(20, 0), (20, 20)]


# Querying


def test_a_search_does_not_wait_for_a_slow_embedder(
    path: Path, disk: LetterIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.vectors.passage_vectors._SEARCH_WAIT_S", 0.05)
    embedder, go_on = Letters(), threading.Event()
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "zzz zz", "a boat")
        index(memory)
        embedder.before_answering = lambda: go_on.wait(30)
        assert memory.search("boat")[0].text == "a boat"
        asked = len(embedder.asked)
        assert memory.search("boat")[0].text == "a boat"
        assert len(embedder.asked) == asked, "one that is late keeps the next ones from asking"
        assert "meaning" not in memory.search("boat")[0].signals
        go_on.set()
        block_until(lambda: "meaning" in memory.search("boat")[0].signals)


def test_only_visible_sessions_are_found_by_meaning(
    path: Path, disk: LetterIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.search.search._BY_MEANING", 2)
    with Memory(path, embedder=Letters()) as memory:
        other = tell(memory, *["zzzz"] * 5)
        mine = tell(memory, "zzzq", "qqq")
        index(memory)
        everywhere = memory.search("zzz", session_id=mine)
        assert {recall.session_id for recall in everywhere} == {other}, "the two nearest"
        memory.set_session(mine, scope="session")
        [nearest, *_] = within = memory.search("zzz", session_id=mine)
        assert {recall.session_id for recall in within} == {mine}
        assert nearest.text == "zzzq"
        assert nearest.signals["meaning"] == 1.0


@pytest.mark.parametrize("few", [5_000, 0])
def test_a_small_project_in_a_large_store_is_found_by_meaning(
    path: Path, disk: LetterIndexes, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("memory.search.search._BY_MEANING", 2)
    monkeypatch.setattr("memory.search.search._FEW", few)
    with Memory(path, embedder=Letters()) as memory:
        tell(memory, *["zzzz"] * 50)
        mine = tell(memory, "zzzq", "qqq")
        index(memory)
        memory.set_session(mine, scope="session")
        found = {recall.text for recall in memory.search("zzz", session_id=mine)}
        assert found == ({"zzzq", "qqq"} if few else set()), (
            "without its passages' ids the index finds others"
        )


def test_a_second_process_neither_loads_the_model_nor_tries_again_at_each_message(
    path: Path, disk: LetterIndexes
) -> None:
    with Memory(path, embedder=Letters()) as owner:
        index(owner)
        beside_embedder = Letters()
        with Memory(path, embedder=beside_embedder) as beside:
            beside.start_indexing()
            block_until(lambda: beside.index_status().state is IndexState.UNAVAILABLE)
            for number in range(5):
                tell(beside, f"message {number}")
                time.sleep(0.02)
            assert disk.refused == 1
            assert not beside_embedder.started


def test_a_search_that_does_not_wait_any_longer_is_counted(
    path: Path, disk: LetterIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with Memory(path, embedder=(letters := Letters())) as memory:
        tell(memory, "boat")
        index(memory)
        memory._components.vectors._time_limit._seconds = 0.01
        letters.before_answering = lambda: go_on.wait(60)
        memory.search("boat")
        assert memory.long_term.stats().timeouts == 1
        go_on.set()


# Removing


def test_what_could_not_be_removed_is_removed_later(path: Path, disk: LetterIndexes) -> None:
    with Memory(path, embedder=Letters()) as memory:
        session = tell(memory, "aaa")
        index(memory)
    with Memory(path) as memory:  # without an embedder, nothing can open the index
        memory.delete_session(session)
        assert disk.vectors
    with Memory(path, embedder=Letters()) as memory:
        memory.start_indexing()
        block_until(lambda: not disk.vectors)


def test_a_closed_index_is_opened_to_forget_and_closed_again(path: Path, disk: LetterIndexes) -> None:
    with Memory(path, embedder=Letters()) as memory:
        first, second = tell(memory, "aaa"), tell(memory, "bbb")
        index(memory)
    with Memory(path) as memory:
        memory.delete_session(second)
    with Memory(path, embedder=Letters()) as memory:
        [message] = memory.messages(first)
        assert not memory.long_term.forget([message.id]).pending
        assert not disk.vectors, "and what was left over before went, too"
        assert disk.open == 0
        assert memory.index_status().state is IndexState.OFF


def test_forgetting_reports_vectors_left_to_another_process(
    path: Path, disk: LetterIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.vectors.passage_vectors._POLL_S", 0.01)
    with Memory(path, embedder=Letters()) as owner:
        session = tell(owner, "aaa", "bbb", "ccc")
        index(owner)
        first, second, third = (message.id for message in owner.messages(session))
        for embedder in (Letters(), None):  # one is refused by the lock, the other cannot open it at all
            with Memory(path, embedder=embedder) as beside:
                forgotten = first if embedder else second
                assert beside.long_term.forget([forgotten]).pending
        block_until(lambda: set(disk.vectors) == {3})  # the owner was not told
        assert third == owner.messages(session)[-1].id


def test_without_an_index_nothing_is_pending(path: Path, disk: LetterIndexes) -> None:
    for embedder in (Letters(), None):
        with Memory(path, embedder=embedder) as memory:
            [message] = memory.messages(tell(memory, "aaa"))
            assert not memory.long_term.forget([message.id]).pending
    assert not (path.parent / "vectors").exists(), "none was made for it"
