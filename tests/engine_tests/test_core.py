"""Ends of streams, cancels, and every return code of llama_decode, on a fake backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engine_tests.fakes import EOG, Bench, read

from engine import (
    EngineClosed,
    FinishReason,
    GenerationFailed,
    RequestPhase,
    TemplateError,
    TokenChunk,
    TokenStream,
)
from engine.step import StepPlan, StepResult, StepStatus


async def test_an_end_of_turn_token_ends_the_answer() -> None:
    bench = Bench()
    bench.backend.script[1] = [ord("h"), ord("i"), EOG]
    stream = bench.submit("hello")
    bench.run()
    assert await read(stream) == "hi"
    assert stream.finish_reason is FinishReason.STOP
    assert stream.timings.completion_tokens == 3


async def test_ignore_eos_continues_past_the_end_of_turn() -> None:
    bench = Bench()
    bench.backend.script[1] = [EOG, ord("h"), EOG]
    stream = bench.submit("hello", max_tokens=3, ignore_eos=True)
    bench.run()
    assert await read(stream) == "h"
    assert stream.finish_reason is FinishReason.LENGTH


async def test_a_stop_string_ends_the_answer_and_is_not_part_of_it() -> None:
    bench = Bench()
    stream = bench.submit("hello", stop=("de", "zz"))
    bench.run()
    assert await read(stream) == "abc"
    assert stream.finish_reason is FinishReason.STOP


async def test_half_a_stop_string_at_the_end_is_handed_out() -> None:
    bench = Bench()
    stream = bench.submit("hello", stop=("cdX",), max_tokens=4)
    bench.run()
    assert await read(stream) == "abcd"


async def test_a_cancel_takes_effect_within_one_step_and_frees_the_cells() -> None:
    bench = Bench()
    stream = bench.submit("hello", max_tokens=100)
    for _ in range(4):
        bench.core.step()
    stream.cancel()
    executed = len(bench.backend.plans)
    bench.run()
    assert not any(plan.work for plan in bench.backend.plans[executed:])
    cache = bench.core.scheduler.cache
    assert bench.backend.used == cache.reclaimable() == cache.used
    assert await read(stream) == "abcd"
    assert stream.finish_reason is FinishReason.CANCELLED


async def test_a_cancel_in_mid_prefill() -> None:
    bench = Bench()
    stream = bench.submit("x" * 300, max_tokens=100)
    bench.core.step()
    stream.cancel()
    bench.run()
    assert await read(stream) == ""
    assert stream.finish_reason is FinishReason.CANCELLED
    cache = bench.core.scheduler.cache
    assert bench.backend.used == cache.reclaimable() == cache.used


async def test_a_cancel_while_waiting() -> None:
    bench = Bench(max_sessions=1)
    first = bench.submit("hello", max_tokens=5)
    second = bench.submit("hello")
    bench.core.step()
    second.cancel()
    bench.run()
    assert await read(first) == "abcde"
    assert await read(second) == ""
    assert second.finish_reason is FinishReason.CANCELLED


async def test_a_cancel_before_the_request_was_seen() -> None:
    bench = Bench()
    stream = bench.submit("hello")
    stream.cancel()
    bench.run()
    assert await read(stream) == ""
    assert stream.finish_reason is FinishReason.CANCELLED
    assert bench.core.stats().requests_cancelled == 1


async def test_a_cancel_after_the_end_changes_nothing() -> None:
    bench = Bench()
    stream = bench.submit("hello", max_tokens=2)
    bench.run()
    stream.cancel()
    bench.run()
    assert await read(stream) == "ab"
    assert stream.finish_reason is FinishReason.LENGTH


async def test_code_1_no_kv_slot_preempts_instead_of_failing() -> None:
    bench = Bench()
    streams = [bench.submit("hello", max_tokens=6) for _ in range(3)]
    bench.core.step()
    bench.backend.statuses = [StepStatus.NO_KV]
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcdef"] * 3
    assert bench.core.scheduler.preempted == 1


async def test_code_1_with_one_sequence_left_ends_only_that_one() -> None:
    bench = Bench()
    stream = bench.submit("hello", max_tokens=6)
    bench.core.step()
    bench.core.step()
    bench.backend.statuses = [StepStatus.NO_KV]
    bench.run()
    assert await read(stream) == "ab"
    assert stream.finish_reason is FinishReason.CONTEXT


async def test_code_minus_1_fails_only_the_culprit() -> None:
    bench = Bench()
    streams = [bench.submit("hello", max_tokens=6) for _ in range(3)]
    bench.backend.invalid = {2}
    bench.run()
    assert await read(streams[0]) == await read(streams[2]) == "abcdef"
    with pytest.raises(GenerationFailed, match="invalid input"):
        await read(streams[1])
    assert bench.core.stats().requests_failed == 1


@pytest.mark.parametrize("computed", [0, 1, 2])
async def test_codes_2_and_minus_3_trust_what_is_in_the_cache(computed: int) -> None:
    bench = Bench()
    streams = [bench.submit("hello", max_tokens=6) for _ in range(2)]
    bench.core.step()
    bench.core.step()
    bench.backend.statuses, bench.backend.partial = [StepStatus.PARTIAL], computed
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcdef"] * 2


async def test_a_forward_pass_that_keeps_failing_ends_its_requests_and_not_the_engine() -> None:
    bench = Bench()
    stream = bench.submit("hello", max_tokens=6)
    bench.core.step()
    bench.backend.statuses = [StepStatus.PARTIAL] * 3
    bench.run()
    with pytest.raises(GenerationFailed, match="3 times in a row"):
        await read(stream)
    after = bench.submit("hello", max_tokens=3)
    bench.run()
    assert await read(after) == "abc"


async def test_close_ends_every_stream_once() -> None:
    bench = Bench(max_sessions=1)
    streams = [bench.submit("hello", max_tokens=100) for _ in range(3)]
    bench.core.step()
    late = bench.submit("not even drained")
    bench.core.close()
    for stream in [*streams, late]:
        with pytest.raises(EngineClosed):
            await read(stream)
        assert await read(stream) == ""  # ended: a second read ends at once


async def test_samplers_are_closed_with_their_requests() -> None:
    bench = Bench()
    streams = [bench.submit("hello", max_tokens=n) for n in (1, 3, 100)]
    for _ in range(5):
        bench.core.step()
    streams[2].cancel()
    bench.run()
    assert bench.backend.samplers == {}


async def test_a_template_that_refuses_is_told_to_the_caller() -> None:
    bench = Bench()
    with pytest.raises(TemplateError, match="refused"):
        bench.submit("refuse me")


async def test_stats_show_phases_and_queue_positions() -> None:
    bench = Bench(max_sessions=2)
    bench.submit("hi", max_tokens=50, session_id="decoding")
    bench.core.step()
    bench.core.step()
    bench.submit("x" * 300, session_id="reading")
    bench.submit("y", session_id="queued")
    bench.core.step()
    bench.core._publish(bench.backend.plans[-1])
    stats = bench.core.stats()
    phases = {request.session_id: request.phase for request in stats.requests}
    assert phases == {
        "decoding": RequestPhase.DECODE,
        "reading": RequestPhase.PREFILL,
        "queued": RequestPhase.WAITING,
    }
    reading = next(r for r in stats.requests if r.session_id == "reading")
    assert (reading.computed_tokens, reading.prompt_tokens) == (56, 301)
    assert next(r for r in stats.requests if r.session_id == "queued").queue_position == 0
    assert (stats.active, stats.waiting) == (2, 1)
    assert stats.kv_cells_used == bench.backend.used


async def test_timings_come_from_one_clock() -> None:
    bench = Bench()
    now = 10.0
    bench.core._clock = lambda: now
    stream = bench.submit("hello", max_tokens=4)  # submitted at 0.0
    for now in (11.0, 11.5, 12.5, 13.0):  # noqa: B007 - the clock reads it
        bench.core.step()
    await read(stream)
    timings = stream.timings
    assert (timings.queue_s, timings.ttft_s, timings.decode_s) == (11.0, 11.0, 2.0)
    assert timings.tokens_per_second == pytest.approx(3 / 2.0)
    assert (timings.itl_p50_s, timings.itl_max_s) == (0.5, 1.0)


async def test_tokens_of_one_step_share_its_time() -> None:
    bench = Bench(speculation="on")
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1.0
        return now

    bench.core._clock = tick
    stream = bench.submit("abcdefgh" * 6, max_tokens=40)
    bench.run()
    await read(stream)
    gaps = bench.core.metrics._gaps
    assert bench.core.stats().accepted_tokens > 10
    assert 0 < min(gaps) < max(gaps)
    assert len(gaps) == 39
    assert sum(gaps) == pytest.approx(stream.timings.decode_s)


async def test_an_answer_that_ends_among_accepted_drafts_keeps_no_token_beyond_its_end() -> None:
    bench = Bench(speculation="on")
    text = "abcdefgh" * 6
    bench.backend.script[1] = [ord(char) for char in text * 2]
    stream = bench.submit(text, session_id="s", max_tokens=60, stop=("efg",))
    bench.run()
    assert await read(stream) == text[: text.index("efg")]
    assert stream.finish_reason is FinishReason.STOP
    assert bench.core.stats().accepted_tokens > 3, "the end lay among drafts"
    assert stream.timings.completion_tokens == 7
    cache = bench.core.scheduler.cache
    assert bench.backend.used == cache.used == len(text) + 1 + 7 - 1  # the last token was never computed
    again = bench.submit(f"{text}{chr(EOG)}abcdefg!", session_id="s", max_tokens=2)
    bench.run()
    await read(again)
    assert again.timings.cached_tokens == len(text) + 1 + 6


async def test_a_part_of_an_invalid_batch_that_was_preempted_meanwhile_is_left_out() -> None:
    bench = Bench()
    streams = [bench.submit("hello", max_tokens=6) for _ in range(3)]
    bench.core.step()
    bench.core.step()
    bench.backend.statuses = [StepStatus.INVALID, StepStatus.OK, StepStatus.NO_KV]
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcdef"] * 3
    assert bench.core.scheduler.preempted == 1


async def test_readers_are_told_while_a_gpu_computes_the_next_step() -> None:
    bench = Bench(offloaded=True)
    stream = bench.submit("hello", max_tokens=6)
    told: list[
        tuple[int, int]
    ] = []  # tokens that the reader could take when a pass had started, and after it
    execute = bench.backend.execute

    def watching(plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        before = stream._unread

        def watched() -> None:
            if meanwhile is not None:
                meanwhile()
            told.append((before, stream._unread))

        return execute(plan, watched)

    bench.backend.execute = watching  # type: ignore[method-assign]
    bench.run()
    assert await read(stream) == "abcdef"
    assert told == [(0, 0), (1, 1), (1, 2), (2, 3), (3, 4), (4, 5)]  # the first text is told at once


async def test_a_stop_string_is_found_before_a_gpu_computes_the_next_step() -> None:
    bench = Bench(offloaded=True)
    stream = bench.submit("hello", stop=("cd",))
    bench.run()
    assert await read(stream) == "ab"
    assert stream.timings.completion_tokens == 4
    assert len([plan for plan in bench.backend.plans if plan.work]) == 4


async def test_nothing_that_a_gpu_has_sampled_is_lost_at_an_end() -> None:
    """Cancelled, closed, or after a crash: a text that waited for the next step reaches its reader first."""
    bench = Bench(offloaded=True)
    stream = bench.submit("hello", max_tokens=100)
    for _ in range(4):
        bench.core.step()
    stream.cancel()
    bench.run()
    assert await read(stream) == "abcd"
    stream = bench.submit("hello", max_tokens=100)
    for _ in range(4):
        bench.core.step()
    bench.core.close()
    assert await anext(stream) == TokenChunk("abcd", 4, (97, 98, 99, 100))
    with pytest.raises(EngineClosed):
        await anext(stream)


async def test_a_reader_of_a_gpu_that_lags_pauses_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stream._MAX_UNREAD", 5)
    bench = Bench(offloaded=True)
    stream = bench.submit("hello", max_tokens=20)
    bench.run()
    assert stream._unread in (5, 6)
    text = ""
    while stream.finish_reason is None:
        try:
            text += (await anext(stream)).text
        except StopAsyncIteration:
            break
        bench.run()
    assert text == "abcdefghijklmnopqrst"


async def test_a_turn_cancelled_in_the_queue_leaves_the_tokens_of_the_turn_before() -> None:
    bench = Bench(max_sessions=1)
    bench.submit("hello", session_id="s", max_tokens=4)
    bench.run()
    known = [*bench.core.encoder._known["s"]]
    bench.submit("busy", max_tokens=50)
    waiting = bench.submit("hello", session_id="s", max_tokens=4)
    for _ in range(3):
        bench.core.step()
    waiting.cancel()
    bench.run()
    assert [*bench.core.encoder._known["s"]] == known


@pytest.mark.parametrize("offloaded", [True, False])
async def test_the_first_text_is_urgent_wherever_the_silent_tokens_end(offloaded: bool) -> None:
    """A mark, or a part of a character, comes before the first text."""
    bench = Bench(offloaded=offloaded)
    bench.backend.piece = lambda token, **_: b"" if token in (97, 98) else bytes([token])  # type: ignore[method-assign]
    stream = bench.submit("hello", max_tokens=5)
    add = bench.core.mail.add

    def watched(stream: TokenStream, *, urgent: bool = False) -> None:
        told.append((stream._unread, urgent))
        add(stream, urgent=urgent)

    told: list[tuple[int, bool]] = []
    bench.core.mail.add = watched  # type: ignore[method-assign]
    bench.run()
    assert told[:4] == [(1, True), (2, True), (3, True), (4, False)]
    assert await read(stream) == "cde"
