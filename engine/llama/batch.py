"""A step's work as the flat arrays that llama_decode reads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.llama.lib import lib
from engine.step import Work

__all__ = ["BatchArrays", "raw_batch"]


class BatchArrays:
    """Arrays of fixed capacity, filled in slices: one assignment per sequence, not per token.

    Args:
        capacity: largest number of tokens in a step.

    Attributes:
        token, pos, n_seq_id, seq_id: int32, logits: int8; all of shape (capacity,).
        seq_id_pointers: addresses of the elements of `seq_id`, uint64, shape (capacity,).
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.token: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.pos: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.n_seq_id: npt.NDArray[np.int32] = np.ones(capacity, np.int32)
        self.seq_id: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.logits: npt.NDArray[np.int8] = np.zeros(capacity, np.int8)
        # The same memory for single numbers: an assignment through numpy takes several times as long.
        kind = ctypes.c_int32 * capacity
        self._token, self._pos, self._seq_id = (
            kind.from_address(memory.ctypes.data) for memory in (self.token, self.pos, self.seq_id)
        )
        self._row = (ctypes.c_int8 * capacity).from_address(self.logits.ctypes.data)
        step = self.seq_id.itemsize
        self.seq_id_pointers = (self.seq_id.ctypes.data + step * np.arange(capacity)).astype(np.uint64)

    def fill(self, work: Sequence[Work]) -> tuple[int, list[Work]]:
        """Write a step's work, sorted by slot: a split KV cache computes adjacent slots together.

        Returns:
            The number of tokens, and the work that gets logits, in the order of the rows.

        Raises:
            ValueError: there are more tokens than the capacity, on which llama.cpp would abort the process.
        """
        total = sum(len(item.tokens) for item in work)
        if total > self.capacity:
            raise ValueError(f"{total} tokens do not fit a batch of {self.capacity}")
        ordered = sorted(work, key=_slot) if len(work) > 1 else [*work]
        if total == len(work):
            self._fill_singles(ordered)
            return total, [item for item in ordered if item.rows]
        self.logits[:total] = 0
        at = 0
        for item in ordered:
            end = at + len(item.tokens)
            self.token[at:end] = item.tokens
            self.pos[at:end] = range(item.start, item.start + len(item.tokens))
            self.seq_id[at:end] = item.slot
            self.logits[end - item.rows : end] = 1
            at = end
        return total, [item for item in ordered if item.rows]

    def _fill_singles(self, work: Sequence[Work]) -> None:
        """One token for each sequence, as in most steps."""
        token, pos, seq_id, row = self._token, self._pos, self._seq_id, self._row
        for at, item in enumerate(work):
            token[at] = item.tokens[0]
            pos[at] = item.start
            seq_id[at] = item.slot
            row[at] = item.rows


_slot = attrgetter("slot")


def raw_batch(arrays: BatchArrays) -> Any:
    """A llama_batch over the arrays' memory; the arrays must outlive it."""
    raw: Any = lib.llama_batch()
    raw.token = arrays.token.ctypes.data_as(ctypes.POINTER(lib.llama_token))
    raw.pos = arrays.pos.ctypes.data_as(ctypes.POINTER(lib.llama_pos))
    raw.n_seq_id = arrays.n_seq_id.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    raw.seq_id = ctypes.cast(
        arrays.seq_id_pointers.ctypes.data, ctypes.POINTER(ctypes.POINTER(lib.llama_seq_id))
    )
    raw.logits = arrays.logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
    return raw
