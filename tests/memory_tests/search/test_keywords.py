"""Keyword search in stores where not every passage with a word can be scored."""

from __future__ import annotations

import pytest
from memory_tests.storage.store_kit import Store

import memory.search.keywords
from memory.search.keywords import Keywords
from memory.storage.passages import Passages


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
    return dict(store.call(keywords.search, asked, count, visible))


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
