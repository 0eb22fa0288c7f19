"""Shared prefixes, fairness, parking, drafts and back-pressure, on a fake backend with a real ledger."""

from __future__ import annotations

import asyncio

import pytest
from engine_tests.fakes import EOG, Bench, read

from engine import FinishReason, Priority
from engine.core import Focus, Forget
from engine.kv import session_key
from engine.step import Copy, Restore, Save, StepPlan

ALPHABET = "abcdefghijklmnopqrstuvwxyz" * 16
HEAD = "You keep the lighthouse of a small island and answer all letters. "


def computed(bench: Bench) -> int:
    """Prompt tokens that went through the model."""
    return bench.core.stats().computed_tokens


def order(bench: Bench) -> list[int]:
    """Requests in the order in which their prompts were completed."""
    return [w.request_id for plan in bench.backend.plans for w in plan.work if w.rows and len(w.tokens) > 1]


class TestSharing:
    async def test_those_that_wait_for_the_same_prefix_read_it_once(self) -> None:
        bench = Bench(cells=2048)
        streams = [bench.submit(HEAD * 3 + name, max_tokens=4) for name in ("Ann", "Bob", "Cid", "Dee")]
        bench.run()
        assert [await read(stream) for stream in streams] == ["abcd"] * 4
        assert computed(bench) < len(HEAD) * 3 + 4 * 16
        assert [stream.timings.cached_tokens for stream in streams] == [0] + [len(HEAD) * 3] * 3

    async def test_forks_compute_one_token_each(self) -> None:
        bench = Bench(cells=2048)
        for _ in range(4):
            bench.submit("x" * 300)
        bench.run()
        assert computed(bench) == 301
        assert sum(len(w.tokens) for plan in bench.backend.plans for w in plan.work) == 301 + 3 + 4 * 7

    async def test_a_cancelled_leader_leaves_what_it_has_read(self) -> None:
        bench = Bench(cells=2048, batch_tokens=64)
        leader = bench.submit("x" * 500, max_tokens=4)
        followers = [bench.submit("x" * 500, max_tokens=4) for _ in range(2)]
        for _ in range(3):
            bench.core.step()
        leader.cancel()
        bench.run()
        assert leader.finish_reason is None or await read(leader) == ""
        assert [await read(stream) for stream in followers] == ["abcd"] * 2
        assert computed(bench) == 501

    async def test_a_cancelled_follower_frees_its_place(self) -> None:
        bench = Bench(cells=2048, max_sessions=2)
        first = bench.submit("x" * 300, max_tokens=2)
        second = bench.submit("x" * 300, max_tokens=2)
        third = bench.submit("y", max_tokens=2)
        bench.core.step()
        assert bench.core.scheduler.running[1].leader is bench.core.scheduler.running[0]
        second.cancel()
        bench.core.step()
        assert [s.request_id for s in bench.core.scheduler.running] == [1, 3]
        bench.run()
        assert [await read(stream) for stream in (first, second, third)] == ["ab", "", "ab"]

    async def test_somebody_in_front_lends_the_leader_his_priority(self) -> None:
        bench = Bench(cells=4096, batch_tokens=64)
        bench.submit("x" * 400, priority=Priority.BACKGROUND, max_tokens=1)
        bench.core.step()
        bench.submit("y" * 400, max_tokens=1)
        bench.submit("x" * 400, priority=Priority.FOREGROUND, max_tokens=1)
        bench.run()
        whole = [w.request_id for plan in bench.backend.plans for w in plan.work if w.rows]
        assert whole == [1, 3, 2], "the one in front waits for the first"

    async def test_another_focus_leaves_a_leader_what_its_followers_lend_it(self) -> None:
        bench = Bench(cells=4096, batch_tokens=64)
        bench.submit("x" * 400, priority=Priority.BACKGROUND, max_tokens=1)
        bench.core.step()
        bench.submit("x" * 400, priority=Priority.FOREGROUND, max_tokens=1)
        bench.core.step()
        bench.core.post(Focus("elsewhere"))
        bench.core.step()
        leader, follower = bench.core.scheduler.running
        assert (follower.leader, leader.priority) == (leader, Priority.FOREGROUND)

    async def test_a_follower_that_leaves_takes_back_what_it_lent(self) -> None:
        bench = Bench(cells=4096, batch_tokens=64)
        bench.submit("x" * 400, priority=Priority.BACKGROUND, max_tokens=1)
        bench.core.step()
        follower = bench.submit("x" * 400, priority=Priority.FOREGROUND, max_tokens=1)
        bench.core.step()
        (leader, _) = bench.core.scheduler.running
        assert leader.priority is Priority.FOREGROUND
        follower.cancel()
        bench.core.step()
        assert leader.priority is Priority.BACKGROUND

    async def test_a_system_prompt_stays_when_all_its_sessions_are_gone(self) -> None:
        bench = Bench(cells=1024)
        bench.submit("one", system=HEAD, session_id="a", max_tokens=2)
        bench.run()
        bench.core._make(bench.core.scheduler.cache.evict() or ())
        assert bench.backend.used == len(HEAD.strip())
        stream = bench.submit("two", system=HEAD, session_id="b", max_tokens=2)
        bench.run()
        await read(stream)
        assert stream.timings.cached_tokens == len(HEAD.strip())


class TestFairness:
    async def test_the_session_on_screen_is_read_first(self) -> None:
        bench = Bench(cells=4096, batch_tokens=64)
        for name in "abc":
            bench.submit(name * 300, session_id=name, max_tokens=1)
        bench.core.post(Focus("c"))
        bench.run()
        assert order(bench)[0] == 3

    async def test_who_has_had_little_goes_before_who_has_had_much(self) -> None:
        bench = Bench(cells=8192, batch_tokens=64, max_sessions=3)
        bench.submit("a" * 2010, session_id="greedy", max_tokens=1)
        for _ in range(4):
            bench.core.step()
        bench.submit("b" * 100, session_id="modest", max_tokens=1)
        bench.run()
        assert order(bench) == [2, 1]

    async def test_a_small_request_passes_one_that_does_not_fit(self) -> None:
        bench = Bench(cells=512, max_sessions=4)
        bench.submit("x" * 200, max_tokens=200)
        bench.core.step()
        large = bench.submit("y" * 300, max_tokens=50)
        small = bench.submit("z" * 8, max_tokens=8)
        for _ in range(20):
            bench.core.step()
        assert await read(small) == "abcdefgh"
        bench.run()
        assert len(await read(large)) == 50

    async def test_but_not_for_ever(self) -> None:
        bench = Bench(cells=512, max_sessions=2, max_queue=64)
        bench.submit("x" * 200, max_tokens=250)
        bench.core.step()
        large = bench.submit("y" * 300, max_tokens=50)
        small = [bench.submit("z" * 8, max_tokens=8) for _ in range(40)]
        bench.run()
        assert len(await read(large)) == 50
        assert [await read(stream) for stream in small] == ["abcdefgh"] * 40
        assert order(bench).index(2) < 20

    async def test_steps_stay_near_the_target_while_somebody_decodes(self) -> None:
        bench = Bench(cells=8192, batch_tokens=512, step_target_ms=80)
        bench.submit("hi", max_tokens=400, priority=Priority.FOREGROUND)  # for the others it would stretch
        for _ in range(8):
            bench.core.step()
        bench.submit("x" * 3000, max_tokens=1)
        bench.run()
        mixed = [plan for plan in bench.backend.plans if len(plan.work) == 2]
        assert len(mixed) > 20
        # The fake takes 10 ms and 1 ms a token, so that a prompt's share should be near 69 tokens.
        assert all(0.040 < bench.backend.seconds(plan) < 0.100 for plan in mixed[5:-1])


class TestPressure:
    async def test_the_least_important_and_newest_has_to_leave(self) -> None:
        bench = Bench(cells=900)
        names = [Priority.NORMAL, Priority.BACKGROUND, Priority.NORMAL]
        for priority in names:
            bench.submit("x" * 10, max_tokens=400, priority=priority)
        while not bench.core.scheduler.preempted:
            bench.core.step()
        assert [s.request_id for s in bench.core.scheduler.running] == [1, 3]
        bench.run()

    async def test_what_was_parked_comes_back_and_is_not_computed_again(self) -> None:
        bench = Bench(cells=700)
        streams = [bench.submit(name * 10, max_tokens=400) for name in "xy"]
        bench.run()
        assert [await read(stream) for stream in streams] == [ALPHABET[:400]] * 2
        assert (bench.core.scheduler.preempted, bench.core.scheduler.restored) == (1, 1)
        assert computed(bench) == 22
        assert bench.core.scheduler.parking.count == 0

    async def test_without_parking_it_is_computed_again(self) -> None:
        bench = Bench(cells=700, parked_ram_mib=0)
        streams = [bench.submit(name * 10, max_tokens=400) for name in "xy"]
        bench.run()
        assert [await read(stream) for stream in streams] == [ALPHABET[:400]] * 2
        assert (bench.core.scheduler.preempted, bench.core.scheduler.restored) == (1, 0)
        assert computed(bench) > 300

    async def test_a_state_that_cannot_be_read_back_costs_only_time(self) -> None:
        bench = Bench(cells=700)
        streams = [bench.submit(name * 10, max_tokens=400) for name in "xy"]
        bench.backend.bad_states = 1
        bench.run()
        assert [await read(stream) for stream in streams] == [ALPHABET[:400]] * 2
        assert bench.core.stats().requests_failed == 0
        assert computed(bench) > 300

    async def test_states_that_cannot_be_read_back_fail_nobody_however_many(self) -> None:
        bench = Bench(cells=400, max_sessions=2, cached_sessions=0)
        names = "abcd"
        for name in names:
            bench.submit(name * 100, session_id=name, max_tokens=2)
            bench.run()
        bench.backend.bad_states = 10
        streams = [bench.submit(name * 100 + "!", session_id=name, max_tokens=2) for name in names]
        bench.run()
        assert [await read(stream) for stream in streams] == ["ab"] * 4
        assert bench.backend.bad_states <= 7, "three in a row"
        assert bench.core.stats().requests_failed == 0

    async def test_a_state_that_fits_no_store_is_not_read(self) -> None:
        bench = Bench(cells=700, parked_ram_mib=1, token_bytes=1 << 14)
        streams = [bench.submit(name * 10, max_tokens=400) for name in "xy"]
        bench.run()
        assert [await read(stream) for stream in streams] == [ALPHABET[:400]] * 2
        assert not [move for plan in bench.backend.plans for move in plan.moves if isinstance(move, Save)]

    async def test_a_state_that_a_cancelled_request_waited_for_can_leave_again(self) -> None:
        bench = Bench(cells=400, max_sessions=1, cached_sessions=0, parked_ram_mib=1)
        for name in "ab":
            bench.submit(name * 100, session_id=name, max_tokens=2)
            bench.run()
        parking = bench.core.scheduler.parking
        bench.submit("b" * 100, session_id="b", max_tokens=100)
        waiting = bench.submit("a" * 100, session_id="a", max_tokens=2)
        bench.core.step()
        parking.fetch(session_key("a"))  # as admission does for a state on disk
        waiting.cancel()
        bench.core.step()
        parking.put("large", [1], bytes(1 << 20))
        assert parking.find("large"), "it took the place of what nobody waits for"

    async def test_a_parked_request_can_be_cancelled(self) -> None:
        bench = Bench(cells=700)
        first, second = (bench.submit(name * 10, max_tokens=400) for name in "xy")
        while not bench.core.scheduler.preempted:
            bench.core.step()
        bench.core.step()
        assert bench.core.scheduler.parking.count == 1
        second.cancel()
        bench.core.step()
        assert bench.core.scheduler.parking.count == 0
        bench.run()
        assert len(await read(first)) == 400
        assert second.finish_reason is None
        assert ALPHABET.startswith(await read(second))
        assert second.finish_reason is FinishReason.CANCELLED

    async def test_hundreds_of_sessions_take_turns_on_a_few_slots(self) -> None:
        bench = Bench(cells=600, max_sessions=4, cached_sessions=0, max_queue=400)
        for turn in range(2):
            streams = [
                bench.submit(f"{number:04}" * 12 + "z" * turn, session_id=f"s{number}", max_tokens=4)
                for number in range(200)
            ]
            bench.run()
            assert [await read(stream) for stream in streams] == ["abcd"] * 200
        assert bench.core.scheduler.restored > 150
        assert all(stream.timings.cached_tokens >= 48 for stream in streams)

    async def test_a_forgotten_session_is_not_parked(self) -> None:
        bench = Bench(cells=200, max_sessions=2, cached_sessions=0)
        bench.submit("x" * 100, session_id="a", max_tokens=2)
        bench.run()
        bench.submit("y" * 150, session_id="b", max_tokens=2)
        bench.run()
        assert bench.core.scheduler.parking.count == 1
        bench.core.post(Forget("a"))
        bench.run()
        assert bench.core.scheduler.parking.count == 0

    async def test_a_session_is_forgotten_with_what_others_may_have_of_it(self) -> None:
        bench = Bench(cells=1024)
        bench.submit("one", system=HEAD, session_id="a", max_tokens=2)
        bench.submit("a summary of one", max_tokens=2)
        bench.submit("two", session_id="b", max_tokens=2)
        bench.run()
        bench.core.post(Forget("a"))
        bench.run()
        cache = bench.core.scheduler.cache
        assert bench.backend.used == cache.used == 5, "only the other session is left"

    async def test_a_second_turn_without_a_session_reads_only_what_is_new(self) -> None:
        bench = Bench(cells=1024)
        first = bench.submit("x" * 100, max_tokens=4)
        bench.run()
        assert await read(first) == "abcd"
        again = bench.submit("x" * 100 + chr(EOG) + "abcd" + "y" * 20, max_tokens=4)
        bench.run()
        assert await read(again) == "abcd"
        assert again.timings.cached_tokens == 101 + 3
        assert len(bench.core.scheduler.cache._idle) == 1, "it took the slot over"
        edited = bench.submit("x" * 80 + "z" * 20, max_tokens=4)
        bench.run()
        assert await read(edited) == "abcd"
        assert edited.timings.cached_tokens == 80

    async def test_what_belongs_to_nobody_makes_room_without_being_parked(self) -> None:
        bench = Bench(cells=300, context=300)
        for name in "abcd":
            bench.submit(name * 100, max_tokens=4)
            bench.run()
        assert bench.core.stats().requests_failed == 0
        assert bench.core.scheduler.parking.count == 0
        again = bench.submit("d" * 100, max_tokens=4)
        bench.run()
        await read(again)
        assert again.timings.cached_tokens == 100

    async def test_a_session_forgotten_in_mid_answer_leaves_nothing(self) -> None:
        bench = Bench(cells=400)
        stream = bench.submit("x" * 100, session_id="a", max_tokens=8)
        bench.core.step()
        bench.core.post(Forget("a"))
        bench.run()
        assert await read(stream) == "abcdefgh"
        assert bench.backend.used == bench.core.scheduler.cache.used == 0

    @pytest.mark.parametrize("layout", ["unified", "split"])
    async def test_the_moves_of_a_turn_that_comes_back(self, layout: str) -> None:
        bench = Bench(cells=400, context=200, max_sessions=2, cached_sessions=0, kv_layout=layout)
        for name in "abc":
            bench.submit(name * 100, session_id=name, max_tokens=2)
            bench.run()
        again = bench.submit("a" * 100, session_id="a", max_tokens=2)
        bench.run()
        await read(again)
        kinds = [type(move) for plan in bench.backend.plans for move in plan.moves]
        assert Save in kinds
        assert Restore in kinds
        assert again.timings.cached_tokens == 100


class TestSplitLayout:
    async def test_prefixes_are_shared_by_copying_streams(self) -> None:
        bench = Bench(cells=4096, context=1024, kv_layout="split")
        streams = [bench.submit(HEAD * 3 + name, max_tokens=4) for name in ("Ann", "Bob")]
        bench.run()
        assert [await read(stream) for stream in streams] == ["abcd"] * 2
        copies = [move for plan in bench.backend.plans for move in plan.moves if isinstance(move, Copy)]
        assert copies == [Copy(0, 1, 0, len(HEAD) * 3)]
        assert computed(bench) < len(HEAD) * 3 + 32

    async def test_those_that_decode_lie_side_by_side(self) -> None:
        bench = Bench(cells=4096, context=1024, kv_layout="split")
        streams = [
            bench.submit(name * 20, max_tokens=n) for name, n in zip("abcd", (9, 3, 9, 9), strict=True)
        ]
        bench.run()
        assert [len(await read(stream)) for stream in streams] == [9, 3, 9, 9]
        late = [sorted(w.slot for w in plan.work) for plan in bench.backend.plans if len(plan.work) == 3]
        assert late
        assert all(slots[-1] - slots[0] == 2 for slots in late[-4:])

    async def test_a_stream_that_is_to_be_copied_is_not_written_to_before(self) -> None:
        """Closing a gap without a forward pass would leave its copy pending while a state is restored."""
        bench = Bench(cells=600, context=200, max_sessions=3, cached_sessions=0, kv_layout="split")
        bench.submit("d" * 100, session_id="d", max_tokens=2)
        bench.run()
        streams = [bench.submit(name * 20, max_tokens=60) for name in "xyz"]
        for _ in range(8):
            bench.core.step()
        scheduler = bench.core.scheduler
        assert scheduler.parking.count == 1
        for sequence in scheduler.running:
            scheduler.pause(sequence)
        streams[0].cancel()  # it lies between the others
        bench.core.step()
        again = bench.submit("d" * 100 + "!", session_id="d", max_tokens=8)
        for _ in range(3):
            bench.core.step()
        for sequence in scheduler.running:
            scheduler.resume(sequence)
        bench.run()
        assert [await read(stream) for stream in streams[1:]] == [ALPHABET[:60]] * 2
        await read(again)
        assert (scheduler.restored, again.timings.cached_tokens) == (1, 100)


class TestSpeculation:
    async def test_accepted_drafts_save_steps_and_change_nothing(self) -> None:
        plain, drafted = Bench(speculation="off"), Bench(speculation="on")
        texts, steps = [], []
        for bench in (plain, drafted):
            stream = bench.submit(ALPHABET[:104], max_tokens=60)
            bench.run()
            texts.append(await read(stream))
            steps.append(len(bench.backend.plans))
            assert stream.timings.completion_tokens == 60
        assert texts[0] == texts[1] == ALPHABET[:60]
        assert steps[1] < 0.5 * steps[0]
        stats = drafted.core.stats()
        assert stats.drafted_tokens >= stats.accepted_tokens > 30

    async def test_an_end_among_accepted_drafts_ends_the_answer_there(self) -> None:
        bench = Bench(speculation="on")
        stream = bench.submit(ALPHABET[:104], session_id="s", max_tokens=60, stop=("lmn",))
        bench.run()
        assert await read(stream) == "abcdefghijk"
        assert stream.timings.completion_tokens == 14
        second = bench.submit(ALPHABET[:104], session_id="s", max_tokens=4)
        bench.run()
        assert await read(second) == "abcd"
        assert bench.backend.used == bench.core.scheduler.cache.used

    async def test_no_more_than_asked_for(self) -> None:
        for limit in range(1, 12):
            bench = Bench(speculation="on", cells=200)
            stream = bench.submit(ALPHABET[:104], max_tokens=limit)
            bench.run()
            assert await read(stream) == ALPHABET[:limit]


class TestBackPressure:
    async def test_a_reader_that_lags_pauses_its_request_and_no_other(self) -> None:
        bench = Bench(cells=8192, context=8192)
        slow = bench.submit("x", max_tokens=3000)
        quick = bench.submit("y", max_tokens=1500)
        for _ in range(1600):
            bench.core.step()
            async for _chunk in quick:
                break
        assert bench.core.scheduler.running[0].paused
        assert bench.core.scheduler.running[0].completion_tokens == 1024
        assert (await read(quick))[-1:] == ALPHABET[1499 % 26] or quick.finish_reason is FinishReason.LENGTH
        text = ""
        while slow.finish_reason is None:
            async for chunk in slow:
                text += chunk.text
                break
            bench.run()
        assert text == ("abcdefghijklmnopqrstuvwxyz" * 120)[:3000]

    async def test_a_paused_request_gives_its_place_to_those_who_wait(self) -> None:
        bench = Bench(cells=8192, context=8192, max_sessions=1)
        slow = bench.submit("x", max_tokens=2000)
        bench.run()
        assert bench.core.scheduler.running[0].paused
        other = bench.submit("y", max_tokens=4)
        bench.run()
        assert await read(other) == "abcd"
        text = ""
        while slow.finish_reason is None:
            async for chunk in slow:
                text += chunk.text
                break
            bench.run()
        assert len(text) == 2000

    async def test_a_paused_request_gives_its_cells_to_those_who_wait(self) -> None:
        bench = Bench(cells=1200, context=1200)
        bench.submit("x", max_tokens=1150)
        bench.run()
        assert bench.core.scheduler.running[0].paused
        other = bench.submit("y" * 300, max_tokens=4)
        bench.run()
        assert await asyncio.wait_for(read(other), 60) == "abcd"


def test_a_plan_counts_its_tokens() -> None:
    assert StepPlan().tokens == 0
