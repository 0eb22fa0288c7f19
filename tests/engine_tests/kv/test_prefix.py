"""Slots, leases, shared prefixes, pins and the ledger of KV cells."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.kv.prefix import Lease, PrefixCache
from engine.step import Copy, Move, Restore, Save, Trim

HEAD = [*range(100, 140)]  # a system prompt


def compute(cache: PrefixCache, session_id: str | None, tokens: list[int]) -> tuple[Lease, list[Move]]:
    """Lease a slot and compute a whole prompt in it."""
    leased = cache.lease(session_id, tokens)
    assert leased is not None
    lease, moves = leased
    cache.resize(lease.slot, len(tokens))
    return lease, [*moves, *cache.commit(lease.slot, tokens)]


def chat(cache: PrefixCache, session_id: str | None, tokens: list[int]) -> list[Move]:
    """The same, and the slot is given back."""
    lease, moves = compute(cache, session_id, tokens)
    return [*moves, *cache.release(lease.slot, session_id, tokens)]


def test_a_session_gets_its_own_slot_back() -> None:
    cache = PrefixCache(slots=2, cells=100)
    chat(cache, "s", [1, 2, 3])
    assert cache.lease("s", [1, 2, 3, 4]) == (Lease(0, 3), [])
    assert cache.used == 3


def test_at_least_one_token_is_computed_again() -> None:
    cache = PrefixCache(slots=1, cells=100)
    chat(cache, "s", [1, 2, 3])
    assert cache.lease("s", [1, 2, 3]) == (Lease(0, 2), [Trim(0, 2)])


def test_anybody_finds_what_anybody_has_computed() -> None:
    cache = PrefixCache(slots=3, cells=200)
    chat(cache, "a", [*HEAD, 1, 2])
    assert cache.match("b", [*HEAD, 7]) == len(HEAD)
    assert cache.lease("b", [*HEAD, 7]) == (Lease(1, 40), [Copy(0, 1, 0, 40)])
    assert cache.used == 42, "shared cells count once"


def test_sharing_works_while_the_other_still_computes() -> None:
    cache = PrefixCache(slots=2, cells=200)
    compute(cache, "a", [*HEAD, 1])
    assert cache.lease("b", [*HEAD, 2]) == (Lease(1, 40), [Copy(0, 1, 0, 40)])


def test_a_session_whose_history_was_edited_takes_the_better_prefix_of_another() -> None:
    cache = PrefixCache(slots=3, cells=300)
    chat(cache, "a", [1, *HEAD])
    chat(cache, "b", [1, 2])
    assert cache.lease("b", [1, *HEAD, 5]) == (Lease(1, 41), [Trim(1, 1), Copy(0, 1, 1, 41)])


def test_what_two_computed_at_once_is_kept_once() -> None:
    cache = PrefixCache(slots=2, cells=200)
    leases = [cache.lease(name, [*HEAD, 1, number]) for number, name in enumerate("ab")]
    for leased in leases:
        assert leased is not None
        cache.resize(leased[0].slot, 42)
    assert cache.used == 84
    assert cache.commit(0, [*HEAD, 1, 0]) == []
    assert cache.commit(1, [*HEAD, 1, 1]) == [Copy(0, 1, 0, 41)]
    assert cache.used == 43


def test_a_waiting_slot_is_given_what_was_computed_meanwhile() -> None:
    cache = PrefixCache(slots=2, cells=200)
    cache.lease("a", [*HEAD, 1])
    cache.lease("b", [*HEAD, 2])
    cache.resize(0, 32)
    cache.commit(0, HEAD[:32])
    assert cache.attach(1, [*HEAD, 2]) == (32, [Copy(0, 1, 0, 32)])
    cache.resize(0, 41)
    cache.commit(0, [*HEAD, 1])
    assert cache.attach(1, [*HEAD, 2]) == (32, []), "too little to be worth a call"


def test_the_longest_idle_session_is_evicted_first() -> None:
    cache = PrefixCache(slots=2, cells=100)
    chat(cache, "old", [1])
    chat(cache, "new", [1])
    assert cache.lease("third", [1, 2]) == (Lease(0, 0), [Trim(0, 0)])
    assert cache.match("new", [1, 2]) == 1
    assert cache.match("old", [1, 2]) == 0
    assert cache.evicted == 1


def test_the_last_slot_is_taken_over_by_whoever_shares_its_prefix() -> None:
    cache = PrefixCache(slots=1, cells=100)
    chat(cache, "a", [*HEAD, 1])
    assert cache.lease("b", [*HEAD, 2]) == (Lease(0, 40), [Trim(0, 40)])
    assert cache.idle_sessions == 0


def test_no_slot_left() -> None:
    cache = PrefixCache(slots=1, cells=100)
    cache.lease("a", [1])
    assert cache.lease("b", [1]) is None
    assert cache.lease_empty("b") is None


def test_what_a_request_without_a_session_computed_stays_until_it_must_go() -> None:
    cache = PrefixCache(slots=2, cells=100, worth_parking=lambda tokens: True)
    assert chat(cache, None, [*HEAD, 1]) == []
    assert cache.match(None, [*HEAD, 1, 2]) == 41
    assert cache.idle_sessions == 0
    assert cache.evict() == [Trim(0, 0)], "without being saved: nobody could ask for it"


def test_a_prompt_without_a_session_goes_on_in_the_slot_that_it_continues() -> None:
    cache = PrefixCache(slots=3, cells=200)
    chat(cache, None, [*HEAD, 1])
    assert cache.lease(None, [*HEAD, 1, 2]) == (Lease(0, 41), [])
    assert cache.lease(None, [*HEAD, 1, 3]) == (Lease(1, 41), [Copy(0, 1, 0, 41)]), "another one shares"
    assert cache.lease("a", [*HEAD, 4]) == (Lease(2, 40), [Copy(0, 2, 0, 40)])


def test_forgetting_a_session_drops_what_belongs_to_no_session_and_the_pins() -> None:
    cache = PrefixCache(slots=4, cells=400)
    chat(cache, "a", [*HEAD, 1])
    cache.pin(HEAD)
    chat(cache, None, [7, *HEAD])
    chat(cache, "b", [8, *HEAD])
    cache.forget("a")
    assert cache.used == 41
    assert cache.match("b", [8, *HEAD, 1]) == 41
    assert cache.match("c", [*HEAD, 1]) == 0


def test_an_eviction_saves_what_is_worth_it() -> None:
    cache = PrefixCache(slots=2, cells=100, worth_parking=lambda tokens: tokens > 2)
    chat(cache, "short", [1, 2])
    chat(cache, "long", [3, 4, 5])
    assert cache.evict() == [Trim(0, 0)]
    assert cache.evict() == [Save(1, "session long", (3, 4, 5)), Trim(1, 0)]
    assert cache.evict() is None


def test_a_restored_state_is_cut_to_what_the_prompt_still_says() -> None:
    cache = PrefixCache(slots=1, cells=100)
    assert cache.lease_empty("s") == (0, [])
    assert cache.restore(0, [1, 2, 3], b"state", 2) == [Restore(0, 3, b"state"), Trim(0, 2)]
    assert cache.used == 2


def test_a_restored_state_shares_what_others_hold() -> None:
    cache = PrefixCache(slots=2, cells=200)
    chat(cache, "a", [*HEAD, 1])
    assert cache.lease_empty("b") == (1, [])
    assert cache.restore(1, [*HEAD, 2], b"state", 41) == [Restore(1, 41, b"state"), Copy(0, 1, 0, 40)]
    assert cache.used == 42


def test_a_pinned_system_prompt_survives_its_sessions() -> None:
    cache = PrefixCache(slots=2, cells=200)
    chat(cache, "a", [*HEAD, 1])
    cache.pin(HEAD)
    assert cache.evict() == [Trim(0, 40)]
    assert cache.match("b", [*HEAD, 2]) == 40
    chat(cache, "b", [*HEAD, 2])
    assert cache.evict() == [Trim(0, 0)], "the other session holds it now"
    assert cache.evict() == [Trim(1, 40)]
    assert cache.evict() == [Trim(1, 0)], "running answers matter more"
    assert cache.used == 0


def test_pins_have_their_limits() -> None:
    cache = PrefixCache(slots=4, cells=4 * len(HEAD))
    other = [*range(200, 240)]
    chat(cache, "a", [*HEAD, 1])
    cache.pin(HEAD)
    chat(cache, "b", [*other, 1])
    cache.pin(other)  # takes the whole fourth of the cells
    assert [cache.evict(), cache.evict()] == [[Trim(0, 0)], [Trim(1, 40)]]


def test_forgetting_saves_nothing() -> None:
    cache = PrefixCache(slots=1, cells=100, worth_parking=lambda tokens: True)
    chat(cache, "s", [1, 2])
    assert cache.forget("s") == [Trim(0, 0)]
    assert cache.forget("s") == []


def test_cells_that_a_prompt_would_use_itself_are_not_reclaimable_for_it() -> None:
    cache = PrefixCache(slots=3, cells=200)
    chat(cache, "a", [*HEAD, 1])
    assert cache.reclaimable() == 41
    assert cache.reclaimable([*HEAD, 2]) == 1
    cache.lease("b", [*HEAD, 2])
    assert cache.reclaimable() == 1, "the head is in use now"


class TestSplit:
    def cache(
        self, slots: int = 4, worth_parking: Callable[[int], bool] = lambda tokens: False
    ) -> PrefixCache:
        return PrefixCache(slots=slots, cells=1000, split=True, worth_parking=worth_parking)

    def test_every_slot_has_cells_of_its_own(self) -> None:
        cache, prompt = self.cache(), [*range(100)]
        chat(cache, "a", [*prompt, 1])
        assert cache.lease("b", [*prompt, 2]) == (Lease(1, 100), [Copy(0, 1, 0, 100)])
        assert cache.used == 201

    def test_a_short_prefix_is_not_worth_copying_a_stream(self) -> None:
        cache = self.cache()
        chat(cache, "a", [*HEAD, 1])
        assert cache.lease("b", [*HEAD, 2]) == (Lease(1, 0), [])

    def test_a_gap_is_closed_from_above(self) -> None:
        cache = self.cache()
        for name in "abcd":
            compute(cache, name, [1, 2, 3])
        cache.release(0, None, [])
        assert cache.compact() is None
        cache.release(2, None, [])
        assert cache.compact() == (3, 2, [Copy(3, 2, 0, 3), Trim(3, 0)])
        assert cache.compact() is None

    def test_a_resting_session_in_the_gap_is_saved(self) -> None:
        cache = self.cache(worth_parking=lambda tokens: True)
        for name in "abc":
            compute(cache, name, [1, 2, 3])
        cache.release(1, "b", [1, 2, 3])
        assert cache.compact() == (
            2,
            1,
            [Save(1, "session b", (1, 2, 3)), Trim(1, 0), Copy(2, 1, 0, 3), Trim(2, 0)],
        )


@pytest.mark.parametrize("split", [False, True])
def test_fewer_tokens_after_a_failed_step(split: bool) -> None:
    cache = PrefixCache(slots=2, cells=200, split=split)
    lease, _ = compute(cache, "a", [*HEAD, 1])
    cache.resize(lease.slot, 10)
    assert cache.used == 10
    assert cache.match("b", [*HEAD, 1]) in (0, 10)
