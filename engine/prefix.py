"""Which tokens live in which llama.cpp sequence.

A slot is a llama.cpp sequence id. A running request owns one; afterwards the slot stays with its
session, idle, until the session's next turn takes it up again or its cells are needed elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from engine.step import Trim

__all__ = ["Lease", "SlotCache", "common_prefix"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A slot handed to a request, and how many of its prompt's tokens are in it already."""

    slot: int
    cached: int


class SlotCache:
    """Owns the slots and the ledger of the KV cells they hold.

    Args:
        slots: llama.cpp sequence ids there are.
        cells: KV cells all slots share.
        partial_removal: whether the model's memory can be cut in the middle of a sequence; recurrent
            and hybrid models cannot, there a slot is reused whole or not at all.
    """

    def __init__(self, *, slots: int, cells: int, partial_removal: bool = True) -> None:
        self.cells = cells
        self._partial_removal = partial_removal
        self._free = list(range(slots - 1, -1, -1))
        self._idle: OrderedDict[str, tuple[int, tuple[int, ...]]] = OrderedDict()  # oldest first
        self._leased: dict[int, int] = {}  # slot -> cells it holds
        self._idle_cells = 0

    @property
    def used(self) -> int:
        """Cells that hold a token."""
        return self._idle_cells + sum(self._leased.values())

    @property
    def free(self) -> int:
        """Cells that can be had without evicting anything."""
        return self.cells - self.used

    @property
    def idle_cells(self) -> int:
        """Cells held by sessions with no request in the batch."""
        return self._idle_cells

    @property
    def idle_sessions(self) -> int:
        """Sessions whose KV cache is kept while they rest."""
        return len(self._idle)

    def match(self, session_id: str | None, tokens: SequenceOf[int]) -> int:
        """Tokens of a prompt that `lease` would find in the cache."""
        if session_id is None or session_id not in self._idle:
            return 0
        resident = self._idle[session_id][1]
        common = min(common_prefix(resident, tokens), len(tokens) - 1)
        return common if self._partial_removal or common == len(resident) else 0

    def lease(self, session_id: str | None, tokens: SequenceOf[int]) -> tuple[Lease, list[Trim]] | None:
        """Hand out the session's own slot, else a free one, else the longest idle one.

        Returns:
            The lease and the trims it needs, or None when every slot is in use.
        """
        cached = self.match(session_id, tokens)
        if session_id is not None and session_id in self._idle:
            slot, resident = self._take(session_id)
            trims = [Trim(slot, cached)] if cached < len(resident) else []
        elif self._free:
            slot, trims = self._free.pop(), []
        elif (evicted := self.evict()) is not None:
            slot, trims = self._free.pop(), [evicted]
        else:
            return None
        self._leased[slot] = cached
        return Lease(slot, cached), trims

    def grow(self, slot: int, cells: int) -> None:
        """Record that a leased slot now holds `cells` tokens."""
        self._leased[slot] = cells

    def release(self, slot: int, session_id: str | None, tokens: SequenceOf[int]) -> Trim | None:
        """Take a slot back; keep its tokens for the session, or free it when there is none.

        Returns:
            The trim that empties the slot, when nothing of it is kept.
        """
        del self._leased[slot]
        if session_id is None or not tokens or session_id in self._idle:
            self._free.append(slot)
            return Trim(slot, 0)
        self._idle[session_id] = (slot, tuple(tokens))
        self._idle_cells += len(tokens)
        return None

    def evict(self) -> Trim | None:
        """Drop the session that has been idle longest; None when no session is idle."""
        return self.forget(next(iter(self._idle))) if self._idle else None

    def forget(self, session_id: str) -> Trim | None:
        """Drop an idle session's cache; None when there is none."""
        if session_id not in self._idle:
            return None
        slot, _ = self._take(session_id)
        self._free.append(slot)
        return Trim(slot, 0)

    def _take(self, session_id: str) -> tuple[int, tuple[int, ...]]:
        slot, resident = self._idle.pop(session_id)
        self._idle_cells -= len(resident)
        return slot, resident


def common_prefix(left: SequenceOf[int], right: SequenceOf[int]) -> int:
    """Length of the longest common prefix of two token lists."""
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
