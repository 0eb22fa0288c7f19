"""llama.cpp's KV cache: cutting, copying, saving and restoring sequences."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.llama.lib import lib
from engine.step import Copy, Move, Restore, Save, State, Trim

__all__ = ["LlamaMemory", "Moved"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Moved:
    """The outcome of a step's moves.

    Attributes:
        saved: key -> state.
        failed: slots whose state could not be restored; they are empty now.
        swap_s: seconds spent saving and restoring.
    """

    saved: dict[str, State] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    swap_s: float = 0.0


class LlamaMemory:
    """The KV cache of a context; the engine thread only.

    Args:
        context: a llama_context.
        slots: number of sequence ids; llama.cpp aborts the process on any other id.
        split: whether each sequence has its own stream.
    """

    def __init__(self, context: Any, *, slots: int, split: bool) -> None:
        self._context = context
        self._memory = lib.llama_get_memory(context)
        self._slots = slots
        self._split = split
        self._pending: dict[int, int] = {}  # stream -> the one that llama.cpp will copy into it

    def resident(self, slot: int) -> int:
        """Tokens of a slot in the KV cache."""
        return int(lib.llama_memory_seq_pos_max(self._memory, self._checked(slot))) + 1

    def trim(self, slot: int, keep: int) -> None:
        """Cut a slot back to its first `keep` tokens."""
        if not lib.llama_memory_seq_rm(self._memory, self._checked(slot), keep, -1):
            raise ValueError(f"this model's memory cannot be cut at {keep}")

    def record_forward(self) -> None:
        """Record that llama.cpp began a forward pass: before it computes, it makes the pending copies."""
        self._pending.clear()

    def make(self, moves: Sequence[Move]) -> Moved:
        """Make the moves in order."""
        moved = Moved()
        start = time.perf_counter() if any(isinstance(move, Save | Restore) for move in moves) else 0.0
        for move in moves:
            match move:
                case Trim(slot, keep):
                    self.trim(slot, keep)
                case Copy():
                    self._copy(move, moved)
                case Save(slot, key):
                    self._save(slot, key, moved)
                case Restore():
                    self._restore(move, moved)
        for slot in moved.failed:
            self.trim(slot, 0)
        moved.swap_s = time.perf_counter() - start if start else 0.0
        return moved

    def _copy(self, copy: Copy, moved: Moved) -> None:
        source, slot = self._checked(copy.source), self._checked(copy.slot)
        if source in moved.failed or slot in moved.failed:
            moved.failed.add(slot)
            return
        if self._split:
            # Only whole streams can be copied; anything else aborts the process.
            lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
            lib.llama_memory_seq_cp(self._memory, source, slot, -1, -1)
            lib.llama_memory_seq_rm(self._memory, slot, copy.end, -1)
            self._pending[slot] = source
        else:
            lib.llama_memory_seq_rm(self._memory, slot, copy.start, copy.end)
            lib.llama_memory_seq_cp(self._memory, source, slot, copy.start, copy.end)

    def _save(self, slot: int, key: str, moved: Moved) -> None:
        if slot in self._pending or slot in moved.failed:
            return  # its cells are not copied yet; computing them again costs no more than before
        size = int(lib.llama_state_seq_get_size(self._context, self._checked(slot)))
        state = bytearray(size)
        buffer = (ctypes.c_uint8 * size).from_buffer(state)
        if size and int(lib.llama_state_seq_get_data(self._context, buffer, size, slot)) == size:
            moved.saved[key] = state
        else:
            _log.warning("the state of slot %d (%d bytes) could not be read", slot, size)

    def _restore(self, restore: Restore, moved: Moved) -> None:
        slot, size = self._checked(restore.slot), len(restore.state)
        if slot in self._pending or slot in self._pending.values():
            # The copy would overwrite it, or copy it in place of what the slot held before.
            moved.failed.add(slot)
            return
        buffer = (ctypes.c_uint8 * size).from_buffer(restore.state)
        read = int(lib.llama_state_seq_set_data(self._context, buffer, size, slot))
        if read != size or self.resident(slot) != restore.tokens:
            _log.warning("a state of %d tokens could not be restored into slot %d", restore.tokens, slot)
            moved.failed.add(slot)

    def _checked(self, slot: int) -> int:
        if not 0 <= slot < self._slots:
            raise ValueError(f"slot {slot} is not one of {self._slots}")
        return slot
