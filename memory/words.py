"""Words of a question as the keyword index knows them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import snowballstemmer

__all__ = ["content_words", "stem"]

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
_porter = snowballstemmer.stemmer("porter")  # the one SQLite's FTS5 has


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a lower-case word."""
    return str(_porter.stemWord(word))


def content_words(text: str) -> list[str]:
    """The words that say what a question is about, lower case, in order, each once."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    words = (word.lower() for word in _WORD.findall(bare))
    return list(dict.fromkeys(word for word in words if word not in _STOP))
