"""What the fuzzers found in the engine, one test for each bug."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from engine_tests.fakes import Bench, FakeBackend, read
from engine_tests.fuzz.core_player import play_core
from engine_tests.fuzz.program import Ask, Fault, Setup, Step

from engine import (
    ChatMessage,
    Engine,
    EngineConfig,
    EngineCrashed,
    GenerationRequest,
    Priority,
    SamplingParams,
)
from engine.core import Forget
from engine.step import StepStatus

HEAD = "A" * 40


@pytest.mark.parametrize("method", ["open_sampler", "close_sampler"])
async def test_a_crash_while_a_request_comes_or_goes_is_told_to_its_reader(method: str) -> None:
    backend = FakeBackend()

    def broken(*_: object) -> None:
        raise MemoryError("no more")

    setattr(backend, method, broken)
    engine = Engine(EngineConfig(model_path=Path("fake.gguf")), load=lambda config, progress: backend)
    await engine.start()
    stream = engine.submit(GenerationRequest(text="hi", sampling=SamplingParams(max_tokens=2)))
    with pytest.raises(EngineCrashed, match="no more"):
        await asyncio.wait_for(read(stream), 60)
    await engine.close()


async def test_a_second_answer_that_is_being_written_is_forgotten_with_its_session() -> None:
    bench = Bench()
    streams = [bench.submit("A" * 40, session_id=session, max_tokens=8) for session in ("a", None)]
    bench.core.step()
    bench.core.post(Forget("a"))
    bench.run()
    assert [await read(stream) for stream in streams] == ["abcdefgh"] * 2
    assert bench.backend.used == bench.core.scheduler.cache.used == 0


@pytest.mark.parametrize("cuts", [True, False])
async def test_the_head_of_a_session_forgotten_while_its_prompt_is_computed_is_not_kept(cuts: bool) -> None:
    bench = Bench(partial_removal=cuts)
    stream = bench.submit("x", system=HEAD, session_id="a", max_tokens=2)
    bench.core.post(Forget("a"))
    bench.run()
    assert await read(stream) == "ab"
    assert bench.backend.used == bench.core.scheduler.cache.used == 0
    assert not bench.core.scheduler.cache._pins


async def test_a_prompt_that_is_still_prepared_is_forgotten_with_its_session() -> None:
    rendering, gate = Event(), Event()

    class Gated(FakeBackend):
        def render(self, messages: Sequence[ChatMessage], **given: Any) -> str:
            rendering.set()
            assert gate.wait(60)
            return super().render(messages, **given)

    backend = Gated()
    config = EngineConfig(model_path=Path("fake.gguf"))
    async with Engine(config, load=lambda config, progress: backend) as engine:
        message = ChatMessage("user", "A" * 40)
        stream = engine.submit(
            GenerationRequest(messages=[message], sampling=SamplingParams(max_tokens=2), session_id="a")
        )
        await asyncio.to_thread(rendering.wait, 60)
        engine.forget("a")
        gate.set()
        assert await asyncio.wait_for(read(stream), 60) == "ab"
        after = engine.submit(GenerationRequest(text="X", sampling=SamplingParams(max_tokens=2)))
        assert await asyncio.wait_for(read(after), 60) == "ab"
    assert not any(ord("A") in backend.tokens(slot) for slot in backend.kv)


async def test_a_request_that_is_admitted_again_in_the_step_that_preempts_it_leaves_no_parked_state() -> None:
    """A broken pass lost the cells that two requests shared: one has to leave, and then fits after all."""
    setup = Setup("unified", 2, 0, 96, 0, True, False, "on", 500, 64, 1024, 32, False)
    ask = Ask(None, 2, 0, False, 2, (), False, Priority.BACKGROUND, False, 2, "messages", False)
    more = replace(ask, head=0, limit=None, n=1)
    step = Step(1)
    broken = Fault(StepStatus.PARTIAL, 1, 0, 0)
    for cuts in (False, True):
        await play_core(replace(setup, cuts=cuts), [ask, step, step, step, more, more, broken])
