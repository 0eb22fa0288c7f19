"""The engine on llama.cpp itself, with the starter model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from engine_tests.real import THREADS, ask, backend_of, drop_unowned, read, request, settle

from engine import (
    Engine,
    EngineConfig,
    FinishReason,
    PromptTooLong,
)
from engine.llama.lib import lib

CAPITAL = "Which city is the capital of France? Answer in one short sentence."

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(starter_model: Path) -> AsyncIterator[Engine]:
    """One engine for all tests here; each leaves it as it found it."""
    config = EngineConfig(
        model_path=starter_model, max_sessions=8, context_tokens=4096, batch_tokens=128, threads=THREADS
    )
    async with Engine(config) as engine:
        yield engine


async def test_it_answers(engine: Engine) -> None:
    answer = await ask(engine, CAPITAL)
    assert "Paris" in answer.text
    assert answer.reason is FinishReason.STOP
    assert answer.timings.prompt_tokens > 20
    assert answer.timings.ttft_s > 0
    assert "<|im_end|>" not in answer.text


async def test_it_knows_the_model(engine: Engine) -> None:
    info = engine.info
    assert info.template_name == "gguf"
    assert (info.context_tokens, info.trained_context, info.kv_cells) == (4096, 8192, 4096)
    assert info.vocab_size == 49_152
    assert info.kv_bytes_per_token == 30 * 3 * 64 * 2 * 2
    assert info.warnings == ()


async def test_every_step_waits_for_the_end_of_its_forward_pass(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU llama_decode only starts the work; steps without logits must be timed, too."""
    waits: list[object] = []
    monkeypatch.setattr(lib, "llama_synchronize", waits.append)
    steps = engine.stats().steps
    await ask(engine, "word " * 300, max_tokens=1)
    await settle(engine)
    assert engine.stats().steps - steps - 1 == len(waits) >= 2, "all but the last, which has logits"


async def test_four_sessions_stream_at_once(engine: Engine) -> None:
    questions = ["Tell me about the sea.", "Tell me about the moon.", "Count to ten.", "What is a cat?"]
    answers = await asyncio.gather(
        *(
            ask(engine, q, session_id=f"four-{i}", max_tokens=32, ignore_eos=True)
            for i, q in enumerate(questions)
        )
    )
    assert all(answer.text for answer in answers)
    assert len({answer.text for answer in answers}) == 4
    begin = max(answer.arrivals[0] for answer in answers)
    end = min(answer.arrivals[-1] for answer in answers)
    assert begin < end, "no moment at which all four were streaming"
    overlapping = [sum(begin <= at <= end for at in answer.arrivals) for answer in answers]
    assert min(overlapping) >= 2  # chunks, each of one token or several
    for index in range(4):
        engine.forget(f"four-{index}")


@pytest.mark.parametrize("temperature", [0.0, 0.9])
async def test_a_second_turn_finds_its_history_in_the_cache(engine: Engine, temperature: float) -> None:
    name = f"turns-{temperature}"
    question = "Write two sentences about the old lighthouse keeper and his dog."
    first = await ask(engine, question, session_id=name, temperature=temperature, max_tokens=60, seed=3)
    second = await ask(engine, question, first.text, "And then?", session_id=name, max_tokens=20)
    history = first.timings.prompt_tokens + first.timings.completion_tokens
    assert second.timings.cached_tokens >= 0.95 * history
    assert second.timings.cached_tokens < second.timings.prompt_tokens
    third = await ask(
        engine, question, first.text, "And then?", second.text, "Why?", session_id=name, max_tokens=8
    )
    history = second.timings.prompt_tokens + second.timings.completion_tokens
    assert third.timings.cached_tokens >= 0.95 * history
    engine.forget(name)


async def test_a_cached_history_gives_the_answer_of_a_cold_one(engine: Engine) -> None:
    first = await ask(engine, "Name three colours.", session_id="warm")
    warm = await ask(engine, "Name three colours.", first.text, "Name one more.", session_id="warm")
    engine.forget("warm")
    cold = await ask(engine, "Name three colours.", first.text, "Name one more.")
    assert warm.timings.cached_tokens > 0
    assert cold.timings.cached_tokens == 0
    assert warm.text[:20] == cold.text[:20]


async def test_the_same_seed_and_schedule_give_the_same_text(engine: Engine) -> None:
    question = "Tell me a story."
    one, two, other = [
        await ask(engine, question, temperature=1.0, seed=seed, max_tokens=20) for seed in (11, 11, 12)
    ]
    assert one.text == two.text
    assert one.text != other.text


async def test_max_tokens_and_stop_strings(engine: Engine) -> None:
    question = "Count from one to ten in words."
    short = await ask(engine, question, max_tokens=5)
    assert short.reason is FinishReason.LENGTH
    assert short.timings.completion_tokens == 5
    whole = await ask(engine, question, max_tokens=24)
    word = whole.text.split()[3]
    stopped = await ask(engine, question, max_tokens=24, stop=(word,))
    assert stopped.reason is FinishReason.STOP
    assert stopped.text == whole.text[: whole.text.index(word)]


async def test_penalties_change_the_answer(engine: Engine) -> None:
    question = "Repeat the word banana twenty times."
    plain, penalised = await asyncio.gather(
        ask(engine, question, max_tokens=40),
        ask(engine, question, max_tokens=40, repetition_penalty=1.8, frequency_penalty=1.0),
    )
    assert plain.text.lower().count("banana") > penalised.text.lower().count("banana")


async def test_a_greedy_chain_is_an_argmax(engine: Engine) -> None:
    question = "What is a cat?"
    argmax = await ask(engine, question, temperature=0.0, max_tokens=24)
    chain = await ask(
        engine, question, temperature=0.7, top_k=0, top_p=1e-6, min_p=0.0, seed=1, max_tokens=24
    )
    assert argmax.text == chain.text


async def test_a_long_prompt_does_not_hold_up_a_short_answer(engine: Engine) -> None:
    long = engine.submit(request("word " * 1000, max_tokens=1))
    short = await ask(engine, "Say hello.", max_tokens=4)
    assert short.timings.completion_tokens == 4
    long.cancel()
    assert (await read(long)).timings.completion_tokens == 0, "it was still reading"


async def test_a_prompt_longer_than_the_context_is_refused_with_numbers(engine: Engine) -> None:
    with pytest.raises(PromptTooLong, match="the context holds 4,096"):
        await ask(engine, "word " * 5000)
    assert "Paris" in (await ask(engine, CAPITAL)).text


async def test_special_characters_survive(engine: Engine) -> None:
    answer = await ask(engine, "Repeat exactly: naïve café ☕ 漢字 \ud800", max_tokens=40)
    assert "\ufffd" not in answer.text.rstrip("\ufffd")


async def test_nothing_leaks(engine: Engine) -> None:
    await drop_unowned(engine)
    backend = backend_of(engine)
    baseline = backend.state_bytes()
    tasks = [
        asyncio.create_task(ask(engine, f"Tell me about {n}.", max_tokens=4 + n, session_id=f"leak-{n % 5}"))
        for n in range(12)
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await settle(engine)
    assert backend.state_bytes() > baseline
    for n in range(5):
        engine.forget(f"leak-{n}")
    await settle(engine)
    assert backend.state_bytes() == baseline
    assert [backend.resident(slot) for slot in range(32)] == [0] * 32
    assert backend._sampler._samplers == {}
    assert engine.stats().kv_cells_used == 0


async def test_running_out_of_kv_fails_nobody(starter_model: Path) -> None:
    config = EngineConfig(
        model_path=starter_model,
        max_sessions=4,
        cached_sessions=2,
        context_tokens=224,
        batch_tokens=64,
        speculation="off",
        threads=THREADS,
    )
    async with Engine(config) as small:
        answers = await asyncio.gather(
            *(
                ask(small, f"Tell a long story about the number {n}.", max_tokens=120, ignore_eos=True)
                for n in range(2)
            )
        )
        assert [answer.timings.completion_tokens for answer in answers] == [120] * 2
        await settle(small)
        stats = small.stats()
        assert (stats.preempted > 0, stats.restored > 0, stats.requests_failed) == (True, True, 0)
