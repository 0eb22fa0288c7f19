"""One search of long-term memory, from a question to ranked passages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from memory.errors import KeywordIndexDamaged
from memory.ports import TokenCounter
from memory.reports import Recall
from memory.search.calibration import Calibration
from memory.search.gate import Evidence, wants_memory
from memory.search.keywords import Analysis, Keyword, Keywords
from memory.search.rank import WEIGHTS, Hits, Ranked, rank, shortlist, signals_of
from memory.storage import Database, Passages, Scopes
from memory.text import cues_of, has_instructions, language_in
from memory.types import Passage
from memory.vectors import PassageVectors

__all__ = ["Recalled", "Search", "to_recall"]

_BY_WORDS = 90  # hits of each kind, not counting their neighbours
_BY_MEANING = 80
_READ = 280  # the most passages that are read and scored
_FEW = 5_000  # passages that a session may see: then only their vectors are read, all of them
# A passage that is less likely than the best by more than a factor of e to this says little.
_FLOOR = 4.5


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a search may find.

    Args:
        visible: the sessions to search; None: all.
        excluded: passages that do not count.
        within: the passages to search, if they are few.
        hidden: the numbers of the sessions not to search, if they are not.
    """

    visible: frozenset[str] | None = None
    excluded: frozenset[int] = frozenset()
    within: frozenset[int] | None = None
    hidden: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class _WordHits:
    """The hits of keyword search, with their neighbours (see `Hits.previous`) and texts.

    Args:
        searched: how many passages there are.
    """

    keywords: Sequence[Keyword]
    searched: int
    scores: Mapping[int, float]
    links: dict[int, int | None]
    passages: Mapping[int, Passage]


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the past contributes to a message.

    Args:
        ranked: the passages, best first; empty for a message that needs nothing from the past.
        asked_for: the message itself points to the past, so memories may take more of the prompt.
    """

    ranked: Sequence[Ranked] = ()
    asked_for: bool = False

    @property
    def worth_quoting(self) -> Sequence[Ranked]:
        """Those that are not much weaker than the best."""
        floor = self.ranked[0].score - _FLOOR if self.ranked else 0.0
        return [item for item in self.ranked if item.score >= floor]


class Search:
    """Searches by keywords and, if there is an index, by meaning. Any thread; blocks."""

    def __init__(
        self,
        database: Database,
        passages: Passages,
        vectors: PassageVectors,
        scopes: Scopes,
        analysis: Analysis,
        calibration: Calibration,
        today: Callable[[], date] = date.today,
    ) -> None:
        self._database = database
        self._passages = passages
        self._keywords = Keywords(database)
        self._analysis = analysis
        self._calibration = calibration
        self._vectors = vectors
        self._scopes = scopes
        self._today = today

    def find(self, question: str, session_id: str | None = None) -> list[Ranked]:
        """Passages that may answer a question, best first; empty if none relates to it.

        Args:
            session_id: search only what this session may see; None: all sessions.
        """
        return list(self._find(question, session_id).ranked)

    def recall(
        self, question: str, session_id: str | None = None, *, known: Collection[str] = ()
    ) -> Recalled:
        """As `find`, but nothing for a message that needs nothing from the past.

        Args:
            known: ids of messages that the prompt contains anyway, the question itself among them. They
                are excluded: nothing is nearer to a question than itself, so it would always open the gate.
        """
        found = self._find(question, session_id, known)
        if not wants_memory(question, found):
            return Recalled()
        cues = cues_of(question)
        return Recalled(found.ranked, cues.recalls or cues.past)

    def _find(self, question: str, session_id: str | None, known: Collection[str] = ()) -> Evidence:
        self._vectors.start()
        limits = _Limits()
        if session_id is not None or known:
            limits = self._database.call(self._limits, session_id, known)
        excluded = limits.excluded
        # Keywords run on the database's thread while the index process searches by meaning.
        searching = self._database.submit(self._by_words, question, limits.visible, excluded)
        count = _BY_MEANING + min(len(excluded), _BY_MEANING)
        found = self._vectors.search(question, count, within=limits.within, hidden=limits.hidden)
        words = searching.result()
        near = {number: value for number, value in found or () if number not in excluded}
        signals, passages = self._database.call(self._read, words, near)
        ranked = rank(question, words.keywords, passages, signals, self._today())
        return Evidence(
            [item for item in ranked if item.passage.id not in excluded],
            words.keywords,
            max(words.scores.values(), default=0.0),
            words.searched,
            self._closeness(question, near, words.searched) if found is not None else None,
        )

    def _closeness(self, question: str, meanings: Mapping[int, float], passages: int) -> float | None:
        baseline = self._calibration.baseline(language_in(question), passages)
        return None if baseline is None else max(meanings.values(), default=0.0) - baseline

    # The rest runs on the database's thread.

    def _limits(self, session_id: str | None, known: Collection[str]) -> _Limits:
        visible, excluded = self._scopes.visible_to(session_id), self._passages.of_messages(known)
        if visible is None:
            return _Limits(excluded=excluded)
        within = self._passages.of_sessions(visible, _FEW)
        if within is not None:
            return _Limits(visible, excluded, within=within - excluded)
        return _Limits(visible, excluded, hidden=self._scopes.hidden_chats(visible))

    def _by_words(
        self, question: str, visible: Collection[str] | None, excluded: Collection[int]
    ) -> _WordHits:
        count = _BY_WORDS + min(len(excluded), _BY_WORDS)
        searched = self._keywords.passages()
        try:
            keywords = self._keywords.of(question, searched)
            found = self._keywords.search(keywords, count, visible)
        except KeywordIndexDamaged:  # it can be made anew from the passages
            self._analysis.start_anew()
            keywords, found = [], []
        scores = {number: score for number, score in found if number not in excluded}
        # Most of them will be read: do it now, while the other search is still running.
        return _WordHits(
            keywords, searched, scores, self._passages.links(scores.keys()), self._passages.get(scores)
        )

    def _read(
        self, words: _WordHits, meanings: Mapping[int, float]
    ) -> tuple[Mapping[int, Mapping[str, float]], Mapping[int, Passage]]:
        """The signals of all hits, and the passages worth reading."""
        links = words.links | self._passages.links(meanings.keys() - words.scores.keys())
        hits = Hits(words.scores, meanings, links)
        signals = signals_of(hits)
        chosen = set(shortlist(hits, signals, WEIGHTS, _READ))
        at_hand = {number: item for number, item in words.passages.items() if number in chosen}
        return signals, at_hand | self._passages.get(chosen - at_hand.keys())


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
        origin=passage.origin,
        instructions=passage.origin is not None and has_instructions(passage.text),
    )
