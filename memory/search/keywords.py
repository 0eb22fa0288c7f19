"""Keyword search on SQLite's FTS5. Every method runs on the database's thread."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from memory.storage import Database, Value
from memory.text import content_words, stem

__all__ = ["Keyword", "Keywords"]

_COMMON = 0.25  # a word in a larger share of the passages is not selective; a partner's name is one
_FEW = 40  # passages; with fewer, frequencies mean nothing
# How many passages get a BM25 score, at 1.3 µs each, however many the store holds. At 100,000 passages this
# keeps 99 of the 100 best of ten questions.
_POSTINGS = 2_000

_HAVING = "SELECT term, doc FROM passage_terms WHERE term IN (SELECT value FROM json_each(?))"
_SELECT = "SELECT passage_words.rowid AS id, -rank AS score FROM passage_words"
_SESSION = """
    JOIN passages ON passages.id = passage_words.rowid JOIN messages ON messages.id = passages.message_id
    WHERE messages.session_id IN (SELECT value FROM json_each(?)) AND
"""


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word of a question.

    Args:
        weight: its inverse document frequency, as in BM25.
        passages: how many contain it.
    """

    word: str
    stem: str
    weight: float
    passages: int


class Keywords:
    """Finds passages by their words, ranked by BM25 (Robertson and Zaragoza, 2009)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, question: str) -> list[Keyword]:
        """The selective words of a question; words in too many passages are left out."""
        row = self._database.query_one("SELECT count(*) AS passages FROM passages")
        passages = row["passages"] if row is not None else 0
        words = content_words(question)
        rows = self._database.query(_HAVING, (json.dumps([stem(word) for word in words]),))
        counts = {row["term"]: row["doc"] for row in rows}
        rare: list[Keyword] = []
        for word in words:
            having = counts.get(stem(word), 0)
            if passages < _FEW or having <= _COMMON * passages:
                weight = math.log(1 + (passages - having + 0.5) / (having + 0.5))
                rare.append(Keyword(word, stem(word), weight, having))
        return rare

    def search(
        self, keywords: Sequence[Keyword], count: int, visible: Collection[str] | None = None
    ) -> list[tuple[int, float]]:
        """Passage ids and BM25 scores, best first.

        In a large store common words only add to the score of what a rarer word finds. If there is no
        rarer word, the newest passages with the common one are scored.

        Args:
            visible: only passages of these sessions; None: of all sessions.
        """
        if not keywords:
            return []
        finding, adding = _split(keywords)
        values: list[Value] = [_expression(finding, adding), self._oldest(finding), count]
        where = "WHERE"
        if visible is not None:
            where = _SESSION
            values.insert(0, json.dumps(sorted(visible)))
        rows = self._database.query(
            f"{_SELECT} {where} passage_words MATCH ? AND passage_words.rowid >= ? ORDER BY rank LIMIT ?",
            values,
        )
        return [(row["id"], row["score"]) for row in rows]

    def _oldest(self, finding: Sequence[Keyword]) -> int:
        """The lowest id to score, so that about `_POSTINGS` contain these words; 0 scores them all."""
        postings = sum(keyword.passages for keyword in finding)
        if postings <= _POSTINGS:
            return 0
        row = self._database.query_one("SELECT max(id) AS newest FROM passages")
        newest = row["newest"] or 0 if row is not None else 0
        return int(newest * (1 - _POSTINGS / postings))


def _split(keywords: Sequence[Keyword]) -> tuple[list[Keyword], list[Keyword]]:
    """The keywords that find passages, at least the rarest, and those that would find too many."""
    by_rarity = sorted(keywords, key=lambda keyword: keyword.passages)
    postings = 0
    for place, keyword in enumerate(by_rarity):
        postings += keyword.passages
        if place and postings > _POSTINGS:
            return by_rarity[:place], by_rarity[place:]
    return by_rarity, []


def _expression(finding: Sequence[Keyword], adding: Sequence[Keyword]) -> str:
    """An FTS5 query. BM25 counts a word only where its part of the query matches, and only once."""
    found = _any_of(finding)
    if not adding:
        return found
    added = _any_of(adding)
    return f"(({found}) AND ({added})) OR (({found}) NOT ({added}))"


def _any_of(keywords: Sequence[Keyword]) -> str:
    return " OR ".join(f'"{keyword.word}"' for keyword in keywords)
