"""One search of long-term memory, from a question to ranked passages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from memory.errors import KeywordIndexDamaged
from memory.ports import Vectors
from memory.reports import SearchCounts
from memory.search.cache import NOTHING, Best, Found, Known, RetrievalCache, WordsFound, key_of, still_true
from memory.search.calibration import Calibration
from memory.search.excerpt import Excerpts
from memory.search.gate import Evidence, wants_memory
from memory.search.keywords import Analysis, Keywords
from memory.search.rank import WEIGHTS, Hits, Ranked, rank, shortlist, signals_of
from memory.search.recalled import Recalled, how_many
from memory.search.rerank import Reordering
from memory.storage import EVERYTHING, NO_CHAT, Database, Passages, Scopes, SearchState, SearchStates, View
from memory.text import language_in
from memory.types import Passage, Sources
from memory.vectors import PassageVectors

__all__ = ["Search"]

_BY_WORDS = 90  # hits of each kind, not counting their neighbours
_BY_MEANING = 80
_READ = 280  # the most passages that are read and scored
_FEW = 5_000  # passages that a session may see: then only their vectors are read, all of them
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

    @property
    def meanings(self) -> int:
        """How many hits by meaning count."""
        return _BY_MEANING * (_OVERFETCH if self.view.roots else 1)

    @property
    def asked_by_meaning(self) -> int:
        """How many to ask for, so that enough are left without the excluded ones."""
        surplus = len(self.excluded)
        return self.meanings + (surplus if self.within is not None else min(surplus, _BY_MEANING))

    @property
    def asked_by_words(self) -> int:
        """The same for keywords."""
        return _BY_WORDS + min(len(self.excluded), _BY_WORDS)


@dataclass(frozen=True, slots=True)
class _Start:
    """What a search knows before it searches.

    Args:
        model: the embedder that answers, by name.
        generation: see `RetrievalCache.get`.
    """

    limits: _Limits
    model: str
    key: bytes
    state: SearchState
    known: Known
    generation: int


@dataclass(frozen=True, slots=True)
class _Meanings:
    """The hits by meaning.

    Args:
        model: whose vectors were compared.
        anew: whether anything was looked at for them.
    """

    model: str
    vector: Vectors
    best: Best
    anew: bool


@dataclass(frozen=True, slots=True)
class _WordHits:
    """The hits of keyword search, with their neighbours (see `Hits.previous`) and texts.

    Args:
        damaged: the keyword index is.
        scores: of the hits that are not excluded.
    """

    found: WordsFound
    damaged: bool
    scores: Mapping[int, float]
    links: dict[int, int | None]
    passages: Mapping[int, Passage]


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
        self._states = SearchStates(database)
        self._cache = RetrievalCache()

    @property
    def counts(self) -> SearchCounts:
        """This process's searches."""
        return self._cache.counts

    def forget(self) -> None:
        """Keep nothing of earlier searches: something that they found was deleted."""
        self._cache.clear()

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
        ranked, reordered = self._reordering.reorder(question, found.ranked)
        return Recalled(ranked, how_many(question), Excerpts(found.keywords), reordered)

    def _find(
        self,
        question: str,
        session_id: str | None,
        known: Collection[str] = (),
        sources: Sources = "all",
    ) -> Evidence:
        self._vectors.start()
        start = self._database.call(self._start, question, self._vectors.model, session_id, known, sources)
        limits, excluded = start.limits, start.limits.excluded
        # Keywords run on the database's thread while the index process searches by meaning.
        searching = self._database.submit(self._by_words, question, start)
        found = self._by_meaning(question, start)
        words = searching.result()
        self._keep(start, words, found)
        near = found.best.first(limits.meanings, excluded) if found is not None else {}
        language = language_in(question)
        trust = self._calibration.trust(language)
        meanings, signals, passages = self._database.call(self._read, words, near, limits.view, trust)
        keywords, searched = words.found.keywords, start.state.passages
        ranked = rank(question, keywords, passages, signals, self._today())
        return Evidence(
            [item for item in ranked if item.passage.id not in excluded],
            keywords,
            max(words.scores.values(), default=0.0),
            searched,
            self._closeness(language, meanings, searched) if found is not None else None,
        )

    def _by_meaning(self, question: str, start: _Start) -> _Meanings | None:
        limits, known = start.limits, start.known
        asked = limits.asked_by_meaning
        if known.near is not None and known.vector is not None:
            fresh = self._vectors.similarities(start.model, known.vector, known.fresh)
            best = known.near.with_more(fresh) if fresh else known.near
            if best.reach(limits.meanings, limits.excluded, asked):
                return _Meanings(start.model, known.vector, best, anew=bool(fresh))
        vector = (start.model, known.vector) if known.vector is not None else None
        found = self._vectors.search(
            question, asked, known=vector, within=limits.within, hidden=limits.hidden
        )
        if found is None:
            return None
        return _Meanings(found.model, found.vector, Best(found.passages, asked), anew=True)

    def _keep(self, start: _Start, words: _WordHits, found: _Meanings | None) -> None:
        """Count the search, and keep what it found for the next one."""
        anew = words.found is not start.known.words or (found is not None and found.anew)
        self._cache.count(start.known, searched=anew)
        if not anew:
            return
        # A document can come to belong to another root without a change of its passages.
        hits_last = not start.limits.view.roots
        complete = start.state.analysed and not words.damaged
        if found is not None and found.model != start.model:  # another has taken over meanwhile
            found = None
        self._cache.put(
            start.key,
            Found(
                start.state,
                words.found if hits_last and complete else None,
                found.vector if found is not None else None,
                found.best if hits_last and found is not None else None,
            ),
            start.generation,
        )

    def _closeness(self, language: str, meanings: Mapping[int, float], passages: int) -> float | None:
        cosine = max(meanings.values(), default=0.0)
        return self._calibration.closeness(cosine, language, passages)

    # The rest runs on the database's thread.

    def _start(
        self, question: str, model: str, session_id: str | None, in_prompt: Collection[str], sources: Sources
    ) -> _Start:
        limits = _Limits()
        if session_id is not None or in_prompt or sources != "all":
            limits = self._limits(session_id, in_prompt, sources)
        key = key_of(question, limits.view, model)
        # Read before anything is searched: what is added meanwhile is looked at once more the next time.
        state = self._states.read()
        found, generation = self._cache.get(key)
        if found is None:
            return _Start(limits, model, key, state, NOTHING, generation)
        added = self._states.added(found.state, state)
        if added is None:
            self._cache.clear()
            return _Start(limits, model, key, state, NOTHING, self._cache.get(key)[1])
        known = still_true(found, state, added)
        if known.fresh and limits.view != EVERYTHING:
            known = replace(known, fresh=tuple(self._passages.visible(known.fresh, limits.view)))
        return _Start(limits, model, key, state, known, generation)

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
            return _Limits(view, excluded, within=within)
        hidden = self._scopes.hidden_chats(sessions) if sessions is not None else []
        return _Limits(view, excluded, hidden=[*hidden, *([NO_CHAT] if roots == frozenset() else [])])

    def _by_words(self, question: str, start: _Start) -> _WordHits:
        limits, asked = start.limits, start.limits.asked_by_words
        found, damaged = start.known.words, False
        if found is None or not found.best.reach(_BY_WORDS, limits.excluded, asked):
            try:
                keywords = self._keywords.of(question, start.state.passages)
                best = Best(self._keywords.search(keywords, asked, limits.view), asked)
            except KeywordIndexDamaged:  # it can be made anew from the passages
                self._analysis.start_anew()
                keywords, best, damaged = [], Best((), asked), True
            found = WordsFound(keywords, best)
        scores = found.best.first(_BY_WORDS, limits.excluded)
        # Most of them will be read: do it now, while the other search is still running.
        links, passages = self._passages.links(scores.keys()), self._passages.get(scores)
        return _WordHits(found, damaged, scores, links, passages)

    def _read(
        self, words: _WordHits, meanings: Mapping[int, float], view: View, trust: float
    ) -> tuple[Mapping[int, float], Mapping[int, Mapping[str, float]], Mapping[int, Passage]]:
        """The visible meanings, the signals of all hits, and the passages worth reading."""
        if view.roots:  # the vectors know chats, but not whose documents may be seen
            seen = self._passages.visible(meanings.keys(), view)
            meanings = {number: value for number, value in meanings.items() if number in seen}
        links = words.links | self._passages.links(meanings.keys() - words.scores.keys())
        hits = Hits(words.scores, meanings, links, trust)
        signals = signals_of(hits)
        chosen = set(shortlist(hits, signals, WEIGHTS, _READ))
        at_hand = {number: item for number, item in words.passages.items() if number in chosen}
        return meanings, signals, at_hand | self._passages.get(chosen - at_hand.keys())
