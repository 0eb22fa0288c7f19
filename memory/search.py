"""One search of long-term memory, from a question to recalls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

from memory.database import Database
from memory.gate import wants_memory
from memory.keywords import Keyword, Keywords
from memory.passages import Passages
from memory.recall import Candidates, Ranked, rank
from memory.scopes import Scopes
from memory.vectors import PassageVectors

__all__ = ["Search"]

_BY_WORDS = 150  # candidates of each kind; their neighbours come on top
_BY_MEANING = 100
_MOST = 800


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
        found = self._vectors.search(question, _BY_MEANING)
        meanings = dict(found or ())
        keywords, candidates = self._database.call(self._gather, question, meanings, session_id)
        ranked = rank(question, keywords, candidates, self._today())
        closest = None if found is None else max(meanings.values(), default=0.0)
        return ranked, closest, len(keywords)

    def _gather(
        self, question: str, meanings: dict[int, float], session_id: str | None
    ) -> tuple[list[Keyword], Candidates]:
        keywords = self._keywords.of(question)
        words = dict(self._keywords.search(keywords, _BY_WORDS))
        passages = self._passages.with_neighbours(sorted(words.keys() | meanings.keys()), _MOST)
        visible = self._scopes.visible_to(session_id)
        if visible is not None:
            passages = {number: item for number, item in passages.items() if item.session_id in visible}
        return keywords, Candidates(passages, words, meanings)
