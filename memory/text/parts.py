"""Tells a person's own words from what they pasted or piped into a message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import get_args

from memory.types import Quoted, QuoteOrigin

__all__ = ["check_quoted", "marked", "own_words", "parts_of", "quoted_as_json", "quoted_from_json"]


_ROUND = str.maketrans("[]", "()")


def parts_of(text: str, quoted: Sequence[Quoted]) -> Iterator[tuple[int, int, QuoteOrigin | None]]:
    """The text from start to end, cut where words of the person's own meet others: start, end, origin."""
    at = 0
    for span in quoted:
        if at < span.start:
            yield at, span.start, None
        yield span.start, span.end, span.origin
        at = span.end
    if at < len(text):
        yield at, len(text), None


def own_words(text: str, quoted: Sequence[Quoted]) -> str:
    """The text with line breaks in place of what is quoted: positions do not move, and no sentence of the
    person's goes on in, or across, words of others."""
    return "".join(
        text[start:end] if origin is None else "\n" * (end - start)
        for start, end, origin in parts_of(text, quoted)
    )


def marked(text: str, quoted: Sequence[Quoted]) -> str:
    """The text with what is quoted in brackets that say so; only these brackets are square."""
    if not quoted:
        return text
    return " ".join(
        words if origin is None else f"[{origin} text, not the user's words: {words.translate(_ROUND)}]"
        for start, end, origin in parts_of(text, quoted)
        if (words := text[start:end].strip())
    )


def check_quoted(text: str, quoted: Sequence[Quoted]) -> None:
    """Raises ValueError unless the spans are parts of the text, in order, without overlaps."""
    for span in quoted:
        if not 0 <= span.start < span.end <= len(text):
            raise ValueError("a quoted part must lie in the text")
        if span.origin not in get_args(QuoteOrigin):
            raise ValueError(f"unknown origin {span.origin!r}")
    if any(after.start < before.end for before, after in pairwise(quoted)):
        raise ValueError("quoted parts must be in order and may not overlap")


def quoted_as_json(quoted: Sequence[Quoted]) -> str | None:
    """The spans as they are stored; None without any."""
    return json.dumps([[span.start, span.end, span.origin] for span in quoted]) if quoted else None


def quoted_from_json(text: str | None) -> tuple[Quoted, ...]:
    """The spans as `quoted_as_json` wrote them."""
    return tuple(Quoted(*span) for span in json.loads(text)) if text is not None else ()
