"""Long-term memory in words: the index, what forgetting deletes, sources, scores, and a prompt's report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from chat_tests.recall.memory_kit import DOG, FACT, WISH, remember, summarised

from memory import (
    ContextReport,
    Dropped,
    Forgotten,
    IndexState,
    IndexStatus,
    LayerReport,
    Memory,
    Message,
    PromptSources,
    Recall,
)
from stevemin_chat.recall import (
    DropGroup,
    bar,
    derived_lines,
    drop_groups,
    explain,
    forget_question,
    forgotten_words,
    headline,
    index_words,
    layer_units,
    off_record_question,
    origin_lines,
    reason_words,
    score_words,
    source_lines,
)
from stevemin_chat.recall.words import index_hint


def question_about(memory: Memory, item_id: str | int) -> str:
    return forget_question(explain(memory, str(item_id)))


def lines_about(memory: Memory, item_id: str | int) -> list[str]:
    return list(origin_lines(memory.long_term.why(str(item_id))))


# The index


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (IndexStatus(IndexState.OFF), "search by words"),
        (IndexStatus(IndexState.STARTING), "search by words; search by meaning is starting"),
        (IndexStatus(IndexState.INDEXING, 1200, 2000), "search by meaning: 1,200 of 2,000 passages"),
        (IndexStatus(IndexState.INDEXING, 0, 1), "search by meaning: 0 of 1 passage"),
        (IndexStatus(IndexState.INDEXING, 5, 5), "search by meaning: ready, 5 passages"),
        (IndexStatus(IndexState.READY, 1, 1), "search by meaning: ready, 1 passage"),
        (IndexStatus(IndexState.UNAVAILABLE), "search by words only: the index is not available."),
        (
            IndexStatus(IndexState.UNAVAILABLE, reason="\x1b]0;owned\x07Chroma\x1b[31m is gone."),
            "search by words only: Chroma is gone.",
        ),
        (
            IndexStatus(IndexState.INDEXING, 12, 2000, switching=True),
            "changing the embedding model: 12 of 2,000 passages",
        ),
        (
            IndexStatus(IndexState.UNAVAILABLE, reason="It is gone.", switching=True),
            "the embedding model cannot be changed: It is gone.",
        ),
    ],
)
def test_how_a_search_works_now(status: IndexStatus, words: str) -> None:
    assert index_words(status) == words


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (IndexStatus(IndexState.INDEXING, 937, 1000), ""),
        (IndexStatus(IndexState.INDEXING, 936, 1000), "indexing 94%"),
        (IndexStatus(IndexState.INDEXING, 0, 64), "indexing 0%"),
        (IndexStatus(IndexState.INDEXING, 99_900, 100_000), "indexing 99%"),
        (IndexStatus(IndexState.STARTING, 0, 1000), ""),
        (IndexStatus(IndexState.INDEXING, 500, 1000, switching=True), "changing embedder 50%"),
        (IndexStatus(IndexState.INDEXING, 0, 0), ""),
    ],
)
def test_the_hint_is_silent_about_a_few_and_never_says_that_all_is_done(
    status: IndexStatus, hint: str
) -> None:
    assert index_hint(status) == hint


# Forgetting


def test_the_question_quotes_the_message_and_names_what_goes_with_it(memory: Memory) -> None:
    ids = remember(memory)
    assert question_about(memory, ids["dog"]) == (
        "Forget “I have a dog called Rex, he is four years old and afraid of…” (you, 2026-03-02)"
        " and the answer to it? Derived from it and deleted, too: 1 fact. This cannot be undone."
    )
    assert question_about(memory, ids["mint"]) == (
        "Forget “Then mint leaves go well with it.” (assistant, 2026-04-11)? This cannot be undone."
    )


def test_an_answer_that_is_forgotten_already_is_not_named(memory: Memory) -> None:
    ids = remember(memory)
    memory.long_term.forget([ids["calm"]])
    assert "the answer" not in question_about(memory, ids["dog"])
    assert "and the answer to it?" in question_about(memory, ids["tea"])


def test_several_facts_and_a_summary_are_counted(memory: Memory) -> None:
    made = summarised(memory)
    asked = question_about(memory, made.sources[0])
    assert "Derived from it and deleted, too: 2 facts and 1 summary." in asked


def test_a_fact_goes_without_its_message_and_one_without_a_message_alone(memory: Memory) -> None:
    remember(memory)
    _, dog = memory.long_term.facts()
    assert question_about(memory, dog.id).endswith("afraid of…”? The message it comes from stays.")
    added = memory.long_term.add_fact("works on Tuesdays")
    assert question_about(memory, added.id) == "Forget “works on Tuesdays”?"


def test_the_question_is_one_line_that_cannot_drive_the_terminal(memory: Memory) -> None:
    chat = memory.create_session()
    said = memory.add_message(
        chat.id, "user", "one\x1b]0;owned\x07\ntwo\u202e\x9b31m", at="2026-03-02T09:12:00Z"
    )
    assert question_about(memory, said.id) == ("Forget “one two” (you, 2026-03-02)? This cannot be undone.")


def test_going_off_the_record_counts_what_is_lost() -> None:
    assert "1 fact of your profile comes from it" in off_record_question(1)
    assert "any changes you made to it. The chat stays." in off_record_question(1)
    assert "1,200 facts of your profile come from it" in off_record_question(1200)
    assert "any changes you made to them. The chat stays." in off_record_question(1200)


@pytest.mark.parametrize(
    ("forgotten", "words"),
    [
        (Forgotten(), "There is nothing to forget."),
        (Forgotten(sessions=("a",), pending=True), "There is nothing to forget."),
        (Forgotten(facts=1), "Forgotten: 1 fact."),
        (
            Forgotten(messages=("a", "b"), facts=1, summaries=2, passages=1200),
            "Forgotten: 2 messages, 1 fact, 2 summaries and 1,200 passages.",
        ),
        (
            Forgotten(messages=("a",), passages=1, pending=True),
            "Forgotten: 1 message and 1 passage. The open chat deletes their vectors within a minute, or else"
            " the next one does.",
        ),
    ],
)
def test_what_was_forgotten_is_counted(forgotten: Forgotten, words: str) -> None:
    assert forgotten_words(forgotten) == words


# Sources


def test_what_was_derived_from_a_message_has_a_line_each(memory: Memory) -> None:
    made = summarised(memory)
    origin = memory.long_term.why(made.sources[0])
    preference, fact = memory.long_term.facts()
    start, *rest = derived_lines(origin)
    assert [start, rest[0]] == [f"fact: {FACT}", f"preference: {WISH}"]
    assert rest[1].startswith(f"summary of {len(made.sources)} messages: ")
    assert rest[2:] == ["1 passage in the search index, none with a vector yet"]
    named = list(derived_lines(replace(origin, embedded=1), ids=True))
    assert named[:2] == [f"fact {fact.id}: {FACT}", f"preference {preference.id}: {WISH}"]
    assert named[-1] == "1 passage in the search index, 1 with a vector"


def test_a_forgotten_message_has_a_place_and_no_words(memory: Memory) -> None:
    ids = remember(memory)
    memory.long_term.forget([ids["dog"]])
    where, *rest = lines_about(memory, ids["dog"])
    assert where.startswith("You, 2026-03-02 09:12 UTC,")
    assert rest == ["", "    (forgotten)", "", "Derived from this:", "    nothing"]


def test_a_fact_tells_what_the_person_did_with_it(memory: Memory) -> None:
    ids = remember(memory)
    _, dog = memory.long_term.facts()
    memory.long_term.pin_fact(dog.id)
    memory.long_term.edit_fact(dog.id, "Rex is five")
    first, _, where, _, text, *_ = lines_about(memory, dog.id)
    assert first == f"{dog.id}  Rex is five (fact, pinned, edited)"
    assert f'in "Pets at home" ({memory.session("Pets at home").id}), message {ids["dog"][:8]}:' in where
    assert text == f"    {DOG}", "what was said stays as it was"


@pytest.mark.parametrize(("before", "after"), [(40, 0), (40, 40), (5, 40)])
def test_of_a_long_message_the_part_about_the_fact_is_shown(memory: Memory, before: int, after: int) -> None:
    filler = "This is about nothing. "
    chat = memory.create_session("Long")
    memory.add_message(chat.id, "user", f"Start. {filler * before}{FACT} {filler * after}End.")
    (fact,) = memory.long_term.facts()
    text = lines_about(memory, fact.id)[4].strip()
    assert FACT in text
    assert (text.startswith("…"), text.startswith("Start.")) == (before == 40, before == 5)
    assert (text.endswith("…"), text.endswith("End.")) == (after == 40, after == 0)


def test_of_a_long_message_without_a_fact_the_start_is_shown(memory: Memory) -> None:
    said = memory.add_message(memory.create_session("Long").id, "user", f"Start. {'Nothing. ' * 80}")
    text = lines_about(memory, said.id)[2].strip()
    assert (text.startswith("Start."), text.endswith("…")) == (True, True)
    assert len(text.removesuffix("…")) <= 600


# The report of a prompt


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        ({"length": 1.0, "words": 1.0}, "score 1.5 = words 2.6 + length 0.6"),
        ({"session coverage": 1.0, "question": 1.0}, "score 1.5 = chat coverage 2.7 - question 0.6"),
        ({"question": 1.0, "length": 0.5}, "score 1.5 = - question 0.6 + length 0.3"),
        ({}, "score 1.5"),
    ],
)
def test_a_score_is_told_as_a_sum(signals: dict[str, float], words: str) -> None:
    assert score_words(Recall("a", 1.5, 9, signals=signals)) == words


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2026-11-20T08:00:00Z", "said today"),
        ("2026-11-19T23:00:00Z", "said yesterday"),
        ("2026-11-13T08:00:00Z", "said 7 days ago"),
        ("2026-11-05T08:00:00Z", "said 2 weeks ago"),
        ("2026-08-01T08:00:00Z", "said 3 months ago"),
        ("2020-08-01T08:00:00Z", "said 6 years ago"),
    ],
)
def test_the_reasons_of_a_recall_are_told_in_words(at: str, said: str) -> None:
    signals = {"length": 3.0, "words": 0.53, "words before": 1.0, "words two before": 1.0, "meaning": 1.0}
    recall = Recall("a", 1.5, 9, at=at, signals={**signals, "question": 1.0, "first": 0.1})
    reasons = reason_words(recall, datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert reasons == f"close in meaning · same words · follows the same words · {said}"


def test_nobody_said_what_stands_in_a_document() -> None:
    recall = Recall("", 1.5, 9, at="2026-11-20T08:00:00Z", signals={"session coverage": 1.0}, file="/a.md")
    assert reason_words(recall, datetime.now(UTC)) == "from a file about this"


def test_a_recall_of_no_known_time_has_its_reasons_only() -> None:
    assert reason_words(Recall("a", 1.5, 9, signals={"words": 1.0}), datetime.now(UTC)) == "same words"


def test_the_headline_leaves_out_what_does_not_matter() -> None:
    report = ContextReport(
        strategy="hierarchical", budget_tokens=7168, reply_tokens=1024, tokens=1200, layers=(), sent=()
    )
    start = "hierarchical · 1,200 of 7,168 tokens"
    assert headline(report) == f"{start} · 1,024 reserved for the answer"
    assert headline(replace(report, reply_tokens=0, focus="past")) == f"{start} · question about the past"
    assert headline(replace(report, reply_tokens=0, focus="plain")) == start


def test_each_layer_counts_in_its_own_unit() -> None:
    counted = [("profile", 1), ("memories", 2), ("history", 1200), ("summary", 0), ("template", 3)]
    units = [layer_units(LayerReport(name, 9, number)) for name, number in counted]
    assert units == ["1 fact", "2 recalls", "1,200 messages", "", ""]


def test_bars_show_an_eighth_of_a_cell() -> None:
    assert bar(0, 10) == ""
    assert bar(0.0001, 10) == "▏", "something is never nothing"
    assert bar(0.5, 10) == "█" * 5
    assert bar(0.55, 10) == "█████▌"
    assert bar(7, 10) == "█" * 10


def test_what_was_left_out_is_grouped_by_reason() -> None:
    dropped = [Dropped("a", "user", 3, "rare"), *(Dropped(x, "user", 5, "often") for x in "bc")]
    assert drop_groups(dropped) == [DropGroup("often", 2, 10), DropGroup("rare", 1, 3)]
    assert drop_groups([]) == []


def test_the_score_of_a_passage_is_about_its_file() -> None:
    passage = Recall("", 1.5, 9, signals={"session coverage": 1.0}, role="document", file="/notes/boats.md")
    assert "file coverage" in score_words(passage)


def test_documents_are_named_among_the_sources_of_a_reply() -> None:
    sources = PromptSources(strategy="hierarchical", documents=("notes/a.md:1-3", "notes/\x1b[31mb.md:4"))
    message = Message(
        id="m",
        session_id="s",
        parent_id=None,
        role="assistant",
        content="",
        status="complete",
        created_at="2026-01-01T00:00:00Z",
        sources=sources,
    )
    assert list(source_lines(message)) == ["2 passages of documents quoted: notes/a.md:1-3, notes/b.md:4"]
