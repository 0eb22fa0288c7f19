"""Which messages need long-term memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from memory.search.gate import Evidence, chance_share, wants_memory
from memory.search.keywords import Keyword
from memory.search.rank import Ranked
from memory.text import query_terms
from memory.types import Passage


def keywords(question: str, *passages: int, of: int = 1000) -> list[Keyword]:
    """The words of a question; each occurs in so many passages."""
    terms = query_terms(question)
    assert len(terms) == len(passages), terms
    return [
        Keyword(term, math.log(1 + (of - having + 0.5) / (having + 0.5)), having)
        for term, having in zip(terms, passages, strict=True)
    ]


def evidence(
    words: Sequence[Keyword] = (),
    *,
    coverage: float = 0.0,
    closeness: float | None = None,
    passages: int = 1000,
) -> Evidence:
    """What a search found whose best passage has this share of the words."""
    passage = Passage(1, "m", "s", "user", "The canoe is red.", "2026-11-20T09:00:00Z")
    ranked = [Ranked(passage, 1.0, {"coverage around": coverage})]
    best = coverage * sum(word.weight for word in words)
    return Evidence(ranked, words, best, passages, closeness)


@pytest.mark.parametrize(
    "text",
    [
        "Hi there!",
        "Good morning, how are you today?",
        "You\u2019re welcome.",
        "ok",
        "Thanks, that was great",
        "!",
    ],
)
def test_small_talk_gets_nothing_however_close_a_passage_is(text: str) -> None:
    assert not wants_memory(text, evidence(coverage=1.0, closeness=0.5))
    assert not wants_memory(text, evidence(coverage=1.0))


@pytest.mark.parametrize(
    ("question", "closeness", "wants"),
    [
        ("Which canoe is red?", 0.35, True),
        ("Which canoe is red?", 0.2, False),
        ("Which of our canoes is red?", 0.22, True),  # it is about the person
        ("Which canoe was red?", 0.22, True),  # it asks about the past
        ("Which of our canoes is red?", 0.0, False),
        ("Thanks, and which canoe is red?", 0.35, True),
    ],
)
def test_with_vectors_a_passage_must_be_nearer_than_unrelated_ones(
    question: str, closeness: float, wants: bool
) -> None:
    words = keywords("canoe red", 40, 60)
    assert wants_memory(question, evidence(words, coverage=0.5, closeness=closeness)) is wants


@pytest.mark.parametrize(("coverage", "wants"), [(1.0, True), (0.8, True), (0.5, False), (0.2, False)])
def test_without_vectors_words_must_match(coverage: float, wants: bool) -> None:
    words = keywords("canoe red harbour", 4, 60, 12)
    assert wants_memory("Which canoe is red in the harbour?", evidence(words, coverage=coverage)) is wants


def test_a_question_about_the_past_needs_fewer_of_its_words() -> None:
    words = keywords("canoe red harbour", 4, 60, 12)
    found = evidence(words, coverage=0.45)
    assert not wants_memory("Which canoe is red in the harbour?", found)
    assert wants_memory("Which canoe was red in the harbour, yesterday?", found)


def test_a_name_that_the_past_knows_counts() -> None:
    found, more = (evidence(keywords("canoe Odile", 100, 3), coverage=share) for share in (0.58, 0.6))
    assert wants_memory("Which canoe has Odile?", found)
    assert not wants_memory("Which canoe has odile?", more)
    german = "Welches canoe hat die Odile und der Canoe?"
    assert not wants_memory(german, found), "Germans write so all nouns"
    assert wants_memory(german, more), "but they ask about names as often as others"


def test_words_that_meet_by_chance_prove_nothing() -> None:
    frequent, rare = keywords("canoe red", 300, 300), keywords("canoe red", 3, 3)
    assert chance_share(frequent, 1000) == pytest.approx(1.0)
    assert chance_share(rare, 1000) < 0.8
    assert chance_share(keywords("canoe red", 3, 3, of=1_000_000), 1_000_000) < chance_share(rare, 1000)
    assert chance_share([], 1000) == chance_share(rare, 0) == 0.0


def test_nothing_found_is_nothing_to_recall() -> None:
    assert not wants_memory("Which canoe was mine?", Evidence([], [], 0.0, 0, None))
