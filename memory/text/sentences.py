"""Sentences of running text, rough stems in several languages, and clipping."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["clip", "content_stems", "sentence_spans", "split_sentences"]

_END = re.compile(r"[.!?…]+[\"'”\u2019)\]_*]*(?=\s|$)|[。！？｡]+[\u300d\u300f”\uff09]*|\n")
_ABBREVIATION = re.compile(r"\b(?:[Mm]r|[Mm]r?s|[Dd]r|[Pp]rof|[Ss]t|[JjSs]r|vs|e\.g|i\.e|approx|[A-HJ-Z])\.$")
# Chinese and Japanese put no spaces between words: each of their characters counts as one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_SUFFIX = re.compile(r"(?:ing|ies|ed|es|er|ly|[sey])$")
_COMMON = (
    "a about after all also an and any are as at be been before being but by can could did do does for "
    "from had has have he her him his how i if in into is it its me more my no not of on one or other "
    "our out over she should so some than that the their them then there these they this to up us was "
    "we were what when where which who will with would you your "
    # Words that summaries are full of, whatever they are about.
    "asked asks assistant chat conversation discussed discusses mentioned mentions said say says "
    "summary user users "
)
_STOP_WORDS = frozenset(_COMMON.split())


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence, surrounding blanks excluded; a line break ends a sentence."""
    start = 0
    for mark in (*_END.finditer(text), None):
        end = mark.end() if mark is not None else len(text)
        if mark is not None and mark.group() == "." and _ABBREVIATION.search(text, start, end):
            continue
        sentence = text[start:end]
        if sentence.strip():
            yield start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())
        start = end


def split_sentences(text: str) -> list[str]:
    """The sentences of a text; a line break ends a sentence."""
    return [text[start:end].strip() for start, end in sentence_spans(text)]


def content_stems(text: str) -> list[str]:
    """Lower-case stems of the words that carry meaning: no stop words; endings are cut off roughly."""
    words = (word.lower() for word in _WORD.findall(text))
    return [_stem(word) for word in words if word not in _STOP_WORDS]


def clip(text: str, characters: int) -> str:
    """The start of a text, cut between words; "…" marks what is missing."""
    if len(text) <= characters:
        return text
    room = max(characters - 1, 0)
    words = text[: room + 1].rsplit(None, 1)[0] if text[: room + 1].strip() else ""
    return (words if words and len(words) <= room else text[:room]).rstrip(" ,;:.-\u2013—") + "…"


def _stem(word: str) -> str:
    for _ in range(2):  # "bakers": first the s, then the er
        cut = _SUFFIX.sub("", word)
        if len(cut) < 3:
            break
        word = cut
    return word
