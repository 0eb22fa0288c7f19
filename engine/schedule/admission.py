"""Decides where a waiting sequence starts: its slot, and the source of the first tokens of its prompt.

The sources from the cheapest to the dearest: the KV cache already holds them, another sequence is computing
them now, their state is parked, or they have to be computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from engine.kv import Parked, Parking, PrefixCache, common_prefix, session_key
from engine.schedule.sequence import TokenSequence
from engine.step import Move

__all__ = ["Admission", "Delay", "Placement", "request_key"]

_ANSWER_RESERVE = 256  # cells held back for an answer at admission; most answers end before their limit


def request_key(request_id: int) -> str:
    """The key under which a preempted request's KV state is parked."""
    return f"request {request_id}"


class Delay(Enum):
    """What a sequence that cannot be placed waits for."""

    ROOM = "a slot or cells"
    DISK = "its state, which is being read"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an admitted sequence starts.

    Args:
        slot: leased for it.
        computed: tokens of its prompt that the slot holds once the moves are made.
        moves: to make, in order.
        leader, shared: the sequence it follows, and the tokens both share.
        restored: whether a parked state is brought back.
    """

    slot: int
    computed: int
    moves: list[Move]
    leader: TokenSequence | None = None
    shared: int = 0
    restored: bool = False


class Admission:
    """Places waiting sequences.

    Args:
        cache: the slots and cells.
        parking: saved states.
        sequence_cells: KV cells one sequence may hold.
    """

    def __init__(self, cache: PrefixCache, parking: Parking, *, sequence_cells: int) -> None:
        self._cache = cache
        self._parking = parking
        self._sequence_cells = sequence_cells

    def place(self, sequence: TokenSequence, running: Sequence[TokenSequence]) -> Placement | Delay:
        """Lease a slot for a sequence and make room for its prompt and the start of its answer.

        Returns:
            Where it starts, or what it must wait for.
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
            return Delay.ROOM
        if parked is not None:
            return self._restore(sequence, parked, restorable, needed + promised)
        if (leased := self._cache.lease(sequence.session_id, sequence.tokens)) is None:
            return Delay.ROOM
        lease, moves = leased
        self._drop_parked(sequence)
        moves += self._make_room(needed + promised)
        return Placement(lease.slot, lease.cached, moves, leader, shared)

    def find_leader(
        self, sequence: TokenSequence, running: Iterable[TokenSequence], *, known: int
    ) -> tuple[TokenSequence | None, int]:
        """The running sequence that is about to compute most of what this one lacks, and how many tokens
        both share.

        Args:
            known: tokens that this one already has or can get more cheaply.
        """
        best: tuple[TokenSequence | None, int] = (None, 0)
        head = sequence.tokens[:-1]
        for other in running:
            if other.remaining > 1 and not other.paused:
                common = self._cache.shareable(common_prefix(other.tokens, head), other.checkpoints)
                if common - known >= self._cache.worth and common > max(best[1], other.computed):
                    best = (other, common)
        return best

    def _find_parked(self, sequence: TokenSequence, cached: int) -> tuple[Parked | None, int]:
        """A saved state that shares the start of the prompt, and how many tokens they share."""
        parked = self._parking.find(request_key(sequence.request_id))
        if parked is None and sequence.session_id is not None:
            parked = self._parking.find(session_key(sequence.session_id))
        if parked is None or len(parked.tokens) > self._sequence_cells:
            return None, 0
        common = common_prefix(parked.tokens, sequence.tokens[:-1])
        whole = common == len(parked.tokens) or self._cache.cuts
        return (parked, common) if whole and self._cache.worth_parking(common - cached) else (None, 0)

    def _needed(self, sequence: TokenSequence, parked: Parked | None, known: int) -> int:
        """Cells to have free: for the prompt without the part it shares, and for the start of the answer."""
        left = sequence.tokens_left
        reserve = _ANSWER_RESERVE if left is None else min(_ANSWER_RESERVE, left)
        total = min(len(sequence.tokens) + reserve, self._sequence_cells)
        return total - known if parked is None else max(total, len(parked.tokens))

    def _restore(self, sequence: TokenSequence, parked: Parked, keep: int, room: int) -> Placement | Delay:
        if (state := self._parking.fetch(parked.key)) is None:
            return Delay.DISK
        if (leased := self._cache.lease_empty(sequence.session_id)) is None:
            return Delay.ROOM
        slot, moves = leased
        moves += self._make_room(room)
        moves += self._cache.restore(slot, parked.tokens, state, keep)
        self._drop_parked(sequence)
        return Placement(slot, keep, moves, restored=True)

    def _make_room(self, cells: int) -> list[Move]:
        moves: list[Move] = []
        while self._cache.free < cells and (evicted := self._cache.evict()) is not None:
            moves += evicted
        return moves

    def _drop_parked(self, sequence: TokenSequence) -> None:
        """The state of a running sequence is in the cache; a saved one is out of date."""
        self._parking.drop(request_key(sequence.request_id))
        if sequence.session_id is not None:
            self._parking.drop(session_key(sequence.session_id))


def _promised(sequence: TokenSequence) -> int:
    """Cells a running sequence will take for the rest of its prompt."""
    return sequence.remaining - max(0, sequence.shared - sequence.computed)
