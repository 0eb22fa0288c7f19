"""Another embedding model takes over: the former answers until every passage has a vector of the new one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import FAKE_CHROMA, files_with, meanings, ready, tell
from memory_tests.vectors.letters import Letters, Signs
from waiting import block_until

from memory import EmbedderUnavailable, IndexState, IndexStatus, Memory
from memory.ports import Embedder, Vectors

TEXTS = [f"message {number}" for number in range(9)]


class Slow(Signs):
    """Embeds passages one batch per permission; questions at once."""

    def __init__(self, name: str, batches: int = 0) -> None:
        super().__init__(name)
        self.allowed = threading.Semaphore(batches)
        self.closed = threading.Event()

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        while not query and not self.allowed.acquire(timeout=0.01):
            if self.closed.is_set():
                raise EmbedderUnavailable("It was closed.")
        return super().embed(texts, query=query)

    def close(self) -> None:
        self.closed.set()


class Broken(Signs):
    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        raise EmbedderUnavailable("It cannot be loaded.")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_CHROMA))
    monkeypatch.setattr("memory.vectors.index._QUIET_S", 0.05)
    monkeypatch.setattr("memory.vectors.passages._BATCH", 2)
    monkeypatch.setattr("memory.vectors.passages._COUNT_S", 0.0)


@pytest.fixture
def old(path: Path) -> Path:
    """A store whose nine messages were embedded by "old"."""
    with Memory(path, embedder=Signs("old")) as memory:
        tell(memory, *TEXTS)
        ready(memory)
    return path


def opened(path: Path, wanted: Embedder, former: Embedder | None = None) -> Memory:
    memory = Memory(path, embedder=wanted, reopen_embedder=lambda recipe: {"old": former}.get(recipe))
    memory.start_indexing()
    return memory


def made_by(memory: Memory) -> dict[str, int]:
    """How many vectors there are, by embedder."""
    rows = memory._call(
        memory._database.query, "SELECT embedder, count(*) AS vectors FROM vectors GROUP BY embedder"
    )
    return {row["embedder"]: row["vectors"] for row in rows}


def answering(memory: Memory) -> str | None:
    embedder = memory._components.vectors.answering()
    return embedder.name if embedder is not None else None


def test_the_former_answers_until_all_have_the_new_vectors(old: Path) -> None:
    new, former = Slow("new"), Signs("old")
    with opened(old, new, former) as memory:
        block_until(lambda: memory.index_status().state is IndexState.INDEXING)
        for batches in range(5):
            done = 2 * batches
            block_until(lambda done=done: made_by(memory).get("new", 0) == done)  # type: ignore[misc]
            assert answering(memory) == "old"
            assert meanings(memory, TEXTS[3], 1) == [4]
            assert former.asked[-1] == [TEXTS[3]]
            status, stats = memory.index_status(), memory.long_term.stats()
            assert (status.switching, status.passages) == (True, 9)
            assert (stats.embedder, stats.next_embedder, stats.embedded) == ("old", "new", done)
            new.allowed.release()
        ready(memory)
        assert answering(memory) == "new"
        assert made_by(memory) == {"new": 9}
        assert meanings(memory, TEXTS[3], 1) == [4]
        assert new.asked[-1] == [TEXTS[3]]
        stats = memory.long_term.stats()
        assert (stats.embedder, stats.next_embedder, stats.embedded) == ("new", None, 9)
        assert memory.index_status() == IndexStatus(IndexState.READY, 9, 9)


def test_what_is_said_meanwhile_is_found_by_both(old: Path) -> None:
    new = Slow("new", 1)
    with opened(old, new, Signs("old")) as memory:
        block_until(lambda: made_by(memory) == {"old": 9, "new": 2})
        tell(memory, "said meanwhile")
        new.allowed.release()
        block_until(lambda: made_by(memory).get("old") == 10)
        assert meanings(memory, "said meanwhile", 1) == [10]
        new.allowed.release(9)
        ready(memory)
        assert made_by(memory) == {"new": 10}
        assert meanings(memory, "said meanwhile", 1) == [10]


def test_it_goes_on_where_it_was_stopped(old: Path) -> None:
    with opened(old, Slow("new", 2), Signs("old")) as memory:
        block_until(lambda: made_by(memory) == {"old": 9, "new": 4})
    again = Signs("new")
    with opened(old, again, Signs("old")) as memory:
        ready(memory)
        assert sum(map(len, again.asked)) == 5
        assert made_by(memory) == {"new": 9}


def test_going_back_embeds_nothing(old: Path) -> None:
    with opened(old, Slow("new", 2), Signs("old")) as memory:
        block_until(lambda: made_by(memory) == {"old": 9, "new": 4})
    back = Signs("old")
    with opened(old, back) as memory:
        ready(memory)
        assert back.asked == []
        assert made_by(memory) == {"old": 9}
        assert memory.long_term.stats().next_embedder is None


def test_a_third_model_takes_the_place_of_the_second(old: Path) -> None:
    with opened(old, Slow("second", 2), Signs("old")) as memory:
        block_until(lambda: made_by(memory) == {"old": 9, "second": 4})
    third = Slow("third")
    with opened(old, third, Signs("old")) as memory:
        block_until(lambda: made_by(memory) == {"old": 9})
        assert meanings(memory, TEXTS[8], 1) == [9]
        third.allowed.release(9)
        ready(memory)
        assert made_by(memory) == {"third": 9}


def test_without_the_former_words_answer_meanwhile(old: Path) -> None:
    new = Slow("new", 1)
    with opened(old, new) as memory:
        block_until(lambda: made_by(memory) == {"old": 9, "new": 2})
        assert meanings(memory, TEXTS[3]) is None
        assert memory.search("message 3")[0].text == TEXTS[3]
        new.allowed.release(9)
        ready(memory)
        assert meanings(memory, TEXTS[3], 1) == [4]


def test_a_former_model_whose_files_have_changed_is_not_asked(old: Path) -> None:
    with opened(old, Slow("new"), Signs("old, but with other weights")) as memory:
        block_until(lambda: memory.index_status().switching)
        assert answering(memory) is None


def test_a_former_model_that_fails_stops_nothing(old: Path) -> None:
    new = Slow("new")
    with opened(old, new, Broken("old")) as memory:
        tell(memory, "said meanwhile")
        new.allowed.release(9)
        ready(memory)
        assert made_by(memory) == {"new": 10}


def test_a_new_model_that_fails_leaves_the_former_at_work(old: Path) -> None:
    with opened(old, Broken("new"), Signs("old")) as memory:
        block_until(lambda: memory.index_status().state is IndexState.UNAVAILABLE)
        assert memory.index_status().reason == "It cannot be loaded."
        assert memory.index_status().switching
        assert meanings(memory, TEXTS[3], 1) == [4]


def test_forgetting_meanwhile_erases_both_vectors(old: Path) -> None:
    traces = [*Signs().traces(TEXTS[8]), *Slow("new").traces(TEXTS[8])]
    new = Slow("new", 1)
    with opened(old, new, Signs("old")) as memory:
        block_until(lambda: made_by(memory) == {"old": 9, "new": 2})
        assert files_with(old.parent, traces)
        [session] = memory.sessions()
        memory.long_term.forget([memory.messages(session.id)[8].id])
        assert files_with(old.parent, traces) == []
        assert made_by(memory) == {"old": 8, "new": 1}
        new.allowed.release(9)
        ready(memory)
    assert files_with(old.parent, traces) == []


def test_a_passage_that_the_new_model_refuses_does_not_hold_it_up(path: Path) -> None:
    with Memory(path, embedder=Signs("old")) as memory:
        tell(memory, "one", "two")
        ready(memory)
        tell(memory, "poison")  # which "old" refuses as well
        ready(memory)
    with opened(path, Letters("new"), Signs("old")) as memory:
        ready(memory)
        assert made_by(memory) == {"new": 2}
        assert (memory.index_status().embedded, memory.index_status().passages) == (2, 3)


def test_another_process_asks_the_model_that_answers(old: Path) -> None:
    new, beside_new, beside_old = Slow("new"), Signs("new"), Signs("old")
    with opened(old, new, Signs("old")) as owner:
        block_until(lambda: owner.index_status().switching)
        with opened(old, beside_new, beside_old) as beside:
            block_until(lambda: beside.index_status().state is IndexState.READY)
            assert meanings(beside, TEXTS[3], 1) == [4]
            assert (beside_new.asked, beside_old.asked) == ([], [[TEXTS[3]]])
            new.allowed.release(9)
            ready(owner)
            block_until(lambda: made_by(owner) == {"new": 9})
            assert meanings(beside, TEXTS[3], 1) == [4]
            assert beside_new.asked == [[TEXTS[3]]]


def test_the_store_remembers_how_the_model_is_made_again(path: Path) -> None:
    embedder, asked = Signs("old"), list[str]()
    embedder.recipe = "how to make it"
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "one")
        ready(memory)

    def reopen(recipe: str) -> None:
        asked.append(recipe)

    with Memory(path, embedder=Slow("new"), reopen_embedder=reopen) as memory:
        memory.start_indexing()
        block_until(lambda: memory.index_status().switching)
        assert answering(memory) is None
        assert asked == ["how to make it"], "once"


def test_loading_goes_on_with_the_model_that_takes_over_meanwhile(old: Path) -> None:
    new = Slow("new")

    class Loading(Slow):
        def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
            new.allowed.release(9)
            assert self.closed.wait(60)
            raise EmbedderUnavailable("It was closed.")

    former = Loading("old")
    with opened(old, new, former) as memory:
        memory.load_embedder()
        assert former.closed.is_set()
        assert answering(memory) == "new"


def test_a_memory_without_its_embedder_says_why(path: Path) -> None:
    with Memory(path, no_embedder="The model x is not here.") as memory:
        tell(memory, "a boat")
        memory.start_indexing()
        assert memory.search("boat")[0].text == "a boat"
        status = memory.index_status()
        assert (status.state, status.reason) == (IndexState.UNAVAILABLE, "The model x is not here.")
        with pytest.raises(EmbedderUnavailable, match="The model x is not here"):
            memory.load_embedder()
