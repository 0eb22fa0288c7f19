"""The books of a memory that cannot be cut: recurrent and hybrid models keep one state for all tokens so far.

There a prompt can take over what another slot holds only as a whole. So a slot whose state will be wanted
again is copied before it changes (a *checkpoint*): after the system prompt, which other chats share, and
where the answer begins, to which an answer that is generated again returns, and a prompt from which a
template has removed the model's thinking. llama-server keeps such checkpoints as bytes in RAM; here they are
idle slots, which llama.cpp copies when they are first written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from heapq import heappop
from typing import Any, ClassVar

from engine.kv.prefix import PrefixCache
from engine.step import Copy, Move

__all__ = ["WholePrefixCache"]


class WholePrefixCache(PrefixCache):
    """A `PrefixCache` in which slots are cut back to nothing only, and shared as wholes."""

    cuts: ClassVar[bool] = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._runs = _CellRuns()

    @property
    def used(self) -> int:
        """Cells that hold a token."""
        return self._runs.used

    def reclaimable(self, wanted: Sequence[int] = ()) -> int:
        """Cells that evicting every idle slot would free, except one that holds a prefix of `wanted`."""
        _, source = self._tree.match_whole(wanted, self._is_whole)
        return self._runs.free_without(self._leased.keys() | {source})

    def shareable(self, common: int, checkpoints: Sequence[int]) -> int:
        """The longest checkpoint within the common tokens."""
        return max((place for place in checkpoints if place <= common), default=0)

    def attach(self, slot: int, tokens: Sequence[int]) -> tuple[int, list[Move]]:
        """Share with a leased slot what others have since computed of its prompt."""
        held = self._leased[slot]
        shared, source = self._tree.match_whole(tokens[:-1], self._is_whole)
        if source is None or source == slot or shared - held < self.worth:
            return held, []
        return shared, self._share(source, slot, tokens, held, shared)

    def resize(self, slot: int, tokens: int) -> None:
        """Record that a leased slot now holds `tokens` tokens."""
        super().resize(slot, tokens)
        self._runs.resize(slot, tokens)

    def commit(self, slot: int, tokens: Sequence[int]) -> list[Move]:
        """Publish what a leased slot has computed; nothing is computed twice on purpose, nor replaced."""
        super().commit(slot, tokens)
        return []

    def checkpoint(self, slot: int, tokens: Sequence[int]) -> list[Move]:
        """Copy a leased slot to an idle one, unless one has it; it leaves like any that is idle.

        It takes a free slot or the oldest one without a session: no chat loses its own for it.
        """
        known = self._tree.match_whole(tokens, lambda other: other != slot and self._is_whole(other))[0]
        if self.split or len(tokens) < self.worth or known == len(tokens):
            return []
        moves: list[Move] = []
        if not self._free:
            oldest = next((idle for idle, session_id in self._idle.items() if session_id is None), None)
            if oldest is None:
                return []
            moves = self._evict(oldest, 0)
        spare = heappop(self._free)
        self._tree.extend(spare, tokens)
        self._runs.copy(slot, spare)
        self._idle[spare] = None
        return [*moves, Copy(slot, spare, 0, len(tokens))]

    def release(self, slot: int, session_id: str | None, tokens: Sequence[int]) -> list[Move]:
        """End a lease and keep `tokens` for the session, if they are all that the slot holds."""
        return super().release(slot, session_id, tokens if len(tokens) == self._leased[slot] else [])

    def pin(self, tokens: Sequence[int]) -> None:
        """Nothing: a system prompt is kept as a checkpoint."""

    def _is_whole(self, slot: int) -> bool:
        """Whether the slot's path is all that it holds; a running one is ahead of it."""
        return self._leased.get(slot, 0) <= self._tree.length(slot)

    def _sources(self, session_id: str | None, tokens: Sequence[int]) -> tuple[int, int, int | None]:
        head = tokens[:-1]
        own_slot = self._of_session.get(session_id) if session_id is not None else None
        own = self._tree.match_whole(head, lambda slot: slot == own_slot)[0]
        shared, source = self._tree.match_whole(head, self._is_whole)
        return (own, shared, source) if shared - own >= self.worth else (own, own, own_slot)

    def _continues(self, source: int, shared: int) -> bool:
        return False  # the slot may be a checkpoint

    def _share(self, source: int, slot: int, tokens: Sequence[int], start: int, end: int) -> list[Move]:
        moves = self._cut(slot, 0) if start else []
        if not self.split:  # else it gets cells of its own
            self._runs.copy(source, slot)
        moves += super()._share(source, slot, tokens, 0, end)
        self._runs.resize(slot, end)
        return moves

    def _cut(self, slot: int, keep: int) -> list[Move]:
        moves = super()._cut(slot, keep)
        self._runs.resize(slot, keep)
        return moves

    def compact(self) -> tuple[int, int, list[Move]] | None:
        """See `PrefixCache.compact`."""
        moved = super().compact()
        if moved is not None:
            top, gap, _ = moved
            self._runs.copy(top, gap)
            self._runs.resize(top, 0)
        return moved


class _Run:
    """Cells that were computed together, and in how many slots they are."""

    __slots__ = ("length", "slots")

    def __init__(self, length: int) -> None:
        self.length = length
        self.slots = 1


class _CellRuns:
    """Counts cells that slots share after one was copied to another."""

    def __init__(self) -> None:
        self._of: dict[int, list[_Run]] = {}
        self.used = 0

    def resize(self, slot: int, tokens: int) -> None:
        """Add cells to a slot, or empty it."""
        runs = self._of.setdefault(slot, [])
        held = sum(run.length for run in runs)
        if tokens < held:
            self._drop(slot)
            return self.resize(slot, tokens)
        if tokens == held:
            return None
        self.used += tokens - held
        if runs and runs[-1].slots == 1:
            runs[-1].length += tokens - held
        else:
            runs.append(_Run(tokens - held))
        return None

    def copy(self, source: int, slot: int) -> None:
        """Give a slot the cells of another, in place of its own."""
        self._drop(slot)
        self._of[slot] = [*self._of.get(source, ())]
        for run in self._of[slot]:
            run.slots += 1

    def free_without(self, keepers: AbstractSet[int | None]) -> int:
        """Cells that would be free if only the keepers stayed."""
        kept = {id(run) for slot in keepers if slot is not None for run in self._of.get(slot, ())}
        others = {id(run): run.length for runs in self._of.values() for run in runs}
        return sum(length for key, length in others.items() if key not in kept)

    def _drop(self, slot: int) -> None:
        for run in self._of.pop(slot, ()):
            run.slots -= 1
            if not run.slots:
                self.used -= run.length
