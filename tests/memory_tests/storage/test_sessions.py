"""The list of sessions: names, look-ups, order, deletion."""

from __future__ import annotations

import re
import string
from datetime import datetime, timedelta

import pytest

from memory import Budget, InvalidTitle, Memory, SessionNotFound, UnknownStrategy


def test_a_new_session(memory: Memory) -> None:
    session = memory.create_session(model="smollm2-135m", strategy="full")
    assert re.fullmatch("[0-9a-f]{8}", session.id)
    assert (session.title, session.model, session.strategy) == ("New chat", "smollm2-135m", "full")
    assert (session.message_count, session.head_id, session.system_prompt) == (0, None, None)
    assert datetime.fromisoformat(session.created_at).utcoffset() == timedelta(0)
    assert memory.sessions() == [session]


def test_the_first_question_names_a_session_once(memory: Memory) -> None:
    session = memory.create_session()
    memory.add_message(session.id, "system", "Be brief.")
    memory.add_message(session.id, "user", " \n ")
    assert memory.session(session.id).title == "New chat"
    memory.add_message(session.id, "user", "What is\nyeast?")
    memory.add_message(session.id, "user", "And salt?")
    assert memory.session(session.id).title == "What is yeast?"


@pytest.mark.parametrize("renamed_later", [False, True])
def test_a_given_title_stays(memory: Memory, renamed_later: bool) -> None:
    session = memory.create_session(None if renamed_later else "Bread")
    if renamed_later:
        assert memory.rename_session(session.id, " Bread\t").title == "Bread"
    memory.add_message(session.id, "user", "What is yeast?")
    assert memory.session(session.id).title == "Bread"


def test_a_title_needs_a_visible_character(memory: Memory) -> None:
    session = memory.create_session("kept")
    for title in ("", " \n", "\x1b\x07"):
        with pytest.raises(InvalidTitle):
            memory.rename_session(session.id, title)
        with pytest.raises(InvalidTitle):
            memory.create_session(title)
    assert [item.title for item in memory.sessions()] == ["kept"]


def test_sessions_are_found_by_id_title_or_prefix(memory: Memory) -> None:
    bread = memory.create_session("Sourdough Bread")
    street = memory.create_session("Straße")
    assert memory.session(bread.id) == bread
    assert memory.session(bread.id.upper()) == bread
    assert memory.session("sourdough BREAD") == bread
    assert memory.session("STRASSE") == street
    assert memory.session(bread.id[:4]) == bread
    assert memory.find_session(bread.id[:3]) is None
    assert memory.find_session("sourdough") is None
    assert memory.find_session("") is None
    assert memory.find_session("*") is None


def test_an_id_precedes_a_title_and_a_title_precedes_a_prefix(memory: Memory) -> None:
    one = memory.create_session("one")
    two = memory.create_session(one.id)
    three = memory.create_session(one.id[:5])
    assert memory.session(one.id) == one
    assert memory.session(one.id[:5]) == three
    assert memory.session(two.id) == two


def test_an_ambiguous_prefix_finds_nothing(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter(["abcd0001", "abcd0001", "abcd0002"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(ids))
    assert [memory.create_session(str(i)).id for i in range(2)] == ["abcd0001", "abcd0002"]
    assert memory.find_session("abcd") is None
    found = memory.find_session("abcd0002"[:8])
    assert found is not None
    assert found.title == "1"


def test_the_newest_of_several_with_one_title(memory: Memory) -> None:
    first = memory.create_session("same")
    second = memory.create_session("Same")
    assert memory.session("same").id == second.id
    memory.add_message(first.id, "user", "again")
    assert memory.session("same").id == first.id


def test_an_unknown_name_suggests_the_nearest(memory: Memory) -> None:
    memory.create_session("Sourdough bread")
    with pytest.raises(
        SessionNotFound, match=r"No chat 'sourdogh bread'\. Did you mean 'Sourdough bread'\?"
    ) as caught:
        memory.session("sourdogh bread")
    assert caught.value.nearest == "Sourdough bread"
    with pytest.raises(SessionNotFound) as caught:
        memory.session("quantum physics")
    assert str(caught.value) == "No chat 'quantum physics'."


def test_newest_activity_first_and_settings_do_not_count(memory: Memory) -> None:
    ids = [memory.create_session(name).id for name in string.ascii_lowercase[:3]]
    memory.add_message(ids[0], "user", "hello")
    memory.rename_session(ids[1], "b2")
    memory.set_session(ids[1], model="other")
    assert [item.title for item in memory.sessions()] == ["a", "c", "b2"]


def test_a_session_s_own_choices(memory: Memory) -> None:
    session = memory.create_session()
    changed = memory.set_session(session.id, model="m", strategy="full", system_prompt="Be brief.")
    assert (changed.model, changed.strategy, changed.system_prompt) == ("m", "full", "Be brief.")
    changed = memory.set_session(session.id, strategy=None)
    assert (changed.model, changed.strategy, changed.system_prompt) == ("m", None, "Be brief.")
    assert memory.set_session(session.id) == changed
    with pytest.raises(UnknownStrategy, match=r"'ful'\. Choose one of: hierarchical, .*, full\."):
        memory.set_session(session.id, strategy="ful")
    with pytest.raises(UnknownStrategy):
        memory.create_session(strategy="ful")


def test_unknown_sessions_are_refused(memory: Memory) -> None:
    for call in (
        lambda: memory.rename_session("00000000", "x"),
        lambda: memory.set_session("00000000", model="m"),
        lambda: memory.set_session("00000000"),
        lambda: memory.delete_session("00000000"),
        lambda: memory.messages("00000000"),
        lambda: memory.add_message("00000000", "user", "x"),
        lambda: memory.begin_reply("00000000"),
        lambda: memory.build_context("00000000", budget=Budget(100)),
    ):
        with pytest.raises(SessionNotFound, match="'00000000'"):
            call()


def test_a_deleted_session_is_gone_from_the_files_too(memory: Memory) -> None:
    kept = memory.create_session("kept")
    memory.add_message(kept.id, "user", "stays-here")
    session = memory.create_session("secret-title")
    for number in range(50):
        memory.add_message(session.id, "user", f"secret-words {number}")
        memory.build_context(session.id, budget=Budget(30))
    assert memory.session(session.id).message_count == 50
    memory.delete_session(session.id)
    assert memory.sessions() == [memory.session(kept.id)]
    stored = b"".join(file.read_bytes() for file in memory.path.parent.iterdir())
    assert b"stays-here" in stored
    assert b"secret-words" not in stored
    assert b"secret-title" not in stored


def test_a_very_long_session_can_be_read_and_deleted(memory: Memory) -> None:
    session = memory.create_session()
    database = memory._database

    def fill() -> None:
        with database.atomic():
            for number in range(1500):
                memory.add_message(session.id, "user", str(number))

    database.call(fill)
    assert [item.content for item in memory.messages(session.id)] == [str(number) for number in range(1500)]
    memory.delete_session(session.id)
    assert memory.sessions() == []
