"""Where a waiting sequence starts: cached, following, restored, from nothing, or not yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine import SamplingParams
from engine.kv import Parking, PrefixCache, session_key
from engine.schedule.admission import Admission, Placement, request_key
from engine.schedule.sequence import TokenSequence
from engine.step import Copy, Restore, Trim

HEAD = [*range(100, 140)]  # a system prompt
CELLS = 100
STATE = b"a saved state"


@pytest.fixture
def parking() -> Iterator[Parking]:
    parking = Parking(ram_bytes=1000)
    yield parking
    parking.close()


@pytest.fixture
def cache() -> PrefixCache:
    return PrefixCache(slots=2, cells=CELLS, worth_parking=lambda tokens: tokens >= 8)


@pytest.fixture
def admission(cache: PrefixCache, parking: Parking) -> Admission:
    return Admission(cache, parking, sequence_cells=CELLS)


def sequence(tokens: list[int], *, request_id: int = 1, answer: int | None = 10) -> TokenSequence:
    return TokenSequence(request_id, tokens, SamplingParams(max_tokens=answer), session_id=f"s{request_id}")


def running(admission: Admission, tokens: list[int], *, request_id: int = 9) -> TokenSequence:
    """A sequence that has its slot and has computed nothing yet."""
    other = sequence(tokens, request_id=request_id)
    placement = admission.place(other, [])
    assert isinstance(placement, Placement)
    other.slot = placement.slot
    return other


def test_an_unknown_prompt_starts_at_its_first_token(admission: Admission) -> None:
    assert admission.place(sequence(HEAD), []) == Placement(slot=0, computed=0, moves=[])


def test_what_the_cache_holds_is_not_computed_again(admission: Admission, cache: PrefixCache) -> None:
    other = running(admission, [*HEAD, 1])
    assert other.slot is not None
    cache.resize(other.slot, 41)
    cache.commit(other.slot, other.tokens)
    other.computed = 41
    placement = admission.place(sequence([*HEAD, 2]), [other])
    assert placement == Placement(slot=1, computed=40, moves=[Copy(0, 1, 0, 40)])


@pytest.mark.parametrize(("answer", "starts"), [(10, True), (11, False), (None, False)])
def test_it_waits_for_cells_that_running_ones_will_take(
    admission: Admission, answer: int | None, starts: bool
) -> None:
    other = running(admission, HEAD)
    waiting = sequence([*range(50)], answer=answer)
    assert isinstance(admission.place(waiting, [other]), Placement) is starts
    if not starts:
        assert isinstance(admission.place(waiting, []), Placement), "alone it starts, however large"


def test_it_follows_one_that_is_about_to_compute_its_prefix(admission: Admission) -> None:
    other = running(admission, [*HEAD, 1])
    placement = admission.place(sequence([*HEAD, 2]), [other])
    assert placement == Placement(slot=1, computed=0, moves=[], leader=other, shared=40)


def test_it_follows_nobody_who_is_paused(admission: Admission) -> None:
    other = running(admission, [*HEAD, 1])
    other.lagging = True
    assert admission.find_leader(sequence([*HEAD, 2]), [other], known=0) == (None, 0)


def test_a_parked_state_is_restored_once(admission: Admission, parking: Parking) -> None:
    parking.put(session_key("s1"), HEAD, STATE)
    placement = admission.place(sequence([*HEAD, 1, 2]), [])
    assert placement == Placement(slot=0, computed=40, moves=[Restore(0, 40, STATE)], restored=True)
    assert parking.count == 0


def test_a_parked_state_that_went_on_differently_is_cut(admission: Admission, parking: Parking) -> None:
    parking.put(session_key("s1"), [*HEAD, 5, 6], STATE)
    placement = admission.place(sequence([*HEAD, 1, 2]), [])
    assert placement == Placement(
        slot=0, computed=40, moves=[Restore(0, 42, STATE), Trim(0, 40)], restored=True
    )


def test_a_preempted_requests_own_state_comes_before_its_sessions(
    admission: Admission, parking: Parking
) -> None:
    parking.put(session_key("s1"), HEAD, b"older")
    parking.put(request_key(1), [*HEAD, 1], STATE)
    placement = admission.place(sequence([*HEAD, 1, 2]), [])
    assert isinstance(placement, Placement)
    assert (placement.computed, placement.moves) == (41, [Restore(0, 41, STATE)])
    assert parking.count == 0, "both are out of date"


@pytest.mark.parametrize("kept", [[*range(200, 240)], HEAD[:7], [*HEAD, *range(61)]])
def test_a_state_that_is_no_use_is_dropped(admission: Admission, parking: Parking, kept: list[int]) -> None:
    """Another text, too short to be worth it, or longer than a sequence may be."""
    parking.put(session_key("s1"), kept, STATE)
    placement = admission.place(sequence([*HEAD, 1]), [])
    assert placement == Placement(slot=0, computed=0, moves=[])
    assert parking.count == 0
