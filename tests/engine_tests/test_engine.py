"""The engine with its thread, on a fake backend: life, death and what readers are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from engine_tests.fakes import FakeBackend, read

from engine import (
    ChatMessage,
    ConfigError,
    Engine,
    EngineClosed,
    EngineConfig,
    EngineCrashed,
    EngineStats,
    FinishReason,
    GenerationFailed,
    GenerationRequest,
    InvalidRequest,
    LoadCancelled,
    ModelCorrupt,
    PromptTooLong,
    SamplingParams,
    TemplateError,
)
from engine.step import StepPlan, StepResult
from engine.worker import EngineWorker

CONFIG = EngineConfig(model_path=Path("fake.gguf"))


def request(text: str, **sampling: object) -> GenerationRequest:
    params = SamplingParams(**({"max_tokens": 5} | sampling))  # type: ignore[arg-type]
    return GenerationRequest(messages=[ChatMessage("user", text)], sampling=params)


def fake(backend: FakeBackend) -> Engine:
    return Engine(CONFIG, load=lambda config, progress: backend)


class Slow(FakeBackend):
    """Takes a moment per step, so that a test can act in the middle."""

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        time.sleep(0.005)
        return super().execute(plan, meanwhile)


class Dying(FakeBackend):
    """Breaks once three requests decode together."""

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        if len(plan.work) == 3:
            raise MemoryError("no more")
        return super().execute(plan, meanwhile)


async def test_a_whole_life() -> None:
    backend = FakeBackend()
    async with fake(backend) as engine:
        assert engine.info.name == "fake"
        assert await read(engine.submit(request("hi"))) == "abcde"
        assert engine.count_tokens("four") == 4
        assert engine.count_prompt([ChatMessage("user", "four")]) == 5
        assert engine.stats().requests_done == 1
    assert backend.closed


async def test_the_reader_is_told_what_kept_a_request_from_being_served() -> None:
    async with fake(FakeBackend(cells=64)) as engine:
        with pytest.raises(PromptTooLong):
            await read(engine.submit(request("x" * 100)))
        with pytest.raises(TemplateError):
            await read(engine.submit(request("refuse me")))
        assert await read(engine.submit(request("hi"))) == "abcde"


async def test_an_empty_prompt_is_an_error() -> None:
    backend = FakeBackend()
    backend.render = lambda messages, **_: ""  # type: ignore[method-assign]
    async with fake(backend) as engine:
        with pytest.raises(InvalidRequest, match="empty"):
            await read(engine.submit(request("hi")))


async def test_cancel_from_the_reader() -> None:
    async with fake(Slow()) as engine:
        stream = engine.submit(request("hi", max_tokens=500))
        await anext(stream)
        stream.cancel()
        await read(stream)
        assert stream.finish_reason is FinishReason.CANCELLED
        assert 0 < stream.timings.completion_tokens < 500


async def test_a_cancel_right_after_submit() -> None:
    async with fake(Slow()) as engine:
        stream = engine.submit(request("hi", max_tokens=500))
        stream.cancel()
        await read(stream)
        assert stream.finish_reason is FinishReason.CANCELLED


async def test_close_in_mid_answer_tells_the_reader() -> None:
    engine = fake(Slow())
    await engine.start()
    stream = engine.submit(request("hi", max_tokens=1000))
    first = await anext(stream)
    await engine.close()
    assert first.text.startswith("a")  # more when the reader was slow
    with pytest.raises(EngineClosed):
        await read(stream)
    with pytest.raises(EngineClosed):
        engine.submit(request("again"))
    await engine.close()


async def test_a_dead_engine_thread_is_told_to_every_reader_and_caller() -> None:
    backend = Dying(cells=100_000)
    engine = fake(backend)
    await engine.start()
    streams = [engine.submit(request("hi", max_tokens=10_000)) for _ in range(3)]
    for stream in streams:
        with pytest.raises(EngineCrashed, match="no more"):
            await read(stream)
    with pytest.raises(EngineCrashed):
        engine.submit(request("again"))
    await engine.close()
    assert backend.closed


def test_a_stop_whose_wake_up_a_step_drains_still_ends_the_thread() -> None:
    worker = EngineWorker(CONFIG, lambda config: FakeBackend())
    core, backend = worker.start().result(10)
    real = core.step

    def step_while_stopping() -> bool:
        worker._stopping = True
        core.post(None)
        return real()

    core.step = step_while_stopping  # type: ignore[method-assign]
    core.post(None)
    worker._thread.join(10)
    assert not worker._thread.is_alive()
    assert isinstance(backend, FakeBackend)
    assert backend.closed


class Gated(FakeBackend):
    """Prompts are rendered once the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.rendering, self.gate = Event(), Event()

    def render(self, messages: Sequence[ChatMessage], **_: Any) -> str:
        self.rendering.set()
        assert self.gate.wait(60)
        return super().render(messages)


async def test_close_tells_the_readers_of_prompts_that_are_still_prepared() -> None:
    backend = Gated()
    engine = fake(backend)
    await engine.start()
    streams = [engine.submit(request(f"hi {n}")) for n in range(3)]
    await asyncio.to_thread(backend.rendering.wait, 60)
    closing = asyncio.create_task(engine.close())
    for stream in streams:  # also the one whose preparation hangs
        with pytest.raises(EngineClosed):
            await asyncio.wait_for(read(stream), 60)
    backend.gate.set()
    await closing


async def test_a_cancel_while_the_prompt_is_prepared_waits_for_nothing() -> None:
    backend = Gated()
    async with fake(backend) as engine:
        stream = engine.submit(request("hi"))
        await asyncio.to_thread(backend.rendering.wait, 60)
        stream.cancel()
        assert await asyncio.wait_for(read(stream), 60) == ""
        assert stream.finish_reason is FinishReason.CANCELLED
        backend.gate.set()
        assert await read(engine.submit(request("hi"))) == "abcde"


async def test_a_prompt_that_is_ready_after_the_engine_thread_died_is_refused() -> None:
    class DyingWhilePreparing(Gated):
        def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
            raise MemoryError("no more")

        def render(self, messages: Sequence[ChatMessage], **_: Any) -> str:
            return super().render(messages) if messages[0].content == "late" else messages[0].content

    backend = DyingWhilePreparing()
    engine = fake(backend)
    await engine.start()
    late = engine.submit(request("late", grammar='root ::= "a"'))  # those have a thread of their own
    await asyncio.to_thread(backend.rendering.wait, 60)
    core = engine._core
    assert core is not None
    first = engine.submit(request("hi"))
    with pytest.raises(EngineCrashed):
        await asyncio.wait_for(read(first), 60)
    engine._running = lambda: (core, backend)  # type: ignore[method-assign] # as just before the crash was known
    backend.gate.set()
    with pytest.raises(EngineCrashed):
        await asyncio.wait_for(read(late), 60)
    await engine.close()


async def test_what_breaks_after_the_load_is_raised_by_start_and_frees_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("engine.worker.EngineCore", broken)
    backend = FakeBackend()
    engine = fake(backend)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(engine.start(), 60)
    assert backend.closed
    await engine.close()


async def test_what_is_no_session_or_no_request_is_refused_before_it_reaches_the_thread() -> None:
    engine = fake(FakeBackend())
    await engine.start()
    stream = engine.submit(request("hi"))
    wrong: list[Any] = [[], None, 5, float("nan")]
    for value in wrong:
        with pytest.raises(InvalidRequest, match="A session's id must be a text"):
            engine.forget(value)
        with pytest.raises(InvalidRequest):
            engine.submit(value)
        with pytest.raises(InvalidRequest):
            engine.candidates(value)
        with pytest.raises(InvalidRequest):
            engine.tokenize(value)
        with pytest.raises(InvalidRequest):
            engine.change_sampling(stream, value)
        with pytest.raises(ConfigError):
            await engine.change(value)
    for value in (v for v in wrong if v is not None):
        with pytest.raises(InvalidRequest, match="A session's id must be a text"):
            engine.focus(value)
    for tokens in (5, None, iter([1])):
        with pytest.raises(InvalidRequest):
            engine.detokenize(tokens)  # type: ignore[arg-type]
    assert await read(stream) == "abcde"
    await engine.close()


async def test_an_engine_is_started_once() -> None:
    engine = fake(FakeBackend())
    await engine.start()
    with pytest.raises(ConfigError, match="started already"):
        await engine.start()
    worker = engine._worker
    await engine.close()
    assert worker is not None
    assert not worker._thread.is_alive(), "the first worker is the one that ends"
    with pytest.raises(EngineClosed, match="was closed"):
        await engine.start()


async def test_a_load_that_fails_is_raised_by_start() -> None:
    def load(config: EngineConfig, progress: Callable[[float], bool]) -> FakeBackend:
        raise ModelCorrupt("not a model")

    engine = Engine(CONFIG, load=load)
    with pytest.raises(ModelCorrupt, match="not a model"):
        await engine.start()
    await engine.close()


async def test_a_load_shows_progress_and_can_be_cancelled() -> None:
    seen: list[float] = []
    loading = asyncio.Event()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def load(config: EngineConfig, progress: Callable[[float], bool]) -> FakeBackend:
        for percent in range(10_000):
            if not progress(percent / 10_000):
                loop.call_soon_threadsafe(stopped.set)
                raise LoadCancelled("stopped")
            time.sleep(0.002)
        return FakeBackend()

    engine = Engine(CONFIG, load=load)

    def on_progress(fraction: float) -> None:
        seen.append(fraction)
        if len(seen) == 3:
            loading.set()

    task = asyncio.create_task(engine.start(on_progress))
    await loading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(stopped.wait(), 10)
    assert seen == sorted(seen)
    await engine.close()


async def test_sixteen_readers_at_once() -> None:
    async with fake(Slow(cells=4096)) as engine:
        texts = await asyncio.gather(
            *(read(engine.submit(request(f"hi {n}", max_tokens=10))) for n in range(16))
        )
        assert texts == ["abcdefghij"] * 16


async def test_whatever_breaks_while_a_prompt_is_prepared_reaches_its_reader() -> None:
    class Broken(FakeBackend):
        def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
            raise ZeroDivisionError("a bug")

    async with fake(Broken()) as engine:
        with pytest.raises(GenerationFailed, match="could not be prepared: a bug"):
            await asyncio.wait_for(read(engine.submit(request("hi"))), 10)


def test_the_load_is_the_share_of_requests_that_the_engine_can_serve(
    starter_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(EngineConfig(model_path=starter_model))
    assert engine.load == 0.0
    for active, waiting, load in ((0, 0, 0.0), (2, 1, 0.75), (4, 9, 1.0)):
        now = EngineStats(active=active, waiting=waiting, max_sessions=4)
        monkeypatch.setattr(engine, "stats", lambda now=now: now)
        assert engine.load == load
