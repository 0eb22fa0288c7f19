"""What can be asked of the engine, on a real model: prompts of three kinds, progress, several answers,
replies in parts, and other settings in mid-answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from engine_tests.real import THREADS, ask, read, request, settle

from engine import (
    Channel,
    ChatMessage,
    Engine,
    EngineConfig,
    FinishReason,
    GenerationRequest,
    InvalidRequest,
    PromptTooLong,
    SamplingParams,
    ToolCall,
)

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)
MESSAGES = [ChatMessage("user", "Name three colours.")]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}},
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(starter_model: Path) -> AsyncIterator[Engine]:
    config = EngineConfig(
        model_path=starter_model,
        max_sessions=4,
        cached_sessions=4,
        context_tokens=4096,
        batch_tokens=128,
        threads=THREADS,
        reasoning_marks=("<think>", "</think>"),
        tool_format="hermes",
    )
    async with Engine(config) as engine:
        yield engine


async def test_a_prompt_as_messages_text_or_tokens_is_the_same_prompt(engine: Engine) -> None:
    text = engine.render(MESSAGES)
    tokens = engine.tokenize(text, control=True)
    answers = [
        await read(engine.submit(asked))
        for asked in (
            GenerationRequest(messages=MESSAGES, sampling=GREEDY),
            GenerationRequest(text=text, sampling=GREEDY),
            GenerationRequest(tokens=tokens, sampling=GREEDY),
        )
    ]
    assert len({answer.text for answer in answers}) == 1
    assert {answer.timings.prompt_tokens for answer in answers} == {len(tokens)}


async def test_text_and_tokens(engine: Engine) -> None:
    text = "Grüße, 世界 <|im_end|>"
    assert engine.detokenize(engine.tokenize(text)) == text
    assert engine.tokenize("<|im_end|>", control=True) == [2]
    assert engine.detokenize([2]) == ""
    assert engine.detokenize([2], control=True) == "<|im_end|>"
    assert engine.count_tokens(text) == len(engine.tokenize(text))
    for bad in (-1, engine.info.vocab_size):
        with pytest.raises(InvalidRequest, match=f"There is no token {bad}: this model has 49,152"):
            engine.detokenize([bad])


async def test_a_token_that_does_not_exist_is_refused(engine: Engine) -> None:
    for asked in (
        GenerationRequest(tokens=[1, 999_999], sampling=GREEDY),
        GenerationRequest(messages=MESSAGES, sampling=replace(GREEDY, logit_bias={999_999: 1.0})),
    ):
        with pytest.raises(InvalidRequest, match="no token 999999"):
            await read(engine.submit(asked))
    with pytest.raises(InvalidRequest, match="empty"):
        await read(engine.submit(GenerationRequest(tokens=[], sampling=GREEDY)))


async def test_template_arguments_reach_the_template(starter_model: Path) -> None:
    template = (
        "{{ mood }}|{% for tool in tools %}{{ tool.function.name }}{% endfor %}|{{ messages[0].content }}"
    )
    config = EngineConfig(
        model_path=starter_model, context_tokens=512, chat_template=template, threads=THREADS
    )
    async with Engine(config) as engine:
        text = engine.render(MESSAGES, tools=[WEATHER], template_args={"mood": "calm <|im_end|>"})
        assert text == "calm <|im_end|>|weather|Name three colours."
        counted = engine.count_prompt(MESSAGES, tools=[WEATHER], template_args={"mood": "calm <|im_end|>"})
        assert counted == len(engine.tokenize(text))
        with pytest.raises(InvalidRequest, match="messages must be a list of ChatMessage"):
            engine.render([{"role": "user", "content": "hi"}])  # type: ignore[list-item]


async def test_progress_is_told_while_a_prompt_is_read(engine: Engine) -> None:
    asked = replace(request("word " * 600, max_tokens=2), progress=True)
    told = [chunk.progress async for chunk in engine.submit(asked) if chunk.progress is not None]
    assert told, "at least once for several chunks"
    done = [done for done, _ in told]
    (total,) = {total for _, total in told}
    assert done == sorted(done)
    assert 0 < done[0] <= done[-1] < total
    chunks = [chunk async for chunk in engine.submit(replace(asked, progress=False))]
    assert all(chunk.progress is None for chunk in chunks)


async def test_chunks_carry_their_tokens(engine: Engine) -> None:
    stream = engine.submit(GenerationRequest(messages=MESSAGES, sampling=replace(GREEDY, logprobs=2)))
    chunks = [chunk async for chunk in stream]
    ids = [token for chunk in chunks for token in chunk.ids]
    assert len(ids) == stream.timings.completion_tokens == sum(chunk.tokens for chunk in chunks)
    assert engine.detokenize(ids) == "".join(chunk.text for chunk in chunks)
    likelihood = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert [logprob.token for logprob in likelihood] == ids
    assert all(logprob.top[0] == (logprob.token, logprob.logprob) for logprob in likelihood), "greedy"


async def test_several_answers_read_their_prompt_once(engine: Engine) -> None:
    engine.forget("nobody")
    await settle(engine)
    before = engine.stats().computed_tokens
    asked = request("Tell me about the sea, at length, please. " * 8, n=3, temperature=1.0, seed=5)
    with pytest.raises(InvalidRequest, match="call candidates"):
        engine.submit(asked)
    answers = await asyncio.gather(*(read(stream) for stream in engine.candidates(asked)))
    await settle(engine)
    assert len({answer.text for answer in answers}) == 3
    prompt = answers[0].timings.prompt_tokens
    assert engine.stats().computed_tokens - before < 1.5 * prompt
    for n in (0, 129):
        with pytest.raises(InvalidRequest, match="n must be between 1 and 128"):
            request("x", n=n)


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
REPLY = f"<think>\nHm.\n</think>\n\nLook.\n{CALL}"


def _forced(**options: object) -> GenerationRequest:
    """Makes the model write `REPLY`."""
    spelled = REPLY.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    sampling = SamplingParams(grammar=f'root ::= "{spelled}"', max_tokens=200, seed=1)
    return GenerationRequest(messages=MESSAGES, sampling=sampling, **options)  # type: ignore[arg-type]


async def test_a_reply_streams_in_its_parts(engine: Engine) -> None:
    stream = engine.submit(_forced(parse_reply=True, tools=[WEATHER]))
    chunks = [chunk async for chunk in stream]
    texts = {
        channel: "".join(chunk.text for chunk in chunks if chunk.channel is channel) for channel in Channel
    }
    assert texts == {
        Channel.REASONING: "Hm.",
        Channel.CONTENT: "Look.",
        Channel.TOOL_CALL: '{"city": "Oslo"}',
    }
    assert stream.tool_calls == (ToolCall("weather", '{"city": "Oslo"}'),)
    assert sum(chunk.tokens for chunk in chunks) == stream.timings.completion_tokens


async def test_a_reply_comes_as_it_is_unless_parts_are_wanted(engine: Engine) -> None:
    assert (await read(engine.submit(_forced(tools=[WEATHER])))).text == REPLY
    without_tools = engine.submit(_forced(parse_reply=True))
    chunks = [chunk async for chunk in without_tools if chunk.channel is Channel.CONTENT]
    assert "".join(chunk.text for chunk in chunks) == REPLY.split("\n\n")[1]
    assert without_tools.tool_calls == ()


async def test_settings_change_under_an_answer_and_it_goes_on_as_before(starter_model: Path) -> None:
    config = EngineConfig(
        model_path=starter_model, max_sessions=2, context_tokens=1024, threads=THREADS, speculation="off"
    )
    async with Engine(config) as engine:
        alone = await ask(engine, "Count from one to thirty.", max_tokens=60)
        stream = engine.submit(request("Count from one to thirty.", max_tokens=60))
        text = (await anext(stream)).text
        await engine.change(replace(config, context_tokens=2048, kv_layout="split", batch_tokens=256))
        assert engine.info.split_cache
        assert engine.config.context_tokens == 2048
        rest = await read(stream)
        assert text + rest.text == alone.text
        assert rest.reason is alone.reason
        await engine.change(replace(engine.config, threads=2, speculation="on", sampling_threads=2))
        assert (await ask(engine, "Count from one to thirty.", max_tokens=60)).text


async def test_a_reload_reads_the_text_of_tokens_from_the_new_model(starter_model: Path) -> None:
    config = EngineConfig(model_path=starter_model, max_sessions=2, context_tokens=1024, threads=THREADS)
    async with Engine(config) as engine:
        wild = SamplingParams(temperature=1.5, seed=3, max_tokens=60, ignore_eos=True)
        stream = engine.submit(GenerationRequest(messages=MESSAGES, sampling=wild))
        first = await anext(stream)
        await engine.change(replace(config, batch_tokens=256))
        chunks = [first] + [chunk async for chunk in stream]
        tokens = [token for chunk in chunks for token in chunk.ids]
        assert len(tokens) == 60
        assert engine.detokenize(tokens) == "".join(chunk.text for chunk in chunks)


async def test_other_marks_count_after_a_reload(starter_model: Path) -> None:
    config = EngineConfig(model_path=starter_model, context_tokens=512, threads=THREADS)
    async with Engine(config) as engine:
        core = engine._core
        assert core is not None
        assert core.encoder._reply_tokens == {}
        await engine.change(replace(config, reasoning_marks=("<|im_start|>", "<|im_end|>")))
        assert core.encoder._reply_tokens == {1: "<|im_start|>", 2: "<|im_end|>"}


async def test_a_text_of_many_megabytes_is_refused_before_it_is_tokenised(engine: Engine) -> None:
    for asked in (request("word " * 1_000_000), GenerationRequest(text="word " * 1_000_000)):
        with pytest.raises(PromptTooLong):
            await read(engine.submit(asked))


async def test_a_grammar_holds_across_a_reload(starter_model: Path) -> None:
    config = EngineConfig(model_path=starter_model, max_sessions=2, context_tokens=1024, threads=THREADS)
    async with Engine(config) as engine:
        stream = engine.submit(_forced())
        text = (await anext(stream)).text
        await engine.change(replace(config, batch_tokens=256))
        assert text + (await read(stream)).text == REPLY


async def test_the_sampling_of_a_real_answer_changes(engine: Engine) -> None:
    sure = SamplingParams(temperature=0.0, max_tokens=400, ignore_eos=True)
    stream = engine.submit(GenerationRequest(messages=MESSAGES, sampling=sure))
    await anext(stream)
    end = engine.tokenize("<|im_end|>", control=True)[0]
    with pytest.raises(InvalidRequest, match="no token 10000000"):
        engine.change_sampling(stream, replace(sure, logit_bias={10_000_000: 1.0}))
    engine.change_sampling(stream, replace(sure, ignore_eos=False, logit_bias={end: 100.0}))
    answer = await read(stream)
    assert answer.reason is FinishReason.STOP
    assert answer.timings.completion_tokens < 400
