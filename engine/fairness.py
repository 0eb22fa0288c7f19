"""Who has had how much of the engine, and so who is served next."""

from __future__ import annotations

from collections.abc import Iterable

from engine.sequence import Sequence

__all__ = ["TokenCounters", "client_of", "service_order"]

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
