"""Splits messages into passages: the unit that search finds and the embedding model reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["PASSAGE_TOKENS", "joined", "split_spans", "split_text", "tokens_in"]

PASSAGE_TOKENS = 230  # as `tokens_in` estimates them; embedding models read 256 at least
_OVERLAP = 40  # tokens that a passage repeats of the one before, where running text was cut
_REPEATED = 400  # characters of an overlap, at most
_NO_CHANCE = 12  # characters

# Where a text is cut, the best places first: before headings, fences and functions; at blank lines; between
# lines, which are the rows of tables and the statements of code; after sentences; between words; anywhere.
_DEFINITION = (
    r"(?:(?:export|public|private|static|async|pub|abstract|final)\s+)*"
    r"(?:def|class|fn|func|function|impl|struct|enum|interface|module|CREATE|type)\b"
)
_BREAKS = (
    re.compile(rf"\n(?=#{{1,6}}\s|```|~~~|@\w|{_DEFINITION})|(?<=```)\n|(?<=~~~)\n"),
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?…])\s+|(?<=[。！？｡；])"),
    re.compile(r"\s+|(?<=[,;})\]>])(?=\S)"),
    re.compile(r"(?s)(?<=.)(?=.)"),
)
_RUNNING = 3  # from this level on, what is cut is running text

# One token each, but long words have several: about what WordPiece and SentencePiece make of them.
_PIECE = re.compile(
    r"(?P<latin>[A-Za-z\u00c0-\u024f]+)|(?P<digits>\d+)"
    r"|(?P<run>[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    r"\U00020000-\U0003134f]+)|(?P<letters>[^\W\d_]+)|\S"
)
_CHARACTERS_PER_TOKEN = {"latin": 6, "digits": 3, "run": 1, "letters": 3}


def tokens_in(text: str) -> int:
    """About how many tokens an embedding model makes of a text, in any script."""
    count = 0
    for piece in _PIECE.finditer(text):
        kind = piece.lastgroup
        length = piece.end() - piece.start()
        count += 1 if kind is None else 1 + (length - 1) // _CHARACTERS_PER_TOKEN[kind]
    return count


def split_text(text: str) -> list[str]:
    """Cut a text into passages of about 230 tokens at most, word for word, blanks at their ends left out.

    Where running text has to be cut, a passage begins with the end of the one before.
    """
    return [passage for passage, _, _ in split_spans(text)]


def split_spans(text: str) -> list[tuple[str, int, int]]:
    """As `split_text`, with the place of the first character of each passage and that after its last."""
    passages: list[tuple[str, int, int]] = []
    before = 0
    for start, end, level in _split(text, 0, len(text), 0):
        if level >= _RUNNING and start:
            start = _overlapping(text, before, start)
        if passage := _trimmed(text[start:end]):
            first = text.index(passage, start)
            passages.append((passage, first, first + len(passage)))
            before = start
    return passages


def _split(text: str, start: int, end: int, level: int) -> Iterator[tuple[int, int, int]]:
    """The spans of passages, each with the level of the cut before it."""
    if tokens_in(text[start:end]) <= PASSAGE_TOKENS or level == len(_BREAKS):
        yield start, end, 0
        return
    first, tokens, cut = start, 0, 0
    for begin, stop in _sections(text, start, end, level):
        count = tokens_in(text[begin:stop])
        if tokens and tokens + count > PASSAGE_TOKENS:
            yield first, begin, cut
            first, tokens, cut = begin, 0, level
        if count > PASSAGE_TOKENS:
            for number, (inner, inner_end, inner_cut) in enumerate(_split(text, begin, stop, level + 1)):
                yield inner, inner_end, inner_cut if number else cut
            first, tokens, cut = stop, 0, level
            continue
        tokens += count
    if tokens:
        yield first, end, cut


def _sections(text: str, start: int, end: int, level: int) -> Iterator[tuple[int, int]]:
    for mark in _BREAKS[level].finditer(text, start, end):
        if start < mark.end() < end:
            yield start, mark.end()
            start = mark.end()
    yield start, end


def _overlapping(text: str, earliest: int, start: int) -> int:
    """Where a passage begins that repeats the last sentence before it, or its last words."""
    earliest = max(earliest, start - _REPEATED)
    for level in (_RUNNING, _RUNNING + 1):
        for mark in _BREAKS[level].finditer(text, earliest, start):
            if mark.end() < start and tokens_in(text[mark.end() : start]) <= _OVERLAP:
                return mark.end()
    return start


def _trimmed(text: str) -> str:
    """The text without blank lines around it; the indentation of its first line stays."""
    whole = text.strip()
    return re.sub(r"\A(?:[^\S\n]*\n)+", "", text).rstrip() if "\n" in whole else whole


def _whole(before: str, after: str, length: int) -> bool:
    """Whether a repetition is of whole words, or too long for chance."""
    begins = length == len(before) or not before[-length - 1].isalnum() or not after[0].isalnum()
    ends = length == len(after) or not after[length].isalnum() or not after[length - 1].isalnum()
    return (begins and ends) or length >= _NO_CHANCE


def joined(before: str, after: str) -> str:
    """Two adjacent passages as one text: what the second repeats of the first is left out."""
    for length in range(min(len(before), len(after), _REPEATED), 0, -1):
        if before.endswith(after[:length]) and _whole(before, after, length):
            return before + after[length:]
    return f"{before}\n{after}" if "\n" in before + after else f"{before} {after}"
