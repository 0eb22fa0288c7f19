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
from memory.search.rerank import Reordering
from memory.storage import EVERYTHING, NO_CHAT, Database, Passages, Scopes, View
from memory.text import cues_of, has_instructions, language_in
from memory.types import Passage, Sources
from memory.vectors import PassageVectors

__all__ = ["Recalled", "Search", "to_recall"]

_BY_WORDS = 90  # hits of each kind, not counting their neighbours
_BY_MEANING = 80
_READ = 280  # the most passages that are read and scored
_FEW = 5_000  # passages that a session may see: then only their vectors are read, all of them
# A passage that is less likely than the best by more than a factor of e to this says little.
_FLOOR = 4.5
_OVERFETCH = 4  # the vectors do not know whose documents may be seen: fetch more, keep those


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a search may find.

    Args:
        view: whose passages may be found.
        excluded: passages that do not count.
        within: the passages to search, if they are few.
        hidden: the numbers of the chats not to search, if they are not.
    """

    view: View = EVERYTHING
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
        reordered: a reranker has put the best into its own order; scores stay those of the ranking.
    """

    ranked: Sequence[Ranked] = ()
    asked_for: bool = False
    reordered: bool = False

    @property
    def worth_quoting(self) -> Sequence[Ranked]:
        """Those that are not much weaker than the best."""
        floor = max((item.score for item in self.ranked), default=0.0) - _FLOOR
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
        reordering: Reordering,
        today: Callable[[], date] = date.today,
    ) -> None:
        self._database = database
        self._passages = passages
        self._keywords = Keywords(database)
        self._analysis = analysis
        self._calibration = calibration
        self._reordering = reordering
        self._vectors = vectors
        self._scopes = scopes
        self._today = today

    def find(self, question: str, session_id: str | None = None, sources: Sources = "all") -> list[Ranked]:
        """Passages that may answer a question, best first; empty if none relates to it.

        Args:
            session_id: search only what this session may see; None: all sessions.
        """
        found = self._find(question, session_id, sources=sources).ranked
        return list(self._reordering.reorder(question, found)[0])

    def recall(
        self,
        question: str,
        session_id: str | None = None,
        *,
        known: Collection[str] = (),
        sources: Sources = "all",
    ) -> Recalled:
        """As `find`, but nothing for a message that needs nothing from the past.

        Args:
            known: ids of messages that the prompt contains anyway, the question itself among them. They
                are excluded: nothing is nearer to a question than itself, so it would always open the gate.
        """
        found = self._find(question, session_id, known, sources)
        if not wants_memory(question, found):
            return Recalled()
        cues = cues_of(question)
        ranked, reordered = self._reordering.reorder(question, found.ranked)
        return Recalled(ranked, cues.recalls or cues.past, reordered)

    def _find(
        self,
        question: str,
        session_id: str | None,
        known: Collection[str] = (),
        sources: Sources = "all",
    ) -> Evidence:
        self._vectors.start()
        limits = _Limits()
        if session_id is not None or known or sources != "all":
            limits = self._database.call(self._limits, session_id, known, sources)
        view, excluded = limits.view, limits.excluded
        # Keywords run on the database's thread while the index process searches by meaning.
        searching = self._database.submit(self._by_words, question, view, excluded)
        count = _BY_MEANING * (_OVERFETCH if view.roots else 1) + min(len(excluded), _BY_MEANING)
        found = self._vectors.search(question, count, within=limits.within, hidden=limits.hidden)
        words = searching.result()
        near = {number: value for number, value in found or () if number not in excluded}
        meanings, signals, passages = self._database.call(self._read, words, near, view)
        ranked = rank(question, words.keywords, passages, signals, self._today())
        return Evidence(
            [item for item in ranked if item.passage.id not in excluded],
            words.keywords,
            max(words.scores.values(), default=0.0),
            words.searched,
            self._closeness(question, meanings, words.searched) if found is not None else None,
        )

    def _closeness(self, question: str, meanings: Mapping[int, float], passages: int) -> float | None:
        cosine = max(meanings.values(), default=0.0)
        return self._calibration.closeness(cosine, language_in(question), passages)

    # The rest runs on the database's thread.

    def _limits(self, session_id: str | None, known: Collection[str], sources: Sources) -> _Limits:
        sessions, roots = self._scopes.visible_to(session_id), self._scopes.documents_visible_to(session_id)
        if sources == "documents":
            sessions = frozenset()
        elif sources == "chats" and self._scopes.any_documents:
            roots = frozenset()
        view, excluded = View(sessions, roots), self._passages.of_messages(known)
        if view == EVERYTHING:
            return _Limits(view, excluded)
        within = self._passages.seen(view, _FEW)
        if within is not None:
            return _Limits(view, excluded, within=within - excluded)
        hidden = self._scopes.hidden_chats(sessions) if sessions is not None else []
        return _Limits(view, excluded, hidden=[*hidden, *([NO_CHAT] if roots == frozenset() else [])])

    def _by_words(self, question: str, view: View, excluded: Collection[int]) -> _WordHits:
        count = _BY_WORDS + min(len(excluded), _BY_WORDS)
        searched = self._keywords.passages()
        try:
            keywords = self._keywords.of(question, searched)
            found = self._keywords.search(keywords, count, view)
        except KeywordIndexDamaged:  # it can be made anew from the passages
            self._analysis.start_anew()
            keywords, found = [], []
        scores = {number: score for number, score in found if number not in excluded}
        # Most of them will be read: do it now, while the other search is still running.
        return _WordHits(
            keywords, searched, scores, self._passages.links(scores.keys()), self._passages.get(scores)
        )

    def _read(
        self, words: _WordHits, meanings: Mapping[int, float], view: View
    ) -> tuple[Mapping[int, float], Mapping[int, Mapping[str, float]], Mapping[int, Passage]]:
        """The visible meanings, the signals of all hits, and the passages worth reading."""
        if view.roots:  # the vectors know chats, but not whose documents may be seen
            seen = self._passages.visible(meanings.keys(), view)
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
    own_words = passage.origin is None and passage.file is None
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
        instructions=not own_words and has_instructions(passage.text),
        file=passage.file,
        first_line=passage.first_line,
        last_line=passage.last_line,
        name=passage.name,
    )
