"""A step's work as the arrays that llama_decode reads."""

from __future__ import annotations

import numpy as np
import pytest

from engine.llama.batch import BatchArrays
from engine.step import Work


def test_batch_arrays() -> None:
    arrays = BatchArrays(8)
    decode, prompt, drafted = (
        Work(1, 3, 10, (7,), 1),
        Work(2, 5, 0, (8, 9, 10), 0),
        Work(4, 4, 2, (11, 12), 2),
    )
    total, sampled = arrays.fill([decode, prompt, drafted])
    assert total == 6
    assert sampled == [decode, drafted], "adjacent slots lie together"
    assert arrays.token[:6].tolist() == [7, 11, 12, 8, 9, 10]
    assert arrays.pos[:6].tolist() == [10, 2, 3, 0, 1, 2]
    assert arrays.seq_id[:6].tolist() == [3, 4, 4, 5, 5, 5]
    assert arrays.logits[:6].tolist() == [1, 1, 1, 0, 0, 0]
    assert (np.diff(arrays.seq_id_pointers) == 4).all()


def test_single_tokens_fill_the_same_arrays() -> None:
    arrays, other = BatchArrays(8), BatchArrays(8)
    singles = [Work(1, 5, 10, (7,), 1), Work(2, 3, 20, (8,), 1), Work(3, 4, 0, (9,), 0)]
    arrays.fill([Work(9, 0, 0, (1, 2, 3, 4), 4)])  # left over from the step before
    assert arrays.fill(singles) == (3, [singles[1], singles[0]])
    other.fill([*singles, Work(4, 7, 0, (1, 2), 0)])
    for name in ("token", "pos", "seq_id", "logits"):
        assert getattr(arrays, name)[:3].tolist() == getattr(other, name)[:3].tolist(), name
    assert arrays.token[:3].tolist() == [8, 9, 7]


def test_a_batch_over_its_capacity_is_refused_in_python() -> None:
    with pytest.raises(ValueError, match="9 tokens do not fit a batch of 8"):
        BatchArrays(8).fill([Work(1, 0, 0, tuple(range(9)), 1)])
