"""Summaries by the engine: what is asked for, and what ends the asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from chat_tests.chats.fake_source import FakeSource, FakeStream
from waiting import until

from engine import Priority
from engine.errors import EngineClosed, EngineCrashed, GenerationFailed, QueueFull
from memory import SummaryCancelled
from memory.summaries import prompt_for_summary
from stevemin_chat.chats import TextSource
from stevemin_chat.recall import EngineSummarizer

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
