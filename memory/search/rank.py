"""Ranks passages: keywords and meanings fused, aware of neighbours, sessions and dates.

The hits of a search give each passage and its neighbours signals before any text is read; the best of them
are read, and their text, speaker and date add more. A score is the weighted sum of a passage's signals.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from math import log1p
from typing import get_args

from memory.search.keywords import Keyword
from memory.text import TermFinder, asks_when, days_of, says_when
from memory.types import Passage, QuoteOrigin

__all__ = ["WEIGHTS", "Hits", "Ranked", "contributions", "rank", "shortlist", "signals_of"]

# Learned by softmax regression on LoCoMo's turns and LongMemEval's turns and chats, which count alike, and
# held near the weights that LoCoMo alone had given; see docs/memory.md.
WEIGHTS: Mapping[str, float] = {
    "words": 2.6,
    "words before": 0.7,
    "words two before": 1.3,
    "meaning": 1.4,
    "meaning before": 0.9,
    "meaning after": 0.4,
    "session meaning": 0.8,
    "session coverage": 2.7,
    "coverage around": 2.6,
    "speaker": 1.6,
    "date": 2.6,
    "length": 0.6,
    "question": -0.6,
    "answer": 0.7,
    "time": 1.6,
    "first": 1.8,
    # What a model replied is weaker evidence than what it was told; in LoCoMo, both speakers are people.
    "model": -0.35,
    # Chosen, not learned: no set records use. Too small to lift a passage that does not fit.
    "of use": 0.2,
}
_HALF_LIFE_DAYS = 14
_LONG = 80  # words; longer turns are not more informative, and models are wordy

_MODEL = "assistant"
_NO_ANSWER = frozenset({_MODEL, *get_args(QuoteOrigin)})  # a paste behind a question is what it asks about
_INNER_WORD = re.compile(r"(?<!^)\b[^\W\d_][^\W_]+")
_ADDRESSED, _MOSTLY = 2, 3  # uses of a name: at least two, and three times as many by one side
_PRONOUNS = {
    "user": re.compile(r"\b(?:i|me|my|mine|we|our)\b", re.I),
    "assistant": re.compile(r"\b(?:you|your|yours)\b", re.I),
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage with its score, the weighted sum of its signals; signals of 0 are left out."""

    passage: Passage
    score: float
    signals: Mapping[str, float]


def rank(
    question: str,
    keywords: Sequence[Keyword],
    passages: Mapping[int, Passage],
    hit_signals: Mapping[int, Mapping[str, float]],
    today: date,
) -> list[Ranked]:
    """All passages, best first; of equal scores the newest first.

    Args:
        passages: by id.
        hit_signals: what the hits of the search contribute, by passage id, from `signals_of`.
    """
    signals = [dict(hit_signals.get(number, {})) for number in passages]
    scores = [sum([WEIGHTS[name] * value for name, value in mine.items()]) for mine in signals]
    found = _Signals(question, keywords, passages, hit_signals, today)
    # One signal at a time for all passages takes half the time of one passage at a time.
    for name, values in chain(found.of_words(), found.of_surroundings()):
        weight = WEIGHTS[name]
        for place, value in enumerate(values):
            if value:
                signals[place][name] = value
                scores[place] += weight * value
    ranked = [Ranked(*each) for each in zip(passages.values(), scores, signals, strict=True)]
    return sorted(ranked, key=lambda item: (-item.score, -item.passage.id))


def contributions(signals: Mapping[str, float]) -> list[tuple[str, float]]:
    """What each signal of a passage adds to its score, the largest contribution first."""
    weighted = [(name, WEIGHTS[name] * value) for name, value in signals.items()]
    return sorted(weighted, key=lambda each: -abs(each[1]))


class _Signals:
    """The signals that need the texts: each is a list in the order of the passages."""

    def __init__(
        self,
        question: str,
        keywords: Sequence[Keyword],
        passages: Mapping[int, Passage],
        hit_signals: Mapping[int, Mapping[str, float]],
        today: date,
    ) -> None:
        self._question = question
        self._keywords = keywords
        self._passages = passages
        self._hit_signals = hit_signals
        self._today = today
        self._all = list(passages.values())
        self._asking = {item.id for item in self._all if item.text.rstrip().endswith("?")}
        # What a person pasted is nobody's speech.
        self._roles = [item.role if item.origin is None else item.origin for item in self._all]

    def of_words(self) -> Iterator[tuple[str, list[float]]]:
        """Who said it, when, and whether it can be an answer."""
        # Counts spaces, not words: splitting the texts would take a quarter of the time of a ranking.
        yield "length", [log1p(min(item.text.count(" ") + 1, _LONG)) for item in self._all]
        yield "question", [item.id in self._asking for item in self._all]
        yield "model", [role == _MODEL for role in self._roles]
        if named := _named_in(self._question) or _called_in(self._question, self._all):
            yield "speaker", [role == named for role in self._roles]
        if days := days_of(self._question, self._today):
            spans = [_in_utc(first, last) for first, last in days]
            # When a document was read says nothing about what it tells.
            yield (
                "date",
                [
                    item.file is None and any(first <= item.at < end for first, end in spans)
                    for item in self._all
                ],
            )
        if any(item.of_use_at is not None for item in self._all):
            yield "of use", [self._warmth(item.of_use_at) for item in self._all]
        if asks_when(self._question):
            yield "time", [says_when(item.text) for item in self._all]

    def _warmth(self, of_use_at: str | None) -> float:
        """From 1, for what was of use today, down to 0."""
        if of_use_at is None:
            return 0.0
        days = (self._today - datetime.fromisoformat(of_use_at).astimezone().date()).days
        return float(0.5 ** (max(days, 0) / _HALF_LIFE_DAYS))

    def of_surroundings(self) -> Iterator[tuple[str, list[float]]]:
        """How the neighbours and the session of a passage relate to the question."""
        coverage = _QueryCoverage(self._keywords, self._all)
        yield "coverage around", [coverage.around(item) for item in self._all]
        yield "session coverage", [coverage.of_whole(item.whole) for item in self._all]
        meaning: dict[str, float] = defaultdict(float)
        for item in self._all:
            own = self._hit_signals.get(item.id, {}).get("meaning", 0.0)
            meaning[item.whole] = max(meaning[item.whole], own)
        yield "session meaning", [meaning[item.whole] for item in self._all]
        yield (
            "answer",
            [
                item.previous in self._asking and role not in _NO_ANSWER
                for item, role in zip(self._all, self._roles, strict=True)
            ],
        )
        # What opens a chat says most about it; what opens a document does not.
        yield "first", [item.previous is None and item.file is None for item in self._all]


class _QueryCoverage:
    """The share of a question's words, by weight, that occurs in a group of passages."""

    def __init__(self, keywords: Sequence[Keyword], passages: Sequence[Passage]) -> None:
        # Most pairs of characters that no passage has stand across two words: they say nothing.
        self._weights = [
            keyword.weight if keyword.term.whole or keyword.passages else 0.0 for keyword in keywords
        ]
        self._all = sum(self._weights) or 1.0
        self._next = {item.previous: item.id for item in passages}
        finder = TermFinder([keyword.term for keyword in keywords])
        # Sets of words as bits: most passages share a few distinct sets.
        self._words = {item.id: finder.places_in(item.text) for item in passages}
        self._shares: dict[int, float] = {}
        self._wholes: dict[str, int] = defaultdict(int)
        for item in passages:
            self._wholes[item.whole] |= self._words[item.id]

    def around(self, passage: Passage) -> float:
        """Of a passage and its two neighbours, as far as they were found."""
        words, before, after = self._words, passage.previous or 0, self._next.get(passage.id, 0)
        return self._share(words[passage.id] | words.get(before, 0) | words.get(after, 0))

    def of_whole(self, whole: str) -> float:
        """Of all passages of a session or a file that were found."""
        return self._share(self._wholes[whole])

    def _share(self, words: int) -> float:
        if words not in self._shares:
            having = [weight for place, weight in enumerate(self._weights) if words >> place & 1]
            self._shares[words] = sum(having) / self._all
        return self._shares[words]


def _named_in(question: str) -> str | None:
    """Whose words a question is about: "I" is the user and "you" the model; None if it names both or none."""
    named = [role for role, pronoun in _PRONOUNS.items() if pronoun.search(question)]
    return named[0] if len(named) == 1 else None


def _called_in(question: str, passages: Sequence[Passage]) -> str | None:
    """Whose words a question is about that uses a name: the one whom the other side calls by it."""
    names = {name.group() for name in _INNER_WORD.finditer(question) if name.group()[0].isupper()}
    called = {role for name in names if (role := _bearer(name, passages))}
    return called.pop() if len(called) == 1 else None


def _bearer(name: str, passages: Sequence[Passage]) -> str | None:
    """The role that is addressed by a name: "Thanks, Ada!" from the model makes the user Ada."""
    address = re.compile(
        rf"(?:^|[,.!?\n]\s*|\b(?:hey|hi|hello|hallo|thanks|thank you|wow|bye)[ ,]+){name}\s*(?:[,.!?:;\n]|$)",
        re.IGNORECASE,
    )
    said = (item for item in passages if item.origin is None and name in item.text)
    by = Counter(item.role for item in said if address.search(item.text))
    (role, most), *others = [*by.most_common(2), ("", 0)]
    if most < _ADDRESSED or most < _MOSTLY * others[0][1]:
        return None
    return _MODEL if role == "user" else "user"


def _in_utc(first: date, last: date) -> tuple[str, str]:
    """Days of this machine's time zone, as the times at which they begin and are over."""
    try:
        begin, end = (datetime.combine(day, time.min).astimezone(UTC) for day in (first, last + timedelta(1)))
    except OverflowError:  # the first or the last year that there is
        return first.isoformat(), last.isoformat()
    return begin.isoformat(), end.isoformat()


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found.

    Args:
        words: BM25 scores by passage id.
        meanings: cosine similarities by passage id.
        previous: the id of the passage before, by id, for the passages found and their neighbours.
        trust: how far the meanings say what belongs together, from 0 to 1.
    """

    words: Mapping[int, float]
    meanings: Mapping[int, float]
    previous: Mapping[int, int | None]
    trust: float = 1.0


def signals_of(hits: Hits) -> dict[int, dict[str, float]]:
    """Signals by passage id, from its own hits and its neighbours'; zeros are left out."""
    following: dict[int, list[int]] = defaultdict(list)
    for number, before in hits.previous.items():
        if before is not None:
            following[before].append(number)
    signals: dict[int, dict[str, float]] = defaultdict(dict)
    for number, name, value in _spread(hits, following):
        if value > signals[number].get(name, 0.0):  # several passages may follow one, on different branches
            signals[number][name] = value
    return signals


def shortlist(
    hits: Hits, signals: Mapping[int, Mapping[str, float]], weights: Mapping[str, float], count: int
) -> list[int]:
    """The passages worth reading: the best by these signals alone, or all if there are few."""
    if len(hits.previous) <= count:
        return list(hits.previous)
    scores = {
        number: sum([weights[name] * value for name, value in mine.items()])
        for number, mine in signals.items()
    }
    best = sorted(hits.previous, key=lambda number: (scores.get(number, 0.0), number), reverse=True)
    return best[:count]


def _spread(hits: Hits, following: Mapping[int, list[int]]) -> Iterator[tuple[int, str, float]]:
    for number, value in _scaled_by_best(hits.words).items():
        yield number, "words", value
        for after in following.get(number, ()):
            yield after, "words before", value
            for second in following.get(after, ()):
                yield second, "words two before", value
    for number, between in _between_worst_and_best(hits.meanings).items():
        value = hits.trust * between
        yield number, "meaning", value
        for after in following.get(number, ()):
            yield after, "meaning before", value
        if (before := hits.previous.get(number)) is not None:
            yield before, "meaning after", value


def _scaled_by_best(scores: Mapping[int, float]) -> dict[int, float]:
    best = max(scores.values(), default=0.0)
    return {number: score / best for number, score in scores.items()} if best > 0 else {}


def _between_worst_and_best(scores: Mapping[int, float]) -> dict[int, float]:
    if not scores:
        return {}
    worst, best = min(scores.values()), max(scores.values())
    return {number: (score - worst) / ((best - worst) or 1.0) for number, score in scores.items()}
