"""The day that "next Tuesday" means, and what names none."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.text import day_meant

TUESDAY = date(2026, 12, 1)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("the deadline is next Tuesday", "2026-12-08"),
        ("I fly next Sunday", "2026-12-13"),
        ("The exam is tomorrow.", "2026-12-02"),
        ("I moved here the day before yesterday", "2026-11-29"),
        ("We launch in two weeks", "2026-12-15"),
        ("I sold it 10 days ago", "2026-11-21"),
        ("last Friday I quit", "2026-11-27"),
        ("I start next week", "2026-12-07/2026-12-13"),
        ("I start next month", "2027-01"),
        ("I retire in three years", "2029"),
        ("I moved to Lisbon last year", "2025"),
        ("Die Abgabe ist nächsten Dienstag", "2026-12-08"),
        ("Die Prüfung ist am kommenden Freitag", "2026-12-04"),
        ("Ich fliege übermorgen", "2026-12-03"),
        ("Ich fliege morgen", "2026-12-02"),
        ("vor zwei Tagen", "2026-11-29"),
        ("Je pars mardi prochain", "2026-12-08"),
        ("dans trois jours", "2026-12-04"),
        ("Me mudo pasado mañana", "2026-12-03"),
        ("dentro de dos semanas", "2026-12-15"),
        ("论文下周五要交", "2026-12-11"),
        ("明天考试", "2026-12-02"),
        ("Экзамен завтра", "2026-12-02"),
        ("через 3 дня", "2026-12-04"),
    ],
)
def test_words_that_depend_on_the_day_they_are_said(text: str, day: str) -> None:
    assert day_meant(text, TUESDAY) == day


@pytest.mark.parametrize(
    "text",
    [
        "I live in Porto",
        "I was born on 3 May 1985",
        "Am Morgen laufe ich",
        "Trabajo por la mañana",
        "I work every Friday",
        "I never work on Fridays",
        "in 99999 years",
        "",
    ],
)
def test_others_name_no_day(text: str) -> None:
    assert day_meant(text, TUESDAY) is None
    assert day_meant(text, TUESDAY, ahead=True) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("My thesis is due on 3 May", "2027-05-03"),
        ("The talk is on December 1st", "2026-12-01"),
        ("I have to submit it by Friday", "2026-12-04"),
        ("The exam is on Tuesday", "2026-12-08"),
        ("Die Abgabe ist am 3. Mai", "2027-05-03"),
        ("due on 31 February", None),
        ("due on 3 May 2031", None),
    ],
)
def test_only_what_is_to_come_resolves_a_bare_day(text: str, day: str | None) -> None:
    assert day_meant(text, TUESDAY) is None
    assert day_meant(text, TUESDAY, ahead=True) == day


@given(st.text(max_size=60), st.dates())
def test_no_text_breaks_it(text: str, said: date) -> None:
    for start in ("", "in 12 years ", "next Monday ", "29 February "):
        day_meant(start + text, said, ahead=True)


@given(st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1)))
def test_next_monday_is_in_the_week_after(said: date) -> None:
    found = date.fromisoformat(day_meant("next Monday", said) or "")
    assert found.weekday() == 0
    assert timedelta(0) < found - said <= timedelta(7)
