"""What `stevemin memory forget` chooses on a real store, and the words for what is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chat_tests.recall.memory_kit import DOG, remember

from memory import IndexState, IndexStatus, Memory, MemoryNotFound, SearchCounts
from stevemin_chat.recall import choose, counted, stats_rows, switched_in_words
from stevemin_chat.recall.forgetting import Chosen


def chosen(
    memory: Memory,
    *ids: str,
    containing: str | None = None,
    session: str | None = None,
    source: bool = False,
) -> Chosen:
    return choose(memory, ids, containing=containing, session=session, source=source)


def texts(found: Chosen) -> tuple[list[str], list[str]]:
    """Of its facts and its messages."""
    return [fact.text for fact in found.facts], [message.content for message in found.messages]


# What is chosen


def test_what_is_named_in_several_ways_is_chosen_once(memory: Memory) -> None:
    ids = remember(memory)
    _, dog = memory.long_term.facts()
    named = (str(dog.id), ids["dog"], f" {dog.id} ", ids["dog"][:8].upper())
    found = chosen(memory, *named, containing="REX", source=True)
    assert texts(found) == ([DOG], [DOG])
    assert found.question.startswith("Forget 1 message and 1 fact for good, with the replies")


def test_a_text_is_looked_for_in_facts_and_messages_of_one_chat_or_all(memory: Memory) -> None:
    remember(memory)
    memory.long_term.add_fact("Rex snores")
    memory.add_message(memory.session("Dinner").id, "user", "Does Rex like tea?")
    assert texts(chosen(memory, containing="rex")) == (["Rex snores", DOG], ["Does Rex like tea?", DOG])
    assert texts(chosen(memory, containing="rex", session="dinner")) == ([], ["Does Rex like tea?"])
    assert texts(chosen(memory, containing="rex", session="pets at home")) == ([DOG], [DOG])


def test_nothing_is_chosen_where_nothing_is_left_to_forget(memory: Memory) -> None:
    ids = remember(memory)
    assert not chosen(memory, containing="zeppelin")
    memory.long_term.forget([ids["dog"]])
    assert not chosen(memory, ids["dog"], ids["calm"])
    with pytest.raises(MemoryNotFound):
        chosen(memory, ids["tea"], "fedcba98")


def test_a_fact_of_the_person_s_own_has_no_source_to_forget(memory: Memory) -> None:
    ids = remember(memory)
    tea, _ = memory.long_term.facts()
    added = memory.long_term.add_fact("works on Tuesdays")
    found = chosen(memory, str(added.id), str(tea.id))
    assert found.question == (
        "Forget 2 facts for good? The messages stay in their chats (--source forgets them, too)."
    )
    both = chosen(memory, str(added.id), str(tea.id), source=True)
    assert [message.id for message in both.messages] == [ids["tea"]]


def test_facts_that_go_with_their_message_are_counted_once(memory: Memory) -> None:
    chat = memory.create_session("x")
    said = memory.add_message(chat.id, "user", "I live in Porto. I prefer short answers.")
    fact = memory.long_term.facts()[0]
    gone = chosen(memory, str(fact.id), said.id).forget(memory)
    assert (gone.facts, gone.messages) == (2, (said.id,))
    assert memory.long_term.facts() == ()


def test_a_list_of_five_is_whole_and_a_longer_one_is_cut(memory: Memory) -> None:
    chat = memory.create_session("x")
    said = [memory.add_message(chat.id, "assistant", f"line {number}") for number in range(7)]
    ids = [message.id for message in said]
    five = list(chosen(memory, *ids[:5]).lines())
    assert (len(five), five[4]) == (5, f"  {ids[4][:8]}, assistant, {said[4].created_at[:10]}: line 4")
    six = list(chosen(memory, *ids[:6]).lines())
    assert six == [*five, "  and 1 more"]


# What is told


def test_only_what_there_is_is_counted() -> None:
    assert counted() == counted(message=0) == ""
    assert counted(message=1, fact=0, summary=2) == "1 message and 2 summaries"
    assert counted(message=1200, fact=1, summary=1) == "1,200 messages, 1 fact and 1 summary"


def test_switching_says_what_happens_to_memories(memory: Memory) -> None:
    assert "sent while it was off stay out of memory" in switched_in_words(None, True)
    assert "Existing memories stay." in switched_in_words(None, False)
    chat = memory.create_session("Trip")
    on = "'Trip' is on the record: its messages are remembered."
    assert switched_in_words(chat, True) == on
    assert switched_in_words(chat, False) == (
        f"{on} But remembering is off for all chats; turn it on with: stevemin memory on"
    )
    off = memory.set_session(chat.id, off_record=True)
    for remembering in (True, False):
        assert switched_in_words(off, remembering).startswith("'Trip' is off the record: its memories are")


def test_statistics_count_what_is_there(tmp_path: Path) -> None:
    with Memory(tmp_path / "chat.db") as memory:
        nothing = dict(stats_rows(memory.long_term.stats()))
        assert nothing["Messages"] == "0 remembered, 0 forgotten"
        assert nothing["Search by meaning"] == "nothing to find yet"
        ids = remember(memory)
        memory.long_term.forget([ids["calm"]])
        memory.long_term.pin_fact(memory.long_term.facts()[0].id)
        memory.set_session(memory.create_session("x").id, off_record=True)
        rows = dict(stats_rows(memory.long_term.stats()))
        assert rows.pop("On disk").endswith("KiB chats, 0 B vectors")
        assert rows == {
            "Chats": "3, 1 off the record",
            "Messages": "3 remembered, 1 forgotten",
            "Passages": "3, 0 with a vector",
            "Facts": "2, 1 pinned",
            "Summaries": "0",
            "Search by meaning": "finds 0 passages; the others get their vectors while a chat is open",
            "Searches": "none yet",
        }


def test_statistics_tell_what_search_by_meaning_finds(memory: Memory) -> None:
    remember(memory)
    found = memory.long_term.stats()
    one = dict(stats_rows(replace(found, embedded=1)))
    assert one["Search by meaning"].startswith("finds 1 passage; the others")
    assert dict(stats_rows(replace(found, embedded=4)))["Search by meaning"] == "finds every passage"
    broken = IndexStatus(IndexState.UNAVAILABLE, reason="Chroma is gone.")
    assert dict(stats_rows(replace(found, index=broken)))["Search by meaning"] == "Chroma is gone."
    searched = replace(found, searches=SearchCounts(hits=1, partial=20, misses=1300))
    assert dict(stats_rows(searched))["Searches"] == (
        "1,321: 1 answered from an earlier one, 20 looked only at changes"
    )
