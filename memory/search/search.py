"""One search of long-term memory, from a question to recalls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from memory.ports import TokenCounter
from memory.reports import Recall
from memory.search.gate import wants_memory
from memory.search.keywords import Keyword, Keywords
from memory.search.rank import WEIGHTS, Hits, Ranked, rank, shortlist, signals_of
from memory.storage import Database, Passages, Scopes
from memory.types import Passage
from memory.vectors import PassageVectors

__all__ = ["Search", "to_recall"]

_BY_WORDS = 90  # hits of each kind; their neighbours come on top
_BY_MEANING = 80
_READ = 280  # the most passages that are read and scored
_OVERFETCH = 4  # the vector index knows no sessions: more hits, of which those in view count


@dataclass(frozen=True, slots=True)
class _WordHits:
    """What the words of a question found, with neighbours by id (see `Hits.previous`) and texts."""

    keywords: Sequence[Keyword]
    scores: Mapping[int, float]
    links: dict[int, int | None]
    passages: Mapping[int, Passage]


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

    def recall(
        self, question: str, session_id: str | None = None, *, known: Collection[str] = ()
    ) -> list[Ranked]:
        """As `find`, but empty also for a message that wants nothing out of the past.

        Args:
            known: ids of messages that the prompt has anyway, the question itself among them. They are not
                found: nothing is nearer to a question than itself, so it would open the gate for all.
        """
        ranked, closest, keywords = self._find(question, session_id, known)
        return ranked if wants_memory(question, closest, ranked, keywords) else []

    def _find(
        self, question: str, session_id: str | None, known: Collection[str] = ()
    ) -> tuple[list[Ranked], float | None, int]:
        self._vectors.start()
        visible: frozenset[str] | None = None
        besides: frozenset[int] = frozenset()
        if session_id is not None or known:
            visible, besides = self._database.call(self._limits, session_id, known)
        # Words on the database's thread while the process of the index looks for meanings.
        searching = self._database.submit(self._by_words, question, visible, besides)
        count = _BY_MEANING * (1 if visible is None else _OVERFETCH) + min(len(besides), _BY_MEANING)
        found = self._vectors.search(question, count)
        words = searching.result()
        near = {number: value for number, value in found or () if number not in besides}
        meanings, signals, passages = self._database.call(self._read, words, near, visible)
        ranked = rank(question, words.keywords, passages, signals, self._today())
        closest = None if found is None else max(meanings.values(), default=0.0)
        return [item for item in ranked if item.passage.id not in besides], closest, len(words.keywords)

    # The rest runs on the database's thread.

    def _limits(
        self, session_id: str | None, known: Collection[str]
    ) -> tuple[frozenset[str] | None, frozenset[int]]:
        """The sessions that may be searched, None for all, and the passages that must not be found."""
        return self._scopes.visible_to(session_id), self._passages.of_messages(known)

    def _by_words(
        self, question: str, visible: Collection[str] | None, besides: Collection[int]
    ) -> _WordHits:
        keywords = self._keywords.of(question)
        found = self._keywords.search(keywords, _BY_WORDS + min(len(besides), _BY_WORDS), visible)
        scores = {number: score for number, score in found if number not in besides}
        # Most of them are worth reading: better now than when the meanings are there.
        return _WordHits(keywords, scores, self._passages.links(scores.keys()), self._passages.get(scores))

    def _read(
        self, words: _WordHits, meanings: Mapping[int, float], visible: Collection[str] | None
    ) -> tuple[Mapping[int, float], Mapping[int, Mapping[str, float]], Mapping[int, Passage]]:
        """The meanings in view, the signals of all hits, and the passages that are worth reading."""
        if visible is not None:
            seen = self._passages.visible(meanings.keys(), visible)
            meanings = {number: value for number, value in meanings.items() if number in seen}
        links = words.links | self._passages.links(meanings.keys() - words.scores.keys())
        hits = Hits(words.scores, meanings, links)
        signals = signals_of(hits)
        chosen = set(shortlist(hits, signals, WEIGHTS, _READ))
        at_hand = {number: item for number, item in words.passages.items() if number in chosen}
        return meanings, signals, at_hand | self._passages.get(chosen - at_hand.keys())


def to_recall(ranked: Ranked, counter: TokenCounter | None) -> Recall:
    """A ranked passage as callers of the memory see it; 0 tokens without a counter."""
    passage = ranked.passage
    return Recall(
        message_id=passage.message_id,
        score=ranked.score,
        tokens=counter.count_text(passage.text) if counter is not None else 0,
        session_id=passage.session_id,
        role=passage.role,
        passage_id=passage.id,
        at=passage.at,
        text=passage.text,
        signals=ranked.signals,
    )
