"""A memory that cannot be cut: slots are shared as wholes, and checkpoints make wholes of prefixes."""

from __future__ import annotations

from engine.kv import WholePrefixCache
from engine.kv.prefix import Lease
from engine.step import Copy, Move, Restore, Trim

HEAD = [*range(100, 140)]  # a system prompt


def compute(cache: WholePrefixCache, slot: int, tokens: list[int]) -> list[Move]:
    """Compute a prompt, or more of it, in a leased slot."""
    cache.resize(slot, len(tokens))
    return cache.commit(slot, tokens)


def lease(cache: WholePrefixCache, session_id: str | None, tokens: list[int]) -> tuple[Lease, list[Move]]:
    leased = cache.lease(session_id, tokens)
    assert leased is not None
    return leased


def test_a_session_goes_on_where_it_was() -> None:
    cache = WholePrefixCache(slots=2, cells=200)
    lease(cache, "a", [*HEAD, 1])
    compute(cache, 0, [*HEAD, 1])
    assert cache.release(0, "a", [*HEAD, 1]) == []
    assert lease(cache, "a", [*HEAD, 1, 2]) == (Lease(0, 41), [])


def test_without_a_checkpoint_another_prompt_starts_at_nothing() -> None:
    cache = WholePrefixCache(slots=2, cells=200)
    lease(cache, "a", [*HEAD, 1])
    compute(cache, 0, [*HEAD, 1])
    cache.release(0, "a", [*HEAD, 1])
    assert cache.match("a", [*HEAD, 2]) == 0
    assert lease(cache, "a", [*HEAD, 2]) == (Lease(0, 0), [Trim(0, 0)])
    assert cache.used == 0


def test_a_checkpoint_is_an_idle_slot_that_shares_the_cells() -> None:
    cache = WholePrefixCache(slots=3, cells=200)
    lease(cache, "a", [*HEAD, 1, 2])
    compute(cache, 0, HEAD)
    assert cache.checkpoint(0, HEAD) == [Copy(0, 1, 0, 40)]
    assert cache.used == 40
    compute(cache, 0, [*HEAD, 1])
    assert cache.used == 41
    cache.release(0, "a", [*HEAD, 1])
    assert cache.match("a", [*HEAD, 5]) == 40
    assert lease(cache, "a", [*HEAD, 5]) == (Lease(0, 40), [Trim(0, 0), Copy(1, 0, 0, 40)])
    assert cache.used == 40
    assert lease(cache, "b", [*HEAD, 6]) == (Lease(2, 40), [Copy(0, 2, 0, 40)])
    assert cache.used == 40


def test_a_checkpoint_that_is_there_is_not_made_again() -> None:
    cache = WholePrefixCache(slots=4, cells=200)
    lease(cache, "a", [*HEAD, 1])
    compute(cache, 0, HEAD)
    assert cache.checkpoint(0, HEAD)
    assert cache.checkpoint(0, HEAD) == []
    assert cache.checkpoint(0, HEAD[:3]) == [], "too few to be worth a slot"


def test_a_checkpoint_takes_no_slot_from_a_session() -> None:
    cache = WholePrefixCache(slots=3, cells=300)
    for name, first in (("a", 1), ("b", 2)):
        slot = lease(cache, name, [first, *HEAD])[0].slot
        compute(cache, slot, [first, *HEAD])
        cache.release(slot, name, [first, *HEAD])
    lease(cache, "c", [3, *HEAD, 4])
    compute(cache, 2, [3, *HEAD])
    assert cache.checkpoint(2, [3, *HEAD]) == []


def test_the_oldest_checkpoint_makes_room_for_the_newest() -> None:
    cache = WholePrefixCache(slots=2, cells=300)
    for number, moves in ((1, [Copy(0, 1, 0, 41)]), (2, [Trim(1, 0), Copy(0, 1, 0, 41)])):
        lease(cache, "a", [number, *HEAD, 9])
        compute(cache, 0, [number, *HEAD])
        assert cache.checkpoint(0, [number, *HEAD]) == moves
        cache.release(0, "a", [number, *HEAD])
    assert cache.match("a", [1, *HEAD, 5]) == 0
    assert cache.match("a", [2, *HEAD, 5]) == 41


def test_a_waiting_slot_takes_over_a_checkpoint() -> None:
    cache = WholePrefixCache(slots=3, cells=300)
    lease(cache, "a", [*HEAD, 1, 2])
    lease(cache, "b", [*HEAD, 1, 3])
    compute(cache, 0, HEAD)
    cache.checkpoint(0, HEAD)
    compute(cache, 0, [*HEAD, 1, 2, 3])
    assert cache.attach(1, [*HEAD, 1, 3]) == (40, [Copy(2, 1, 0, 40)])
    assert cache.shareable(41, (40, 45)) == 40
    assert cache.shareable(39, (40, 45)) == 0


def test_what_others_hold_is_not_reclaimable() -> None:
    cache = WholePrefixCache(slots=3, cells=300)
    lease(cache, "a", [*HEAD, 1])
    compute(cache, 0, HEAD)
    cache.checkpoint(0, HEAD)
    compute(cache, 0, [*HEAD, 1])
    assert cache.reclaimable() == 0, "the cells of the checkpoint are in use by the session"
    cache.release(0, "a", [*HEAD, 1])
    assert cache.reclaimable() == 41
    assert cache.reclaimable([*HEAD, 7]) == 1, "the checkpoint itself is wanted"
    while cache.evict() is not None:
        pass
    assert cache.used == 0


def test_a_parked_state_comes_back_whole() -> None:
    cache = WholePrefixCache(slots=2, cells=300, worth_parking=lambda tokens: True)
    leased = cache.lease_empty("a")
    assert leased == (0, [])
    assert cache.restore(0, HEAD, b"state", 40) == [Restore(0, 40, b"state")]
    assert cache.used == 40
    assert cache.release(0, "a", HEAD) == []
    assert cache.match("a", [*HEAD, 1]) == 40


def test_a_slot_that_holds_more_than_is_kept_is_emptied() -> None:
    cache = WholePrefixCache(slots=2, cells=300)
    lease(cache, "a", [*HEAD, 1])
    compute(cache, 0, [*HEAD, 1])
    assert cache.release(0, "a", HEAD) == [Trim(0, 0)]
    assert cache.used == 0


def test_in_a_split_cache_a_copy_has_cells_of_its_own_and_there_are_no_checkpoints() -> None:
    cache = WholePrefixCache(slots=3, cells=300, split=True)
    prompt = [*range(100)]
    lease(cache, "a", [*prompt, 1])
    compute(cache, 0, prompt)
    assert cache.checkpoint(0, prompt) == []
    cache.release(0, "a", prompt)
    assert lease(cache, "b", [*prompt, 2]) == (Lease(1, 100), [Copy(0, 1, 0, 100)])
    assert cache.used == 200
