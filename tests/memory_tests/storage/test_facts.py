"""The profile: facts about the user, each with its source."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from memory_tests.storage.store_kit import Store, open_store

from memory.errors import FactNotFound, InvalidFact, MessageNotFound
from memory.types import HEAD, Entity, Fact


def texts(store: Store) -> list[str]:
    return [fact.text for fact in store.call(store.facts.list)]


def test_a_fact_has_its_source(store: Store) -> None:
    source = store.say(store.session(), "I live in Porto.")
    fact = store.call(store.facts.add, "I live\tin Porto.\n", "fact", source.id)
    assert fact == Fact(
        fact.id, "I live in Porto.", "fact", (source.id,), False, False, fact.created_at, source.created_at,
        entities=(Entity("Porto", "name"),),
    )  # fmt: skip
    assert store.call(store.facts.get, fact.id) == fact
    assert store.call(store.facts.list) == (fact,)
    assert store.call(store.facts.made_from, source.id) == (fact,)
    assert store.call(store.facts.made_from, "0" * 32) == ()


def test_facts_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with open_store(path) as store:
        fact = store.call(store.facts.add, "I love tea.", "preference")
    with open_store(path) as store:
        assert store.call(store.facts.list) == (fact,)


@pytest.mark.parametrize("again", ["I LOVE  tea", " i love tea! ", "I love tea…", "I love tea."])
def test_equal_facts_are_recorded_once(store: Store, again: str) -> None:
    session = store.session()
    first = store.call(store.facts.add, "I love tea.", "preference", store.say(session, "one").id)
    second = store.say(session, "two")
    known = store.call(store.facts.add, again, "fact", second.id)
    assert (known.id, known.text, known.kind) == (first.id, "I love tea.", "preference")
    assert (known.sources, known.stated_at) == ((*first.sources, second.id), second.created_at)
    assert store.call(store.facts.count) == 1


@pytest.mark.parametrize("other", ["I like C++", "I like C#", "I like c-", "I don't like C", "I like (C)"])
def test_different_facts_are_recorded_separately(store: Store, other: str) -> None:
    store.call(store.facts.add, "I like C", "preference")
    store.call(store.facts.add, other, "preference")
    assert store.call(store.facts.count) == 2


def test_kinds_of_apostrophe_do_not_matter(store: Store) -> None:
    store.call(store.facts.add, "I'm a nurse", "fact")
    store.call(store.facts.add, "I\u2019m a nurse", "fact")
    assert texts(store) == ["I'm a nurse"]


def test_pinned_first_then_the_newest(store: Store) -> None:
    facts = [store.call(store.facts.add, text, "fact") for text in ("a", "b", "c", "d")]
    assert store.call(store.facts.pin, facts[1].id).pinned
    store.call(store.facts.pin, facts[0].id)
    assert texts(store) == ["b", "a", "d", "c"]
    assert not store.call(store.facts.unpin, facts[1].id).pinned
    assert texts(store) == ["a", "d", "c", "b"]


def test_an_edited_fact_keeps_its_source(store: Store) -> None:
    source = store.say(store.session(), "I live in Porto.")
    fact = store.call(store.facts.add, "I live in Porto.", "fact", source.id)
    assert not store.call(store.facts.edit, fact.id, " I live in Porto. ").edited
    changed = store.call(store.facts.edit, fact.id, "I live in Lisbon.")
    assert (changed.text, changed.edited, changed.message_id) == ("I live in Lisbon.", True, source.id)
    assert store.call(store.facts.made_from, source.id) == (changed,)


def test_a_removed_fact_is_gone(store: Store) -> None:
    fact = store.call(store.facts.add, "I live in Porto.", "fact")
    store.call(store.facts.remove, fact.id)
    assert store.call(store.facts.count) == 0
    again = store.call(store.facts.add, "I live in Porto.", "fact")
    assert again.id != fact.id


def test_unknown_facts_are_refused(store: Store) -> None:
    for call in (
        lambda: store.facts.get(7),
        lambda: store.facts.edit(7, "x"),
        lambda: store.facts.pin(7),
        lambda: store.facts.unpin(7),
        lambda: store.facts.remove(7),
    ):
        with pytest.raises(FactNotFound, match="No fact 7") as caught:
            store.call(call)
        assert caught.value.fact_id == 7


@pytest.mark.parametrize("text", ["", " \n", "\x1b\x07"])
def test_a_fact_needs_a_visible_character(store: Store, text: str) -> None:
    fact = store.call(store.facts.add, "kept", "fact")
    with pytest.raises(InvalidFact):
        store.call(store.facts.add, text, "fact")
    with pytest.raises(InvalidFact):
        store.call(store.facts.edit, fact.id, text)
    assert texts(store) == ["kept"]


def test_nothing_is_learned_from_deleted_messages(store: Store) -> None:
    session = store.session()
    source = store.say(session, "I live in Porto.")
    store.forget(source.id)
    for message_id in (source.id, "0" * 32):
        with pytest.raises(MessageNotFound):
            store.call(store.facts.add, "I live in Porto.", "fact", message_id)
    assert store.call(store.facts.count) == 0


def test_facts_are_deleted_with_their_source(store: Store) -> None:
    session = store.session()
    one, two = store.say(session, "one"), store.say(session, "two")
    edited = store.call(store.facts.add, "from one", "fact", one.id)
    store.call(store.facts.edit, edited.id, "edited")
    store.call(store.facts.add, "from one, too", "fact", one.id)
    store.call(store.facts.add, "from two", "fact", two.id)
    store.call(store.facts.add, "from the person", "fact")
    assert store.call(store.facts.remove_made_from, one.id) == 2
    assert store.call(store.facts.remove_made_from, one.id) == 0
    assert texts(store) == ["from the person", "from two"]
    store.call(store.sessions.delete, session)
    assert texts(store) == ["from the person"]


def test_removed_words_are_in_no_file(tmp_path: Path) -> None:
    with open_store(tmp_path / "data" / "facts.db") as store:
        source = store.say(store.session(), "hello")
        for number in range(50):
            store.call(store.facts.add, f"secret-words {number}", "fact", source.id)
        store.call(store.facts.add, "stays-here", "fact")
        store.call(store.facts.remove_made_from, source.id)
        store.call(store.database.checkpoint)
        stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert b"stays-here" in stored
    assert b"secret-words" not in stored


def test_a_fact_lives_as_long_as_one_of_its_sources(store: Store) -> None:
    session = store.session()
    one, two = store.say(session, "I love tea."), store.say(session, "As I said: I love tea.")
    for source in (one, two):
        store.call(store.facts.add, "I love tea.", "preference", source.id)
    assert store.call(store.facts.remove_made_from, one.id) == 0
    assert [fact.sources for fact in store.call(store.facts.list)] == [(two.id,)]
    assert store.call(store.facts.remove_made_from, two.id) == 1
    assert texts(store) == []


def test_what_the_user_wrote_needs_no_source(store: Store) -> None:
    source = store.say(store.session(), "I love tea.")
    store.call(store.facts.add, "I love tea.", "preference", source.id)
    store.call(store.facts.add, "I love tea.", "preference")
    assert store.call(store.facts.remove_made_from, source.id) == 0
    assert texts(store) == ["I love tea."]


def test_a_fact_is_visible_where_one_of_its_sources_is(store: Store) -> None:
    scoped, other = store.session(), store.session()
    for session in (scoped, other):
        store.call(store.facts.add, "I love tea.", "preference", store.say(session, "I love tea.").id)
    store.call(store.facts.add, "I hate tea.", "preference", store.say(scoped, "I hate tea.").id)
    assert [fact.text for fact in store.call(store.facts.list, [other])] == ["I love tea."]


def test_a_newer_statement_closes_the_older_one(store: Store) -> None:
    session = store.session()
    said = [store.say(session, f"I live in {city}.") for city in ("Porto", "Rome", "Oslo")]
    for message in said:
        store.call(store.facts.add, message.content, "fact", message.id, "home")
    tea = store.call(store.facts.add, "I love tea.", "preference", store.say(session, "I love tea.").id)
    assert texts(store) == ["I love tea.", "I live in Oslo.", "I live in Rome.", "I live in Porto."]
    until = {fact.text: fact.until for fact in store.call(store.facts.list)}
    assert until == {
        tea.text: None,
        "I live in Oslo.": None,
        "I live in Rome.": said[2].created_at,
        "I live in Porto.": said[1].created_at,
    }
    store.call(store.facts.remove_made_from, said[2].id)
    assert {fact.text: fact.until for fact in store.call(store.facts.list)}["I live in Rome."] is None
    again = store.say(session, "I live in Porto.")
    store.call(store.facts.add, again.content, "fact", again.id, "home")
    assert {fact.text: fact.until for fact in store.call(store.facts.list)} == {
        tea.text: None,
        "I live in Porto.": None,
        "I live in Rome.": again.created_at,
    }


def test_a_pinned_fact_stays_open(store: Store) -> None:
    session = store.session()
    first = store.say(session, "I live in Porto.")
    fact = store.call(store.facts.add, first.content, "fact", first.id, "home")
    store.call(store.facts.pin, fact.id)
    second = store.say(session, "I live in Rome.")
    store.call(store.facts.add, second.content, "fact", second.id, "home")
    assert [fact.until for fact in store.call(store.facts.list)] == [None, None]
    assert store.call(store.facts.unpin, fact.id).until == second.created_at


def deadline(store: Store, at: str, text: str = "The deadline is next Tuesday") -> Fact:
    said = store.call(store.transcript.add, store.session(), "user", text, HEAD, at)
    return store.call(store.facts.add, text, "deadline", said.id)


def test_a_day_counts_from_the_message_that_names_it(store: Store) -> None:
    fact = deadline(store, "2026-12-01T12:00:00+00:00")
    assert fact.day == "2026-12-08"
    assert fact.dated_text == "The deadline is next Tuesday (2026-12-08)"
    again = deadline(store, "2026-12-09T12:00:00+00:00")
    assert (again.id, again.day) == (fact.id, "2026-12-15"), "the message that said it last"
    store.call(store.facts.remove_made_from, again.sources[-1])
    assert store.call(store.facts.get, fact.id).day == "2026-12-08"


def test_the_day_is_that_of_this_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        said = deadline(store, "2026-12-01T12:00:00+00:00", "The talk is tomorrow")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert said.day == "2026-12-03", "there it was the second already"


def test_other_words_mean_another_day_and_name_something_else(store: Store) -> None:
    fact = deadline(store, "2026-12-01T12:00:00+00:00", "The talk in Ghent is tomorrow")
    changed = store.call(store.facts.edit, fact.id, "The talk in Leeds is on Friday")
    assert (changed.day, changed.entities) == ("2026-12-04", (Entity("Leeds", "name"),))
    assert store.call(store.facts.edit, fact.id, "The talk is on 2026-12-09").day is None
    assert store.rows("SELECT name FROM entities") == []
    written = store.call(store.facts.add, "The exam is tomorrow", "deadline")
    assert written.day is not None
    assert store.call(store.facts.edit, written.id, "The exam is over").day is None


def test_facts_that_name_the_same_are_related(store: Store) -> None:
    said = store.say(store.session(), "one")
    sister = store.call(store.facts.add, "My sister Clara is a nurse", "fact", said.id)
    ghent = store.call(store.facts.add, "clara loves Ghent", "fact")
    moved = store.call(store.facts.add, "Clara has moved to Leeds", "fact")
    work = store.call(store.facts.add, "I work in Ghent", "fact")
    related = {fact.id: [other.id for other in store.call(store.facts.related, fact.id)]
               for fact in (sister, ghent, moved, work)}  # fmt: skip
    assert related == {
        sister.id: [moved.id], ghent.id: [work.id], moved.id: [sister.id], work.id: [ghent.id]
    }  # fmt: skip
    store.call(store.facts.remove, moved.id)
    assert store.rows("SELECT name FROM entities ORDER BY name") == [("Clara",), ("Ghent",), ("sister",)]
    store.call(store.facts.remove_made_from, said.id)
    assert store.rows("SELECT name FROM entities") == [("Ghent",)]


def test_what_is_known_of_a_name_stays(store: Store) -> None:
    store.call(store.facts.add, "I like Heron", "preference")
    store.call(store.facts.add, "Our app is called Heron", "project")
    store.call(store.facts.add, "I miss Heron", "fact")
    assert store.rows("SELECT name, kind FROM entities") == [("Heron", "project")]
