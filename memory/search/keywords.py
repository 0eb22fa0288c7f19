"""Keyword search on SQLite's FTS5, and the thread that brings older passages into its index."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Thread

from memory.errors import KeywordIndexDamaged, StoreError
from memory.storage import EVERYTHING, Database, Passages, Value, View, view_clause
from memory.text import Term, query_terms

__all__ = ["FEW", "Analysis", "Keyword", "Keywords"]

_log = logging.getLogger(__name__)

_BATCH = 100  # passages: some 20 ms, in which nobody else reads or writes
_COMMON = 0.25  # a word in a larger share of the passages is not selective; a partner's name is one
FEW = 40  # passages; with fewer, frequencies mean nothing
# How many passages get a BM25 score, at 1.3 µs each, however many the store holds. At 100,000 passages this
# keeps 99 of the 100 best of ten questions.
_POSTINGS = 2_000

_HAVING = "SELECT term, doc FROM passage_terms WHERE term IN (SELECT value FROM json_each(?))"
_BEGINNING = "SELECT sum(doc) AS passages FROM passage_terms WHERE term >= ? AND term < ?"
_SELECT = "SELECT passage_words.rowid AS id, -rank AS score FROM passage_words"
_OWNERS = """
    JOIN passages ON passages.id = passage_words.rowid LEFT JOIN messages ON messages.id = passages.message_id
    LEFT JOIN documents ON documents.id = passages.document_id
"""


# A pasted document is no question: of its words the first and the last are looked up, and the rarest count.
_LOOKED_UP = 256
_AT_THE_START = 64
_FOUND, _MISSING = 48, 16  # words that passages have, and words that none has


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word of a question.

    Args:
        weight: its inverse document frequency, as in BM25.
        passages: how many contain it, at most.
    """

    term: Term
    weight: float
    passages: int


class Keywords:
    """Finds passages by their words, ranked by BM25 (Robertson and Zaragoza, 2009).

    Every method runs on the database's thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def passages(self) -> int:
        """How many passages there are."""
        row = self._database.query_one("SELECT count(*) AS passages FROM passages")
        return row["passages"] if row is not None else 0

    def of(self, question: str, passages: int | None = None) -> list[Keyword]:
        """The selective words of a question; words in too many of the passages are left out.

        Args:
            passages: how many there are, if that was counted before.
        """
        passages = self.passages() if passages is None else passages
        rare: list[Keyword] = []
        for term, having in self._counts(query_terms(question)):
            if passages < FEW or having <= _COMMON * passages:
                weight = math.log(1 + (passages - having + 0.5) / (having + 0.5))
                rare.append(Keyword(term, weight, having))
        return _rarest(rare)

    def _counts(self, terms: Sequence[Term]) -> list[tuple[Term, int]]:
        """In how many passages each occurs."""
        if len(terms) > _LOOKED_UP:
            terms = [*terms[:_AT_THE_START], *terms[_AT_THE_START - _LOOKED_UP :]]
        forms = [form for term in terms for form in term.forms]
        rows = self._database.query(_HAVING, (json.dumps(forms),))
        counts = {row["term"]: row["doc"] for row in rows}
        return [
            (
                term,
                self._beginning(term.forms[0]) if term.begins else sum(counts.get(f, 0) for f in term.forms),
            )
            for term in terms
        ]

    def _beginning(self, character: str) -> int:
        row = self._database.query_one(_BEGINNING, (character, character + "\U0010ffff"))
        return (row["passages"] or 0) if row is not None else 0

    def search(
        self, keywords: Sequence[Keyword], count: int, view: View = EVERYTHING
    ) -> list[tuple[int, float]]:
        """Passage ids and BM25 scores, best first.

        In a large store common words only add to the score of what a rarer word finds. If there is no
        rarer word, the newest passages with the common one are scored.

        Args:
            view: only passages in it.
        """
        if not keywords:
            return []
        finding, adding = _split(keywords)
        values: list[Value] = [_expression(finding, adding), self._oldest(finding), count]
        where = "WHERE"
        if view != EVERYTHING:
            condition, of_view = view_clause(view)
            where = f"{_OWNERS} WHERE ({condition}) AND"
            values = [*of_view, *values]
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


class Analysis:
    """Brings passages that are not in the keyword index into it, in the background, the newest first.

    They are not when an earlier version of the analyser wrote the index, or when it was damaged.
    """

    def __init__(self, database: Database, passages: Passages) -> None:
        self._database = database
        self._passages = passages
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin, unless it is running."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="analysis", daemon=True)
            self._thread.start()

    def start_anew(self) -> None:
        """Discard a damaged index and begin; the database's thread. Raises `StoreError`."""
        self._passages.discard_analysis()
        self.start()

    def close(self) -> None:
        """Stop after the batch at hand; the next start goes on."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and self._database.call(self._passages.analyse_some, _BATCH):
                pass
        except KeywordIndexDamaged:
            _log.warning("the keyword index is damaged")  # the next search finds out and replaces it
        except StoreError as error:
            _log.warning("the keyword index is incomplete: %s", error)


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
    terms = [keyword.term for keyword in keywords]
    return " OR ".join(f'"{form}"{"*" if term.begins else ""}' for term in terms for form in term.forms)


def _rarest(keywords: Sequence[Keyword]) -> list[Keyword]:
    """At most as many as are worth a search, in the question's order."""
    if len(keywords) <= _MISSING:
        return list(keywords)
    last = len(keywords) - 1  # what is asked stands before a pasted text or after it
    places = sorted(range(len(keywords)), key=lambda at: (-keywords[at].weight, min(at, last - at)))
    by_weight = [keywords[at] for at in places]
    chosen = {keyword.term for keyword in [each for each in by_weight if each.passages][:_FOUND]}
    chosen |= {keyword.term for keyword in [each for each in by_weight if not each.passages][:_MISSING]}
    return [keyword for keyword in keywords if keyword.term in chosen]
