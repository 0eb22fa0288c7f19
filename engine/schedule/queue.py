"""Who is served next: the queue of waiting sequences, and counters of the service each session has had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace

from engine.schedule.sequence import TokenSequence

__all__ = [
    "TokenCounters",
    "WaitingQueue",
    "fairness_key",
    "service_order",
]


_MAX_OVERTAKEN = 8  # sequences that may pass one that does not fit
_AGEING = 32  # times its own cost that others get before a sequence counts one priority higher
_ANSWER = 256  # longest answer, in tokens, assumed for the cost of a request


@dataclass(slots=True)
class _Entry:
    since: float  # total cost admitted when it arrived, or when its session was last served
    cost: float
    preempted: bool
    overtaken: int = 0
    level: float = 0.0  # its session's counter, when last read


class WaitingQueue:
    """Orders by priority, then preempted before new, then least served session, then age.

    Nobody starves. Smaller sequences may pass one that does not fit the free cells `_MAX_OVERTAKEN` times;
    then all behind it wait until it fits. And while a session gets nothing, the priority of its requests
    rises by one whenever others have got `_AGEING` times what they need, without a limit, so that in the
    end they are ahead of all newcomers. (Ageing by number of requests would favour sessions with large ones
    and undo the fairness.) A changed priority takes effect immediately.
    """

    def __init__(self) -> None:
        self._entries: dict[TokenSequence, _Entry] = {}
        self._admitted = 0.0  # total cost of everything admitted so far

    def add(self, sequence: TokenSequence) -> None:
        """Queue a new sequence."""
        self._entries[sequence] = _Entry(self._admitted, _cost(sequence), preempted=False)

    def put_back(self, sequence: TokenSequence) -> None:
        """Queue a preempted sequence, ahead of every new one of its priority."""
        self._entries[sequence] = _Entry(self._admitted, _cost(sequence), preempted=True)

    def admit(self, sequence: TokenSequence) -> None:
        """Remove an admitted sequence; those of other sessions age by its cost.

        Raises:
            KeyError: it is not in the queue.
        """
        self._admitted += self._entries.pop(sequence).cost
        key = fairness_key(sequence)
        for other, entry in self._entries.items():
            if other.priority == sequence.priority and fairness_key(other) == key:
                entry.since = self._admitted

    def remove(self, sequence: TokenSequence) -> None:
        """Remove a sequence that ended while waiting.

        Raises:
            KeyError: it is not in the queue.
        """
        del self._entries[sequence]

    def admissible(self, counters: TokenCounters) -> Iterator[TokenSequence]:
        """The sequences that may be admitted now, best first. Those behind one that did not fit may pass it
        until it has been overtaken too often. Nothing passes a preempted one, which is in the middle of its
        answer. A paused one needs no place and blocks none.

        The queue may change during the iteration.
        """
        for sequence, entry in self._entries.items():
            entry.level = counters.level(sequence)
        for sequence in self:
            if sequence not in self._entries or sequence.paused:
                continue
            entry = self._entries[sequence]
            yield sequence
            if (entry.preempted or entry.overtaken >= _MAX_OVERTAKEN) and sequence in self._entries:
                return

    def overtaken(self, sequence: TokenSequence) -> None:
        """Count that a sequence behind this one, which did not fit, was admitted."""
        self._entries[sequence].overtaken += 1

    def __iter__(self) -> Iterator[TokenSequence]:
        """In order of service, by the counters that `admissible` last read."""
        return iter(self._in_order())

    @property
    def ready(self) -> int:
        """How many would be admitted if there were room: a paused one would not."""
        return sum(not sequence.paused for sequence in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, sequence: object) -> bool:
        return sequence in self._entries

    def _in_order(self) -> list[TokenSequence]:
        """Each sequence ranks as if those before it had been admitted, so that one session does not take
        all free places (as in the paper, where admission charges the prompt)."""
        queues: dict[str | int, list[TokenSequence]] = {}
        for sequence in sorted(self._entries, key=lambda s: self._rank(s, 0.0), reverse=True):
            queues.setdefault(fairness_key(sequence), []).append(sequence)
        heap = [(self._rank(queue[-1], 0.0), queue[-1], 0.0) for queue in queues.values()]
        heapify(heap)
        order: list[TokenSequence] = []
        while heap:
            _, sequence, more = heap[0]
            order.append(sequence)
            queue = queues[fairness_key(sequence)]
            queue.pop()
            if queue:
                more += TokenCounters.cost(sequence.remaining, 0)
                heapreplace(heap, (self._rank(queue[-1], more), queue[-1], more))
            else:
                heappop(heap)
        return order

    def _rank(self, sequence: TokenSequence, more: float) -> tuple[float, bool, float, int]:
        entry = self._entries[sequence]
        priority = sequence.priority + (self._admitted - entry.since) // (_AGEING * entry.cost)
        level = 0.0 if entry.preempted else entry.level + more
        return -priority, not entry.preempted, level, sequence.request_id


def _cost(sequence: TokenSequence) -> float:
    left = sequence.tokens_left
    return TokenCounters.cost(len(sequence.tokens), _ANSWER if left is None else min(_ANSWER, left))


# The weights of Sheng et al. 2024, after the prices of commercial services.
_PROMPT_WEIGHT = 1.0
_GENERATED_WEIGHT = 2.0
_MANY = 1024  # counters; beyond this those that make no difference are dropped


class TokenCounters:
    """A virtual token counter per session (Sheng et al., "Fairness in Serving Large Language Models",
    OSDI 2024): the session with the lowest counter has had the least service and goes first.

    Two sessions that always have requests get service within a constant of each other, however large the
    requests of each are. A request without a session has its own counter.
    """

    def __init__(self) -> None:
        self._levels: dict[str | int, float] = {}

    def arrive(self, sequence: TokenSequence, active: Iterable[TokenSequence]) -> None:
        """Register a new request; call it before its session is served or ranked.

        A session that was away is lifted to the lowest counter of the active ones, so that idling earns no
        credit. When no session is active all counters restart at zero.

        Args:
            active: the other sequences, running or waiting.
        """
        keys = {fairness_key(other) for other in active if other is not sequence}
        if not keys:
            self._levels.clear()
        elif fairness_key(sequence) not in keys:
            floor = min(self._levels.get(key, 0.0) for key in keys)
            if len(self._levels) >= _MANY:
                self._prune(keys, floor)
            self._levels[fairness_key(sequence)] = max(self.level(sequence), floor)

    def charge(self, sequence: TokenSequence, prompt: int, generated: int) -> None:
        """Count prompt tokens computed and tokens generated for a sequence."""
        key = fairness_key(sequence)
        self._levels[key] = self._levels.get(key, 0.0) + self.cost(prompt, generated)

    @staticmethod
    def cost(prompt: int, generated: int) -> float:
        """What these tokens add to a counter."""
        return _PROMPT_WEIGHT * prompt + _GENERATED_WEIGHT * generated

    def level(self, sequence: TokenSequence) -> float:
        """The counter of a sequence's session: prompt tokens + 2 x generated tokens."""
        return self._levels.get(fairness_key(sequence), 0.0)

    def __len__(self) -> int:
        return len(self._levels)

    def _prune(self, active: set[str | int], floor: float) -> None:
        """Drop counters that would be lifted to the floor anyway; if that is not enough, those of all
        inactive sessions."""
        kept = {key: level for key, level in self._levels.items() if key in active or level > floor}
        if len(kept) >= _MANY:
            kept = {key: level for key, level in kept.items() if key in active}
        self._levels = kept


def service_order(sequences: Iterable[TokenSequence], counters: TokenCounters) -> list[TokenSequence]:
    """Sorts by priority, then least served session, then shortest remaining prompt, then age. (A newcomer
    starts level with the least served.)"""
    return sorted(sequences, key=lambda s: (-s.priority, counters.level(s), s.remaining, s.request_id))


def fairness_key(sequence: TokenSequence) -> str | int:
    """What a sequence's service counts for: its session, or itself when it has none."""
    return sequence.request_id if sequence.session_id is None else sequence.session_id
