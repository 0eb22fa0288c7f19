"""Splits messages into passages: the unit that search finds and the embedding model reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["PASSAGE_WORDS", "split_text"]

PASSAGE_WORDS = 180  # about 240 tokens; the embedding model reads 256
_BREAKS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?…])\s+"), re.compile(r"\s+"))


def split_text(text: str) -> list[str]:
    """Split at paragraphs, else at lines, sentences or words, into chunks of about 180 words at most."""
    return [chunk for chunk in _split(text.strip(), 0) if chunk]


def _split(text: str, level: int) -> Iterator[str]:
    if len(text.split()) <= PASSAGE_WORDS or level == len(_BREAKS):
        yield text
        return
    chunk: list[str] = []
    words = 0
    for section in _BREAKS[level].split(text):
        count = len(section.split())
        if chunk and words + count > PASSAGE_WORDS:
            yield " ".join(chunk)
            chunk, words = [], 0
        if count > PASSAGE_WORDS:
            yield from _split(section, level + 1)
            continue
        chunk.append(section)
        words += count
    if chunk:
        yield " ".join(chunk)
