"""Search by keywords: SQLite's FTS5. Every method runs on the database's thread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memory.database import Database
from memory.words import content_words, stem

__all__ = ["Keyword", "Keywords"]

_COMMON = 0.25  # share of the passages from which on a word says nothing; a chat partner's name is one
_FEW = 40  # passages; fewer make no statistics


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word of a question.

    Args:
        weight: its inverse document frequency, as in BM25.
    """

    word: str
    stem: str
    weight: float


class Keywords:
    """Finds passages by their words, ranked by BM25 (Robertson and Zaragoza 2009)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, question: str) -> list[Keyword]:
        """The words of a question that tell passages apart; those in too many are left out."""
        row = self._database.query_one("SELECT count(*) AS passages FROM passages")
        passages = row["passages"] if row is not None else 0
        rare: list[Keyword] = []
        for word in content_words(question):
            row = self._database.query_one("SELECT doc FROM passage_terms WHERE term = ?", (stem(word),))
            having = row["doc"] if row is not None else 0
            if passages < _FEW or having <= _COMMON * passages:
                weight = math.log(1 + (passages - having + 0.5) / (having + 0.5))
                rare.append(Keyword(word, stem(word), weight))
        return rare

    def search(self, keywords: Sequence[Keyword], count: int) -> list[tuple[int, float]]:
        """Passage ids and BM25 scores, the best first."""
        if not keywords:
            return []
        anything = " OR ".join(f'"{keyword.word}"' for keyword in keywords)
        rows = self._database.query(
            "SELECT rowid, -rank AS score FROM passage_words WHERE passage_words MATCH ?"
            " ORDER BY rank LIMIT ?",
            (anything, count),
        )
        return [(row["rowid"], row["score"]) for row in rows]
