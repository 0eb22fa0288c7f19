"""What the hits of a search say of passages by their place in the chat, before any text is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Hits", "shortlist", "signals_of"]


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found.

    Args:
        words, meanings: BM25 scores and cosine similarities by passage id, of those that were found.
        previous: by id, the passage before: of those that were found and of those right before and after.
    """

    words: Mapping[int, float]
    meanings: Mapping[int, float]
    previous: Mapping[int, int | None]


def signals_of(hits: Hits) -> dict[int, dict[str, float]]:
    """Signals by passage id, without those that are zero: its own hits and those of its neighbours."""
    following: dict[int, list[int]] = defaultdict(list)
    for number, before in hits.previous.items():
        if before is not None:
            following[before].append(number)
    signals: dict[int, dict[str, float]] = defaultdict(dict)
    for number, name, value in _spread(hits, following):
        if value > signals[number].get(name, 0.0):  # a passage may have several right after it
            signals[number][name] = value
    return signals


def shortlist(
    hits: Hits, signals: Mapping[int, Mapping[str, float]], weights: Mapping[str, float], count: int
) -> list[int]:
    """The passages worth reading: those that score best by these signals alone, or all if they are few."""
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
    for number, value in _between_worst_and_best(hits.meanings).items():
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
