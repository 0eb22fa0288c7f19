"""Which tokens live in which llama.cpp sequence, and how many KV cells that takes.

A slot is a llama.cpp sequence id. A running request leases one. Afterwards the slot rests with its session
until the session's next turn takes it up again, or its cells are needed. What is in a slot is noted in a
radix tree, so that any prompt finds the longest prefix that anybody has computed.

In a unified KV cache two slots with the same prefix share its cells: `used` counts them once. In a split
one each slot has cells of its own, and sharing means copying.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from engine.kv.radix import RadixTree
from engine.step import Copy, Move, Restore, Save, State, Trim

__all__ = ["Lease", "PrefixCache", "session_key"]

_WORTH_SHARING = 16  # tokens; copying fewer is not worth a call
_WORTH_COPYING = 64  # in a split cache, where the whole stream is copied
_MAX_PINS = 8
_PINNED_SHARE = 4  # pinned prefixes take at most a fourth of the cells


@dataclass(frozen=True, slots=True)
class Lease:
    """A slot handed to a request, and how many of its prompt's tokens are in it already."""

    slot: int
    cached: int


def session_key(session_id: str) -> str:
    """The name under which a session's KV state is parked."""
    return f"session {session_id}"


class PrefixCache:
    """Owns the slots, the tree of what they hold, and the ledger of KV cells.

    Every method that changes something returns the moves that do the same in the KV cache, in order.

    Args:
        slots: llama.cpp sequence ids there are.
        cells: KV cells all slots share.
        split: whether each slot has cells of its own.
        partial_removal: whether the model's memory can be cut in the middle of a sequence; recurrent and
            hybrid models cannot, there a slot is reused whole by its own session or not at all.

    Attributes:
        worth: the least tokens of another slot that are worth taking over.
        parks: says of so many tokens whether a session that must leave is worth saving.
        evicted: idle sessions dropped so far.
    """

    def __init__(
        self,
        *,
        slots: int,
        cells: int,
        split: bool = False,
        partial_removal: bool = True,
    ) -> None:
        self.cells = cells
        self.split = split
        self.parks: Callable[[int], bool] = lambda tokens: False
        self.evicted = 0
        self._cuttable = partial_removal
        self._sharing = partial_removal and not split
        self.worth = _WORTH_COPYING if split else _WORTH_SHARING
        self._tree = RadixTree()
        self._free = list(range(slots))  # a heap: low slots first, since a split cache wants them adjacent
        self._idle: OrderedDict[int, str | None] = OrderedDict()  # slot -> session, the oldest first
        self._of_session: dict[str, int] = {}
        self._leased: dict[int, int] = {}  # slot -> tokens in it, those not in the tree yet included
        self._pins: OrderedDict[tuple[int, ...], None] = OrderedDict()

    # The ledger

    @property
    def used(self) -> int:
        """Cells that hold a token."""
        if not self._sharing:
            return sum(self._leased.values()) + sum(self._tree.length(slot) for slot in self._idle)
        return self._tree.size + sum(held - self._tree.length(slot) for slot, held in self._leased.items())

    @property
    def free(self) -> int:
        """Cells that can be had without evicting anything."""
        return self.cells - self.used

    @property
    def shares(self) -> bool:
        """Whether one slot can take over a prefix that another has computed."""
        return self._cuttable

    @property
    def idle_sessions(self) -> int:
        """Sessions whose KV cache is kept while they rest."""
        return len(self._of_session)

    def reclaimable(self, wanted: SequenceOf[int] = ()) -> int:
        """Cells that evicting every idle slot would free, those that hold a prefix of `wanted` apart."""
        if not self._sharing:
            return sum(self._tree.length(slot) for slot in self._idle)
        return self._tree.free_without(self._leased.keys(), wanted)

    # Leases

    def match(self, session_id: str | None, tokens: SequenceOf[int]) -> int:
        """Tokens of a prompt that `lease` would find in the cache; at least one is left to compute."""
        own, shared, _ = self._sources(session_id, tokens)
        return max(own, shared)

    def lease(self, session_id: str | None, tokens: SequenceOf[int]) -> tuple[Lease, list[Move]] | None:
        """Hand out the session's own slot, else a free one, else the longest idle one.

        Returns:
            The lease and its moves, or None when every slot is in use.
        """
        own, shared, source = self._sources(session_id, tokens)
        moves: list[Move] = []
        if session_id in self._of_session:
            slot = self._take_own(session_id, own, moves)
        elif (free := self._free_slot(source, moves)) is not None:
            slot = free
            if slot == source:  # the only idle slot is the one with the prefix
                moves += self._cut(slot, shared)
                own = shared
        else:
            return None
        self._leased[slot] = own
        if shared > own and source is not None:
            moves += self._share(source, slot, tokens, own, shared)
        return Lease(slot, self._leased[slot]), moves

    def lease_empty(self, session_id: str | None) -> tuple[int, list[Move]] | None:
        """Hand out a slot with nothing in it, to restore a saved state into."""
        moves: list[Move] = []
        if session_id in self._of_session:
            slot: int | None = self._take_own(session_id, 0, moves)
        else:
            slot = self._free_slot(None, moves)
        if slot is None:
            return None
        self._leased[slot] = 0
        return slot, moves

    def restore(self, slot: int, tokens: SequenceOf[int], state: State, keep: int) -> list[Move]:
        """Bring a saved state of `tokens` into an empty leased slot and keep its first so many."""
        moves: list[Move] = [Restore(slot, len(tokens), state)]
        if keep < len(tokens):
            moves.append(Trim(slot, keep))
        self._leased[slot] = keep
        return [*moves, *self.commit(slot, tokens[:keep])]

    def attach(self, slot: int, tokens: SequenceOf[int]) -> tuple[int, list[Move]]:
        """Give a leased slot what others have computed of its prompt meanwhile.

        Returns:
            The tokens it holds now, and the moves.
        """
        held = self._leased[slot]
        if not self._cuttable:
            return held, []
        shared, source = self._tree.match(tokens[:-1])
        if source is None or shared - held < self.worth or self._tree.length(slot) < held:
            return held, []
        return shared, self._share(source, slot, tokens, held, shared)

    def grow(self, slot: int, tokens: int) -> None:
        """Record that a leased slot now holds so many tokens; fewer than before after a failed step."""
        self._leased[slot] = tokens
        self._tree.cut(slot, tokens)

    def commit(self, slot: int, tokens: SequenceOf[int]) -> list[Move]:
        """Let others find what a leased slot has computed: `tokens`, from its first on.

        Where another slot holds the same already, a unified cache drops this slot's own cells for those.
        """
        start = self._tree.length(slot)
        if len(tokens) <= start:
            return []
        twice, other = self._tree.extend(slot, tokens[start:])
        if not self._sharing or other is None:
            return []
        return [Copy(other, slot, start, start + twice)]

    def release(self, slot: int, session_id: str | None, tokens: SequenceOf[int]) -> list[Move]:
        """Take a slot back, `tokens` of which are worth keeping; without a session only what is pinned is."""
        if session_id is None or session_id in self._of_session or not tokens:
            moves = self._cut(slot, self._tree.pinned_length(slot))
            del self._leased[slot]
            self._rest(slot)
            return moves
        moves = [*self._cut(slot, len(tokens)), *self.commit(slot, tokens)]
        del self._leased[slot]
        self._idle[slot] = session_id
        self._of_session[session_id] = slot
        return moves

    # Idle slots

    def evict(self) -> list[Move] | None:
        """Drop the slot that has been idle longest, saving its session's state if that is worth it.

        What is pinned stays, until nothing else is left to drop. None when nothing is idle.
        """
        for slot, session_id in self._idle.items():
            pinned = self._tree.pinned_length(slot)
            if session_id is not None or pinned < self._tree.length(slot):
                return self._evict(slot, pinned)
        return self._evict(next(iter(self._idle)), 0) if self._idle else None

    def forget(self, session_id: str) -> list[Move]:
        """Drop an idle session's cache, without saving it."""
        slot = self._of_session.get(session_id)
        return [] if slot is None else self._drop(slot, self._tree.pinned_length(slot))

    def pin(self, tokens: SequenceOf[int]) -> None:
        """Keep a prefix that is in the cache when its sessions leave; old pins make room for new ones."""
        pin = tuple(tokens)
        if not self._sharing or len(pin) < self.worth or len(pin) * _PINNED_SHARE > self.cells:
            return
        self._pins[pin] = None
        self._pins.move_to_end(pin)
        self._tree.pin(pin)
        while len(self._pins) > _MAX_PINS or sum(map(len, self._pins)) * _PINNED_SHARE > self.cells:
            old, _ = self._pins.popitem(last=False)
            self._tree.pin(old, pinned=False)

    def compact(self) -> tuple[int, int, list[Move]] | None:
        """In a split cache, move the highest leased slot into a gap: only adjacent ones share a forward.

        Returns:
            The slot left, the slot taken and the moves; None when there is no gap.
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

    def _sources(self, session_id: str | None, tokens: SequenceOf[int]) -> tuple[int, int, int | None]:
        """What the session's own slot holds of a prompt, what any slot does, and that slot."""
        head = tokens[:-1]
        own_slot = self._of_session.get(session_id) if session_id is not None else None
        own = 0 if own_slot is None else self._tree.match(head, own_slot)[0]
        if not self._cuttable:
            whole = own_slot is not None and own == self._tree.length(own_slot)
            return (own, own, own_slot) if whole else (0, 0, None)
        shared, source = self._tree.match(head)
        return (own, shared, source) if shared - own >= self.worth else (own, own, own_slot)

    def _take_own(self, session_id: str | None, keep: int, moves: list[Move]) -> int:
        assert session_id is not None
        slot = self._of_session[session_id]
        self._wake(slot)
        moves += self._cut(slot, keep)
        return slot

    def _free_slot(self, source: int | None, moves: list[Move]) -> int | None:
        """A slot to lease, evicting the longest idle one that is not the source if need be."""
        if self._free:
            return heappop(self._free)
        others = [slot for slot in self._idle if slot != source]
        if others:
            unpinned = (slot for slot in others if not self._tree.pinned_length(slot))
            moves += self._evict(next(unpinned, others[0]), 0)
            return heappop(self._free)
        if source is None or source not in self._idle:
            return None
        moves += self._save(source)
        self._wake(source)
        return source

    def _share(self, source: int, slot: int, tokens: SequenceOf[int], start: int, end: int) -> list[Move]:
        self._tree.extend(slot, tokens[start:end])
        self._leased[slot] = end
        return [Copy(source, slot, start, end)]

    def _evict(self, slot: int, keep: int) -> list[Move]:
        self.evicted += 1
        return [*self._save(slot), *self._drop(slot, keep)]

    def _save(self, slot: int) -> list[Move]:
        session_id, tokens = self._idle[slot], self._tree.length(slot)
        if session_id is None or not self.parks(tokens):
            return []
        return [Save(slot, session_key(session_id), self._tree.path(slot))]

    def _drop(self, slot: int, keep: int) -> list[Move]:
        """Empty an idle slot down to its pinned head."""
        moves = self._cut(slot, keep)
        self._wake(slot)
        self._rest(slot)
        return moves

    def _rest(self, slot: int) -> None:
        """Put a slot without a session among the free ones, or first in line while it keeps a pinned head."""
        if self._tree.length(slot):
            self._idle[slot] = None
            self._idle.move_to_end(slot, last=False)
        else:
            heappush(self._free, slot)

    def _wake(self, slot: int) -> None:
        session_id = self._idle.pop(slot)
        if session_id is not None:
            del self._of_session[session_id]

    def _cut(self, slot: int, keep: int) -> list[Move]:
        held = self._leased.get(slot, self._tree.length(slot))
        self._tree.cut(slot, keep)
        return [Trim(slot, keep)] if held > keep else []
