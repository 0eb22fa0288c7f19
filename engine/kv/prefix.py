"""Which tokens each llama.cpp sequence holds, and how many KV cells they take.

A slot is a llama.cpp sequence id. A running request leases one. After the request the slot stays idle, with
its session if it has one, until a prompt that continues it leases it again or its cells are needed. A radix
tree records what each slot holds, so that any prompt finds the longest prefix that any request has computed.

In a unified KV cache two slots with the same prefix share its cells, and `used` counts them once. In a split
cache each slot has its own cells, and sharing means copying.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import ClassVar

from engine.kv.radix import RadixTree
from engine.step import Copy, Move, Restore, Save, State, Trim

__all__ = ["Lease", "PrefixCache", "session_key"]

_WORTH_SHARING = 16  # tokens; copying fewer is not worth a call
_WORTH_COPYING = 64  # in a split cache, where the whole stream is copied
_MAX_PINS = 8
_PINNED_SHARE = 4  # pinned prefixes take at most a quarter of the cells


@dataclass(frozen=True, slots=True)
class Lease:
    """A slot handed to a request, and how many tokens of the prompt it already holds."""

    slot: int
    cached: int


def session_key(session_id: str) -> str:
    """The key under which a session's KV state is parked."""
    return f"session {session_id}"


class PrefixCache:
    """Owns the slots, the tree of what they hold, and the ledger of KV cells.

    Every method that changes something returns the moves that make the same change in the KV cache, in order.

    Args:
        slots: number of llama.cpp sequence ids.
        cells: KV cells of all slots together.
        split: whether each slot has its own cells.
        worth_parking: whether n computed tokens are worth saving when they must leave the cache.

    Attributes:
        cuts: whether a slot can be cut back to any of its first tokens, so that prompts share any prefix.
        worth: the fewest tokens of another slot that are worth sharing.
        evicted: idle slots emptied so far.
    """

    cuts: ClassVar[bool] = True

    def __init__(
        self,
        *,
        slots: int,
        cells: int,
        split: bool = False,
        worth_parking: Callable[[int], bool] = lambda tokens: False,
    ) -> None:
        self.cells = cells
        self.split = split
        self.worth_parking = worth_parking
        self.evicted = 0
        self.worth = _WORTH_COPYING if split else _WORTH_SHARING
        self._tree = RadixTree()
        self._free = list(range(slots))  # a heap: low slots first, since a split cache wants them adjacent
        self._idle: OrderedDict[int, str | None] = OrderedDict()  # slot -> session, longest idle first
        self._of_session: dict[str, int] = {}
        self._leased: dict[int, int] = {}  # slot -> tokens it holds, including those not yet in the tree
        self._pins: OrderedDict[tuple[int, ...], None] = OrderedDict()

    # The ledger

    @property
    def used(self) -> int:
        """Cells that hold a token."""
        if self.split:
            return sum(self._leased.values()) + sum(self._tree.length(slot) for slot in self._idle)
        return self._tree.size + sum(held - self._tree.length(slot) for slot, held in self._leased.items())

    @property
    def free(self) -> int:
        """Cells available without evicting anything."""
        return self.cells - self.used

    @property
    def idle_sessions(self) -> int:
        """Sessions between two turns whose KV cache is kept."""
        return len(self._of_session)

    def reclaimable(self, wanted: Sequence[int] = ()) -> int:
        """Cells that evicting every idle slot would free, except those that hold a prefix of `wanted`."""
        if self.split:
            return sum(self._tree.length(slot) for slot in self._idle)
        return self._tree.free_without(self._leased.keys(), wanted)

    # Leases

    def match(self, session_id: str | None, tokens: Sequence[int]) -> int:
        """Tokens of a prompt that `lease` would find in the cache; at least one remains to be computed."""
        own, shared, _ = self._sources(session_id, tokens)
        return max(own, shared)

    def lease(self, session_id: str | None, tokens: Sequence[int]) -> tuple[Lease, list[Move]] | None:
        """Lease the session's own slot; without a session, one whose tokens the prompt continues. Else a free
        slot, else the one idle longest.

        Returns:
            The lease and its moves, or None when every slot is in use.
        """
        own, shared, source = self._sources(session_id, tokens)
        if session_id in self._of_session:
            slot, moves = self._take_own(session_id, own)
        elif source is not None and session_id is None and self._continues(source, shared):
            slot, moves, own = source, [], shared
            self._wake(source)
        elif (free := self._free_slot(source)) is not None:
            slot, moves = free
            if slot == source:  # the only idle slot is the one that holds the prefix
                moves += self._cut(slot, shared)
                own = shared
        else:
            return None
        self.resize(slot, own)
        if shared > own and source is not None:
            moves += self._share(source, slot, tokens, own, shared)
        return Lease(slot, self._leased[slot]), moves

    def lease_empty(self, session_id: str | None) -> tuple[int, list[Move]] | None:
        """Lease an empty slot, to restore a saved state into it."""
        if session_id in self._of_session:
            taken: tuple[int, list[Move]] | None = self._take_own(session_id, 0)
        else:
            taken = self._free_slot(None)
        if taken is not None:
            self.resize(taken[0], 0)
        return taken

    def restore(self, slot: int, tokens: Sequence[int], state: State, keep: int) -> list[Move]:
        """Load a saved state of `tokens` into an empty leased slot and keep its first `keep` tokens."""
        moves: list[Move] = [Restore(slot, len(tokens), state)]
        if keep < len(tokens):
            moves.append(Trim(slot, keep))
        self.resize(slot, keep)
        return [*moves, *self.commit(slot, tokens[:keep])]

    def attach(self, slot: int, tokens: Sequence[int]) -> tuple[int, list[Move]]:
        """Share with a leased slot what others have since computed of its prompt.

        Returns:
            How many tokens it holds now, and the moves.
        """
        held = self._leased[slot]
        shared, source = self._tree.match(tokens[:-1])
        if source is None or shared - held < self.worth or self._tree.length(slot) < held:
            return held, []
        return shared, self._share(source, slot, tokens, held, shared)

    def shareable(self, common: int, checkpoints: Sequence[int]) -> int:
        """How many of the tokens that two prompts have in common one of them can take over from the other.

        Args:
            checkpoints: where the other one's state is kept while it is computed.
        """
        return common

    def checkpoint(self, slot: int, tokens: Sequence[int]) -> list[Move]:
        """Keep the state of a leased slot after `tokens`, if it cannot be reached again by cutting."""
        return []

    def resize(self, slot: int, tokens: int) -> None:
        """Record that a leased slot now holds `tokens` tokens: more after a step, perhaps fewer after a
        failed one."""
        self._leased[slot] = tokens
        self._tree.cut(slot, tokens)

    def commit(self, slot: int, tokens: Sequence[int]) -> list[Move]:
        """Publish what a leased slot has computed: `tokens`, from the first.

        Where another slot already holds the same tokens, a unified cache replaces this slot's cells by those.
        """
        start = self._tree.length(slot)
        if len(tokens) <= start:
            return []
        twice, other = self._tree.extend(slot, tokens[start:])
        if self.split or other is None:
            return []
        return [Copy(other, slot, start, start + twice)]

    def release(self, slot: int, session_id: str | None, tokens: Sequence[int]) -> list[Move]:
        """End a lease and keep `tokens` until their cells are needed: for the session, or for whoever sends a
        prompt that begins with them. With no tokens keep only what is pinned."""
        if not tokens:
            moves = self._cut(slot, self._tree.pinned_length(slot))
            del self._leased[slot]
            self._rest(slot)
            return moves
        moves = [*self._cut(slot, len(tokens)), *self.commit(slot, tokens)]
        del self._leased[slot]
        if session_id is None or session_id in self._of_session:
            self._idle[slot] = None
        else:
            self._idle[slot] = session_id
            self._of_session[session_id] = slot
        return moves

    # Idle slots

    def evict(self) -> list[Move] | None:
        """Empty the slot idle longest, saving its session's state if that is worth it.

        Pinned prefixes stay until nothing else is left to evict. None when nothing is idle.
        """
        for slot, session_id in self._idle.items():
            pinned = self._tree.pinned_length(slot)
            if session_id is not None or pinned < self._tree.length(slot):
                return self._evict(slot, pinned)
        return self._evict(next(iter(self._idle)), 0) if self._idle else None

    def forget(self, session_id: str) -> list[Move]:
        """Drop an idle session's cache without saving it, and what belongs to no session: the same text may
        stand in a request that was made about it, or in a system prompt."""
        while self._pins:
            self._tree.pin(self._pins.popitem()[0], pinned=False)
        slots = [slot for slot, owner in self._idle.items() if owner in (None, session_id)]
        return [move for slot in slots for move in self._drop(slot, 0)]

    def pin(self, tokens: Sequence[int]) -> None:
        """Keep a cached prefix when its sessions leave; old pins make room for new ones."""
        pin = tuple(tokens)
        if self.split or len(pin) < self.worth or len(pin) * _PINNED_SHARE > self.cells:
            return
        self._pins[pin] = None
        self._pins.move_to_end(pin)
        self._tree.pin(pin)
        while len(self._pins) > _MAX_PINS or sum(map(len, self._pins)) * _PINNED_SHARE > self.cells:
            old, _ = self._pins.popitem(last=False)
            self._tree.pin(old, pinned=False)

    def compact(self) -> tuple[int, int, list[Move]] | None:
        """In a split cache, move the highest leased slot into a gap: a forward pass takes adjacent slots.

        Returns:
            The slot it leaves, the slot it moves to, and the moves; None when there is no gap.
        """
        if not self.split or not self._leased:
            return None
        lowest, top = min(self._leased), max(self._leased)
        gap = next((slot for slot in range(lowest, top) if slot not in self._leased), None)
        if gap is None:
            return None
        moves = self._evict(gap, 0) if gap in self._idle else []
        self._free.remove(gap)
        heapify(self._free)
        held = self._leased.pop(top)
        self._tree.extend(gap, self._tree.path(top))
        self._tree.cut(top, 0)
        self._leased[gap] = held
        heappush(self._free, top)
        if held:
            moves += [Copy(top, gap, 0, held), Trim(top, 0)]
        return top, gap, moves

    def _sources(self, session_id: str | None, tokens: Sequence[int]) -> tuple[int, int, int | None]:
        """Tokens of a prompt that the session's own slot holds, tokens that any slot holds, and that slot."""
        head = tokens[:-1]
        own_slot = self._of_session.get(session_id) if session_id is not None else None
        own = 0 if own_slot is None else self._tree.match(head, own_slot)[0]
        shared, source = self._tree.match(head)
        return (own, shared, source) if shared - own >= self.worth else (own, own, own_slot)

    def _continues(self, source: int, shared: int) -> bool:
        """Whether a prompt that shares `shared` tokens with an idle slot continues that slot."""
        anonymous = source in self._idle and self._idle[source] is None
        return anonymous and shared == self._tree.length(source) and not self._tree.pinned_length(source)

    def _take_own(self, session_id: str | None, keep: int) -> tuple[int, list[Move]]:
        """The session's own slot, cut back to what it shares with the prompt."""
        assert session_id is not None
        slot = self._of_session[session_id]
        self._wake(slot)
        return slot, self._cut(slot, keep)

    def _free_slot(self, source: int | None) -> tuple[int, list[Move]] | None:
        """A slot to lease; if none is free, evict the one idle longest other than the source."""
        if self._free:
            return heappop(self._free), []
        others = [slot for slot in self._idle if slot != source]
        if others:
            unpinned = (slot for slot in others if not self._tree.pinned_length(slot))
            moves = self._evict(next(unpinned, others[0]), 0)
            return heappop(self._free), moves
        if source is None or source not in self._idle:
            return None
        moves = self._save(source)
        self._wake(source)
        return source, moves

    def _share(self, source: int, slot: int, tokens: Sequence[int], start: int, end: int) -> list[Move]:
        self._tree.extend(slot, tokens[start:end])
        self._leased[slot] = end
        return [Copy(source, slot, start, end)]

    def _evict(self, slot: int, keep: int) -> list[Move]:
        self.evicted += 1
        return [*self._save(slot), *self._drop(slot, keep)]

    def _save(self, slot: int) -> list[Move]:
        session_id, tokens = self._idle[slot], self._tree.length(slot)
        if session_id is None or not self.worth_parking(tokens):
            return []
        return [Save(slot, session_key(session_id), self._tree.path(slot))]

    def _drop(self, slot: int, keep: int) -> list[Move]:
        """Empty an idle slot down to its pinned head."""
        moves = self._cut(slot, keep)
        self._wake(slot)
        self._rest(slot)
        return moves

    def _rest(self, slot: int) -> None:
        """Free a slot without a session, or make it the first idle one while it keeps a pinned head."""
        if self._tree.length(slot):
            self._idle[slot] = None
            self._idle.move_to_end(slot, last=False)
        else:
            heappush(self._free, slot)

    def _wake(self, slot: int) -> None:
        session_id = self._idle.pop(slot)
        if session_id is not None:
            del self._of_session[session_id]

    def cut(self, slot: int, keep: int) -> list[Move]:
        """Cut a leased slot back to its first `keep` tokens."""
        moves = self._cut(slot, keep)
        self.resize(slot, keep)
        return moves

    def _cut(self, slot: int, keep: int) -> list[Move]:
        held = self._leased.get(slot, self._tree.length(slot))
        self._tree.cut(slot, keep)
        return [Trim(slot, keep)] if held > keep else []
