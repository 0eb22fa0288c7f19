"""Recurrent and hybrid models, whose memory cannot be cut: real llama.cpp with random weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from engine_tests.llama.test_faults import FailingLibrary
from engine_tests.real import THREADS, Answer, Recording, ask, backend_of, compare, read, request, settle

import engine.llama.backend
import engine.llama.memory
from engine import Engine, EngineConfig
from engine.llama.lib import lib

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSTEM = "You keep the lighthouse of a small island and answer all letters that arrive by boat. " * 3


@pytest.fixture(scope="module", params=["recurrent", "hybrid"])
def model(request: pytest.FixtureRequest, random_model: Callable[[str], Path]) -> Path:
    return random_model(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(model: Path) -> AsyncIterator[tuple[Engine, FailingLibrary]]:
    """An engine and the library it calls."""
    library = FailingLibrary(lib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.llama.backend, "lib", library)
        patch.setattr(engine.llama.memory, "lib", library)
        config = EngineConfig(
            model_path=model, max_sessions=4, cached_sessions=8, context_tokens=4096, threads=THREADS
        )
        async with Engine(config, load=Recording) as running:
            yield running, library


@pytest.fixture
def running(served: tuple[Engine, FailingLibrary]) -> Engine:
    return served[0]


async def cold(engine: Engine, *contents: str, **options: object) -> Answer:
    """The answer of a prompt that nothing is known of."""
    for number in range(8):
        engine.forget(f"s{number}")
    await settle(engine)
    core = engine._core
    assert core is not None
    while (moves := core.scheduler.cache.evict()) is not None:  # the idle engine thread is not in the way
        core._make(moves)
    answer = await ask(engine, *contents, ignore_eos=True, **options)
    assert answer.timings.cached_tokens == 0
    return answer


async def test_the_memory_of_such_models_is_known(running: Engine) -> None:
    assert not running.info.partial_removal


async def test_an_answer_generated_again_reads_its_prompt_from_a_checkpoint(running: Engine) -> None:
    question = ("Tell me of the sea. " * 12,)
    first = await cold(running, *question, session_id="s0", max_tokens=12)
    again = await ask(running, *question, session_id="s0", max_tokens=12, ignore_eos=True)
    assert first.timings.prompt_tokens - again.timings.cached_tokens < 12
    assert compare(first, again) == 12


async def test_a_history_without_the_thinking_is_not_read_again(running: Engine) -> None:
    """As from a template that leaves out what the model thought: the prompt goes on as the answer did not."""
    question = "Tell me of the moon. " * 12
    first = await cold(running, question, session_id="s1", max_tokens=30)
    turns = (question, "It is far away.", "How far?")
    second = await ask(running, *turns, session_id="s1", max_tokens=12, ignore_eos=True)
    assert second.timings.cached_tokens > first.timings.prompt_tokens - 12
    compare(await cold(running, *turns, max_tokens=12), second)


async def test_a_system_prompt_is_read_once(running: Engine) -> None:
    await cold(running, "Good morning!", system=SYSTEM, session_id="s2", max_tokens=4)
    other = await ask(running, "Who are you?", system=SYSTEM, session_id="s3", max_tokens=12, ignore_eos=True)
    assert other.timings.cached_tokens > 40
    compare(await cold(running, "Who are you?", system=SYSTEM, max_tokens=12), other)


async def test_candidates_read_their_prompt_once(running: Engine) -> None:
    question = "Count the waves of the sea. " * 12
    alone = await cold(running, question, max_tokens=8)
    await cold(running, "Another question.", max_tokens=1)
    before = running.stats().computed_tokens
    streams = running.candidates(request(question, max_tokens=8, ignore_eos=True, n=3))
    answers = await asyncio.gather(*map(read, streams))
    await settle(running)
    assert {answer.text for answer in answers} == {alone.text}
    assert running.stats().computed_tokens - before < alone.timings.prompt_tokens + 3 * 12


@pytest.mark.parametrize("code", [2, -2, -3])
async def test_a_broken_forward_pass_changes_no_answer_and_ends_nothing(
    served: tuple[Engine, FailingLibrary], code: int
) -> None:
    running, library = served
    questions = [f"Tell me about the number {n}. " * 4 for n in range(3)]
    calm = [await cold(running, question, max_tokens=12) for question in questions]
    await cold(running, "Another question.", max_tokens=1)
    library.codes = [0, code, 0, 0, code, 0, 0, code]
    answers = await asyncio.gather(
        *(
            ask(running, question, session_id=f"s{n}", max_tokens=12, ignore_eos=True)
            for n, question in enumerate(questions)
        )
    )
    assert library.codes == []
    for left, right in zip(calm, answers, strict=True):
        compare(left, right)
    assert running.stats().requests_failed == 0


async def test_nothing_is_left_behind(running: Engine) -> None:
    await cold(running, "The last question.", max_tokens=1)
    cache = running._core.scheduler.cache  # type: ignore[union-attr]
    await settle(running)
    while (moves := cache.evict()) is not None:
        running._core._make(moves)  # type: ignore[union-attr]
    assert cache.used == 0
    assert [backend_of(running).resident(slot) for slot in range(running.config.sequences)] == [0] * 12
