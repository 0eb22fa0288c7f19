"""The terms of questions and passages: the one analysis on both sides of keyword search.

Words are normalised (NFKC), folded in case and stemmed by the language of the text; then accents go where
people leave them out, in the Latin and the Greek script. Scripts that put no spaces between words, and
Korean, whose words carry their particles, are cut into pairs of neighbouring characters, as Lucene's
CJKAnalyzer does. A name in camel case counts as its parts, too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from memory.text.languages import FUNCTION_WORDS, language_of, script_of, stem

__all__ = ["Term", "TermFinder", "analysed", "query_terms"]

_LONGEST = 64  # characters of a term: more is a hash or a picture in base64
# Han, kana, Hangul, Thai, Lao, Khmer, Burmese.
_RUN = re.compile(
    r"[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    r"\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003134f]+"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_INNER_CAPITAL = re.compile(r"[a-z0-9][A-Z]")
_QUESTION = frozenset(
    """
    a about after again against all also am an and any are as at be because been before being below between
    both but by can could d did do does doing don down during each else few for from further had has have
    having he her here hers him his how i if in into is it its just ll m me more most my no nor not now of off
    on once only or other our out over own re s same shall she should so some such t than that the their them
    then there these they this those through to too under until up us ve very was we were what when where
    which while who whom why will with would you your yours tell know remember said say
    ago many much
    """.split()  # noqa: SIM905
)
# Marks that are left out as often as they are written: Arabic vowels, the stretching of words, Hebrew points.
_OPTIONAL = re.compile(r"[\u0610-\u061a\u064b-\u065f\u0640\u0670\u0591-\u05c7]")
_ALEF = str.maketrans("\u0623\u0625\u0622\u0671\u0649\u0451", "\u0627\u0627\u0627\u0627\u064a\u0435")


class _Separators(dict[int, str]):
    """For `str.translate`: every character that belongs to no word becomes a blank."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kept = char if unicodedata.category(char)[0] in "LNM" else " "
        self[code] = kept
        return kept


_SEPARATORS = _Separators()


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a question, or a part of one.

    Args:
        forms: how passages may have it: its stems by the question's language and by English.
        whole: whether a word of a passage must begin with it; else it may stand inside one.
        begins: it is a single character, with which a pair in the index begins.
    """

    forms: tuple[str, ...]
    whole: bool = True
    begins: bool = False


def analysed(text: str) -> str:
    """The terms of a passage, in order and with repetitions, separated by blanks."""
    words = _words(text)
    language = language_of([word for word, _ in words])
    return " ".join(term for word, parts in words for term in _terms(word, parts, language))


def query_terms(question: str) -> list[Term]:
    """What to look for, each once, without the words that carry no meaning."""
    words = _words(question)
    language = language_of([word for word, _ in words])
    silent = _QUESTION | FUNCTION_WORDS[language]
    found: dict[Term, None] = {}
    for word, parts in words:
        if word in silent:
            continue
        for some in (word, *parts):
            for term in _query_terms(some, language):
                found.setdefault(term)
    return list(found)


def _query_terms(word: str, language: str) -> Iterator[Term]:
    for piece, is_run in _pieces(word):
        if not is_run:
            forms = (_term(piece, language), _term(piece, "english"))
            yield Term(tuple(dict.fromkeys(forms)), whole=script_of(piece) != "arabic")
        elif len(piece) == 1:
            yield Term((piece,), whole=False, begins=True)
        else:
            yield from (Term((pair,), whole=False) for pair in _pairs(piece))


def _words(text: str) -> list[tuple[str, Sequence[str]]]:
    """The words in lower case, and the parts of those in camel case."""
    if not text.isascii():
        text = _normalised(text)
    words: list[tuple[str, Sequence[str]]] = []
    for word in text.translate(_SEPARATORS).split():
        parts = [] if word.islower() or word.isupper() or len(word) > _LONGEST else _CAMEL.split(word)
        words.append((word.casefold(), [part.casefold() for part in parts] if len(parts) > 1 else ()))
    return words


def _terms(word: str, parts: Sequence[str], language: str) -> Iterator[str]:
    for some in (word, *parts):
        for piece, is_run in _pieces(some):
            if is_run:
                yield from _pairs(piece)
                yield piece[-1]  # so that a single character is the beginning of some term
            else:
                yield _term(piece, language)


def _pieces(word: str) -> Iterator[tuple[str, bool]]:
    """A word's parts, and whether each is a run of a script without spaces."""
    if word.isascii():
        yield word, False
        return
    place = 0
    for run in _RUN.finditer(word):
        if run.start() > place:
            yield word[place : run.start()], False
        yield run.group(), True
        place = run.end()
    if place < len(word):
        yield word[place:], False


def _pairs(run: str) -> Iterator[str]:
    return (run[place : place + 2] for place in range(len(run) - 1))


@lru_cache(maxsize=100_000)
def _term(word: str, language: str) -> str:
    """A word as the index has it."""
    script = script_of(word)
    stemmed = stem(word[:_LONGEST], language if script is None else script)
    if stemmed.isascii() or script not in (None, "greek"):
        return stemmed
    return _bare(stemmed)


def _normalised(text: str) -> str:
    return _OPTIONAL.sub("", unicodedata.normalize("NFKC", text).translate(_ALEF))


def _bare(text: str) -> str:
    """The text without accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


class TermFinder:
    """Finds which terms occur in a text, much faster than by analysing the text."""

    def __init__(self, terms: Sequence[Term]) -> None:
        # A stem is the start of its word, since stemming cuts endings off; a final "y" may have become "i".
        self._starts = [
            (form[:-1] if form.endswith("i") and term.whole else form, 1 << place, term.whole)
            for place, term in enumerate(terms)
            for form in term.forms
        ]

    def places_in(self, text: str) -> int:
        """The terms that words of the text start with, as bits: bit 0 is the first term."""
        lower, found = _plain(text), 0
        for start, bit, whole in self._starts:
            if start in lower and (not whole or _begins_a_word(start, lower)):
                found |= bit
        return found


def _plain(text: str) -> str:
    """The text without case and without the accents that `_term` drops."""
    if _INNER_CAPITAL.search(text):
        text = f"{text} {_CAMEL.sub(' ', text)}"
    if text.isascii():
        return text.lower()
    return "".join(_base(char) for char in _normalised(text).casefold())


@lru_cache(maxsize=10_000)
def _base(char: str) -> str:
    return _bare(char) if not char.isascii() and script_of(char) in (None, "greek") else char


def _begins_a_word(start: str, text: str) -> bool:
    place = text.find(start)
    while place > 0 and text[place - 1].isalnum():
        place = text.find(start, place + 1)
    return place >= 0
