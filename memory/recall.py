"""Finds what was said before: keywords and meaning, fused, aware of neighbours, sessions and dates."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import log1p

from memory.dates import asks_when, days_of, says_when
from memory.keywords import Keyword
from memory.types import Passage

__all__ = ["Candidates", "Ranked", "contributions", "rank"]

# Learned by softmax regression on the development set of LoCoMo (three conversations), cross-validated by
# conversation; see docs/memory.md. What a question and a passage have in common counts by these.
_WEIGHTS: Mapping[str, float] = {
    "words": 2.3,
    "words before": 0.9,
    "words two before": 1.5,
    "meaning": 1.3,
    "meaning before": 1.3,
    "meaning after": 0.8,
    "session meaning": 0.9,
    "session coverage": 2.5,
    "coverage around": 2.3,
    "speaker": 1.2,
    "date": 2.4,
    "length": 0.8,
    "question": -0.7,
    "answer": 0.8,
    "time": 1.6,
    "first": 1.3,
}

_SPEAKER = re.compile(r"([^\W\d_][\w .'-]{0,30}): ")
_PRONOUNS = {
    "user": re.compile(r"\b(?:i|me|my|mine|we|our)\b", re.I),
    "assistant": re.compile(r"\b(?:you|your|yours)\b", re.I),
}


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be recalled.

    Args:
        passages: by id; neighbours of what was found are among them.
        words, meanings: BM25 scores and cosine similarities by id, of those that a search found.
    """

    passages: Mapping[int, Passage]
    words: Mapping[int, float]
    meanings: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage with its score and the signals it is the weighted sum of."""

    passage: Passage
    score: float
    signals: Mapping[str, float]


def rank(question: str, keywords: Sequence[Keyword], candidates: Candidates, today: date) -> list[Ranked]:
    """All candidates, the best first; equal ones newest first."""
    signals = _Signals(question, keywords, candidates, today)
    ranked = [signals.rank(passage) for passage in candidates.passages.values()]
    return sorted(ranked, key=lambda item: (-item.score, -item.passage.id))


def contributions(signals: Mapping[str, float]) -> list[tuple[str, float]]:
    """What each signal of a passage adds to its score, the largest part first."""
    parts = [(name, _WEIGHTS[name] * value) for name, value in signals.items()]
    return sorted(parts, key=lambda part: -abs(part[1]))


class _Signals:
    """The signals of one question."""

    def __init__(
        self, question: str, keywords: Sequence[Keyword], candidates: Candidates, today: date
    ) -> None:
        self._passages = candidates.passages
        self._next = {p.previous: p.id for p in candidates.passages.values() if p.previous is not None}
        self._words = _scaled_by_best(candidates.words)
        self._meanings = _between_worst_and_best(candidates.meanings)
        self._hits = _hits(keywords, candidates.passages.values())
        self._weights = {keyword.stem: keyword.weight for keyword in keywords}
        self._all = sum(self._weights.values()) or 1.0
        self._session_meaning, self._session_hits = self._by_session()
        self._days = days_of(question, today)
        self._when = asks_when(question)
        self._named = self._named_in(question)

    def rank(self, passage: Passage) -> Ranked:
        signals = {name: value for name, value in self._of(passage).items() if value}
        return Ranked(passage, sum(_WEIGHTS[name] * value for name, value in signals.items()), signals)

    def _of(self, passage: Passage) -> dict[str, float]:
        return self._by_words(passage) | self._by_meaning(passage) | self._by_form(passage)

    def _by_words(self, passage: Passage) -> dict[str, float]:
        before, after = passage.previous or 0, self._next.get(passage.id, 0)
        second = self._passages[before].previous or 0 if before in self._passages else 0
        around = self._hits[passage.id].union(self._hits.get(before, ()), self._hits.get(after, ()))
        return {
            "words": self._words.get(passage.id, 0.0),
            "words before": self._words.get(before, 0.0),
            "words two before": self._words.get(second, 0.0),
            "coverage around": self._share(around),
            "session coverage": self._share(self._session_hits[passage.session_id]),
        }

    def _by_meaning(self, passage: Passage) -> dict[str, float]:
        before, after = passage.previous or 0, self._next.get(passage.id, 0)
        return {
            "meaning": self._meanings.get(passage.id, 0.0),
            "meaning before": self._meanings.get(before, 0.0),
            "meaning after": self._meanings.get(after, 0.0),
            "session meaning": self._session_meaning[passage.session_id],
        }

    def _by_form(self, passage: Passage) -> dict[str, float]:
        """Who said it, when, and whether it is something that answers."""
        day, before = date.fromisoformat(passage.at[:10]), self._passages.get(passage.previous or 0)
        return {
            "speaker": float(_speaker(passage) == self._named),
            "date": float(any(first <= day <= last for first, last in self._days)),
            "length": log1p(len(passage.text.split())),
            "question": float(_asks(passage)),
            "answer": float(before is not None and _asks(before)),
            "time": float(self._when and says_when(passage.text)),
            "first": float(passage.previous is None),
        }

    def _share(self, hits: Iterable[str]) -> float:
        return sum(self._weights[stem] for stem in hits) / self._all

    def _named_in(self, question: str) -> str | None:
        """The one speaker a question is about: by name, else "I" is the person and "you" the model."""
        speakers = {_speaker(passage) for passage in self._passages.values()} - {"user", "assistant"}
        named = [name for name in speakers if re.search(rf"\b{re.escape(name)}\b", question)]
        if not named:
            named = [role for role, pronoun in _PRONOUNS.items() if pronoun.search(question)]
        return named[0] if len(named) == 1 else None

    def _by_session(self) -> tuple[Mapping[str, float], Mapping[str, set[str]]]:
        """The best meaning in a session, and all words of the question that occur in it."""
        meaning: dict[str, float] = defaultdict(float)
        hits: dict[str, set[str]] = defaultdict(set)
        for passage in self._passages.values():
            session = passage.session_id
            meaning[session] = max(meaning[session], self._meanings.get(passage.id, 0.0))
            hits[session] |= self._hits[passage.id]
        return meaning, hits


def _scaled_by_best(scores: Mapping[int, float]) -> dict[int, float]:
    best = max(scores.values(), default=0.0)
    return {number: score / best for number, score in scores.items()} if best > 0 else {}


def _between_worst_and_best(scores: Mapping[int, float]) -> dict[int, float]:
    if not scores:
        return {}
    worst, best = min(scores.values()), max(scores.values())
    return {number: (score - worst) / ((best - worst) or 1.0) for number, score in scores.items()}


def _hits(keywords: Sequence[Keyword], passages: Iterable[Passage]) -> dict[int, set[str]]:
    """The stems of a question that a passage has, by passage."""
    if not keywords:
        return {passage.id: set() for passage in passages}
    # A word that begins with the stem, as stems are made by cutting ends off; "y" may have become "i".
    starts = {re.escape(k.stem[:-1] if k.stem.endswith("i") else k.stem): k.stem for k in keywords}
    pattern = re.compile(rf"\b({'|'.join(sorted(starts, key=len, reverse=True))})", re.I)
    return {
        passage.id: {starts[re.escape(hit.lower())] for hit in pattern.findall(passage.text)}
        for passage in passages
    }


def _speaker(passage: Passage) -> str:
    """Who said it; imported chats of several people begin with a name and a colon."""
    named = _SPEAKER.match(passage.text)
    return named[1] if named else passage.role


def _asks(passage: Passage) -> bool:
    return passage.text.rstrip().endswith("?")
