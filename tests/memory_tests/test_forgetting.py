"""Forget means gone: a canary, planted with the real embedder and real Chroma, is in no file any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from waiting import block_until
from word_counter import WordCounter

from memory import Budget, IndexState, Memory
from memory.ports import Embedder, Vectors
from memory.vectors.embedder import WorkerEmbedder

CANARY = "zanzibarcanary"
SECRET = f"I live in {CANARY} with my cat."
BUDGET = Budget(120)


class Shared:
    """The real embedder, which survives the stores that use it.

    Attributes:
        traces: the start of each vector of a text with the canary, as it lies on the disk: in SQLite, and in
            Chroma. Its last bits depend on the batch, so embedding the text again would not give it.
    """

    def __init__(self, embedder: WorkerEmbedder) -> None:
        self._embedder = embedder
        self.traces: set[bytes] = set()

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def recipe(self) -> str:
        return self._embedder.recipe

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    @property
    def ready(self) -> bool:
        return self._embedder.ready

    def start(self) -> None:
        self._embedder.start()

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        vectors = self._embedder.embed(texts, query=query)
        found = [row for row, text in enumerate(texts) if CANARY in text]
        for row in found:
            half = vectors[row][:8].astype("<f2")
            self.traces |= {half.tobytes(), half.astype("<f4").tobytes()}
        return vectors

    def close(self) -> None:
        pass


class Unasked(Shared):
    """What a command has that only forgets: nothing loads the model."""

    @property
    def ready(self) -> bool:
        return False

    def start(self) -> None:
        raise AssertionError("the model was loaded")


@pytest.fixture
def shared(embedder: WorkerEmbedder) -> Shared:
    return Shared(embedder)


def open_at(folder: Path, embedder: Embedder) -> Memory:
    return Memory(folder / "stevemin.db", counter=WordCounter(), embedder=embedder)


def indexed(memory: Memory) -> None:
    memory.start_indexing()
    block_until(lambda: memory.index_status().state is IndexState.READY)


def files_with_canary(folder: Path, traces: set[bytes]) -> list[str]:
    """Every file below that has the word, or one of the vectors, in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found = []
    for path in files:
        data = path.read_bytes()
        if any(trace in data for trace in traces) or CANARY.encode() in data.lower():
            found.append(str(path.relative_to(folder)))
    return found


def plant(memory: Memory) -> tuple[str, str]:
    """A secret, a reply that repeats it, and enough talk for a summary; the ids of chat and secret."""
    session = memory.create_session()
    secret = memory.add_message(session.id, "user", SECRET)
    memory.add_message(session.id, "assistant", f"How is the weather in {CANARY}?")
    for number in range(8):
        memory.add_message(session.id, "user", f"Is question number {number} about the tide and the moon?")
        memory.add_message(session.id, "assistant", f"Answer number {number} is that the moon moves the sea.")
        memory.build_context(session.id, budget=BUDGET, strategy="hierarchical")
    while memory.consolidate(session.id, strategy="hierarchical", budget=BUDGET, cancelled=lambda: False):
        pass
    return session.id, secret.id


def asked_again(memory: Memory) -> str:
    """Everything that a new chat can find out about it."""
    session = memory.create_session()
    memory.add_message(session.id, "user", "Do you remember where I live with my cat?")
    prompt = memory.build_context(session.id, budget=Budget(800), strategy="hierarchical")
    found = memory.search("Where do I live with my cat?")
    return str((prompt, found, memory.long_term.export(), memory.long_term.containing(CANARY)))


def test_a_canary_is_gone_from_every_byte(tmp_path: Path, shared: Shared) -> None:
    with open_at(tmp_path, shared) as memory:
        session, secret = plant(memory)
        indexed(memory)
        origin = memory.long_term.why(secret)
        assert origin.facts, "a fact was derived from it"
        assert any(CANARY in summary.text for summary in origin.summaries), "and a summary"
        assert origin.embedded == 1, "and a vector"
        assert CANARY in asked_again(memory)
        assert any("vectors" in name for name in files_with_canary(tmp_path, shared.traces)), (
            "the vector is on the disk"
        )

        gone = memory.long_term.forget([secret])
        assert not gone.pending
        assert (gone.facts, gone.sessions) == (1, (session,))
        assert gone.summaries >= 1
        assert files_with_canary(tmp_path, shared.traces) == [], "while it runs"
        assert CANARY not in asked_again(memory)
        # The rest of what the summary covered is summarised again.
        while memory.consolidate(session, strategy="hierarchical", budget=BUDGET, cancelled=lambda: False):
            pass
        assert memory.long_term.export()["summaries"]
        assert CANARY not in asked_again(memory)
    assert files_with_canary(tmp_path, shared.traces) == [], "after it has ended"
    with open_at(tmp_path, shared) as memory:
        indexed(memory)
        assert CANARY not in asked_again(memory)
    assert files_with_canary(tmp_path, shared.traces) == []


def test_a_process_that_only_forgets_removes_the_vectors_too(
    tmp_path: Path, shared: Shared, embedder: WorkerEmbedder
) -> None:
    with open_at(tmp_path, shared) as memory:
        _, secret = plant(memory)
        indexed(memory)
    assert files_with_canary(tmp_path, shared.traces)
    with open_at(tmp_path, Unasked(embedder)) as memory:
        assert not memory.long_term.forget([secret]).pending
    assert files_with_canary(tmp_path, shared.traces) == []


def test_the_process_that_owns_the_index_removes_the_vectors(
    tmp_path: Path, shared: Shared, embedder: WorkerEmbedder
) -> None:
    with open_at(tmp_path, shared) as owner:
        _, secret = plant(owner)
        indexed(owner)
        with open_at(tmp_path, Unasked(embedder)) as beside:
            assert beside.long_term.forget([secret]).pending
        assert CANARY not in asked_again(owner), "the words are gone at once"
        owner.add_message(owner.create_session().id, "user", "Something else.")
        block_until(lambda: not files_with_canary(tmp_path, shared.traces))
    assert files_with_canary(tmp_path, shared.traces) == []


def test_bytes_that_a_reader_keeps_in_the_log_are_told_and_erased_when_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "stevemin.db"
    with Memory(path, counter=WordCounter()) as memory:
        _, secret = plant(memory)
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM messages").fetchall()
            memory.long_term.forget([secret])
            assert not memory.long_term.erased(0)
            assert files_with_canary(tmp_path, set()), "or this would prove nothing"
            assert CANARY not in asked_again(memory)
            reader.rollback()
        assert memory.long_term.erased(60)
        assert files_with_canary(tmp_path, set()) == []


def test_bytes_that_a_reader_keeps_are_erased_when_the_store_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "stevemin.db"
    with closing(sqlite3.connect(path)) as reader:
        with Memory(path, counter=WordCounter()) as memory:
            _, secret = plant(memory)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM messages").fetchall()
            memory.long_term.forget([secret])
        assert files_with_canary(tmp_path, set()), "or this would prove nothing"
        reader.rollback()
        with Memory(path, counter=WordCounter()):
            assert files_with_canary(tmp_path, set()) == []


def test_whom_a_forgotten_fact_names_is_gone_too(tmp_path: Path) -> None:
    with Memory(tmp_path / "stevemin.db") as memory:
        chat = memory.create_session("Names")
        told = memory.add_message(chat.id, "user", f"I work in {CANARY.capitalize()}. I work at night.")
        other = memory.add_message(chat.id, "user", "I prefer tea.")
        (work,) = [fact for fact in memory.long_term.facts() if fact.entities]
        assert work.entities[0].name == CANARY.capitalize()
        memory.long_term.forget([told.id])
        assert memory.long_term.facts()[0].sources == (other.id,)
        assert memory._call(memory._database.query, "SELECT * FROM entities") == []
    data = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert CANARY.encode() not in data.lower()
