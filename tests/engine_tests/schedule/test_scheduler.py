"""Admission, the token budget, preemption: on a fake backend that keeps a real ledger of cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from engine_tests.fakes import Bench, read

from engine import FinishReason, Priority, PromptTooLong, QueueFull
from engine.core import Adjust, Change, Focus

ALPHABET = "abcdefghijklmnopqrstuvwxyz" * 16


async def test_decodes_come_first_and_share_the_budget_with_prefill() -> None:
    bench = Bench(batch_tokens=128)
    watched = Priority.FOREGROUND  # nothing stretches the target while it is answered
    writers = [bench.submit(text, max_tokens=50, priority=watched) for text in ("hi", "ho")]
    bench.core.step()
    bench.core.step()
    bench.submit("x" * 200)
    bench.core.step()
    plan = bench.backend.plans[-1]
    assert [len(work.tokens) for work in plan.work] == [1, 1, 56]
    assert [work.rows for work in plan.work] == [1, 1, 0]
    for stream in writers:
        stream.cancel()
    bench.run()


@pytest.mark.parametrize("watched", [False, True])
async def test_the_target_stretches_where_many_wait_for_one_that_nobody_watches(watched: bool) -> None:
    bench = Bench(batch_tokens=512, max_sessions=8)
    bench.submit("hi", max_tokens=50, session_id="writer")
    bench.core.step()
    if watched:
        bench.core.post(Focus("writer"))
    for letter in "bcdefg":
        bench.submit(letter * 60)
    bench.core.step()
    read = bench.backend.plans[-1].prefill_tokens
    assert 0 < read <= 64 if watched else read == 6 * 61
    bench.run()


async def test_writers_that_nobody_watches_wait_longer_for_a_reader_on_screen() -> None:
    read: dict[str | None, int] = {}
    for focused in (None, "reader", "writer 0"):
        bench = Bench(batch_tokens=512, max_sessions=8)
        for number in range(5):
            bench.submit("hi", max_tokens=60, session_id=f"writer {number}")
        for _ in range(3):
            bench.core.step()
        bench.core.post(Focus(focused))
        bench.submit("x" * 831, session_id="reader")
        bench.core.step()
        read[focused] = bench.backend.plans[-1].prefill_tokens
        bench.run()
    assert read["writer 0"] < read[None]
    assert read["reader"] > 1.5 * read[None]


def _chunks_beside_writers(bench: Bench, text: str, *, session_id: str | None = None) -> list[int]:
    """Tokens of each chunk of a prompt that arrives while five chats write."""
    for number in range(5):
        bench.submit("hi", max_tokens=60, session_id=f"writer {number}")
    for _ in range(3):
        bench.core.step()
    start = len(bench.backend.plans)
    bench.submit(text, session_id=session_id)
    bench.run()
    return [plan.prefill_tokens for plan in bench.backend.plans[start:] if plan.prefill_tokens]


async def test_chunks_are_whole_tiles_and_what_is_left_over_comes_first() -> None:
    bench = Bench(batch_tokens=512, max_sessions=8, step_target_ms=20)
    assert _chunks_beside_writers(bench, "x" * 299) == [300 % 64, 64, 64, 64, 64]


async def test_a_short_rest_is_read_with_the_last_tile() -> None:
    bench = Bench(batch_tokens=512, max_sessions=8, step_target_ms=20)
    bench.submit("x" * 99, session_id="reader", max_tokens=1)
    bench.run()
    chunks = _chunks_beside_writers(bench, "x" * 99 + "y" * 201, session_id="reader")
    assert chunks == [64, 64, 202 - 128]


async def test_prefill_takes_the_whole_budget_when_nobody_decodes() -> None:
    bench = Bench(batch_tokens=64)
    bench.submit("x" * 200)
    bench.core.step()
    assert bench.backend.plans[-1].tokens == 64


async def test_nobody_waits_for_a_beginning_too_short_to_be_copied() -> None:
    bench = Bench(batch_tokens=512, kv_layout="split", cells=2048, context=512)
    for letter in "bcd":
        bench.submit("x" * 40 + letter * 20)
    bench.core.step()
    assert bench.backend.plans[-1].prefill_tokens == 3 * 61
    bench.run()


async def test_two_prompts_share_the_prefill_budget_by_turns() -> None:
    bench = Bench(batch_tokens=64)
    bench.submit("x" * 500)
    bench.submit("y" * 500)
    for _ in range(6):
        bench.core.step()
    readers = [work.request_id for plan in bench.backend.plans for work in plan.work]
    assert readers == [1, 2, 1, 2, 1, 2]


async def test_a_session_joins_while_another_decodes() -> None:
    bench = Bench()
    first = bench.submit("hi", max_tokens=20)
    for _ in range(5):
        bench.core.step()
    second = bench.submit("hi", max_tokens=3)
    bench.run()
    assert await read(first) == "abcdefghijklmnopqrst"
    assert await read(second) == "abc"
    assert max(len(plan.work) for plan in bench.backend.plans) == 2


async def test_more_requests_than_places_wait_in_order() -> None:
    bench = Bench(max_sessions=2)
    streams = [bench.submit("hi", max_tokens=4) for _ in range(5)]
    bench.core.step()
    assert len(bench.core.scheduler.running) == 2
    assert len(bench.core.scheduler.waiting) == 3
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcd"] * 5


async def test_a_request_that_can_never_fit_is_refused_with_the_numbers() -> None:
    bench = Bench(cells=100)
    stream = bench.submit("x" * 199, max_tokens=10)  # the fake template adds one token
    bench.run()
    with pytest.raises(PromptTooLong, match=r"needs 201 KV cells .* holds 100\.") as caught:
        await read(stream)
    assert (caught.value.needed, caught.value.available) == (201, 100)


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        (89, "abcdefghij", FinishReason.LENGTH),
        (90, "abcdefghij", FinishReason.LENGTH),  # the last token needs no cell
        (91, "abcdefghi", FinishReason.CONTEXT),
        (98, "ab", FinishReason.CONTEXT),
        (99, None, None),
    ],
)
async def test_an_answer_for_which_there_is_less_room_is_as_long_as_fits(
    prompt: int, answer: str | None, reason: FinishReason | None
) -> None:
    bench = Bench(cells=100)
    stream = bench.submit("x" * prompt, max_tokens=10)
    bench.run()
    if answer is None:
        with pytest.raises(PromptTooLong):
            await read(stream)
    else:
        assert (await read(stream), stream.finish_reason) == (answer, reason)


async def test_the_queue_is_bounded() -> None:
    bench = Bench(max_sessions=1, max_queue=2)
    streams = [bench.submit("hi", max_tokens=3) for _ in range(4)]
    bench.run()
    assert [await read(stream) for stream in streams[:3]] == ["abc"] * 3
    with pytest.raises(QueueFull, match="max_queue"):
        await read(streams[3])


async def test_without_max_tokens_the_context_ends_the_answer() -> None:
    bench = Bench(cells=64)
    stream = bench.submit("x" * 53, max_tokens=None)
    bench.run()
    text = await read(stream)
    assert stream.finish_reason is FinishReason.CONTEXT
    assert len(text) == 64 - 54 + 1  # the last token is sampled from the full cache


async def test_running_out_of_cells_preempts_the_newest_and_fails_nobody() -> None:
    bench = Bench(cells=700)
    streams = [bench.submit("x" * 10, max_tokens=400, session_id=name) for name in "ab"]
    bench.run()
    assert [await read(stream) for stream in streams] == [ALPHABET[:400]] * 2
    assert bench.core.scheduler.preempted == 1
    assert bench.core.stats().requests_failed == 0
    assert streams[1].timings.prompt_tokens == 11


async def test_a_preempted_answer_waits_at_the_head_of_the_queue() -> None:
    bench = Bench(cells=700, max_sessions=2)
    for _ in range(3):
        bench.submit("x" * 10, max_tokens=400)
    while not bench.core.scheduler.preempted:
        bench.core.step()
    assert [sequence.request_id for sequence in bench.core.scheduler.running] == [1]
    assert [sequence.request_id for sequence in bench.core.scheduler.waiting] == [2, 3]
    bench.run()


async def test_a_waiting_request_is_not_admitted_into_cells_promised_to_a_prompt() -> None:
    bench = Bench(cells=128, batch_tokens=64)
    bench.submit("x" * 99, max_tokens=20)
    bench.submit("y" * 60, max_tokens=20)
    bench.core.step()
    assert len(bench.core.scheduler.running) == 1
    bench.run()
    assert bench.core.scheduler.preempted == 0


async def test_idle_sessions_make_room() -> None:
    bench = Bench(cells=128, max_sessions=2, cached_sessions=2)
    for name in "abc":
        bench.submit("x" * 30, session_id=name, max_tokens=5)
        bench.run()
    assert bench.core.scheduler.cache.idle_sessions == 3
    stream = bench.submit("y" * 100, session_id="d", max_tokens=20)
    bench.run()
    assert len(await read(stream)) == 20
    assert bench.backend.used == bench.core.scheduler.cache.used <= 128


async def test_room_is_made_before_a_prompt_is_read_not_while() -> None:
    bench = Bench(cells=128, max_sessions=2, cached_sessions=2, batch_tokens=64)
    for name in "ab":
        bench.submit("x" * 50, session_id=name, max_tokens=5)
        bench.run()
    bench.submit("y" * 90, max_tokens=5)
    bench.core.step()
    assert bench.backend.plans[-1].tokens == 64


async def test_a_second_turn_computes_only_what_is_new() -> None:
    bench = Bench()
    first = bench.submit("hello", session_id="s", max_tokens=4)
    bench.run()
    answer = await read(first)
    second = bench.submit(f"hello{chr(0)}{answer}", session_id="s", max_tokens=2)
    bench.run()
    await read(second)
    assert second.timings.prompt_tokens == len("hello") + 1 + 4 + 1
    assert second.timings.cached_tokens == len("hello") + 1 + 3  # the last token was never computed
    assert bench.core.stats().prefix_hit_rate == pytest.approx(9 / 17)


async def test_an_edited_history_reuses_the_common_part() -> None:
    bench = Bench()
    bench.submit("hello world", session_id="s")
    bench.run()
    second = bench.submit("hello there", session_id="s")
    bench.run()
    await read(second)
    assert second.timings.cached_tokens == len("hello ")


async def test_a_model_that_cannot_cut_its_memory_starts_again() -> None:
    bench = Bench(partial_removal=False)
    bench.submit("hello world", session_id="s")
    bench.run()
    second = bench.submit("hello there", session_id="s")
    bench.run()
    assert await read(second) == "abcdefgh"
    assert second.timings.cached_tokens == 0


async def test_forget_frees_the_cells_of_a_session() -> None:
    from engine.core import Forget

    bench = Bench()
    bench.submit("hello", session_id="s")
    bench.run()
    assert bench.backend.used > 0
    bench.core.post(Forget("s"))
    bench.core.step()
    assert bench.backend.used == bench.core.scheduler.cache.used == 0


async def test_two_requests_of_one_session_do_not_share_a_slot() -> None:
    bench = Bench()
    streams = [bench.submit("hello", session_id="s", max_tokens=6) for _ in range(2)]
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcdef"] * 2
    assert bench.backend.used == bench.core.scheduler.cache.used


async def test_all_paused_requests_make_room_for_one_that_waits() -> None:
    bench = Bench(max_sessions=4)
    paused = [bench.submit(f"{number} paused", max_tokens=100) for number in range(4)]
    for _ in range(3):
        bench.core.step()
    for stream in paused:
        stream.held = True
        bench.core.post(Adjust(stream))
    bench.core.post(Change(replace(bench.config, max_sessions=1)))
    stream = bench.submit("new", max_tokens=3)
    bench.run()
    assert await read(stream) == "abc"


async def test_a_focused_chat_that_is_paused_stretches_nothing() -> None:
    chunks = []
    for focused in (False, True):
        bench = Bench(max_sessions=8, cells=8192, batch_tokens=512)
        if focused:
            watched = bench.submit("watched", session_id="w", max_tokens=500)
            bench.core.post(Focus("w"))
        for number in range(4):
            bench.submit(f"{number} writer", max_tokens=2000, ignore_eos=True)
        for _ in range(20):
            bench.core.step()
        if focused:
            watched.held = True
            bench.core.post(Adjust(watched))
            bench.core.step()
        bench.submit("p" * 1800, max_tokens=3)
        for _ in range(6):
            bench.core.step()
        chunks.append(bench.backend.plans[-1].prefill_tokens)
    assert chunks[0] == chunks[1] > 0


@pytest.mark.parametrize(("new", "computed"), [(20, 20), (34, 64), (60, 64), (70, 70)])
async def test_the_rest_of_a_long_prompt_is_a_whole_tile(new: int, computed: int) -> None:
    """A turn of `new` tokens behind 600 cached ones: by rows, half a tile takes longer than all of it."""
    bench = Bench(cells=2048, batch_tokens=512, row_s=0.002)
    bench.submit("z" * 40, max_tokens=2)  # what a row costs is known
    bench.run()
    first = bench.submit("x" * 600, session_id="s", max_tokens=2)
    bench.run()
    text = await read(first)
    before = len(bench.backend.plans)
    second = bench.submit("x" * 600 + chr(0) + text + "y" * (new - 1), session_id="s", max_tokens=2)
    bench.run()
    assert await read(second) == text
    assert sum(plan.prefill_tokens for plan in bench.backend.plans[before:]) in (computed, computed + 1)
    assert second.timings.cached_tokens + computed in (
        second.timings.prompt_tokens,
        second.timings.prompt_tokens - 1,
    )


@pytest.mark.parametrize("bench_of", [{"offloaded": True, "row_s": 0.002}, {"row_s": 0.001}])
async def test_a_gpu_and_a_cpu_with_cheap_rows_compute_only_what_is_new(bench_of: dict[str, Any]) -> None:
    bench = Bench(cells=2048, batch_tokens=512, **bench_of)
    bench.submit("z" * 40, max_tokens=2)
    bench.run()
    first = bench.submit("x" * 600, session_id="s", max_tokens=2)
    bench.run()
    text = await read(first)
    second = bench.submit("x" * 600 + chr(0) + text + "y" * 50, session_id="s", max_tokens=2)
    bench.run()
    assert second.timings.prompt_tokens - second.timings.cached_tokens < 60


@pytest.mark.parametrize("watched", [False, True])
async def test_a_tile_is_filled_only_where_a_step_may_take_it(watched: bool) -> None:
    bench = Bench(cells=2048, batch_tokens=512, step_target_ms=40, row_s=0.002)
    bench.submit("z" * 40, max_tokens=2)  # what a row costs is known
    bench.run()
    first = bench.submit("x" * 600, session_id="s", max_tokens=2)
    bench.run()
    text = await read(first)
    priority = Priority.FOREGROUND if watched else Priority.NORMAL
    bench.submit("hi", max_tokens=90, priority=priority)
    for _ in range(3):
        bench.core.step()
    before = len(bench.backend.plans)
    bench.submit("x" * 600 + chr(0) + text + "y" * 49, session_id="s", max_tokens=2)
    bench.run()
    read_again = sum(plan.prefill_tokens for plan in bench.backend.plans[before:])
    assert read_again in ((50, 51) if watched else (64, 65))
