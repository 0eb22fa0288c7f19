"""A step's work as the flat arrays llama_decode reads."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import numpy.typing as npt

from engine.step import Work

__all__ = ["BatchArrays"]


class BatchArrays:
    """Arrays of fixed capacity, filled by slices: one pass per sequence, not per token.

    Args:
        capacity: the most tokens a step may have.

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
        step = self.seq_id.itemsize
        self.seq_id_pointers = (self.seq_id.ctypes.data + step * np.arange(capacity)).astype(np.uint64)

    def fill(self, work: SequenceOf[Work]) -> tuple[int, list[Work]]:
        """Write a step's work, ordered by slot: a split KV cache computes adjacent slots together.

        Returns:
            The number of tokens, and the work that gets logits, in the order of its rows.

        Raises:
            ValueError: more tokens than the capacity; llama.cpp would abort the process.
        """
        total = sum(len(item.tokens) for item in work)
        if total > self.capacity:
            raise ValueError(f"{total} tokens do not fit a batch of {self.capacity}")
        self.logits[:total] = 0
        ordered = sorted(work, key=lambda item: item.slot)
        at = 0
        for item in ordered:
            end = at + len(item.tokens)
            self.token[at:end] = item.tokens
            self.pos[at:end] = range(item.start, item.start + len(item.tokens))
            self.seq_id[at:end] = item.slot
            self.logits[end - item.rows : end] = 1
            at = end
        return total, [item for item in ordered if item.rows]
