"""The k likeliest tokens of a row, in the array that a llama.cpp sampler chain reads.

For each row, `llama_sampler_sample` copies the whole vocabulary into an array of 12 bytes a token and sorts
it. Here numpy finds the k likeliest tokens exactly, reading the logits once, and copies only those.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.llama.lib import lib

__all__ = ["Rows", "TokenDataArray", "is_samplable", "top_pays", "top_tokens"]

Rows: TypeAlias = npt.NDArray[np.float32]
_BLOCK = 128  # tokens that share a maximum
_BLOCKS_PER_TOKEN = 4  # blocks for each wanted token
_LEAST_BLOCK = 8  # with smaller blocks, copying the whole row is as fast
_LARGEST = 1e28  # logit
_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


def is_samplable(best: float) -> bool:
    """Whether it is safe to hand llama.cpp a row with this largest logit.

    A NaN breaks the order that std::sort relies on, which has crashed the process. A logit that penalties and
    temperature make infinite turns every probability into NaN, and `dist` takes the unlikeliest token.
    """
    return -_LARGEST < best < _LARGEST


def top_pays(vocab_size: int, count: int) -> bool:
    """Whether `top_tokens` is faster than handing llama.cpp the whole vocabulary."""
    return count * _BLOCKS_PER_TOKEN * _LEAST_BLOCK <= vocab_size


def top_tokens(row: Rows, count: int) -> tuple[npt.NDArray[np.intp], Rows]:
    """The `count` likeliest tokens of a row and their logits, likeliest first.

    The row is cut into blocks. The count-th largest of their maxima is a floor below which none of the
    wanted tokens can lie: at least `count` logits, those maxima, reach it. Only blocks whose maximum
    reaches the floor are searched. The blocks are strided, so that vector instructions find their maxima.

    Returns fewer tokens if fewer have a logit above -inf, and never a NaN.

    Args:
        row: logits, shape (vocabulary,).
        count: tokens wanted; `top_pays` says for how many this works.
    """
    height = max(1, min(_BLOCK, row.size // (_BLOCKS_PER_TOKEN * count)))
    width = row.size // height
    blocks = row[: height * width].reshape(height, width)
    peaks = blocks.max(axis=0)
    floor = np.partition(peaks, width - count)[width - count]
    if floor == -np.inf:
        tokens = (row > floor).nonzero()[0]  # a constraint left few
    else:
        columns = (peaks >= floor).nonzero()[0]
        found = blocks.take(columns, axis=1).ravel()
        lines, places = np.divmod((found >= floor).nonzero()[0], max(1, columns.size))
        tokens = lines * width + columns[places]
        if height * width < row.size:
            tail = (row[height * width :] >= floor).nonzero()[0]
            tokens = np.concatenate([tokens, tail + height * width])
    logits = row[tokens]
    order = logits.argsort()[: -count - 1 : -1]
    return tokens[order], logits[order]


class TokenDataArray:
    """A `llama_token_data_array` over numpy memory, reused for each row; for one thread at a time."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._capacity = 0
        self._array: Any = lib.llama_token_data_array()
        self._by_reference = ctypes.byref(self._array)
        # The address that the field `data` holds: a chain may move it forward to drop the likeliest tokens.
        kind: Any = lib.llama_token_data_array
        self._at = ctypes.c_void_p.from_address(ctypes.addressof(self._array) + kind.data.offset)
        self._grow(1024)

    def draw(self, chain: Any, row: Rows, count: int) -> int:
        """Run a chain over the `count` likeliest tokens of a row, or over all if `count` is 0.

        The chain must end in a sampler that selects; it advances by one draw. A row whose best logit is NaN
        or infinite gives its argmax without the chain.
        """
        if count:
            tokens, logits = top_tokens(row, count)
            size, best = tokens.size, float(logits[0]) if tokens.size else math.nan
        else:
            size, best = row.size, float(row.max())
        if not is_samplable(best):
            return int(row.argmax())
        if size > self._capacity:
            self._grow(self._vocab_size)
        self._ids[:size] = tokens if count else self._all_ids()
        self._logits[:size] = logits if count else row
        return self._apply(chain, size, is_sorted=count > 0)

    def _apply(self, chain: Any, size: int, *, is_sorted: bool) -> int:
        array = self._array
        array.size, array.selected, array.sorted = size, -1, is_sorted
        self._at.value = self._first
        lib.llama_sampler_apply(chain, self._by_reference)
        if not 0 <= array.selected < array.size:
            raise RuntimeError("the sampler chain selected no token")
        dropped = ((self._at.value or 0) - self._first) // _TOKEN_DATA.itemsize
        return int(self._ids[dropped + array.selected])

    def _all_ids(self) -> npt.NDArray[np.int32]:
        return np.arange(self._vocab_size, dtype=np.int32)  # the chain reorders the array: fill it each time

    def _grow(self, capacity: int) -> None:
        data = np.zeros(capacity, _TOKEN_DATA)
        self._capacity, self._ids, self._logits = capacity, data["id"], data["logit"]
        self._first = data.ctypes.data  # the views keep `data` alive
