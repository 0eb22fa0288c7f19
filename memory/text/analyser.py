"""The words of questions and passages, as SQLite's keyword index analyses them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

__all__ = ["StemFinder", "content_words", "stem"]

_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    """
    a about after again against all also am an and any are as at be because been before being below between
    both but by can could d did do does doing don down during each else few for from further had has have
    having he her here hers him his how i if in into is it its just ll m me more most my no nor not now of off
    on once only or other our out over own re s same shall she should so some such t than that the their them
    then there these they this those through to too under until up us ve very was we were what when where
    which while who whom why will with would you your yours tell know remember said say
    """.split()  # noqa: SIM905
)


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a lower-case word."""
    return str(_porter().stemWord(word))


@lru_cache(maxsize=1)
def _porter() -> Any:
    import snowballstemmer  # loads the stemmers of 30 languages

    return snowballstemmer.stemmer("porter")  # the one SQLite's FTS5 uses


def content_words(text: str) -> list[str]:
    """The words that carry a question's meaning: lower case, in order, each once, no stop words."""
    words = (word.lower() for word in _WORD.findall(_bare(text)))
    return list(dict.fromkeys(word for word in words if word not in _STOP))


class StemFinder:
    """Finds which stems occur in a text, much faster than by stemming the text."""

    def __init__(self, stems: Sequence[str]) -> None:
        # A stem is the start of its word, since stemming cuts endings off; a final "y" may have become "i".
        starts = [stem[:-1] if stem.endswith("i") else stem for stem in stems]
        self._starts = [(start, 1 << place) for place, start in enumerate(starts)]

    def places_in(self, text: str) -> int:
        """The stems that words of the text start with, as bits: bit 0 is the first stem."""
        lower, found = _bare(text).lower(), 0
        for start, bit in self._starts:
            if start in lower and _begins_a_word(start, lower):
                found |= bit
        return found


def _begins_a_word(start: str, text: str) -> bool:
    place = text.find(start)
    while place > 0 and (text[place - 1].isalnum() or text[place - 1] == "_"):
        place = text.find(start, place + 1)
    return place >= 0


def _bare(text: str) -> str:
    """The text without accents, as in the index."""
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
