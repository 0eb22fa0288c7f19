"""Looking things up in a real store: the profile, what a search finds, sources, and what a report names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chat_tests.recall.memory_kit import CALM, DOG, SMALL, TEA, long_chat, remember, summarised

from memory import Dropped, Memory, MemoryNotFound, Recall
from stevemin_chat.recall import (
    explain,
    fact_entries,
    facts_of,
    find,
    hit_entries,
    last_exchange,
    read_account,
    why_nothing_is_listed,
)


def facts_found(memory: Memory, question: str) -> list[str]:
    return [entry.fact.text for entry in find(memory, question).facts]


# The profile and the search


def test_an_empty_question_finds_the_whole_profile_and_no_message(memory: Memory) -> None:
    remember(memory)
    found = find(memory, " \t\n")
    assert [entry.fact.text for entry in found.facts] == [TEA, DOG]
    assert found.hits == ()


def test_a_fact_must_have_every_word_of_the_question(memory: Memory) -> None:
    remember(memory)
    assert facts_found(memory, "THUNDER rex") == [DOG]
    assert facts_found(memory, "prefer tea") == [TEA]
    assert facts_found(memory, "rex coffee") == []
    memory.long_term.add_fact("walks along the STRASSE")
    assert facts_found(memory, "straße") == ["walks along the STRASSE"], "whatever the case"


def test_what_was_said_is_found_beside_the_facts_or_nothing_is(memory: Memory) -> None:
    remember(memory)
    hits = find(memory, "thunder").hits
    assert {(hit.recall.text, hit.title) for hit in hits} >= {(DOG, "Pets at home"), (CALM, "Pets at home")}
    nothing = find(memory, "zeppelin")
    assert (nothing.facts, nothing.hits) == ((), ())


def test_forgotten_messages_are_found_no_more(memory: Memory) -> None:
    ids = remember(memory)
    memory.long_term.forget([ids["dog"]])
    found = find(memory, "thunder")
    assert (found.facts, found.hits) == ((), ())


def test_pinned_facts_come_first_and_those_of_the_person_s_own_have_no_chat(memory: Memory) -> None:
    remember(memory)
    tea, dog = memory.long_term.facts()
    added = memory.long_term.add_fact("Answer in French", "preference")
    memory.long_term.pin_fact(dog.id)
    entries = fact_entries(memory)
    assert [entry.row() for entry in entries] == [
        (str(dog.id), "fact", "*", DOG, "2026-03-02", "Pets at home"),
        (str(added.id), "preference", "", "Answer in French", "", ""),
        (str(tea.id), "preference", "", TEA, "2026-04-11", "Dinner"),
    ]
    own = entries[1].to_json()
    assert (own["said_at"], own["session"], own["session_title"]) == (None, None, None)


def test_a_hit_is_one_row_even_when_its_chat_is_gone(memory: Memory) -> None:
    recall = Recall(
        "0123456789", 1.26, 9, session_id="gone", role="assistant", at="2026-03-02T10:16", text="a\n\n b"
    )
    (entry,) = hit_entries(memory, [recall])
    assert entry.row() == ("01234567", "2026-03-02", "assistant", "1.3", "", "a b")
    assert entry.to_json()["text"] == "a\n\n b", "whole"


def test_an_empty_list_says_why() -> None:
    assert why_nothing_is_listed(3, remembering=False) == "No profile entry matches."
    assert why_nothing_is_listed(0, remembering=False).endswith("remembering is off: stevemin memory on")
    assert why_nothing_is_listed(0, remembering=True).endswith("or with: stevemin memory add TEXT")


# Sources


def test_a_source_stands_between_two_messages_before_and_two_after(memory: Memory) -> None:
    session_id = long_chat(memory, 4)
    messages = memory.messages(session_id)
    for place, around in ((0, messages[:3]), (3, messages[1:6]), (7, messages[5:])):
        assert explain(memory, messages[place].id).around == tuple(around)


def test_the_system_prompt_is_no_neighbour(memory: Memory) -> None:
    chat = memory.create_session("x")
    memory.add_message(chat.id, "system", "Be brief.")
    said = memory.add_message(chat.id, "user", "hello")
    assert explain(memory, said.id).around == (said,)


def test_the_source_on_another_branch_is_shown_on_its_own(memory: Memory) -> None:
    chat = memory.create_session("x")
    first, reply = memory.add_message(chat.id, "user", "one"), memory.add_message(chat.id, "assistant", "1")
    old = memory.add_message(chat.id, "user", "I live in Porto.")
    memory.add_message(chat.id, "user", "I live in Braga.", parent_id=reply.id)
    assert [item.content for item in memory.messages(chat.id)] == ["one", "1", "I live in Braga."]
    (fact,) = memory.long_term.why(old.id).facts
    assert explain(memory, str(fact.id)).around == (first, reply, old)


def test_what_the_person_added_has_no_source_and_what_is_deleted_no_explanation(memory: Memory) -> None:
    ids = remember(memory)
    added = memory.long_term.add_fact("works on Tuesdays")
    found = explain(memory, str(added.id))
    assert (found.origin.message, found.around) == (None, ())
    memory.delete_session(memory.message(ids["dog"]).session_id)
    with pytest.raises(MemoryNotFound, match="No memory has the id"):
        explain(memory, ids["dog"])


def test_only_the_facts_of_a_chat_are_counted(memory: Memory) -> None:
    ids = remember(memory)
    memory.long_term.add_fact("works on Tuesdays")
    dinner = memory.session("Dinner").id
    memory.add_message(dinner, "user", "I work as a baker.")
    assert [facts_of(memory, each) for each in (dinner, memory.session("Pets at home").id)] == [2, 1]
    memory.long_term.forget([ids["tea"]])
    assert facts_of(memory, dinner) == 1
    assert facts_of(memory, "deadbeef") == 0


def test_the_last_exchange_is_the_newest_that_is_not_forgotten(memory: Memory) -> None:
    chat = memory.create_session("x")
    assert last_exchange(memory, chat.id) is None
    memory.add_message(chat.id, "assistant", "Hello?")
    assert last_exchange(memory, chat.id) is None, "nobody has said anything"
    said = [memory.add_message(chat.id, "user", text) for text in ("one", "two")]
    for message in reversed(said):
        found = last_exchange(memory, chat.id)
        assert found is not None
        assert found.origin.item == message
        memory.long_term.forget([message.id])
    assert last_exchange(memory, chat.id) is None


# The report of a prompt


def test_an_account_names_what_the_report_does_except_what_was_forgotten(memory: Memory) -> None:
    remember(memory)
    made = summarised(memory)
    report = memory.build_context(made.session_id, budget=SMALL, strategy="hierarchical").report
    assert set(made.sources) <= {item.message_id for item in report.dropped}
    *_, tea, dog = memory.long_term.facts()
    deleted = Dropped("0" * 32, "user", 9, "does not fit")
    named = replace(
        report, facts=(dog.id, tea.id), summaries=(999, made.id), dropped=(deleted, *report.dropped)
    )
    account = read_account(memory, named)
    assert account.facts == (dog, tea), "in the report's order"
    assert account.summaries == (made,)
    assert set(account.titles.values()) == {"Pets at home", "Dinner", "Porto"}
    memory.long_term.forget_fact(dog.id)
    memory.long_term.forget([made.sources[0]])
    account = read_account(memory, named)
    assert (account.facts, account.summaries) == ((tea,), ())
