"""Finds what was said before: keywords and meaning, fused, aware of neighbours, sessions and dates."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import log1p

from memory.dates import asks_when, days_of, says_when
from memory.keywords import Keyword
from memory.types import Passage
from memory.words import StemFinder

__all__ = ["WEIGHTS", "Ranked", "contributions", "rank"]

# Learned by softmax regression on the development set of LoCoMo (three conversations), cross-validated by
# conversation; see docs/memory.md. What a question and a passage have in common counts by these.
WEIGHTS: Mapping[str, float] = {
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
class Ranked:
    """A passage with its score and the signals it is the weighted sum of; zeros are left out."""

    passage: Passage
    score: float
    signals: Mapping[str, float]


def rank(
    question: str,
    keywords: Sequence[Keyword],
    passages: Mapping[int, Passage],
    nearby: Mapping[int, Mapping[str, float]],
    today: date,
) -> list[Ranked]:
    """All passages, the best first; equal ones newest first.

    Args:
        passages: by id.
        nearby: the signals of the search's hits by passage id, see `memory.nearby`.
    """
    signals = _Signals(question, keywords, passages, nearby, today)
    ranked = [signals.rank(passage) for passage in passages.values()]
    return sorted(ranked, key=lambda item: (-item.score, -item.passage.id))


def contributions(signals: Mapping[str, float]) -> list[tuple[str, float]]:
    """What each signal of a passage adds to its score, the largest part first."""
    parts = [(name, WEIGHTS[name] * value) for name, value in signals.items()]
    return sorted(parts, key=lambda part: -abs(part[1]))


class _Signals:
    """The signals of one question."""

    def __init__(
        self,
        question: str,
        keywords: Sequence[Keyword],
        passages: Mapping[int, Passage],
        nearby: Mapping[int, Mapping[str, float]],
        today: date,
    ) -> None:
        self._passages = passages
        self._nearby = nearby
        self._next = {p.previous: p.id for p in passages.values() if p.previous is not None}
        self._coverage = _Coverage(keywords, passages)
        self._session_meaning = self._best_of_sessions()
        self._days = [(first.isoformat(), last.isoformat()) for first, last in days_of(question, today)]
        self._when = asks_when(question)
        self._speakers = {number: _speaker(passage) for number, passage in passages.items()}
        self._named = self._named_in(question)

    def rank(self, passage: Passage) -> Ranked:
        signals = {**self._nearby.get(passage.id, {})}
        for name, value in (self._of_text(passage) | self._of_surroundings(passage)).items():
            if value:
                signals[name] = value
        return Ranked(passage, sum([WEIGHTS[name] * value for name, value in signals.items()]), signals)

    def _of_text(self, passage: Passage) -> dict[str, float]:
        """Who said it, when, and whether it is something that answers."""
        day = passage.at[:10]
        return {
            "speaker": float(self._speakers[passage.id] == self._named),
            "date": float(any(first <= day <= last for first, last in self._days)),
            "length": log1p(len(passage.text.split())),
            "question": float(_asks(passage)),
            "time": float(self._when and says_when(passage.text)),
        }

    def _of_surroundings(self, passage: Passage) -> dict[str, float]:
        """What the passages around it and its session have to do with the question."""
        before = self._passages.get(passage.previous or 0)
        around = (passage.id, passage.previous or 0, self._next.get(passage.id, 0))
        return {
            "coverage around": self._coverage.around(around),
            "session coverage": self._coverage.of_session(passage.session_id),
            "session meaning": self._session_meaning[passage.session_id],
            "answer": float(before is not None and _asks(before)),
            "first": float(passage.previous is None),
        }

    def _best_of_sessions(self) -> Mapping[str, float]:
        best: dict[str, float] = defaultdict(float)
        for passage in self._passages.values():
            meaning = self._nearby.get(passage.id, {}).get("meaning", 0.0)
            best[passage.session_id] = max(best[passage.session_id], meaning)
        return best

    def _named_in(self, question: str) -> str | None:
        """The one speaker a question is about: by name, else "I" is the person and "you" the model."""
        speakers = set(self._speakers.values()) - {"user", "assistant"}
        named = [name for name in speakers if re.search(rf"\b{re.escape(name)}\b", question)]
        if not named:
            named = [role for role, pronoun in _PRONOUNS.items() if pronoun.search(question)]
        return named[0] if len(named) == 1 else None


class _Coverage:
    """How much of a question, by the weight of its words, some passages have between them."""

    def __init__(self, keywords: Sequence[Keyword], passages: Mapping[int, Passage]) -> None:
        self._weights = {keyword.stem: keyword.weight for keyword in keywords}
        self._all = sum(self._weights.values()) or 1.0
        self._sessions: dict[str, set[str]] = defaultdict(set)
        self._stems: dict[int, set[str]] = {}
        finder = StemFinder(self._weights)
        for number, passage in passages.items():
            self._stems[number] = found = finder.stems_in(passage.text)
            self._sessions[passage.session_id] |= found

    def around(self, numbers: Sequence[int]) -> float:
        """Of passages; ids that are not there count for nothing."""
        return self._share(set().union(*(self._stems.get(number, ()) for number in numbers)))

    def of_session(self, session_id: str) -> float:
        return self._share(self._sessions[session_id])

    def _share(self, stems: set[str]) -> float:
        return sum([self._weights[stem] for stem in stems]) / self._all


def _speaker(passage: Passage) -> str:
    """Who said it; imported chats of several people begin with a name and a colon."""
    named = _SPEAKER.match(passage.text)
    return named[1] if named else passage.role


def _asks(passage: Passage) -> bool:
    return passage.text.rstrip().endswith("?")
