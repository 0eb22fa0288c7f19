"""Dates in questions and passages, in English."""

from __future__ import annotations

import calendar
import re
from datetime import MAXYEAR, MINYEAR, date, timedelta

__all__ = ["Days", "asks_when", "days_of", "says_when"]

Days = tuple[date, date]  # the first and the last

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_WEEKDAYS = {name.lower(): number for number, name in enumerate(calendar.day_name)}
_MONTH = "|".join(_MONTHS)
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+({_MONTH})\b(?:,?\s+(\d{{4}}))?", re.I)
_MONTH_DAY = re.compile(rf"\b({_MONTH})(?:\s+(\d{{1,2}})(?:st|nd|rd|th)?\b)?(?:,?\s+(\d{{4}}))?", re.I)
# Words besides names of months: alone, they are one only where the sentence says so.
_AMBIGUOUS = {"may", "march"}
_BEFORE_MONTH = re.compile(
    r"\b(?:in|of|since|until|till|by|during|before|after|from|last|this|next|early|mid|late|throughout)\s+$",
    re.I,
)
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_LAST = re.compile(rf"\b(?:last|on)\s+({'|'.join(_WEEKDAYS)})\b", re.I)
_AGO = re.compile(r"\b(\d+|a|an|two|three|four|five|six)\s+(day|week|month|year)s?\s+ago\b", re.I)
_WHEN = re.compile(r"\s*(?:when|how long|what (?:year|month|day|date)|which (?:year|month|day|date))\b", re.I)
_TIME = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|week|weekend|month|year|since|recently|\d{4}"
    rf"|{_MONTH}|{'|'.join(_WEEKDAYS)})\b",
    re.I,
)
_NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_UNIT_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


def asks_when(question: str) -> bool:
    """Whether a question asks for a time."""
    return _WHEN.match(question) is not None


def says_when(text: str) -> bool:
    """Whether a text mentions a time."""
    return _TIME.search(text) is not None


def days_of(question: str, today: date) -> list[Days]:
    """The days that a question names, by date or relative to today.

    A month without a year is the latest one up to the current month.
    """
    found = [_day(int(y), int(m), int(d)) for y, m, d in _ISO.findall(question)]
    found += [_named(month, day, year, today) for day, month, year in _DAY_MONTH.findall(question)]
    if not found:
        marks = [mark for mark in _MONTH_DAY.finditer(question) if _is_month(mark)]
        found += [_named(mark[1], mark[2] or "", mark[3] or "", today) for mark in marks]
    found += _relative(question.lower(), today)
    return [days for days in found if days is not None]


def _is_month(mark: re.Match[str]) -> bool:
    if mark[1].lower() not in _AMBIGUOUS or mark[2] or mark[3]:
        return True
    return _BEFORE_MONTH.search(mark.string, 0, mark.start()) is not None


def _named(month: str, day: str, year: str, today: date) -> Days | None:
    number = _MONTHS[month.lower()]
    chosen = int(year) if year else today.year - (number > today.month)
    if day:
        return _day(chosen, number, int(day))
    if not MINYEAR <= chosen <= MAXYEAR:
        return None
    return date(chosen, number, 1), date(chosen, number, calendar.monthrange(chosen, number)[1])


def _day(year: int, month: int, day: int) -> Days | None:
    try:
        return (only := date(year, month, day)), only
    except ValueError:
        return None


def _relative(question: str, today: date) -> list[Days | None]:
    found: list[Days | None] = []
    if "yesterday" in question:
        found.append((today - timedelta(1), today - timedelta(1)))
    if "last week" in question:
        monday = today - timedelta(today.weekday() + 7)
        found.append((monday, monday + timedelta(6)))
    if "last month" in question:
        end = today.replace(day=1) - timedelta(1)
        found.append((end.replace(day=1), end))
    for name in _LAST.findall(question):
        back = (today.weekday() - _WEEKDAYS[name.lower()] - 1) % 7 + 1
        found.append((today - timedelta(back), today - timedelta(back)))
    for count, unit in _AGO.findall(question):
        step = _UNIT_DAYS[unit.lower()]
        days = int(_NUMBERS.get(count.lower()) or count) * step
        if days < 36_500:
            found.append((today - timedelta(days + step // 2), today - timedelta(days - step // 2)))
    return found
