"""How a sequence gets its slot, and where the beginning of its prompt comes from.

From the cheapest to the dearest: it is in the KV cache already, another sequence is just reading it, its
state was parked, or it has to be computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf

from engine.kv.parking import Parked, Parking
from engine.kv.prefix import PrefixCache, session_key
from engine.kv.radix import common_prefix
from engine.schedule.costs import StepCosts
from engine.schedule.sequence import Sequence, SequenceStatus
from engine.step import Move

__all__ = ["Admission", "request_key"]

_ANSWER_RESERVE = 256  # cells held back for an answer at admission; most answers end before their limit
_WORTH_PARKING = 32  # tokens; fewer are not worth a state of their own


def request_key(request_id: int) -> str:
    """The name under which a preempted request's KV state is parked."""
    return f"request {request_id}"


class Admission:
    """Starts waiting sequences.

    Args:
        cache: the slots and cells.
        parking: saved states.
        costs: what computing and restoring take.
        sequence_cells: KV cells one sequence may hold.
        token_bytes: size of a KV cell.
        parks: whether states are saved at all.
    """

    def __init__(
        self,
        cache: PrefixCache,
        parking: Parking,
        costs: StepCosts,
        *,
        sequence_cells: int,
        token_bytes: int,
        parks: bool,
    ) -> None:
        self._cache = cache
        self._parking = parking
        self._costs = costs
        self._sequence_cells = sequence_cells
        self._token_bytes = token_bytes
        self._parks = parks
        self.restored = 0

    def start(self, sequence: Sequence, running: SequenceOf[Sequence]) -> list[Move] | None:
        """Give a sequence its slot and room for its prompt and the begin of its answer.

        Returns:
            The moves it takes, or None when it must wait: for cells, for a slot, or until its state is
            read from disk.
        """
        cached = self._cache.match(sequence.session_id, sequence.tokens)
        parked, restorable = self._find_parked(sequence, cached)
        leader, shared = self.find_leader(sequence, running, known=max(cached, restorable))
        if leader is not None:
            parked = None
        needed = self._needed(sequence, parked, max(cached, shared))
        promised = sum(_promised(other) for other in running)
        wanted = sequence.tokens if parked is None else ()
        if running and needed > self._cache.free + self._cache.reclaimable(wanted) - promised:
            return None
        if parked is not None:
            return self._restore(sequence, parked, restorable, needed + promised)
        if (leased := self._cache.lease(sequence.session_id, sequence.tokens)) is None:
            return None
        lease, moves = leased
        self._forget_parked(sequence)
        sequence.leader, sequence.shared = leader, shared
        if leader is not None:
            leader.priority = max(leader.priority, sequence.priority)
        _enter(sequence, lease.slot, lease.cached)
        return [*moves, *self._make_room(needed + promised)]

    def find_leader(
        self, sequence: Sequence, running: Iterable[Sequence], *, known: int
    ) -> tuple[Sequence | None, int]:
        """The running sequence that is about to compute most of what this one lacks, and how much that is.

        Args:
            known: tokens this one has, or can have for less.
        """
        best: tuple[Sequence | None, int] = (None, 0)
        if not self._cache.shares:
            return best
        head = sequence.tokens[:-1]
        for other in running:
            if other.remaining > 1 and not other.paused:
                common = common_prefix(other.tokens, head)
                if common - known >= self._cache.worth and common > max(best[1], other.computed):
                    best = (other, common)
        return best

    def worth_parking(self, tokens: int) -> bool:
        """Whether saving so many tokens and bringing them back beats computing them again."""
        size = tokens * self._token_bytes
        return self._parks and tokens >= _WORTH_PARKING and self._costs.cheaper_to_swap(size, tokens)

    def _find_parked(self, sequence: Sequence, cached: int) -> tuple[Parked | None, int]:
        """A saved state that begins the prompt, and how many of its tokens do."""
        parked = self._parking.find(request_key(sequence.request_id))
        if parked is None and sequence.session_id is not None:
            parked = self._parking.find(session_key(sequence.session_id))
        if parked is None or len(parked.tokens) > self._sequence_cells:
            return None, 0
        common = common_prefix(parked.tokens, sequence.tokens[:-1])
        whole = common == len(parked.tokens) or self._cache.shares
        return (parked, common) if whole and self.worth_parking(common - cached) else (None, 0)

    def _needed(self, sequence: Sequence, parked: Parked | None, known: int) -> int:
        """Cells to have free: the prompt's, less those it shares, and a part of the answer's."""
        left = sequence.tokens_left
        reserve = _ANSWER_RESERVE if left is None else min(_ANSWER_RESERVE, left)
        total = min(len(sequence.tokens) + reserve, self._sequence_cells)
        return total - known if parked is None else max(total, len(parked.tokens))

    def _restore(self, sequence: Sequence, parked: Parked, keep: int, room: int) -> list[Move] | None:
        state = self._parking.fetch(parked.key)
        if state is None or (leased := self._cache.lease_empty(sequence.session_id)) is None:
            return None
        slot, moves = leased
        moves += self._make_room(room)
        moves += self._cache.restore(slot, parked.tokens, state, keep)
        self._forget_parked(sequence)
        self.restored += 1
        _enter(sequence, slot, keep)
        return moves

    def _make_room(self, cells: int) -> list[Move]:
        moves: list[Move] = []
        while self._cache.free < cells and (evicted := self._cache.evict()) is not None:
            moves += evicted
        return moves

    def _forget_parked(self, sequence: Sequence) -> None:
        """A sequence that runs has its state in the cache; what was saved of it is old."""
        self._parking.drop(request_key(sequence.request_id))
        if sequence.session_id is not None:
            self._parking.drop(session_key(sequence.session_id))


def _promised(sequence: Sequence) -> int:
    """Cells a running sequence will take for what it has still to read."""
    return sequence.remaining - max(0, sequence.shared - sequence.computed)


def _enter(sequence: Sequence, slot: int, computed: int) -> None:
    sequence.slot = slot
    sequence.find(computed)
    sequence.status = SequenceStatus.RUNNING
