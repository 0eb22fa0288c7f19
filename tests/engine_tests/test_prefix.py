"""The slots and the ledger of their cells."""

from __future__ import annotations

import pytest

from engine.prefix import Lease, SlotCache, common_prefix
from engine.step import Trim


def test_a_session_gets_its_own_slot_back() -> None:
    cache = SlotCache(slots=2, cells=100)
    leased = cache.lease("s", [1, 2, 3])
    assert leased == (Lease(0, 0), [])
    cache.grow(0, 3)
    assert cache.release(0, "s", [1, 2, 3]) is None
    assert cache.lease("s", [1, 2, 3, 4]) == (Lease(0, 3), [])
    assert cache.used == 3


def test_at_least_one_token_is_computed_again() -> None:
    cache = SlotCache(slots=1, cells=100)
    cache.lease("s", [1, 2, 3])
    cache.release(0, "s", [1, 2, 3])
    assert cache.lease("s", [1, 2, 3]) == (Lease(0, 2), [Trim(0, 2)])


def test_the_longest_idle_session_is_evicted_first() -> None:
    cache = SlotCache(slots=2, cells=100)
    for name in ("old", "new"):
        (lease, _) = cache.lease(name, [1]) or pytest.fail("no slot")
        cache.release(lease.slot, name, [1])
    leased = cache.lease("third", [1, 2])
    assert leased == (Lease(0, 0), [Trim(0, 0)])
    assert cache.match("new", [1, 2]) == 1
    assert cache.match("old", [1, 2]) == 0


def test_no_slot_left() -> None:
    cache = SlotCache(slots=1, cells=100)
    cache.lease("a", [1])
    assert cache.lease("b", [1]) is None


def test_a_request_without_a_session_leaves_nothing() -> None:
    cache = SlotCache(slots=1, cells=100)
    cache.lease(None, [1, 2])
    cache.grow(0, 2)
    assert cache.release(0, None, [1, 2]) == Trim(0, 0)
    assert cache.used == 0


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 3], 1), ([1, 2, 3], [1, 2], 2), ([2], [1], 0)],
)
def test_common_prefix(left: list[int], right: list[int], length: int) -> None:
    assert common_prefix(left, right) == length
