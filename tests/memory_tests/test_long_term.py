"""Long-term memory as the user manages it, on a real file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from word_counter import WordCounter

from memory import (
    Budget,
    Fact,
    FactNotFound,
    InvalidFact,
    Memory,
    MemoryNotFound,
    Message,
    MessageNotFound,
    SessionNotFound,
    Summary,
)


def say(memory: Memory, *texts: str, project: str | None = None) -> tuple[str, list[str]]:
    """A chat in which user and model take turns: its id, and the ids of its messages."""
    session = memory.create_session(project=project)
    roles = ("user", "assistant")
    ids = [
        memory.add_message(session.id, roles[place % 2], text).id  # type: ignore[arg-type]
        for place, text in enumerate(texts)
    ]
    return session.id, ids


def found(memory: Memory, question: str, session_id: str | None = None) -> list[str]:
    return [recall.text for recall in memory.search(question, session_id=session_id)]


def profile(memory: Memory, session_id: str | None = None) -> list[str]:
    return [fact.text for fact in memory.long_term.facts(session_id=session_id)]


# The profile


def test_what_users_state_about_themselves_is_recorded_with_its_source(memory: Memory) -> None:
    session, (told, _) = say(memory, "I live in Lisbon and I am allergic to nuts.", "You live in Porto.")
    (fact,) = [fact for fact in memory.long_term.facts() if "Lisbon" in fact.text]
    assert fact.message_id == told
    assert not any("Porto" in text for text in profile(memory)), "the model's words are nobody's facts"
    origin = memory.long_term.why(str(fact.id))
    assert origin.message is not None
    assert origin.message.id == told
    assert origin.session is not None
    assert origin.session.id == session


def test_the_profile_can_be_written_and_corrected(memory: Memory) -> None:
    keep = memory.long_term
    first = keep.add_fact("  I prefer short\nanswers. ", "preference")
    second = keep.add_fact("I work at night.")
    assert (first.text, first.kind, first.message_id) == ("I prefer short answers.", "preference", None)
    assert keep.pin_fact(first.id).pinned
    assert profile(memory) == ["I prefer short answers.", "I work at night."]
    assert keep.edit_fact(second.id, "I work by day.").edited
    assert not keep.pin_fact(first.id, False).pinned
    assert keep.forget_fact(first.id).text == "I prefer short answers."
    assert profile(memory) == ["I work by day."]
    assert keep.why(str(second.id)).message is None
    with pytest.raises(InvalidFact):
        keep.add_fact(" \n ")
    with pytest.raises(FactNotFound):
        keep.edit_fact(first.id, "gone")


def test_an_id_is_a_fact_number_or_a_message_id_prefix(memory: Memory) -> None:
    _, (told, reply) = say(memory, "I live in Lisbon.", "Nice.")
    fact = memory.long_term.facts()[0]
    assert memory.long_term.find(f" {fact.id} ") == fact
    assert memory.long_term.find(told) == memory.message(told)
    item = memory.long_term.find(reply[:12].upper())
    assert isinstance(item, Message)
    assert item.id == reply
    for wrong in ("999", told[:5], "zebra", "", "f" * 32, "*", "%"):
        with pytest.raises(MemoryNotFound, match="No memory has the id"):
            memory.long_term.find(wrong)


def test_what_was_derived_from_a_message_is_reported(memory: Memory) -> None:
    _, (told, _) = say(memory, "I live in Lisbon.", "Nice.")
    origin = memory.long_term.why(told)
    assert [fact.text for fact in origin.facts] == ["I live in Lisbon."]
    assert (origin.passages, origin.embedded) == (1, 0)


# Forgetting


def test_a_forgotten_message_leaves_only_its_place(memory: Memory) -> None:
    session, (first, answer, second, last) = say(
        memory, "I live in Zanzibar.", "Zanzibar is warm.", "What is tea?", "A drink."
    )
    gone = memory.long_term.forget([first])
    assert gone.messages == (first, answer), "the reply would quote it"
    assert (gone.facts, gone.passages, gone.sessions) == (1, 2, (session,))
    assert found(memory, "Zanzibar") == []
    assert profile(memory) == []
    branch = memory.messages(session)
    assert [item.id for item in branch] == [first, answer, second, last]
    assert [item.forgotten for item in branch] == [True, True, False, False]
    assert memory.session(session).title == "What is tea?", "the title was made of the forgotten words"
    context = memory.build_context(session, budget=Budget(500))
    assert "Zanzibar" not in str(context.messages)
    assert {item.reason for item in context.report.dropped} == {"forgotten"}
    assert memory.long_term.stats().forgotten == 2


def test_forgetting_one_reply_keeps_the_question(memory: Memory) -> None:
    session, (question, reply) = say(memory, "Tell me a secret.", "Zanzibar.")
    assert memory.long_term.forget([reply]).messages == (reply,)
    assert memory.message(question).content == "Tell me a secret."
    assert memory.long_term.forget([reply]).messages == (), "there is nothing left to forget"
    assert memory.session(session).title == "Tell me a secret."


def test_a_fully_forgotten_chat_loses_its_title(memory: Memory) -> None:
    session, (question, _) = say(memory, "Tell me of Zanzibar.", "No.")
    memory.long_term.forget([question])
    assert memory.session(session).title == "New chat"
    memory.add_message(session, "user", "And now of tea.")
    assert memory.session(session).title == "And now of tea."


def test_a_title_the_user_chose_stays(memory: Memory) -> None:
    session, (question, _) = say(memory, "Tell me of Zanzibar.", "No.")
    memory.rename_session(session, "Africa")
    memory.long_term.forget([question])
    assert memory.session(session).title == "Africa"


def test_one_unknown_id_forgets_nothing(memory: Memory) -> None:
    _, (question, _) = say(memory, "Tell me of Zanzibar.", "No.")
    with pytest.raises(MessageNotFound):
        memory.long_term.forget([question, "nonsense"])
    assert memory.message(question).content == "Tell me of Zanzibar."


def test_a_forgotten_streaming_reply_does_not_come_back(memory: Memory) -> None:
    session = memory.create_session()
    question = memory.add_message(session.id, "user", "Tell me of Zanzibar.")
    reply = memory.begin_reply(session.id)
    memory.long_term.forget([question.id])
    memory.update_reply(reply.id, "Zanzibar is")
    memory.finish_reply(reply.id, "Zanzibar is warm.", status="complete", error="Zanzibar")
    ended = memory.message(reply.id)
    assert (ended.content, ended.error, ended.forgotten) == ("", None, True)
    assert found(memory, "Zanzibar") == []


def test_interrupted_forgetting_is_finished_at_the_next_start(database_path: Path) -> None:
    with Memory(database_path) as memory:
        _, (question, _) = say(memory, "Tell me of Zanzibarcanary.", "No.")
        # Simulates a process killed between deleting the rows and clearing their traces.
        memory._call(memory._components.ingest.forget, [question])
    assert b"zanzibarcanari" in database_path.read_bytes(), "the keyword index has the stem"
    with Memory(database_path):
        pass
    assert b"zanzibarcanar" not in database_path.read_bytes().lower()


def test_messages_that_contain_a_text_are_found_verbatim(memory: Memory) -> None:
    say(memory, "My code is 50% ÄPFEL_x.", "It is äpfel_x?", "100 percent", "no")
    texts = [item.content for item in memory.long_term.containing("äpfel_X")]
    assert texts == ["It is äpfel_x?", "My code is 50% ÄPFEL_x."]
    assert [item.content for item in memory.long_term.containing("50%")] == ["My code is 50% ÄPFEL_x."]
    assert memory.long_term.containing("") == []
    assert len(memory.long_term.containing("äpfel", limit=1)) == 1


# Off the record, and off


def test_off_the_record_deletes_memories_and_records_none(memory: Memory) -> None:
    session, _ = say(memory, "I live in Zanzibar.", "Warm.")
    record = memory.set_session(session, off_record=True)
    assert record.off_record
    memory.add_message(session, "user", "I like Zanzibar.")
    assert found(memory, "Zanzibar") == []
    assert profile(memory) == []
    assert len(memory.messages(session)) == 3, "the chat itself stays"
    assert memory.long_term.stats().off_record == 1
    assert not memory.set_session(session, off_record=False).off_record
    assert set(found(memory, "Zanzibar")) >= {"I live in Zanzibar.", "I like Zanzibar."}
    assert len(profile(memory)) == 2
    with pytest.raises(SessionNotFound):
        memory.set_session("nonsense", off_record=True)


def _summarised(memory: Memory) -> str:
    """A chat whose first messages have left its prompts and were summarised; its id."""
    session = memory.create_session()
    for number in range(8):
        memory.add_message(session.id, "user", f"Zanzibar question {number} is about the tide and the moon.")
        memory.add_message(session.id, "assistant", f"Answer {number} is that the moon moves the sea.")
        memory.build_context(session.id, budget=Budget(120), strategy="hierarchical")
    while _consolidate(memory, session.id) is not None:
        pass
    return session.id


def _consolidate(memory: Memory, session: str) -> Summary | None:
    return memory.consolidate(session, strategy="hierarchical", budget=Budget(120), cancelled=lambda: False)


def test_off_the_record_deletes_summaries_and_makes_none(memory: Memory, database_path: Path) -> None:
    session, other = _summarised(memory), _summarised(memory)
    memory.set_session(session, off_record=True)
    exported = memory.long_term.export()["summaries"]
    assert {summary["session_id"] for summary in exported} == {other}
    assert _consolidate(memory, session) is None
    with pytest.raises(MessageNotFound):  # a summary that was being written
        memory._call(memory._components.summaries.add, session, 0, "x", [memory.messages(session)[0].id])
    memory.set_session(session, off_record=False)
    assert _consolidate(memory, session) is not None


def test_a_chat_that_was_off_the_record_loses_its_summaries_when_the_file_is_upgraded(
    memory: Memory, database_path: Path
) -> None:
    session = _summarised(memory)
    memory._call(memory._database.execute, "UPDATE sessions SET off_record = 1")
    for undone in (
        "ALTER TABLE messages DROP COLUMN sources",
        "ALTER TABLE messages DROP COLUMN quoted",
        "ALTER TABLE messages DROP COLUMN of_use_at",
        "ALTER TABLE passages DROP COLUMN origin",
        "DELETE FROM settings WHERE name = 'store'",
        "DROP TABLE vectors",
        "DROP TABLE documents",
        "DROP TABLE document_roots",
        "DROP TABLE fact_entities",
        "DROP TABLE entities",
        "DROP TABLE fact_readings",
        "DELETE FROM migrations WHERE name >= '007'",
    ):
        memory._call(memory._database.execute, undone)
    memory.close()
    with Memory(database_path, counter=WordCounter()) as again:
        assert again.long_term.export()["summaries"] == []
        assert len(again.messages(session)) == 16


def test_off_the_record_leaves_no_posting_in_the_file(memory: Memory, database_path: Path) -> None:
    session, _ = say(memory, "Off with zanzibarcanary.")
    memory._call(memory._database.checkpoint)
    assert b"zanzibarcanari" in database_path.read_bytes(), "the stem, which only the index has"
    memory.set_session(session, off_record=True)
    assert b"zanzibarcanari" not in database_path.read_bytes()


def test_what_is_said_while_remembering_is_off_is_never_remembered(
    memory: Memory, database_path: Path
) -> None:
    session, _ = say(memory, "I live in Lisbon.", "Nice.")
    memory.long_term.switch(False)
    assert not memory.long_term.remembering
    memory.add_message(session, "user", "I like Zanzibar.")
    reply = memory.begin_reply(session)
    memory.finish_reply(reply.id, "Zanzibar is warm.", status="complete")
    other = memory.create_session()
    memory.add_message(other.id, "user", "Do you remember where I live?")
    context = memory.build_context(other.id, budget=Budget(500))
    assert context.report.recalls == ()
    assert context.report.facts == ()
    memory.close()
    with Memory(database_path, counter=WordCounter()) as again:
        assert not again.long_term.remembering
        again.long_term.switch(True)
        assert found(again, "Zanzibar") == []
        again.set_session(session, off_record=True)
        again.set_session(session, off_record=False)
        assert found(again, "Zanzibar") == []
        assert found(again, "Lisbon") != []
        context = again.build_context(other.id, budget=Budget(500))
        assert "Lisbon" in str(context.messages)


def test_one_process_may_turn_remembering_off(database_path: Path) -> None:
    with Memory(database_path) as memory:
        say(memory, "I live in Lisbon.")
    with Memory(database_path, remembering=False) as memory:
        assert not memory.long_term.remembering
        say(memory, "I like Zanzibar.")
    with Memory(database_path) as memory:
        assert memory.long_term.remembering
        assert (found(memory, "Zanzibar"), len(profile(memory))) == ([], 1)


# Scopes


@pytest.mark.parametrize(
    ("mine", "other", "same_project", "heard"),
    [
        ("everywhere", "everywhere", False, True),
        ("everywhere", "project", False, False),
        ("everywhere", "project", True, True),
        ("project", "everywhere", False, False),
        ("project", "everywhere", True, True),
        ("project", "project", True, True),
        ("session", "everywhere", True, False),
        ("everywhere", "session", True, False),
    ],
)
def test_two_chats_see_each_other_if_both_scopes_allow(
    memory: Memory, mine: str, other: str, same_project: bool, heard: bool
) -> None:
    there, _ = say(memory, "I live in Zanzibar.", project="/there")
    here, _ = say(memory, "Zanzibar or not?", project="/there" if same_project else "/here")
    memory.set_session(there, scope=other)  # type: ignore[arg-type]
    memory.set_session(here, scope=mine)  # type: ignore[arg-type]
    assert ("I live in Zanzibar." in found(memory, "Zanzibar", here)) is heard
    assert ("I live in Zanzibar." in profile(memory, here)) is heard
    assert "I live in Zanzibar." in found(memory, "Zanzibar", there)
    assert "I live in Zanzibar." in found(memory, "Zanzibar"), "the person sees everything"
    context = memory.build_context(here, query="Zanzibar: did I say where I live?", budget=Budget(500))
    assert ("I live in Zanzibar." in str(context.messages)) is heard


def test_chats_without_a_project_share_nothing(memory: Memory) -> None:
    there, _ = say(memory, "I live in Zanzibar.")
    here, _ = say(memory, "Zanzibar or not?")
    memory.set_session(here, scope="project")
    assert "I live in Zanzibar." not in found(memory, "Zanzibar", here)
    assert memory.session(there).project is None


def test_facts_the_user_wrote_are_known_everywhere(memory: Memory) -> None:
    here, _ = say(memory, "Hello there.")
    memory.set_session(here, scope="session")
    memory.long_term.add_fact("I like tea.")
    assert profile(memory, here) == ["I like tea."]


# Statistics and export


def test_stats_and_export_are_complete(memory: Memory, database_path: Path) -> None:
    session, (told, reply) = say(memory, "I live in Lisbon.", "Nice.")
    hidden, _ = say(memory, "I like Zanzibar.")
    memory.set_session(hidden, off_record=True)
    stats = memory.long_term.stats()
    assert (stats.sessions, stats.off_record, stats.messages, stats.facts) == (2, 1, 2, 1)
    assert stats.database_bytes >= database_path.stat().st_size
    assert stats.index_bytes == 0
    exported = memory.long_term.export()
    assert [item["id"] for item in exported["messages"]] == [told, reply]
    assert exported["messages"][0]["session_id"] == session
    assert "Zanzibar" not in json.dumps(exported)
    json.dumps(stats.to_json())
    item = memory.long_term.find(str(exported["facts"][0]["id"]))
    assert isinstance(item, Fact)
    assert item.text == "I live in Lisbon."
