"""However an answer came about, it is the one that a cold prefill alone would have given.

Batched, from a prefix another session computed, forked, parked and restored, preempted, drafted: on two
models and in both layouts of the KV cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from engine_tests.real import (
    THREADS,
    Answer,
    Recording,
    ask,
    backend_of,
    compare,
    drop_unowned,
    read,
    request,
    settle,
)

from engine import Engine, EngineConfig, FinishReason

RULES = " ".join(f"Rule {n}: the keeper of lighthouse {n} answers briefly and politely." for n in range(5))
Start = Callable[..., AbstractAsyncContextManager[Engine]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(params=[pytest.param("starter", marks=pytest.mark.campaign), "gemma"])
def model(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(f"{request.param}_model"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("starter", "unified"), id="starter-unified"),
        # The other model and layout are in `test_second_model` and in `test_soak`; these take two minutes.
        pytest.param(("gemma", "split"), id="gemma-split", marks=pytest.mark.campaign),
        pytest.param(("starter", "split"), id="starter-split", marks=pytest.mark.campaign),
        pytest.param(("gemma", "unified"), id="gemma-unified", marks=pytest.mark.campaign),
    ],
)
def start(request: pytest.FixtureRequest) -> Start:
    """Makes engines whose logits are recorded."""
    name, layout = request.param
    model = Path(request.getfixturevalue(f"{name}_model"))

    @asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[Engine]:
        defaults: dict[str, Any] = {
            "max_sessions": 4,
            "cached_sessions": 4,
            "context_tokens": 2560,
            "speculation": "off",
            "threads": THREADS,
        }
        config = EngineConfig(model_path=model, kv_layout=layout, **(defaults | settings))
        async with Engine(config, load=Recording) as engine:
            yield engine

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(start: Start) -> AsyncIterator[Engine]:
    async with start() as engine:
        yield engine


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    """An engine that the tests share. Each begins its prompts in its own way and forgets its sessions."""
    yield shared
    backend = backend_of(shared)
    assert isinstance(backend, Recording)
    backend.rows.clear()  # up to a megabyte a token


async def alone(engine: Engine, *contents: str, **options: Any) -> Answer:
    """The answer of a cold prefill, with nothing else in the batch; it leaves nothing to share."""
    await drop_unowned(engine)
    answer = await ask(engine, *contents, **options)
    assert answer.timings.cached_tokens == 0
    await drop_unowned(engine)
    return answer


async def test_batched(engine: Engine) -> None:
    questions = [f"Tell me something about the number {n}." for n in range(5)]
    how: dict[str, Any] = {"max_tokens": 12, "ignore_eos": True}
    cold = [await alone(engine, question, **how) for question in questions]
    together = await asyncio.gather(*(ask(engine, question, **how) for question in questions))
    assert sum(map(compare, cold, together)) >= 20


async def test_a_prefix_that_another_session_computed(engine: Engine) -> None:
    system = f"First of all: {RULES}"
    cold = await alone(engine, "Who are you?", system=system, max_tokens=8)
    await ask(engine, "Good evening!", system=system, session_id="other", max_tokens=4)
    warm = await ask(engine, "Who are you?", system=system, max_tokens=8)
    assert warm.timings.cached_tokens > 0.75 * warm.timings.prompt_tokens
    compare(cold, warm)
    engine.forget("other")


async def test_many_that_wait_for_one_prefix(engine: Engine) -> None:
    prompts = [f"Many: {RULES} {question}" for question in ("Who?", "Where is the sea?")]
    cold = [await alone(engine, prompt, max_tokens=8) for prompt in prompts]
    await settle(engine)
    before = engine.stats().computed_tokens
    together = await asyncio.gather(*(ask(engine, prompt, max_tokens=8) for prompt in prompts))
    await settle(engine)
    computed = engine.stats().computed_tokens - before
    assert computed < cold[0].timings.prompt_tokens + 2 * 40
    for left, right in zip(cold, together, strict=True):
        compare(left, right)


async def test_candidates_read_their_prompt_once(engine: Engine) -> None:
    prompt = f"Once: {RULES} Who are you?"
    cold = await alone(engine, prompt, max_tokens=8)
    await settle(engine)
    before = engine.stats().computed_tokens
    streams = engine.candidates(request(prompt, max_tokens=8, n=4))
    answers = await asyncio.gather(*map(read, streams))
    backend = backend_of(engine)
    assert isinstance(backend, Recording)
    for stream, answer in zip(streams, answers, strict=True):
        answer.rows = backend.rows_of(stream)
        compare(cold, answer)
    await settle(engine)
    assert engine.stats().computed_tokens - before <= 1.05 * cold.timings.prompt_tokens


async def test_a_branch_from_an_earlier_message(engine: Engine) -> None:
    system = f"Branches: {RULES}"
    first = await ask(engine, "Name a colour.", system=system, session_id="trunk", max_tokens=8)
    turns = ("Name a colour.", first.text, "Name another.")
    second = await ask(engine, *turns, system=system, session_id="trunk", max_tokens=8)
    branch = ("Name a colour.", first.text, "Name an animal.")
    warm = await ask(engine, *branch, system=system, session_id="branch", max_tokens=8)
    again = await ask(engine, *turns, second.text, "Thanks.", system=system, session_id="trunk", max_tokens=4)
    assert warm.timings.cached_tokens > first.timings.prompt_tokens - 8
    assert again.timings.cached_tokens > second.timings.prompt_tokens - 8, "the trunk is still there"
    for name in ("trunk", "branch"):
        engine.forget(name)
    compare(await _fresh(engine, *branch, system=system, max_tokens=8), warm)


async def _fresh(engine: Engine, *contents: str, **options: Any) -> Answer:
    """An answer that shares at most a pinned system prompt."""
    await settle(engine)
    return await ask(engine, *contents, **options)


async def test_parked_and_restored(start: Start) -> None:
    """More sessions than slots: the idle ones are saved and come back as they were."""
    async with start(max_sessions=1, cached_sessions=0) as engine:
        names = ["Ada", "Bo"]
        turns = [
            (f"{name} " * 16 + f"My name is {name}. Tell me a long story about me.", "Once upon a time.")
            for name in names
        ]
        cold = [await alone(engine, *turn, "What is my name?", max_tokens=8) for turn in turns]
        for name, turn in zip(names, turns, strict=True):
            await ask(engine, turn[0], session_id=name, max_tokens=8)
        warm = [
            await ask(engine, *turn, "What is my name?", session_id=name, max_tokens=8)
            for name, turn in zip(names, turns, strict=True)
        ]
        assert engine.stats().restored >= 2, "parked, and brought back"
        assert engine.stats().requests_failed == 0
        assert [answer.timings.cached_tokens > 8 for answer in warm] == [True] * 2
        for left, right in zip(cold, warm, strict=True):
            compare(left, right)


async def test_drafted(start: Start, engine: Engine) -> None:
    lines = "Repeat exactly: " + " ".join(f"The lighthouse number {n} is white." for n in range(6))
    plain = await alone(engine, lines, max_tokens=32)
    async with start(speculation="on") as drafting:
        drafted = await alone(drafting, lines, max_tokens=32)
        await settle(drafting)
        assert drafting.stats().drafted_tokens > 0
    compared = compare(plain, drafted)
    if compared == len(plain.rows) == len(drafted.rows):
        assert drafted.text == plain.text


async def test_preempted_in_mid_answer(model: Path) -> None:
    """Two answers outgrow the cells: one leaves, comes back from RAM, and continues as if nothing had
    happened."""
    config = EngineConfig(
        model_path=model,
        max_sessions=2,
        cached_sessions=0,
        context_tokens=256,
        batch_tokens=64,
        threads=THREADS,
        kv_layout="unified",
        speculation="off",
    )
    prompts = [f"Count on: {', '.join(map(str, range(n, n + 18)))}," for n in (11, 70)]
    async with Engine(config, load=Recording) as engine:
        cold = [
            await alone(engine, prompt, max_tokens=length, ignore_eos=True)
            for prompt, length in zip(prompts, (8, 60), strict=True)  # the second, newer one has to leave
        ]
        both = await asyncio.gather(
            *(ask(engine, prompt, max_tokens=60, ignore_eos=True) for prompt in prompts)
        )
        stats = engine.stats()
        assert (stats.preempted > 0, stats.restored > 0, stats.requests_failed) == (True, True, 0)
        assert [answer.reason for answer in both] == [FinishReason.LENGTH] * 2
        for left, right in zip(cold, both, strict=True):
            compare(left, right)
