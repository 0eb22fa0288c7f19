"""The day that words such as "next Tuesday" mean, from the day on which they were said.

English and German; in French, Spanish, Chinese and Russian the most usual words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

__all__ = ["day_meant"]

_NAMES = (  # Monday first
    "monday tuesday wednesday thursday friday saturday sunday",
    "montag dienstag mittwoch donnerstag freitag samstag sonntag",
    "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "lunes martes miércoles jueves viernes sábado domingo",
    "понедельник вторник среду четверг пятницу субботу воскресенье",
)
_WEEKDAYS = {name: place for names in _NAMES for place, name in enumerate(names.split())}
_WEEKDAYS |= {name: place for place, name in enumerate("一二三四五六日")} | {"天": 6, "sonnabend": 5}
_LETTERS = "|".join(name for name in _WEEKDAYS if len(name) > 1)
_DAY = rf"(?P<day>{_LETTERS})\b"
_MONTHS = {
    name: place
    for names in (
        "january february march april may june july august september october november december",
        "januar februar märz april mai juni juli august september oktober november dezember",
    )
    for place, name in enumerate(names.split(), start=1)
}
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})\b"
_NUMBERS = (
    {
        word: number
        for words in (
            "one two three four five six seven eight nine ten eleven twelve",
            "einem zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
            "un deux trois quatre cinq six sept huit neuf dix onze douze",
            "uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
            "один два три четыре пять шесть семь восемь девять десять",
            "一 两 三 四 五 六 七 八 九 十",
        )
        for number, word in enumerate(words.split(), start=1)
    }
    | dict.fromkeys(("a", "an", "einer", "une", "una"), 1)
    | {"две": 2}
)
_UNITS = {
    "day": r"days?|tag(?:en)?|jours?|días?|д(?:ень|ня|ней)|天",
    "week": r"weeks?|wochen?|semaines?|semanas?|недел\w+|周|个?星期",
    "month": r"months?|monat(?:en)?|mois|mes(?:es)?|месяц\w*|个月",
    "year": r"years?|jahr(?:en)?|ans?|années?|años?|год\w*|лет|年",
}
_UNIT = "|".join(rf"(?P<{name}>{words})" for name, words in _UNITS.items())
_COUNT = rf"(?P<count>\d{{1,3}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"

# Patterns; the first that matches counts.
_NEAR = (
    (r"\b(?:day after tomorrow|übermorgen|après-demain|pasado mañana|послезавтра)\b|后天", 2),
    (r"\b(?:day before yesterday|vorgestern|avant-hier|anteayer|позавчера)\b|前天", -2),
    (r"\b(?:today|tonight|heute|aujourd['\u2019]hui|hoy|сегодня)\b|今天", 0),
    (r"\b(?:yesterday|gestern|hier soir|ayer|вчера)\b|昨天", -1),
    # "der Morgen" and "por la mañana" are the morning.
    (r"\b(?:tomorrow|(?-i:morgen)|demain|(?<!la )(?<!esta )(?<!una )mañana|завтра)\b|明天", 1),
)
_OF_NEXT_WEEK = rf"\bnext\s+{_DAY}|下(?:个)?(?:周|星期)(?P<other>[一二三四五六日天])"
_COMING = (
    rf"\b(?:this|coming|nächste[nrs]?|kommende[nrs]?|diese[nrs]?|próximo|este|ce|следующ\w+|эт\w+)\s+{_DAY}"
    rf"|\b(?P<other>{_LETTERS})\s+(?:prochain|que viene|próximo)\b"
)
_GONE = (
    rf"\b(?:last|letzte[nrs]?|vergangene[nrs]?|прошл\w+)\s+{_DAY}"
    rf"|\b(?P<other>{_LETTERS})\s+(?:dernier|pasado)\b"
)
_IN = rf"(?:\b(?:in|dans|dentro de|en|через)\s+){_COUNT}\s+(?:{_UNIT})\b"
_AFTER = rf"{_COUNT}(?:{_UNIT})(?:之?后|以后)"
_AGO = rf"\b{_COUNT}\s+(?:{_UNIT})\s+ago\b"
_BACK = rf"\b(?:vor|il y a|hace)\s+{_COUNT}\s+(?:{_UNIT})\b"
_WHOLE = (
    (
        rf"\b(?:next|nächste[nrs]?|kommende[nrs]?|próxim[oa]|следующ\w+)\s+(?:{_UNIT})\b"
        r"|下(?P<w2>周)|下个(?P<m2>月)|(?P<y2>明年)",
        1,
    ),
    (
        r"\b(?:(?P<week>semaine)|(?P<month>mois)|(?P<year>année))\s+prochaine?\b"
        r"|\b(?:(?P<w2>semana)|(?P<m2>mes)|(?P<y2>año))\s+que viene\b",
        1,
    ),
    (
        rf"\b(?:last|letzte[nrs]?|vergangene[nrs]?|прошл\w+)\s+(?:{_UNIT})\b"
        r"|上(?P<w2>周)|上个(?P<m2>月)|(?P<y2>去年)",
        -1,
    ),
    (
        r"\b(?:(?P<week>semaine)|(?P<month>mois)|(?P<year>année))\s+dernière?\b"
        r"|\b(?:(?P<w2>semana)|(?P<m2>mes)|(?P<y2>año))\s+pasad[oa]\b",
        -1,
    ),
)
# What only a deadline says of a day to come: others say "on Friday" and "on 3 May" of the past as well.
_BARE = rf"\b(?<!every )(?<!jeden ){_DAY}"
_DATE = (
    rf"\b(?P<number>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?{_MONTH}(?!,?\s+\d{{4}})"
    rf"|\b{_MONTH.replace('month', 'before')}\s+(?P<after>\d{{1,2}})(?:st|nd|rd|th)?\b(?!,?\s+\d{{4}})"
)


def day_meant(text: str, said: date, *, ahead: bool = False) -> str | None:
    """The day that the words name relative to the day on which they were said.

    "Next Tuesday" is that of next week; "nächsten Dienstag" the coming one.

    Args:
        ahead: it tells what is to come, so that "on Friday" is the coming Friday.

    Returns:
        2026-12-08; 2026-12-07/2026-12-13 for a week, 2027-01 for a month, 2027 for a year; None if the text
        names no such day, or one by its full date.
    """
    try:
        return next(_meant(text, said, ahead), None)
    except (OverflowError, ValueError):  # 30 February, or after the year 9999
        return None


def _meant(text: str, said: date, ahead: bool) -> Iterator[str]:
    for pattern, days in _NEAR:
        if _found(pattern, text):
            yield (said + timedelta(days)).isoformat()
    monday = said - timedelta(said.weekday())
    if match := _found(_OF_NEXT_WEEK, text):
        yield (monday + timedelta(7 + _weekday(match))).isoformat()
    if match := _found(_COMING, text):
        yield _after(said, _weekday(match))
    if match := _found(_GONE, text):
        yield (said - timedelta((said.weekday() - _weekday(match) - 1) % 7 + 1)).isoformat()
    if match := _found(_IN, text) or _found(_AFTER, text):
        yield _moved(said, _number(match["count"]), _unit(match))
    if match := _found(_AGO, text) or _found(_BACK, text):
        yield _moved(said, -_number(match["count"]), _unit(match))
    for pattern, steps in _WHOLE:
        if match := _found(pattern, text):
            yield _whole(said, steps, _unit(match))
    if ahead and (match := _found(_DATE, text)):
        yield _coming_date(said, match)
    if ahead and (match := _found(_BARE, text)):
        yield _after(said, _weekday(match))


def _found(pattern: str, text: str) -> re.Match[str] | None:
    return re.search(pattern, text, re.IGNORECASE)  # compiled at its first use: few processes need any


def _weekday(match: re.Match[str]) -> int:
    groups = match.groupdict()
    return _WEEKDAYS[(groups.get("day") or groups["other"]).lower()]


def _after(said: date, weekday: int) -> str:
    return (said + timedelta((weekday - said.weekday() - 1) % 7 + 1)).isoformat()


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text.lower()]


def _unit(match: re.Match[str]) -> str:
    groups = match.groupdict()
    named = {unit: unit for unit in _UNITS} | {"w2": "week", "m2": "month", "y2": "year"}
    return next(unit for name, unit in named.items() if groups.get(name))


def _moved(said: date, steps: int, unit: str) -> str:
    """A day that is some units away; of months and years no more than these are known."""
    if unit in ("day", "week"):
        return (said + timedelta(steps * (7 if unit == "week" else 1))).isoformat()
    return _whole(said, steps, unit)


def _whole(said: date, steps: int, unit: str) -> str:
    if unit == "week":
        monday = said - timedelta(said.weekday()) + timedelta(7 * steps)
        return f"{monday.isoformat()}/{(monday + timedelta(6)).isoformat()}"
    if unit == "month":
        months = said.year * 12 + said.month - 1 + steps
        return date(months // 12, months % 12 + 1, 1).isoformat()[:7]
    return _moved(said, steps, unit) if unit == "day" else f"{said.year + steps:04}"


def _coming_date(said: date, match: re.Match[str]) -> str:
    month = _MONTHS[(match["month"] or match["before"]).lower()]
    day = int(match["number"] or match["after"])
    this_year = date(said.year, month, day)
    return (this_year if this_year >= said else date(said.year + 1, month, day)).isoformat()
