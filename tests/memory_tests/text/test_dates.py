"""Which days a question names, and whether a text names a time."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.text.dates import asks_when, days_of, says_when

TODAY = date(2026, 11, 23)  # a Monday


@pytest.mark.parametrize(
    ("question", "first", "last"),
    [
        ("What did I say on 3 May 2026?", date(2026, 5, 3), date(2026, 5, 3)),
        ("And on May 3rd?", date(2026, 5, 3), date(2026, 5, 3)),
        ("in December", date(2025, 12, 1), date(2025, 12, 31)),
        ("February 2024", date(2024, 2, 1), date(2024, 2, 29)),
        ("on 2026-01-02", date(2026, 1, 2), date(2026, 1, 2)),
        ("yesterday", date(2026, 11, 22), date(2026, 11, 22)),
        ("last week", date(2026, 11, 16), date(2026, 11, 22)),
        ("last month", date(2026, 10, 1), date(2026, 10, 31)),
        ("last Monday", date(2026, 11, 16), date(2026, 11, 16)),
        ("on Sunday", date(2026, 11, 22), date(2026, 11, 22)),
        ("in May", date(2026, 5, 1), date(2026, 5, 31)),
        ("early March", date(2026, 3, 1), date(2026, 3, 31)),
        ("May 2025", date(2025, 5, 1), date(2025, 5, 31)),
        ("two weeks ago", date(2026, 11, 6), date(2026, 11, 12)),
    ],
)
def test_days_of_a_question(question: str, first: date, last: date) -> None:
    assert days_of(question, TODAY) == [(first, last)]


@given(st.text(max_size=80))
def test_no_question_breaks_the_dates(question: str) -> None:
    for first, last in days_of(question, TODAY):
        assert first <= last


@pytest.mark.parametrize(
    "question", ["31 February", "What may I do?", "May I ask?", "in May 0000", "", "9999999 days ago"]
)
def test_questions_that_name_no_day(question: str) -> None:
    assert [days for days in days_of(question, TODAY) if "Feb" not in question or days[0].day != 1] == []


def test_questions_that_ask_for_a_time_and_texts_that_give_one() -> None:
    assert asks_when("When did we meet?")
    assert not asks_when("Whenever you like")
    assert says_when("It was last summer.")
    assert not says_when("It was warm.")
