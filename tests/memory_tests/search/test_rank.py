"""The signals that hits give to their neighbours, and which passages are worth reading."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.search.rank import WEIGHTS, Hits, rank, shortlist, signals_of
from memory.types import Passage, QuoteOrigin, Role

# A chat of five passages, with another reply (6) to the second.
CHAT = {1: None, 2: 1, 3: 2, 4: 3, 5: 4, 6: 2}


def test_hits_give_signals_to_their_neighbours() -> None:
    signals = signals_of(Hits(words={2: 8.0, 5: 4.0}, meanings={}, previous=CHAT))
    assert signals[2] == {"words": 1.0}
    assert signals[5] == {"words": 0.5}
    assert signals[3] == signals[6] == {"words before": 1.0}, "both branches follow it"
    assert signals[4] == {"words two before": 1.0}
    assert 1 not in signals
    signals = signals_of(Hits(words={}, meanings={2: 0.75, 3: 0.5, 6: 0.25}, previous=CHAT))
    assert signals[2] == {"meaning": 1.0, "meaning after": 0.5}, "of two, the better"
    assert signals[1] == {"meaning after": 1.0}
    assert signals[6] == {"meaning before": 1.0}, "the worst hit counts nothing, its place does"


def test_meanings_count_as_far_as_the_model_knows_the_language() -> None:
    signals = signals_of(Hits(words={2: 8.0}, meanings={2: 0.75, 3: 0.5, 6: 0.25}, previous=CHAT, trust=0.5))
    assert signals[2] == {"words": 1.0, "meaning": 0.5, "meaning after": 0.25}


def test_the_shortlist_has_the_best_scores() -> None:
    hits = Hits(words={2: 8.0, 5: 4.0}, meanings={}, previous=CHAT)
    signals = signals_of(hits)
    weights = {"words": 1.0, "words before": 0.4, "words two before": 0.8}
    assert shortlist(hits, signals, weights, 3) == [2, 4, 5]
    assert shortlist(hits, signals, weights, 5) == [2, 4, 5, 6, 3], "equal ones newest first"
    assert shortlist(hits, signals, weights, 6) == list(CHAT)


def signals_for(question: str, *passages: Passage) -> list[dict[str, float]]:
    """The signals of passages that no search has hit, in order of their ids."""
    ranked = rank(question, [], {item.id: item for item in passages}, {}, date(2026, 1, 1))
    return [dict(item.signals) for item in sorted(ranked, key=lambda item: item.passage.id)]


def said(number: int, text: str, role: Role = "user", origin: QuoteOrigin | None = None) -> Passage:
    return Passage(number, "m", "s", role, text, "2026-01-01", number - 1, origin)


def test_what_was_pasted_is_nobodys_speech() -> None:
    typed, pasted = signals_for(
        "Where do I live?", said(1, "In Rome."), said(2, "In Rome.", "user", "pasted")
    )
    assert "speaker" in typed
    assert "speaker" not in pasted


def test_what_is_pasted_behind_a_question_is_not_its_answer() -> None:
    asked = said(1, "Is that right?")
    assert "answer" in signals_for("x", asked, said(2, "It is."))[1]
    assert "answer" not in signals_for("x", asked, said(2, "It is.", "user", "pasted"))[1]


def test_who_is_called_by_a_name_is_not_learned_from_a_paste() -> None:
    question, reply = "What does Ada like?", said(9, "I like tea.", "assistant")
    typed = [said(number, "Thanks, Ada!") for number in range(1, 6)]
    assert "speaker" in signals_for(question, *typed, reply)[-1], "the person calls the model so"
    pasted = [said(number, "Thanks, Ada!", "user", "pasted") for number in range(1, 6)]
    assert "speaker" not in signals_for(question, *pasted, reply)[-1]


@pytest.mark.parametrize(("at", "warmth"), [("2026-01-01", 1.0), ("2025-12-18", 0.5), ("2025-12-04", 0.25)])
def test_what_was_of_use_cools_down(at: str, warmth: float) -> None:
    used = replace(said(1, "The canoe is red."), of_use_at=f"{at}T12:00:00+00:00")
    found, other = signals_for("x", used, said(2, "The canoe is blue."))
    assert found["of use"] == pytest.approx(warmth)
    assert "of use" not in other


def test_what_was_of_use_lifts_less_than_any_word() -> None:
    assert WEIGHTS["of use"] < min(abs(weight) for name, weight in WEIGHTS.items() if name != "of use")


scores = st.dictionaries(st.integers(1, 30), st.floats(-1, 20), max_size=30)


@given(
    words=scores,
    meanings=scores,
    previous=st.dictionaries(st.integers(1, 30), st.none() | st.integers(1, 30)),
)
def test_signals_are_shares(
    words: dict[int, float], meanings: dict[int, float], previous: dict[int, int | None]
) -> None:
    signals = signals_of(Hits(words, meanings, previous))
    values = [value for of_one in signals.values() for value in of_one.values()]
    assert all(0 < value <= 1 for value in values)
    assert all(name in WEIGHTS for of_one in signals.values() for name in of_one)
