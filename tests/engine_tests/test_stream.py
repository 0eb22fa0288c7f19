"""From the engine thread to the reader's loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from engine import EngineClosed, FinishReason, Timings
from engine.stream import Mailroom, TokenStream
from engine.types import ReplyPart


def make() -> TokenStream:
    return TokenStream(asyncio.get_running_loop(), lambda stream: None)


async def test_a_reader_that_lags_gets_tokens_merged() -> None:
    stream = make()
    for char in "abc":
        stream.put(ReplyPart(char), ord(char))
    stream.finish(FinishReason.STOP, Timings(completion_tokens=3))
    chunks = [chunk async for chunk in stream]
    assert [(chunk.text, chunk.tokens, bytes(chunk.ids)) for chunk in chunks] == [("abc", 3, b"abc")]
    assert stream.finish_reason is FinishReason.STOP
    assert stream.timings.completion_tokens == 3


async def test_only_the_first_end_counts() -> None:
    stream = make()
    stream.finish(FinishReason.LENGTH, Timings())
    stream.fail(EngineClosed("too late"))
    assert [chunk async for chunk in stream] == []
    assert stream.finish_reason is FinishReason.LENGTH


async def test_an_error_comes_after_the_text() -> None:
    stream = make()
    stream.put(ReplyPart("partial"))
    stream.fail(EngineClosed("gone"))
    assert (await anext(stream)).text == "partial"
    with pytest.raises(EngineClosed, match="gone"):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_one_wake_up_for_many_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [make() for _ in range(5)]
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    real = loop.call_soon_threadsafe

    def count(*args: Any) -> asyncio.Handle:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    readers = [asyncio.create_task(anext(stream)) for stream in streams]
    await asyncio.sleep(0)

    def feed() -> None:
        mail = Mailroom()
        for stream in streams:
            stream.put(ReplyPart("x"))
            mail.add(stream)
        mail.flush()

    thread = threading.Thread(target=feed)
    thread.start()
    thread.join()
    assert [chunk.text for chunk in await asyncio.gather(*readers)] == ["x"] * 5
    assert len([call for call in calls if "_wake_all" in repr(call)]) == 1


def test_a_closed_loop_does_not_stop_the_engine() -> None:
    loop = asyncio.new_event_loop()
    stream = TokenStream(loop, lambda stream: None)
    loop.close()
    mail = Mailroom()
    mail.add(stream)
    mail.flush()


async def test_nothing_is_lost_between_two_threads() -> None:
    stream = make()
    mail = Mailroom()

    def feed() -> None:
        for number in range(5000):
            stream.put(ReplyPart(f"{number},"), number)
            mail.add(stream)
            mail.flush()
        stream.finish(FinishReason.STOP, Timings())
        mail.add(stream)
        mail.flush()

    thread = threading.Thread(target=feed)
    thread.start()
    chunks = [chunk async for chunk in stream]
    thread.join()
    assert "".join(chunk.text for chunk in chunks) == "".join(f"{n}," for n in range(5000))
    assert sum(chunk.tokens for chunk in chunks) == 5000


async def test_steps_that_follow_fast_wake_a_reader_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make()
    loop = asyncio.get_running_loop()
    wakes: list[object] = []
    real = loop.call_soon_threadsafe

    def count(*args: Any) -> asyncio.Handle:
        wakes.append(args)
        return real(*args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    mail = Mailroom()
    mail.start()
    for _ in range(200):
        stream.put(ReplyPart("x"))
        mail.add(stream)
        mail.flush()
    stream.finish(FinishReason.STOP, Timings())
    mail.add(stream)
    mail.flush()
    await asyncio.to_thread(mail.stop)
    assert "".join([chunk.text async for chunk in stream]) == "x" * 200
    assert len([call for call in wakes if "_wake_all" in repr(call)]) < 50


async def test_a_first_text_and_an_end_do_not_wait_for_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stream._ROUND_S", 600.0)
    mail = Mailroom()
    mail.start()
    stream = TokenStream(asyncio.get_running_loop(), lambda stream: None)
    try:
        for text, urgent in (("first", True), ("second", False)):
            stream.put(ReplyPart(text), 1)
            mail.add(stream, urgent=urgent)
            mail.flush()
            if urgent:
                assert (await asyncio.wait_for(anext(stream), 60)).text == text
        stream.finish(FinishReason.STOP, Timings())
        mail.add(stream, urgent=True)
        mail.flush()
        assert [chunk.text async for chunk in stream] == ["second"]
    finally:
        mail.stop()
