"""Steering a running engine on a fake backend: pause, priority, sampling, settings, and reloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Condition, Event
from typing import Any

import pytest
from engine_tests.fakes import Bench, FakeBackend, read
from engine_tests.real import settle
from waiting import until

from engine import (
    ChatMessage,
    ConfigError,
    Engine,
    EngineClosed,
    EngineConfig,
    EngineCrashed,
    FinishReason,
    GenerationRequest,
    InvalidRequest,
    LoadCancelled,
    ModelTooLarge,
    Priority,
    PromptTooLong,
    SamplingParams,
    TokenStream,
)
from engine.core import Adjust, Change
from engine.step import Restore, StepPlan, StepResult
from engine.worker import EngineWorker

CONFIG = EngineConfig(
    model_path=Path("fake.gguf"), max_sessions=2, cached_sessions=2, speculation="off", kv_layout="unified"
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz" * 100


class Gated(FakeBackend):
    """Computes only while it is let.

    Attributes:
        entered: set when the first step has arrived.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.let, self.entered = Event(), Event()
        self.let.set()

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        assert not self.closed
        self.entered.set()
        self.let.wait(10)
        time.sleep(0.001)
        return super().execute(plan, meanwhile)


def request(text: str, session_id: str | None = None, **sampling: Any) -> GenerationRequest:
    params = SamplingParams(**({"max_tokens": 60} | sampling))
    return GenerationRequest(messages=[ChatMessage("user", text)], sampling=params, session_id=session_id)


# One request


async def test_a_paused_request_computes_nothing_until_it_is_resumed() -> None:
    bench = Bench()
    stream = bench.submit("hi")
    bench.core.step()
    stream.held = True
    bench.core.post(Adjust(stream))
    assert bench.run() == 0
    assert bench.core.scheduler.running[0].paused
    stream.held = False
    bench.core.post(Adjust(stream))
    bench.run()
    assert await read(stream) == "abcdefgh"


async def test_a_reader_that_catches_up_does_not_resume_what_a_person_paused() -> None:
    bench = Bench()
    stream = bench.submit("hi")
    bench.core.step()
    bench.core.scheduler.pause(bench.core.scheduler.running[0])
    stream.held = True
    bench.core.post(Adjust(stream))
    bench.resume(stream)
    assert bench.run() == 0


async def test_a_paused_request_gives_its_place_to_one_that_waits() -> None:
    bench = Bench(max_sessions=1)
    first = bench.submit("hi")
    bench.core.step()
    first.held = True
    bench.core.post(Adjust(first))
    second = bench.submit("ho")
    bench.run()
    assert await read(second) == "abcdefgh"
    first.held = False
    bench.core.post(Adjust(first))
    bench.run()
    assert await read(first) == "abcdefgh"


async def test_a_promoted_request_goes_before_those_that_came_earlier() -> None:
    bench = Bench(max_sessions=1)
    running, first, second = bench.submit("x"), bench.submit("one"), bench.submit("two")
    bench.core.step()
    second.priority = Priority.FOREGROUND
    bench.core.post(Adjust(second))
    while second.finish_reason is None and bench.core.step():
        if second._outcome is not None:
            break
    assert first._outcome is None
    bench.run()
    assert [await read(stream) for stream in (running, first, second)] == ["abcdefgh"] * 3


async def test_the_sampling_of_a_request_changes_in_mid_answer() -> None:
    bench = Bench()
    stream = bench.submit("hi", seed=7, stop=("z",), max_tokens=20)
    bench.core.step()
    stream.ask_sampling(SamplingParams(temperature=1.5, max_tokens=3))
    bench.core.post(Adjust(stream))
    bench.core.step()
    (params,) = bench.backend.samplers.values()
    assert (params.temperature, params.seed, params.stop) == (1.5, 7, ("z",))
    bench.run()
    assert await read(stream) == "abc"


async def test_what_is_asked_for_while_the_prompt_is_prepared_counts() -> None:
    backend = Gated()
    async with Engine(CONFIG, load=lambda config, progress: backend) as engine:
        stream = engine.submit(request("hi"))
        engine.pause(stream)
        await until(lambda: engine.stats().paused == 1)
        engine.resume(stream)
        assert await read(stream) == ALPHABET[:60]


def _steering(engine: Engine) -> list[Callable[[Any], object]]:
    def sample(stream: TokenStream) -> None:
        engine.change_sampling(stream, SamplingParams())

    return [engine.cancel, engine.pause, engine.resume, engine.promote, sample]


async def test_an_engine_steers_its_own_streams_only() -> None:
    first, second = Gated(), FakeBackend()
    async with (
        Engine(CONFIG, load=lambda config, progress: first) as ours,
        Engine(CONFIG, load=lambda config, progress: second) as theirs,
    ):
        stream = ours.submit(request("hi"))
        for steer in _steering(theirs):
            with pytest.raises(InvalidRequest, match="This stream belongs to another engine"):
                steer(stream)
        for wrong in (None, "x"):
            for steer in _steering(ours):
                with pytest.raises(InvalidRequest, match="stream must be TokenStream"):
                    steer(wrong)
        assert await read(stream) == ALPHABET[:60], "nothing of that reached it"


# Settings


async def test_settings_that_a_running_engine_changes() -> None:
    bench = Bench(max_sessions=1, cached_sessions=7)
    streams = [bench.submit(text) for text in ("one", "two", "three")]
    bench.core.step()
    assert len(bench.core.scheduler.running) == 1
    changed = replace(
        bench.config,
        max_sessions=3,
        max_queue=1,
        step_target_ms=10,
        threads=3,
        speculation="on",
        parked_ram_mib=0,
    )
    assert bench.config.reload_for(changed) == ()
    bench.core.post(Change(changed))
    bench.core.step()
    assert len(bench.core.scheduler.running) == 3
    assert bench.backend.threads == 3
    assert bench.core.scheduler.limits.max_queue == 1
    assert not bench.core.parking.takes(1)
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcdefgh"] * 3
    assert any(item.drafts for plan in bench.backend.plans for item in plan.work) is False  # nothing repeats


async def test_fewer_places_let_what_runs_end() -> None:
    bench = Bench(max_sessions=3)
    streams = [bench.submit(text) for text in ("one", "two", "three")]
    bench.core.step()
    bench.core.post(Change(replace(bench.config, max_sessions=1)))
    late = bench.submit("late")
    bench.core.step()
    assert len(bench.core.scheduler.running) == 3
    bench.run()
    assert [await read(stream) for stream in (*streams, late)] == ["abcdefgh"] * 4


def test_settings_that_need_a_reload_are_named() -> None:
    other = replace(CONFIG, context_tokens=4096, kv_type="q8_0", threads=2)
    assert CONFIG.reload_for(other) == ("context_tokens", "kv_type")
    assert CONFIG.reload_for(replace(CONFIG, max_sessions=4)) == ()
    assert CONFIG.reload_for(replace(CONFIG, max_sessions=5)) == ("max_sessions",)


# Reloads


class Loader:
    """Makes backends, each for a context of the configured size."""

    def __init__(self) -> None:
        self.made: list[Gated] = []
        self.fails = 0
        self.hold = self.waiting = False

    def __call__(self, config: EngineConfig, progress: Any) -> Gated:
        assert all(backend.closed for backend in self.made), "two models at once"
        progress(0.5)
        if self.hold:
            self.hold, self.waiting = False, True
            while progress(0.6):
                time.sleep(0.001)
            raise LoadCancelled("stopped")
        if self.fails:
            self.fails -= 1
            raise ModelTooLarge("no room")
        self.made.append(Gated(cells=config.context_tokens or 1024))
        return self.made[-1]


class Turnstile(Condition):
    """The engine's gate, counting who waits at it.

    Attributes:
        waiting: threads that want in, or wait until all have left.
    """

    waiting = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waiting += 1
        try:
            return super().wait(timeout)
        finally:
            self.waiting -= 1


def _turnstile(engine: Engine) -> Turnstile:
    """Count who waits at the gate of an engine that nobody uses yet."""
    engine._gate._moved = turnstile = Turnstile()
    return turnstile


def _worker(engine: Engine) -> EngineWorker:
    assert engine._worker is not None
    return engine._worker


async def _some(stream: TokenStream) -> str:
    return (await anext(stream)).text


async def test_a_reload_keeps_every_chat() -> None:
    loader = Loader()
    config = replace(CONFIG, max_sessions=2)
    async with Engine(config, load=loader) as engine:
        assert engine.load_s > 0
        assert await read(engine.submit(request("idle" * 30, "idle", max_tokens=4))) == "abcd"
        running = [engine.submit(request(text, text, max_tokens=2000)) for text in ("one", "two")]
        texts = [await _some(stream) for stream in running]
        waiting = engine.submit(request("three"))
        progress: list[float] = []
        changed = replace(config, context_tokens=8192, max_sessions=2)
        assert engine.reload_for(changed) == ("context_tokens",)
        await engine.change(changed, progress.append)
        assert engine.config is changed
        assert engine.info.kv_cells == 8192
        assert progress == [0.5]
        for stream in running:
            stream.cancel()
        texts = [text + await read(stream) for text, stream in zip(texts, running, strict=True)]
        assert all(ALPHABET.startswith(text) for text in texts)
        assert await read(waiting) == ALPHABET[:60]
        first, second = loader.made
        assert first.closed
        assert not second.closed
        assert await read(engine.submit(request("idle" * 30, "idle", max_tokens=4))) == "abcd"
        restored = [m for plan in second.plans for m in plan.moves if isinstance(m, Restore)]
        assert restored, "an idle chat is parked and brought back"


async def test_prompts_and_counts_wait_for_a_reload() -> None:
    loader = Loader()
    async with Engine(CONFIG, load=loader) as engine:
        turnstile = _turnstile(engine)
        old = loader.made[0]
        old.let.clear()
        busy = engine.submit(request("busy", max_tokens=3))
        await until(old.entered.is_set)
        change = asyncio.create_task(engine.change(replace(CONFIG, context_tokens=2048)))
        await until(lambda: _worker(engine)._reload is not None)
        count = asyncio.create_task(asyncio.to_thread(engine.count_tokens, "four"))
        later = engine.submit(request("later", max_tokens=3))
        await until(lambda: turnstile.waiting == 2 or count.done() or change.done())
        assert not count.done()
        assert not change.done()
        old.let.set()
        await change
        assert await count == 4
        assert [await read(stream) for stream in (busy, later)] == ["abc", "abc"]


async def test_a_reload_that_fails_goes_back_to_the_old_settings() -> None:
    loader = Loader()
    async with Engine(CONFIG, load=loader) as engine:
        stream = engine.submit(request("hi", max_tokens=500))
        text = await _some(stream)
        loader.fails = 1
        with pytest.raises(ModelTooLarge):
            await engine.change(replace(CONFIG, context_tokens=4096))
        assert engine.config is CONFIG
        assert text + await read(stream) == ALPHABET[:500]
        assert len(loader.made) == 2


async def test_when_the_old_settings_fail_too_every_reader_is_told() -> None:
    loader = Loader()
    engine = Engine(CONFIG, load=loader)
    await engine.start()
    stream = engine.submit(request("hi", max_tokens=500))
    await _some(stream)
    loader.fails = 2
    with pytest.raises(ModelTooLarge):
        await engine.change(replace(CONFIG, context_tokens=4096))
    with pytest.raises(EngineCrashed):
        await read(stream)
    with pytest.raises(EngineCrashed):
        engine.submit(request("again"))
    await engine.close()
    assert loader.made[0].closed


async def test_what_no_longer_fits_a_smaller_context_is_told() -> None:
    loader = Loader()
    async with Engine(replace(CONFIG, context_tokens=20_000), load=loader) as engine:
        long = engine.submit(request("x" * 700, max_tokens=5000))
        grown = engine.submit(request("y" * 500, max_tokens=5000))
        await _some(long)
        text = await _some(grown)
        while len(text) < 60:
            text += await _some(grown)
        await engine.change(replace(CONFIG, context_tokens=520, batch_tokens=512))
        with pytest.raises(PromptTooLong):
            await read(long)
        text += await read(grown)
        assert ALPHABET.startswith(text)
        assert grown.finish_reason is FinishReason.CONTEXT


async def test_a_fault_before_the_load_ends_the_change_and_the_engine() -> None:
    loader = Loader()
    engine = Engine(CONFIG, load=loader)
    await engine.start()
    core = engine._core
    assert core is not None

    def broken() -> None:
        raise MemoryError("no more")

    core.suspend = broken  # type: ignore[method-assign]
    with pytest.raises(EngineCrashed, match="no more"):
        await asyncio.wait_for(engine.change(replace(CONFIG, context_tokens=4096)), 60)
    await until(lambda: engine._worker is not None and engine._worker.crash is not None)
    with pytest.raises(EngineCrashed):
        engine.count_tokens("four")
    await engine.close()


async def test_close_stops_a_load_and_a_reload() -> None:
    loader = Loader()
    loader.hold = True
    engine = Engine(CONFIG, load=loader)
    starting = asyncio.create_task(engine.start())
    await until(lambda: loader.waiting)
    await asyncio.wait_for(engine.close(), 60)
    with pytest.raises((EngineClosed, LoadCancelled)):
        await starting
    loader = Loader()
    engine = Engine(CONFIG, load=loader)
    await engine.start()
    stream = engine.submit(request("hi", max_tokens=5000))
    await _some(stream)
    loader.hold = True
    change = asyncio.create_task(engine.change(replace(CONFIG, context_tokens=4096)))
    await until(lambda: loader.waiting)
    await asyncio.wait_for(engine.close(), 60)
    with pytest.raises((EngineClosed, LoadCancelled)):
        await change
    with pytest.raises(EngineClosed) as told:
        await read(stream)
    assert type(told.value) is EngineClosed, "and nothing was computed on a closed model"
    assert len(loader.made) == 1


async def test_paused_requests_take_nobody_s_place() -> None:
    bench = Bench(max_sessions=1, max_queue=1)
    first, second = bench.submit("one"), bench.submit("two")
    first.held = second.held = True
    bench.core.step()
    assert not bench.core.scheduler.running or not bench.core.scheduler.preempted
    third = bench.submit("three")
    bench.run()
    assert await read(third) == "abcdefgh"
    first.held = second.held = False
    for stream in (first, second):
        bench.core.post(Adjust(stream))
    bench.run()
    assert [await read(stream) for stream in (first, second)] == ["abcdefgh"] * 2


async def test_room_for_parked_states_comes_and_goes() -> None:
    bench = Bench(max_sessions=1, cached_sessions=0, parked_ram_mib=0)
    bench.core.post(Change(replace(bench.config, parked_ram_mib=1)))
    for session in ("a", "b"):
        bench.submit(session * 100, session_id=session)
        bench.run()
    assert bench.core.parking.count == 1
    key = next(iter(bench.core.parking._entries))
    assert bench.core.parking.fetch(key) is not None
    bench.core.post(Change(replace(bench.config, parked_ram_mib=0)))
    bench.run()
    bench.core.parking.leave(key)
    assert bench.core.parking.count == 0


async def test_another_model_needs_another_engine() -> None:
    async with Engine(CONFIG, load=Loader()) as engine:
        with pytest.raises(ConfigError, match=r"other\.gguf is another model"):
            await engine.change(replace(CONFIG, model_path=Path("other.gguf")))
    with pytest.raises(EngineClosed):
        await engine.change(CONFIG)


async def test_close_during_a_reload_ends_it() -> None:
    loader = Loader()
    engine = Engine(CONFIG, load=loader)
    await engine.start()
    old = loader.made[0]
    old.let.clear()
    stream = engine.submit(request("busy"))
    await until(old.entered.is_set)
    worker = _worker(engine)
    change = asyncio.create_task(engine.change(replace(CONFIG, context_tokens=2048)))
    await until(lambda: worker._reload is not None)
    closing = asyncio.create_task(engine.close())
    await until(lambda: worker._stopping)
    old.let.set()
    await asyncio.wait_for(closing, 10)
    with pytest.raises(EngineClosed):
        await change
    with pytest.raises(EngineClosed):
        await read(stream)


async def test_a_setting_changes_beside_requests() -> None:
    async with Engine(CONFIG, load=Loader()) as engine:
        streams = [engine.submit(request(text)) for text in ("one", "two", "three")]
        await engine.change(replace(CONFIG, max_sessions=3, step_target_ms=5))
        assert [await read(stream) for stream in streams] == [ALPHABET[:60]] * 3
        await settle(engine)
        assert engine.stats().max_sessions == 3


async def test_a_cancelled_change_goes_back_to_the_old_settings() -> None:
    loader = Loader()
    async with Engine(replace(CONFIG, max_sessions=1), load=loader) as engine:
        await engine.change(replace(engine.config, max_sessions=3))
        stream = engine.submit(request("hi", max_tokens=300))
        text = await _some(stream)
        loader.hold = True
        change = asyncio.create_task(engine.change(replace(engine.config, context_tokens=4096)))
        await until(lambda: loader.waiting)
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await change
        assert engine.count_tokens("four") == 4
        assert text + await read(stream) == ALPHABET[:300]
        assert engine.config.context_tokens == 0
        await settle(engine)
        assert engine.stats().max_sessions == 3, "what was changed live counts"


async def test_a_change_that_is_cancelled_before_it_began_changes_nothing() -> None:
    loader = Loader()
    async with Engine(CONFIG, load=loader) as engine:
        turnstile = _turnstile(engine)
        with engine._gate.passing():  # as a prompt that is being read
            change = asyncio.create_task(engine.change(replace(CONFIG, context_tokens=4096)))
            await until(lambda: turnstile.waiting)
            change.cancel()
            await asyncio.sleep(0)  # the loop tells the task before it returns here
            assert not change.done()
        with pytest.raises(asyncio.CancelledError):
            await change
        assert await read(engine.submit(request("hi", max_tokens=3))) == "abc"
        assert len(loader.made) == 1
