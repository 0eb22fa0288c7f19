"""The queue of the sequences that wait for a place in the batch.

Who has had how much of the engine, and so who is served next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace

from engine.schedule.sequence import Sequence

__all__ = [
    "TokenCounters",
    "WaitingQueue",
    "client_of",
    "service_order",
]


_PATIENCE = 8  # times a sequence that does not fit lets others pass
_CLASS = 4 * _PATIENCE  # times its own cost that others get before a sequence counts one priority higher
_ANSWER = 256  # tokens an answer is taken to have at most


@dataclass(slots=True)
class _Entry:
    since: float  # what had been admitted when it came, or when its session was last served
    cost: float
    returned: bool  # it was preempted
    overtaken: int = 0
    level: float = 0.0  # its session's counter, when last asked for


class WaitingQueue:
    """Orders by priority, then those that were preempted, then the session that has had the least service,
    then age.

    Nobody waits for ever. A sequence that is too large for the cells that are free is passed by smaller ones
    `_PATIENCE` times; then all behind it wait until it fits. And while a session gets nothing, the priority
    of what it asks for rises by one whenever others got `_CLASS` times as much as it needs, without a limit,
    so that at last it stands before all newcomers. (Counted in requests instead, ageing would favour sessions
    with large ones and undo the fairness.) Priorities are read when they are needed: a change takes effect at
    once.
    """

    def __init__(self) -> None:
        self._entries: dict[Sequence, _Entry] = {}
        self._admitted = 0.0  # the cost of all that was

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        self._entries[sequence] = _Entry(self._admitted, _cost(sequence), returned=False)

    def put_back(self, sequence: Sequence) -> None:
        """Queue a preempted sequence: before every new one of its priority."""
        self._entries[sequence] = _Entry(self._admitted, _cost(sequence), returned=True)

    def admit(self, sequence: Sequence) -> None:
        """Take out a sequence that got its place; those of other sessions age by this.

        Raises:
            KeyError: it does not wait.
        """
        self._admitted += self._entries.pop(sequence).cost
        client = client_of(sequence)
        for other, entry in self._entries.items():
            if other.priority == sequence.priority and client_of(other) == client:
                entry.since = self._admitted

    def remove(self, sequence: Sequence) -> None:
        """Take out a sequence that gave up.

        Raises:
            KeyError: it does not wait.
        """
        del self._entries[sequence]

    def candidates(self, counters: TokenCounters) -> Iterator[Sequence]:
        """Who may be admitted now, best first: those behind one that did not fit may pass it, until it has
        been overtaken too often. A preempted one, in the middle of its answer, is not passed at all. A paused
        one needs no place and blocks nobody.

        The queue may change while this is iterated over.
        """
        for sequence, entry in self._entries.items():
            entry.level = counters.level(sequence)
        for sequence in self:
            if sequence not in self._entries or sequence.paused:
                continue
            entry = self._entries[sequence]
            yield sequence
            if (entry.returned or entry.overtaken >= _PATIENCE) and sequence in self._entries:
                return

    def overtaken(self, sequence: Sequence) -> None:
        """Enter that somebody behind a sequence that did not fit was admitted."""
        self._entries[sequence].overtaken += 1

    def __iter__(self) -> Iterator[Sequence]:
        """In the order of service, by the counters of the last `candidates`."""
        return iter(self._in_order())

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, sequence: object) -> bool:
        return sequence in self._entries

    def _in_order(self) -> list[Sequence]:
        """Each counts as if those before it had been admitted: a session does not take all the places that
        are free at once (in the paper, too, admission charges the prompt at once)."""
        queues: dict[str | int, list[Sequence]] = {}
        for sequence in sorted(self._entries, key=lambda s: self._rank(s, 0.0), reverse=True):
            queues.setdefault(client_of(sequence), []).append(sequence)
        heap = [(self._rank(queue[-1], 0.0), queue[-1], 0.0) for queue in queues.values()]
        heapify(heap)
        order: list[Sequence] = []
        while heap:
            _, sequence, more = heap[0]
            order.append(sequence)
            queue = queues[client_of(sequence)]
            queue.pop()
            if queue:
                more += TokenCounters.cost(sequence.remaining, 0)
                heapreplace(heap, (self._rank(queue[-1], more), queue[-1], more))
            else:
                heappop(heap)
        return order

    def _rank(self, sequence: Sequence, more: float) -> tuple[float, bool, float, int]:
        entry = self._entries[sequence]
        priority = sequence.priority + (self._admitted - entry.since) // (_CLASS * entry.cost)
        level = 0.0 if entry.returned else entry.level + more
        return -priority, not entry.returned, level, sequence.request_id


def _cost(sequence: Sequence) -> float:
    left = sequence.tokens_left
    return TokenCounters.cost(len(sequence.tokens), _ANSWER if left is None else min(_ANSWER, left))


# The weights of Sheng et al. 2024, after the prices of commercial services.
_PROMPT_WEIGHT = 1.0
_GENERATED_WEIGHT = 2.0
_MANY = 1024  # counters; beyond this those that say nothing are dropped


class TokenCounters:
    """A virtual token counter per session (Sheng et al., "Fairness in Serving Large Language Models",
    OSDI 2024): whoever has the lowest has had the least service and goes first.

    Two sessions that both have requests all the time get service within a constant of each other,
    however large the requests of each are. A request without a session counts for itself.
    """

    def __init__(self) -> None:
        self._levels: dict[str | int, float] = {}

    def arrive(self, sequence: Sequence, active: Iterable[Sequence]) -> None:
        """Enter a new request; call it before its session is served or ordered.

        A session that was away is lifted to the lowest counter of those that are active, so that idling
        saves up no credit. When nobody is active all start again from nothing.

        Args:
            active: the other sequences that run or wait.
        """
        keys = {client_of(other) for other in active if other is not sequence}
        if not keys:
            self._levels.clear()
        elif client_of(sequence) not in keys:
            floor = min(self._levels.get(key, 0.0) for key in keys)
            if len(self._levels) >= _MANY:
                self._prune(keys, floor)
            self._levels[client_of(sequence)] = max(self.level(sequence), floor)

    def charge(self, sequence: Sequence, prompt: int, generated: int) -> None:
        """Enter prompt tokens computed and tokens generated for a sequence."""
        self._levels[client_of(sequence)] = self.level(sequence) + self.cost(prompt, generated)

    @staticmethod
    def cost(prompt: int, generated: int) -> float:
        """What so many tokens add to a counter."""
        return _PROMPT_WEIGHT * prompt + _GENERATED_WEIGHT * generated

    def level(self, sequence: Sequence) -> float:
        """The counter of a sequence's session: prompt tokens + 2 x generated tokens."""
        return self._levels.get(client_of(sequence), 0.0)

    def __len__(self) -> int:
        return len(self._levels)

    def _prune(self, active: set[str | int], floor: float) -> None:
        """Drop what would be lifted to the floor anyway, and if that is not enough all who are away."""
        kept = {key: level for key, level in self._levels.items() if key in active or level > floor}
        if len(kept) >= _MANY:
            kept = {key: level for key, level in kept.items() if key in active}
        self._levels = kept


def service_order(sequences: Iterable[Sequence], counters: TokenCounters) -> list[Sequence]:
    """Who goes first: the highest priority, then the session that has had the least, then whoever has the
    least left to read, then the oldest. (A newcomer starts level with the least served.)"""
    return sorted(sequences, key=lambda s: (-s.priority, counters.level(s), s.remaining, s.request_id))


def client_of(sequence: Sequence) -> str | int:
    """Whom a sequence is served for: its session, or itself when it has none."""
    return sequence.request_id if sequence.session_id is None else sequence.session_id
