"""The profile: what is known of the person, each with its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_tests.storage.store_kit import Store, open_store

from memory.errors import FactNotFound, InvalidFact, MessageNotFound
from memory.types import Fact


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "facts.db") as kept:
        yield kept


def texts(kept: Store) -> list[str]:
    return [fact.text for fact in kept.call(kept.facts.list)]


def test_a_fact_has_its_source(kept: Store) -> None:
    source = kept.say(kept.session(), "I live in Porto.")
    fact = kept.call(kept.facts.add, "I live\tin Porto.\n", "fact", source.id)
    assert fact == Fact(fact.id, "I live in Porto.", "fact", source.id, False, False, fact.created_at)
    assert kept.call(kept.facts.get, fact.id) == fact
    assert kept.call(kept.facts.list) == (fact,)
    assert kept.call(kept.facts.made_from, source.id) == (fact,)
    assert kept.call(kept.facts.made_from, "0" * 32) == ()


def test_facts_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with open_store(path) as kept:
        fact = kept.call(kept.facts.add, "I love tea.", "preference")
    with open_store(path) as kept:
        assert kept.call(kept.facts.list) == (fact,)


@pytest.mark.parametrize("again", ["I LOVE  tea", " i love tea! ", "I love tea…", "I love tea."])
def test_what_says_the_same_is_not_entered_twice(kept: Store, again: str) -> None:
    session = kept.session()
    first = kept.call(kept.facts.add, "I love tea.", "preference", kept.say(session, "one").id)
    assert kept.call(kept.facts.add, again, "fact", kept.say(session, "two").id) == first
    assert kept.call(kept.facts.count) == 1


@pytest.mark.parametrize("other", ["I like C++", "I like C#", "I like c-", "I don't like C", "I like (C)"])
def test_what_differs_is(kept: Store, other: str) -> None:
    kept.call(kept.facts.add, "I like C", "preference")
    kept.call(kept.facts.add, other, "preference")
    assert kept.call(kept.facts.count) == 2


def test_apostrophes_are_one(kept: Store) -> None:
    kept.call(kept.facts.add, "I'm a nurse", "fact")
    kept.call(kept.facts.add, "I\u2019m a nurse", "fact")
    assert texts(kept) == ["I'm a nurse"]


def test_pinned_first_then_the_newest(kept: Store) -> None:
    facts = [kept.call(kept.facts.add, text, "fact") for text in ("a", "b", "c", "d")]
    assert kept.call(kept.facts.pin, facts[1].id).pinned
    kept.call(kept.facts.pin, facts[0].id)
    assert texts(kept) == ["b", "a", "d", "c"]
    assert not kept.call(kept.facts.unpin, facts[1].id).pinned
    assert texts(kept) == ["a", "d", "c", "b"]


def test_an_edited_fact_keeps_its_source(kept: Store) -> None:
    source = kept.say(kept.session(), "I live in Porto.")
    fact = kept.call(kept.facts.add, "I live in Porto.", "fact", source.id)
    assert not kept.call(kept.facts.edit, fact.id, " I live in Porto. ").edited
    changed = kept.call(kept.facts.edit, fact.id, "I live in Lisbon.")
    assert (changed.text, changed.edited, changed.message_id) == ("I live in Lisbon.", True, source.id)
    assert kept.call(kept.facts.made_from, source.id) == (changed,)


def test_removed(kept: Store) -> None:
    fact = kept.call(kept.facts.add, "I live in Porto.", "fact")
    kept.call(kept.facts.remove, fact.id)
    assert kept.call(kept.facts.count) == 0
    again = kept.call(kept.facts.add, "I live in Porto.", "fact")
    assert again.id != fact.id


def test_whatever_needs_a_fact_says_when_there_is_none(kept: Store) -> None:
    for call in (
        lambda: kept.facts.get(7),
        lambda: kept.facts.edit(7, "x"),
        lambda: kept.facts.pin(7),
        lambda: kept.facts.unpin(7),
        lambda: kept.facts.remove(7),
    ):
        with pytest.raises(FactNotFound, match="No fact 7") as caught:
            kept.call(call)
        assert caught.value.fact_id == 7


@pytest.mark.parametrize("text", ["", " \n", "\x1b\x07"])
def test_a_fact_needs_something_visible(kept: Store, text: str) -> None:
    fact = kept.call(kept.facts.add, "kept", "fact")
    with pytest.raises(InvalidFact):
        kept.call(kept.facts.add, text, "fact")
    with pytest.raises(InvalidFact):
        kept.call(kept.facts.edit, fact.id, text)
    assert texts(kept) == ["kept"]


def test_nothing_is_learned_from_what_is_gone(kept: Store) -> None:
    session = kept.session()
    source = kept.say(session, "I live in Porto.")
    kept.forget(source.id)
    for message_id in (source.id, "0" * 32):
        with pytest.raises(MessageNotFound):
            kept.call(kept.facts.add, "I live in Porto.", "fact", message_id)
    assert kept.call(kept.facts.count) == 0


def test_facts_go_with_their_source(kept: Store) -> None:
    session = kept.session()
    one, two = kept.say(session, "one"), kept.say(session, "two")
    edited = kept.call(kept.facts.add, "from one", "fact", one.id)
    kept.call(kept.facts.edit, edited.id, "edited")
    kept.call(kept.facts.add, "from one, too", "fact", one.id)
    kept.call(kept.facts.add, "from two", "fact", two.id)
    kept.call(kept.facts.add, "from the person", "fact")
    assert kept.call(kept.facts.remove_made_from, one.id) == 2
    assert kept.call(kept.facts.remove_made_from, one.id) == 0
    assert texts(kept) == ["from the person", "from two"]
    kept.call(kept.sessions.delete, session)
    assert texts(kept) == ["from the person"]


def test_removed_words_are_in_no_file(tmp_path: Path) -> None:
    with open_store(tmp_path / "data" / "facts.db") as kept:
        source = kept.say(kept.session(), "hello")
        for number in range(50):
            kept.call(kept.facts.add, f"secret-words {number}", "fact", source.id)
        kept.call(kept.facts.add, "stays-here", "fact")
        kept.call(kept.facts.remove_made_from, source.id)
        kept.call(kept.database.checkpoint)
        stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert b"stays-here" in stored
    assert b"secret-words" not in stored
