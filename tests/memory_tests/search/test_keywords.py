"""Keyword search in stores where not every passage with a word can be scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_tests.storage.store_kit import Store

import memory.search.keywords
from memory import Memory
from memory.errors import KeywordIndexDamaged
from memory.search.keywords import Analysis, Keywords
from memory.storage.passages import EVERYTHING, Passages, View


def enter(store: Store, texts: list[str]) -> str:
    """Make messages of a new session findable; the ids of their passages count up from 1."""
    session = store.session()
    passages = Passages(store.database)
    for text in texts:
        store.call(passages.add, store.say(session, text).id)
    return session


def search(
    store: Store, question: str, count: int = 100, visible: list[str] | None = None
) -> dict[int, float]:
    keywords = Keywords(store.database)
    asked = store.call(keywords.of, question)
    view = EVERYTHING if visible is None else View(frozenset(visible))
    return dict(store.call(keywords.search, asked, count, view))


def garden(size: int = 60) -> list[str]:
    """Every fifth passage has "tomato", every sixth "basil", every twentieth "canary"."""
    texts = []
    for number in range(1, size + 1):
        words = [f"filler{number}", "and", "more"]
        words += [word for word, step in (("tomato", 5), ("basil", 6), ("canary", 20)) if number % step == 0]
        texts.append(" ".join(words))
    return texts


def test_common_words_add_to_the_score_of_what_rare_ones_find(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(store, garden())
    everything = search(store, "canary tomato basil")
    assert set(everything) == {n for n in range(1, 61) if not n % 5 or not n % 6}
    monkeypatch.setattr(memory.search.keywords, "_POSTINGS", 4)
    affordable = search(store, "canary tomato basil")
    assert affordable == {number: pytest.approx(everything[number]) for number in (20, 40, 60)}
    assert affordable[60] > affordable[20], "it has basil, too"


def test_a_common_word_alone_finds_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(store, garden())
    monkeypatch.setattr(memory.search.keywords, "_POSTINGS", 6)
    assert set(search(store, "tomato")) == {30, 35, 40, 45, 50, 55, 60}


def test_only_visible_sessions_are_searched(store: Store) -> None:
    mine = enter(store, garden())
    other = enter(store, ["a canary in the coal mine"])
    assert set(search(store, "canary")) == {20, 40, 60, 61}
    assert set(search(store, "canary", visible=[mine])) == {20, 40, 60}
    assert set(search(store, "canary", count=1, visible=[other])) == {61}
    assert search(store, "canary", visible=[]) == {}


def test_a_pasted_document_is_looked_up_in_part(store: Store) -> None:
    enter(store, [*garden(), "a zeppelin"])
    document = " ".join(f"filler{number}" for number in range(1, 3000)) + " zeppelin"
    keywords = store.call(Keywords(store.database).of, document)
    assert len(keywords) <= 64
    assert "zeppelin" in {keyword.term.forms[0] for keyword in keywords}
    assert 61 in search(store, document)


def test_passages_of_an_earlier_analyser_are_analysed_the_newest_first(store: Store) -> None:
    enter(store, garden(5))
    passages = Passages(store.database)
    store.call(passages.discard_analysis)
    assert search(store, "filler5 filler1") == {}
    assert store.call(passages.analyse_some, 2)
    assert set(search(store, "filler5 filler1")) == {5}
    analysis = Analysis(store.database, passages)
    analysis.start()
    analysis._thread.join()  # type: ignore[union-attr]
    assert set(search(store, "filler5 filler1")) == {1, 5}
    assert not store.call(passages.analyse_some, 2)
    analysis.close()


def test_a_deleted_passage_leaves_the_index_whether_it_was_in_it_or_not(store: Store) -> None:
    enter(store, ["a canary", "a canary and a cat"])
    store.call(store.database.execute, "DELETE FROM passages WHERE id = 1")
    store.call(Passages(store.database).discard_analysis)
    store.call(store.database.execute, "DELETE FROM passages WHERE id = 2")
    assert search(store, "canary") == {}
    store.call(store.database.execute, "INSERT INTO passage_words (passage_words) VALUES ('integrity-check')")


RUBBISH = ("zeroblob(40)", "randomblob(length(block))")


def damage(memory: Memory, rubbish: str) -> None:
    """Overwrite the segments of the keyword index."""
    memory._call(memory._database.execute, f"UPDATE passage_words_data SET block = {rubbish} WHERE id > 10")


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with Memory(path) as memory:
        session = memory.create_session("birds").id
        memory.add_message(session, "user", "The canary sings.")
        damage(memory, RUBBISH[1])
    with Memory(path) as memory:
        with pytest.raises(KeywordIndexDamaged):
            memory._call(
                Keywords(memory._database).search, memory._call(Keywords(memory._database).of, "canary"), 9
            )
        assert memory.search("canary") == []
        memory._components.analysis._thread.join()  # type: ignore[union-attr]
        assert [recall.text for recall in memory.search("canary")] == ["The canary sings."]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_a_damaged_index_loses_no_message_and_keeps_none(tmp_path: Path, rubbish: str) -> None:
    with Memory(tmp_path / "chats.db") as memory:
        session = memory.create_session("birds").id
        first = memory.add_message(session, "user", "The canary sings.")
        damage(memory, rubbish)
        second = memory.add_message(session, "user", "The parrot talks.")
        memory.long_term.forget([first.id])
        assert [message.content for message in memory.messages(session)] == ["", second.content]
        memory.delete_session(session)
        assert memory.sessions() == []
