"""Which messages need long-term memory."""

from __future__ import annotations

import pytest

from memory.search.gate import wants_memory
from memory.search.rank import Ranked
from memory.types import Passage


def ranked(coverage: float) -> list[Ranked]:
    passage = Passage(1, "m", "s", "user", "The canoe is red.", "2026-11-20T09:00:00Z")
    return [Ranked(passage, 1.0, {"coverage around": coverage})]


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
    assert not wants_memory(text, 0.9, ranked(1.0), 2)
    assert not wants_memory(text, None, ranked(1.0), 2)


@pytest.mark.parametrize(
    ("text", "closest", "wants"),
    [
        ("Which canoe is red?", 0.46, True),
        ("Which canoe is red?", 0.44, False),
        ("Which is our red canoe?", 0.31, True),
        ("Which is our red canoe?", 0.29, False),
        ("Thanks, and which canoe is red?", 0.46, True),
    ],
)
def test_with_vectors_a_passage_must_be_near_and_a_cue_lowers_the_bar(
    text: str, closest: float, wants: bool
) -> None:
    assert wants_memory(text, closest, ranked(0.0), 2) is wants


@pytest.mark.parametrize(
    ("coverage", "keywords", "wants"), [(0.95, 3, True), (0.85, 3, False), (1.0, 2, False)]
)
def test_with_vectors_nearly_all_words_of_a_question_suffice(
    coverage: float, keywords: int, wants: bool
) -> None:
    assert wants_memory("What did the flood hit?", 0.2, ranked(coverage), keywords) is wants


@pytest.mark.parametrize(
    ("text", "coverage", "keywords", "wants"),
    [
        ("Which canoe is red?", 0.6, 2, True),
        ("Which canoe is red?", 0.4, 2, False),
        ("Which canoe?", 1.0, 1, False),
        ("Which is my canoe?", 1.0, 1, True),
    ],
)
def test_without_vectors_words_must_match_and_a_single_one_needs_a_cue(
    text: str, coverage: float, keywords: int, wants: bool
) -> None:
    assert wants_memory(text, None, ranked(coverage), keywords) is wants
