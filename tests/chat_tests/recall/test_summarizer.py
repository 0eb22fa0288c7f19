"""Summaries and facts by the engine: what is asked for, and what ends the asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_tests.chats.fake_source import FakeSource, FakeStream
from waiting import until

from engine import Priority
from engine.errors import EngineClosed, EngineCrashed, GenerationFailed, QueueFull
from memory import ExtractionCancelled, SummaryCancelled
from memory.summaries import prompt_for_summary
from stevemin_chat.chats import TextSource
from stevemin_chat.recall import EngineExtractor, EngineSummarizer

TEXTS = ("User: I fish for trout.", "Assistant: Where?")


async def summarise(source: TextSource, cancelled: Callable[[], bool] = lambda: False) -> str:
    summarizer = EngineSummarizer(source, asyncio.get_running_loop())
    return await asyncio.to_thread(summarizer.summarise, TEXTS, max_tokens=40, cancelled=cancelled)


async def test_the_whole_answer_is_the_summary() -> None:
    source = FakeSource(FakeStream(["The user ", "fishes."]))
    assert await summarise(source) == "The user fishes."


async def test_nobody_waits_for_it_and_it_takes_no_chats_cache() -> None:
    source = FakeSource(FakeStream([]))
    await summarise(source)
    (request,) = source.requests
    assert [(message.role, message.content) for message in request.messages] == [
        ("user", prompt_for_summary(TEXTS))
    ]
    assert (request.priority, request.session_id) == (Priority.BACKGROUND, None)
    sampling = request.sampling
    assert (sampling.temperature, sampling.repetition_penalty, sampling.max_tokens) == (0.0, 1.1, 40)


async def test_a_cancel_ends_the_generation() -> None:
    stream, wanted = FakeStream(["The user "], stuck=True), asyncio.Event()
    writing = asyncio.create_task(summarise(FakeSource(stream), wanted.is_set))
    await asyncio.sleep(0)
    wanted.set()
    with pytest.raises(SummaryCancelled):
        await writing
    await until(stream.cancelled.is_set)


async def test_a_cancelled_summary_is_not_begun() -> None:
    source = FakeSource()
    with pytest.raises(SummaryCancelled):
        await summarise(source, lambda: True)
    assert source.requests == []


@pytest.mark.parametrize("error", [GenerationFailed("No."), EngineCrashed("It died.")])
async def test_an_error_that_the_texts_may_have_caused_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        await summarise(FakeSource(FakeStream(["The "], ending=error)))


@pytest.mark.parametrize("error", [EngineClosed("Closed."), QueueFull("Full.")])
async def test_what_has_nothing_to_do_with_the_texts_is_worth_another_try(error: Exception) -> None:
    with pytest.raises(SummaryCancelled):
        await summarise(FakeSource(FakeStream(["The "], ending=error)))


def test_nor_when_the_event_loop_has_ended() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(SummaryCancelled):
        EngineSummarizer(FakeSource(), loop).summarise(TEXTS, max_tokens=9, cancelled=lambda: False)


def extractor(source: TextSource, path: Path = Path("model.gguf")) -> EngineExtractor:
    return EngineExtractor(source, asyncio.get_running_loop(), path)


async def extract(source: TextSource, cancelled: Callable[[], bool] = lambda: False) -> str:
    return await asyncio.to_thread(
        extractor(source).extract, "Facts?", grammar='root ::= "[]"', max_tokens=9, cancelled=cancelled
    )


async def test_facts_are_asked_for_by_grammar_while_nobody_waits() -> None:
    source = FakeSource(FakeStream(["[", "]"]))
    assert await extract(source) == "[]"
    (request,) = source.requests
    assert (request.priority, request.session_id) == (Priority.BACKGROUND, None)
    sampling = request.sampling
    assert (sampling.temperature, sampling.grammar, sampling.max_tokens) == (0.0, 'root ::= "[]"', 9)
    assert sampling.repetition_penalty == 1.0, "it has to repeat the person's words"


async def test_a_search_for_facts_ends_at_once() -> None:
    stream, wanted = FakeStream(["["], stuck=True), asyncio.Event()
    asking = asyncio.create_task(extract(FakeSource(stream), wanted.is_set))
    await asyncio.sleep(0)
    wanted.set()
    with pytest.raises(ExtractionCancelled):
        await asking
    await until(stream.cancelled.is_set)
    with pytest.raises(ExtractionCancelled):
        await extract(FakeSource(FakeStream([], ending=EngineClosed("Closed."))))


async def test_a_model_is_known_by_its_weights_and_not_by_its_name(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in "abc")
    first.write_bytes(bytes(3_000_000))
    second.write_bytes(bytes(3_000_000))
    other.write_bytes(bytes(2_999_999) + b"x")
    source = FakeSource()
    names = [extractor(source, path).model for path in (first, second, other)]
    assert names[0] == names[1] != names[2]
    assert extractor(source, tmp_path / "gone").model == ""
