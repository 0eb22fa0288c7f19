"""One search of long-term memory, from a question to recalls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime

from memory.database import Database
from memory.gate import wants_memory
from memory.keywords import Keyword, Keywords
from memory.nearby import Hits, shortlist, signals_of
from memory.passages import Passages
from memory.recall import WEIGHTS, Ranked, rank
from memory.scopes import Scopes
from memory.types import Passage
from memory.vectors import PassageVectors

__all__ = ["Search"]

_BY_WORDS = 120  # hits of each kind; their neighbours come on top
_BY_MEANING = 80
_READ = 300  # the most passages that are read and scored
_OVERFETCH = 4  # the vector index knows no sessions: more hits, of which those in view count


class Search:
    """Searches by keywords and, where there is an index, by meaning. Any thread; blocks."""

    def __init__(
        self,
        database: Database,
        passages: Passages,
        vectors: PassageVectors,
        scopes: Scopes,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._database = database
        self._passages = passages
        self._keywords = Keywords(database)
        self._vectors = vectors
        self._scopes = scopes
        self._today = today

    def find(self, question: str, session_id: str | None = None) -> list[Ranked]:
        """What may answer a question, the best first; empty when nothing has anything to do with it.

        Args:
            session_id: search only what this session may hear of; None: all sessions.
        """
        return self._find(question, session_id)[0]

    def recall(self, question: str, session_id: str | None = None) -> list[Ranked]:
        """As `find`, but empty also for a message that wants nothing out of the past."""
        ranked, closest, keywords = self._find(question, session_id)
        return ranked if wants_memory(question, closest, ranked, keywords) else []

    def _find(self, question: str, session_id: str | None) -> tuple[list[Ranked], float | None, int]:
        visible = self._database.call(self._scopes.visible_to, session_id) if session_id is not None else None
        # Words on the database's thread while the process of the index looks for meanings.
        searching = self._database.submit(self._by_words, question, visible)
        found = self._vectors.search(question, _BY_MEANING * (1 if visible is None else _OVERFETCH))
        keywords, words = searching.result()
        meanings, signals, passages = self._database.call(self._read, words, dict(found or ()), visible)
        ranked = rank(question, keywords, passages, signals, self._today())
        closest = None if found is None else max(meanings.values(), default=0.0)
        return ranked, closest, len(keywords)

    # The rest runs on the database's thread.

    def _by_words(
        self, question: str, visible: Collection[str] | None
    ) -> tuple[list[Keyword], Mapping[int, float]]:
        keywords = self._keywords.of(question)
        return keywords, dict(self._keywords.search(keywords, _BY_WORDS, visible))

    def _read(
        self, words: Mapping[int, float], meanings: Mapping[int, float], visible: Collection[str] | None
    ) -> tuple[Mapping[int, float], Mapping[int, Mapping[str, float]], Mapping[int, Passage]]:
        """The meanings in view, the signals of all hits, and the passages that are worth reading."""
        if visible is not None:
            seen = self._passages.visible(meanings.keys(), visible)
            meanings = {number: value for number, value in meanings.items() if number in seen}
        hits = Hits(words, meanings, self._passages.links(words.keys() | meanings.keys()))
        signals = signals_of(hits)
        return meanings, signals, self._passages.get(shortlist(hits, signals, WEIGHTS, _READ))
