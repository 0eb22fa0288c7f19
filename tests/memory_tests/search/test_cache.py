"""What questions found is remembered: the same results as without, at less work."""

from __future__ import annotations

import random
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memory import Memory, Role, Scope
from memory.ports import Vectors
from memory.search.cache import Best, Found, RetrievalCache, key_of
from memory.storage import EVERYTHING, SearchState, View
from memory.vectors.exact import to_bytes

WORDS = [f"{start}{end}" for start in "bdfgklmnprst" for end in ("ona", "ilek", "umar", "esto", "adri")]
STATE = SearchState(newest=1, passages=1, analysed=True, epoch="", unembedded=())


class Directions:
    """An `Embedder`: the sum of a direction per word, whatever its case and punctuation."""

    name = recipe = "directions"
    dimension = 32
    ready = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def start(self) -> None: ...

    def close(self) -> None: ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        self.asked += texts
        rows = []
        for text in texts:
            words = text.lower().translate(str.maketrans("", "", "?!.,")).split()
            seeds = [np.random.default_rng(zlib.crc32(word.encode())) for word in words]
            rows.append(sum(seed.standard_normal(self.dimension) for seed in seeds))
        vectors = np.array(rows, np.float32)
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
        return unit


@pytest.fixture
def embedder() -> Directions:
    return Directions()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors are made when a test says so, and nothing but questions is embedded."""
    monkeypatch.setattr("memory.vectors.passages.PassageVectors.start", lambda self: None)
    monkeypatch.setattr("memory.search.calibration.Calibration.closeness", lambda *_: None)


def embed(memory: Memory, share: float = 1.0, chance: random.Random | None = None) -> None:
    """Give passages without a vector theirs; a share of them."""
    vectors = memory._components.vectors
    missing = memory._call(vectors._vectors.missing, vectors.model, 1_000)
    chosen = [item for item in missing if chance is None or chance.random() < share]
    if chosen and vectors.model:
        made = to_bytes(Directions().embed([text for _, text in chosen]))
        rows = zip([number for number, _ in chosen], made, strict=True)
        memory._call(vectors._vectors.add, vectors.model, list(rows))


def tell(memory: Memory, *texts: str) -> list[str]:
    session = memory.create_session()
    return [memory.add_message(session.id, "user", text).id for text in texts]


def found(memory: Memory, question: str, **asked: Any) -> list[tuple[int, object]]:
    ranked = memory._components.search._find(question, asked.pop("session_id", None), **asked).ranked
    return [(item.passage.id, pytest.approx(item.score, abs=1e-3)) for item in ranked]


def found_anew(memory: Memory, question: str, **asked: Any) -> list[tuple[int, object]]:
    search = memory._components.search
    kept, search._cache = search._cache, RetrievalCache()
    try:
        return found(memory, question, **asked)
    finally:
        search._cache = kept


class Life:
    """Things that happen to a memory, at random."""

    def __init__(self, memory: Memory, seed: int) -> None:
        self.memory = memory
        self.chance = random.Random(seed)
        self.chats = [memory.create_session(project=project).id for project in (None, "/a", "/b")]
        self.questions = [f"What about {self.words(3)}?" for _ in range(4)]

    def words(self, count: int) -> str:
        return " ".join(self.chance.choices(WORDS, k=count))

    def add(self) -> None:
        for _ in range(self.chance.randrange(1, 6)):
            text = self.words(self.chance.randrange(3, 25)) + self.chance.choice(".?")
            role: Role = "user" if self.chance.random() < 0.5 else "assistant"
            self.memory.add_message(self.chance.choice(self.chats), role, text)

    def edit(self) -> None:
        """A sibling of an earlier message."""
        if messages := self.memory.messages(self.chance.choice(self.chats)):
            message = self.chance.choice(messages)
            self.memory.add_message(message.session_id, "user", self.words(9), parent_id=message.parent_id)

    def forget(self) -> None:
        if messages := self.memory.messages(self.chance.choice(self.chats)):
            self.memory.long_term.forget([self.chance.choice(messages).id])

    def change_scope(self) -> None:
        scopes: list[Scope] = ["session", "project", "everywhere"]
        self.memory.set_session(self.chance.choice(self.chats), scope=self.chance.choice(scopes))

    def go_off_the_record(self) -> None:
        chat = self.memory.session(self.chance.choice(self.chats))
        self.memory.set_session(chat.id, off_record=not chat.off_record)

    def start_a_chat(self) -> None:
        self.chats.append(self.memory.create_session(project=self.chance.choice((None, "/a"))).id)

    def embed(self) -> None:
        embed(self.memory, 0.6, self.chance)

    def ask(self) -> None:
        question = self.chance.choice(self.questions)
        if self.chance.random() < 0.3:
            question = self.chance.choice((question.upper(), question.rstrip("?"), f"  {question}!"))
        chat = self.chance.choice((None, *self.chats))
        messages = self.memory.messages(chat) if chat else []
        known = [message.id for message in messages[-self.chance.randrange(4) :]]
        asked = {"session_id": chat, "known": known, "sources": self.chance.choice(("all", "chats"))}
        assert found(self.memory, question, **asked) == found_anew(self.memory, question, **asked)


@pytest.mark.parametrize("few", [0, 5_000], ids=["index of all", "few are visible"])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_search_finds_what_it_would_find_anew(
    path: Path, embedder: Directions, monkeypatch: pytest.MonkeyPatch, seed: int, few: int
) -> None:
    for name, value in (("_BY_WORDS", 8), ("_BY_MEANING", 6), ("_READ", 30), ("_FEW", few)):
        monkeypatch.setattr(f"memory.search.search.{name}", value)
    with Memory(path, embedder=embedder) as memory:
        life = Life(memory, seed)
        for _ in range(15):
            life.add()
        happens = [life.add, life.edit, life.embed, life.embed]
        rarely = [life.forget, life.change_scope, life.go_off_the_record, life.start_a_chat]
        for _ in range(150):
            life.ask()
            if life.chance.random() < 0.5:
                life.chance.choice(happens if life.chance.random() < 0.8 else rarely)()
        counts = memory._components.search.counts
        assert min(counts.hits, counts.partial, counts.misses) > 5, counts


def test_the_same_question_is_searched_for_once(path: Path, embedder: Directions) -> None:
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "bona dilek", "fumar gesto")
        embed(memory)
        first = memory.search("Where is the bona?")
        for again in ("Where is the bona?", " where IS the  bona", "\u201cWhere is the bona?!\u201d"):
            assert [item.message_id for item in memory.search(again)] == [item.message_id for item in first]
        assert embedder.asked == ["Where is the bona?"]
        memory.search("Who is the bona?")
        assert embedder.asked == ["Where is the bona?", "Who is the bona?"]
        counts = memory.long_term.stats().searches
        assert (counts.hits, counts.partial, counts.misses) == (3, 0, 2)


def test_of_what_is_new_only_that_is_looked_at(
    path: Path, embedder: Directions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "bona dilek", "fumar gesto")
        embed(memory)
        memory.search("bona gesto")
        [new] = tell(memory, "bona gesto bona")
        looked = memory.search("bona gesto")
        assert new in [item.message_id for item in looked], "by its words: it has no vector yet"
        embed(memory)
        monkeypatch.setattr("memory.vectors.passages.PassageVectors.search", None)
        [best, *_] = memory.search("bona gesto")
        assert (best.message_id, best.signals["meaning"]) == (new, 1.0)
        assert embedder.asked == ["bona gesto"]
        counts = memory.long_term.stats().searches
        assert (counts.hits, counts.partial, counts.misses) == (0, 2, 1)


def test_counts_outlive_the_process(path: Path) -> None:
    for total in (1, 2):
        with Memory(path) as memory:
            tell(memory, "bona")
            memory.search("bona")
            assert memory.long_term.stats().searches.misses == total
    memory.close()


@pytest.mark.parametrize("deleted_by", ["this process", "another"])
def test_nothing_is_kept_of_what_was_forgotten(path: Path, embedder: Directions, deleted_by: str) -> None:
    with Memory(path, embedder=embedder) as memory, Memory(path) as other:
        [secret, _] = tell(memory, "bona dilek", "fumar gesto")
        embed(memory)
        memory.search("bona")
        memory.search("fumar")
        cache = memory._components.search._cache
        assert len(cache) == 2
        (memory if deleted_by == "this process" else other).long_term.forget([secret])
        if deleted_by == "another":
            memory.search("gesto")  # finds nothing out: it was never asked before
            memory.search("fumar")
            assert len(cache) == 1
        else:
            assert len(cache) == 0
        assert secret not in [item.message_id for item in memory.search("bona")]


def test_a_passage_that_was_deleted_without_a_vector_is_noticed(path: Path) -> None:
    with Memory(path) as memory:
        tell(memory, "bona dilek", "bona gesto", "fumar")
        assert len(memory.search("bona")) == 3
        with sqlite3.connect(path) as connection:
            connection.create_function("analysed", 1, lambda text: text)
            connection.execute("DELETE FROM passages WHERE text = 'bona gesto'")
        tell(memory, "runila")
        assert [item.text for item in memory.search("bona")] == ["bona dilek"]


def test_what_was_added_is_told_unless_something_was_deleted(path: Path, embedder: Directions) -> None:
    with Memory(path, embedder=embedder) as memory:
        states = memory._components.search._states

        def added(since: SearchState) -> list[int] | None:
            return memory._call(lambda: states.added(since, states.read()))

        [first, *_] = tell(memory, "bona", "dilek", "fumar")
        before = memory._call(states.read)
        assert added(before) == []
        tell(memory, "gesto", "runila")
        assert added(before) == [4, 5]
        memory.long_term.forget([first])
        assert added(before) is None, "though more was added than is gone"
        embed(memory)
        embedded = memory._call(states.read)
        assert (before.unembedded, embedded.unembedded) == ((1, 2, 3), ())
        memory._call(memory._components.vectors._vectors.remove_others, ["another"])
        assert added(embedded) is None, "the vectors are gone"


def test_a_damaged_keyword_index_is_not_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Memory(path) as memory:
        tell(memory, "bona dilek", "fumar gesto")
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE passage_words_data SET block = x'00' WHERE id > 10")
        memory._call(memory._database.query, "SELECT 1")
        assert memory.search("bona") == []
        memory._components.analysis._thread.join()  # type: ignore[union-attr]  # it was started
        assert memory.search("bona")


def test_what_is_found_while_something_is_forgotten_is_not_kept() -> None:
    cache = RetrievalCache()
    _, generation = cache.get(b"1")
    cache.clear()
    cache.put(b"1", Found(STATE), generation)
    assert cache.get(b"1")[0] is None


def test_it_keeps_the_questions_asked_last_within_its_bounds() -> None:
    cache, found = RetrievalCache(most=3), Found(STATE)
    for key in (b"1", b"2", b"3"):
        cache.put(key, found, 0)
    cache.get(b"1")
    cache.put(b"4", found, 0)
    assert [cache.get(key)[0] is not None for key in (b"1", b"2", b"3", b"4")] == [True, False, True, True]
    small = RetrievalCache(most_bytes=2 * found.bytes)
    large = Found(STATE, near=Best([(number, 0.5) for number in range(200)], 200))
    for key in (b"1", b"1", b"2", b"3"):
        small.put(key, found, 0)
    assert len(small) == 2
    small.put(b"5", large, 0)
    assert len(small) == 0, "too large by itself"


def test_questions_are_the_same_if_only_their_looks_differ() -> None:
    def same(one: str, two: str) -> bool:
        return key_of(one, EVERYTHING, "") == key_of(two, EVERYTHING, "")

    assert same("Where do I live?", "  where do i LIVE")
    assert same("\u300c海はどこ\uff1f\u300d", "海はどこ")
    for one, two in (
        ("Where do I live?", "Who do I live with?"),
        ("Is it C++?", "Is it C?"),
        ("minus -5", "minus 5"),
        ("my iPhone", "my iphone"),
        ("a b", "b a"),
    ):
        assert not same(one, two)
    views = [EVERYTHING, View(sessions=frozenset("a")), View(roots=frozenset()), View(frozenset(), None)]
    keys = {key_of("x", view, model) for view in views for model in ("", "a", "b")}
    assert len(keys) == len(views) * 3


def test_once_another_embedder_has_taken_over_no_vector_of_the_former_is_compared(path: Path) -> None:
    former, wanted = Directions(), Directions()
    wanted.name = wanted.recipe = "others"
    with Memory(path, embedder=former) as memory:
        tell(memory, "bona dilek", "fumar gesto")
        embed(memory)
        memory._components.vectors._embedders.begin()  # type: ignore[union-attr]  # it has one
    with Memory(path, embedder=wanted, reopen_embedder=lambda recipe: former) as memory:
        embedders = memory._components.vectors._embedders
        assert embedders is not None
        assert embedders.begin()
        for _ in range(2):
            memory.search("bona")
        assert (former.asked, wanted.asked) == (["bona"], []), "its vector is known, whom it meets is not"
        assert memory.long_term.stats().searches.hits == 0, "while one takes over, meanings are compared anew"
        embedders.take_over()
        embed(memory)
        memory.search("bona")
        assert wanted.asked[-1:] == ["bona"]
        memory.search("bona")
        assert memory.long_term.stats().searches.hits == 1
