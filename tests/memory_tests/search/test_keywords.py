"""The search by words at the sizes where not every passage with a word can be scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_tests.storage.store_kit import Store, open_store

import memory.search.keywords
from memory.search.keywords import Keywords
from memory.storage.passages import Passages


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "chats.db") as kept:
        yield kept


def enter(kept: Store, texts: list[str]) -> str:
    """Make messages of a new session findable; the ids of their passages count up from 1."""
    session = kept.session()
    passages = Passages(kept.database)
    for text in texts:
        kept.call(passages.add, kept.say(session, text).id)
    return session


def search(
    kept: Store, question: str, count: int = 100, visible: list[str] | None = None
) -> dict[int, float]:
    keywords = Keywords(kept.database)
    asked = kept.call(keywords.of, question)
    return dict(kept.call(keywords.search, asked, count, visible))


def garden(size: int = 60) -> list[str]:
    """Every fifth passage has "tomato", every sixth "basil", every twentieth "canary"."""
    texts = []
    for number in range(1, size + 1):
        words = [f"filler{number}", "and", "more"]
        words += [word for word, step in (("tomato", 5), ("basil", 6), ("canary", 20)) if number % step == 0]
        texts.append(" ".join(words))
    return texts


def test_common_words_add_to_what_rare_ones_find(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(kept, garden())
    everything = search(kept, "canary tomato basil")
    assert set(everything) == {n for n in range(1, 61) if not n % 5 or not n % 6}
    monkeypatch.setattr(memory.search.keywords, "_POSTINGS", 4)
    affordable = search(kept, "canary tomato basil")
    assert affordable == {number: pytest.approx(everything[number]) for number in (20, 40, 60)}
    assert affordable[60] > affordable[20], "it has basil, too"


def test_a_common_word_alone_finds_the_newest(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(kept, garden())
    monkeypatch.setattr(memory.search.keywords, "_POSTINGS", 6)
    assert set(search(kept, "tomato")) == {30, 35, 40, 45, 50, 55, 60}


def test_only_sessions_in_view_are_searched(kept: Store) -> None:
    mine = enter(kept, garden())
    other = enter(kept, ["a canary in the coal mine"])
    assert set(search(kept, "canary")) == {20, 40, 60, 61}
    assert set(search(kept, "canary", visible=[mine])) == {20, 40, 60}
    assert set(search(kept, "canary", count=1, visible=[other])) == {61}
    assert search(kept, "canary", visible=[]) == {}
